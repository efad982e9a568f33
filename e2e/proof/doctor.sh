# kubectl tidelock doctor, from the outside, in the operator's real pod.
# shellcheck shell=bash

prove_doctor() {
  part "kubectl tidelock doctor"
  mkdir -p "$WORK/plugin"
  ln -sf "$BINARY" "$WORK/plugin/kubectl-tidelock"
  local text json steps
  text=$(PATH=$WORK/plugin:$BIN:$PATH "$BIN/kubectl" tidelock doctor 2>&1) || broken "kubectl tidelock doctor fails" "$text"
  expect_match "the plugin runs in the operator's pod and tells about the git server" 'git\.corp\.test' "$text"
  json=$(PATH=$WORK/plugin:$BIN:$PATH "$BIN/kubectl" tidelock doctor --output json 2>"$WORK/doctor.err") || broken "kubectl tidelock doctor --output json fails" "$(cat "$WORK/doctor.err")"
  steps=$(jq -r '.destinations[] | select(.destination | contains("git.corp.test")) | .destination + ": " + ([.steps[] | .step + " " + .outcome] | join(", "))' <<<"$json")
  expect_equal "every hop to the repository is well, by JSON" \
    "https://git.corp.test/proof: route ok, dns ok, tcp ok, connect ok, tls ok, auth ok, ls-refs ok" "$steps"
  text=$(PATH=$WORK/plugin:$BIN:$PATH "$BIN/kubectl" tidelock doctor https://git.corp.test/missing.git 2>&1) && broken "a repository that is not there is well" "$text"
  local secret
  for secret in "$(of proxy_password)" "$(of git_password)" "$(jq -rn --arg text "$(of proxy_password)" '$text|@uri')" "$(jq -rn --arg text "$(of git_password)" '$text|@uri')"; do
    ! grep -qF -- "$secret" <<<"$text$json" || broken "the doctor's report holds a password"
  done
  ok "neither report holds a password, and a repository that is not there is told by the exit code"
}
