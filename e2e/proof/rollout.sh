# From helm install to three Healthy Applications; a slow probe, a crash, and the fix.
# shellcheck shell=bash

prove_install() {
  part "helm install, in a namespace that enforces Pod Security restricted"
  make_repository
  make_namespaces
  make_secrets
  PROXY_MARK=$(size_of "$PROXY_LOG") INSTALL_MARK=$(audit_mark)
  INSTALL_BEGAN=$(clock_now)
  install_operator
  local ready
  ready=$(milliseconds_since "$INSTALL_BEGAN")
  ok "helm install --wait of both charts: ready after $(spell "$ready")"
  report "helm install to Ready: $(spell "$ready")"
  apply_applications
  await_equal 120 "three Applications, from a directory, Kustomize and Helm, are Synced and Healthy" "$(applications_at "$REVISION")" application_states
  report "helm install to the first sync of three Applications: $(spell "$(milliseconds_since "$INSTALL_BEGAN")")"
  expect_equal "their pods run" "proof-batch 1
proof-pay 2
proof-web 2" "$(workload_pods | awk '{sub("/.*", "", $1); n[$1]++} END {for (name in n) print name, n[name]}' | sort)"
}

prove_pod() {
  part "the operator's pod"
  local pod pid status image
  pod=$(operator_pod)
  pid=$(operator_process "$pod") || broken "no process of this machine is the operator of $pod"
  status=$(awk '/^(Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp):/ {print $1, $2}' "/proc/$pid/status")
  expect_equal "it runs as nobody, with no capability, filtered system calls and no new rights" "Uid: 65532
Gid: 65532
CapEff: 0000000000000000
CapBnd: 0000000000000000
NoNewPrivs: 1
Seccomp: 2" "$status"
  expect_equal "its root is read-only" "ro" "$(awk '$5 == "/" {split($6, options, ","); print options[1]}' "/proc/$pid/mountinfo")"
  image=$(kubectl -n "$NAMESPACE" get pod "$pod" -o jsonpath='{.status.containerStatuses[0].imageID}')
  expect_equal "it was pulled by digest from the registry" "$IMAGE" "$image"
}

# Squid's log of one address: user, answer, method and target. A connection without a request is the doctor's, who looks whether
# the proxy can be dialled.
proxied_by() { tail -c "+$((PROXY_MARK + 1))" "$PROXY_LOG" | awk -v address="$1" '$2 == address && $7 != "-" {print $4, $5, $7, $8}' | sort -u; }

prove_egress() {
  part "the way out"
  local address addresses
  addresses=$(operator_pods | jq -r '.[].status.podIP')
  for address in $addresses; do
    OPERATOR_ADDRESSES[$address]=1
    expect_equal "nothing was dialled past the proxy by $address" "" "$("$BED" dialled pods | jq -c --arg address "$address" 'select(.pod == $address)')"
  done
}

# Squid logs a tunnel when it ends: asked once the pods of those addresses are gone.
prove_proxied() {
  local address seen=
  part "what Squid saw"
  for address in "${!OPERATOR_ADDRESSES[@]}"; do
    # A pod that stood by all its life connected to nothing.
    seen+=$(proxied_by "$address")$'\n'
  done
  expect_equal "the operator connected to the git server, with its password, and to nothing else" "operator 200 CONNECT git.corp.test:443" "$(grep . <<<"$seen" | sort -u)"
}

prove_rollout() {
  part "a rollout waits for real readiness"
  local mark back created ready
  mark=$(audit_mark)
  sed -i 's|READY_DELAY, value: "0"|READY_DELAY, value: "6"|' "$WORK/repository/web/10-back.yaml"
  cat >"$WORK/repository/web/30-after.yaml" <<'EOF'
apiVersion: v1
kind: ConfigMap
metadata:
  name: after
  annotations: {argocd.argoproj.io/sync-wave: "2"}
data: {made: "when wave 1 was ready"}
EOF
  push_change "A slow start in wave 1, something new in wave 2"
  await_equal 60 "the Application says what it waits for" "apps/Deployment/proof-web/back" waited_for
  expect_equal "and wave 2 is not begun" "" "$(kubectl -n proof-web get configmap after --ignore-not-found -o name)"
  await_equal 60 "the rollout ends well" "$(applications_at "$REVISION")" application_states
  back=$(kubectl -n proof-web get pods -l app=back -o json | jq -r '[.items[] | select(.metadata.deletionTimestamp == null)][0].status.conditions[] | select(.type == "Ready") | .lastTransitionTime')
  created=$(audit_since "$mark" | jq -r 'select(.objectRef.resource == "configmaps" and .objectRef.name == "after" and .objectRef.namespace == "proof-web" and (.requestURI | contains("dryRun") | not) and (.verb | IN("patch", "create"))) | .requestReceivedTimestamp' | head -n 1)
  ready=$(date -d "$back" +%s) created=$(date -d "$created" +%s)
  [ "$created" -ge "$ready" ] || broken "wave 2 was applied before wave 1 was ready" "ready: $back" "applied: $created"
  ok "wave 2 was applied $((created - ready)) s after the slow pod was ready, none before"

  part "a version that crashes"
  sed -i 's|CRASH, value: "0"|CRASH, value: "1"|' "$WORK/repository/web/20-front.yaml"
  push_change "A version that crashes"
  await 120 "the Application is Degraded" web_is Degraded
  expect_match "its message names the container and its reason" 'container `app` waits: CrashLoopBackOff.*exited with code 1' "$(kubectl -n "$NAMESPACE" get application web -o jsonpath='{.status.health.message}')"
  report "message of the crash: $(kubectl -n "$NAMESPACE" get application web -o jsonpath='{.status.health.message}')"
  expect_equal "the old version goes on serving" "1" "$(kubectl -n proof-web get deployment front -o jsonpath='{.status.readyReplicas}')"
  sed -i 's|CRASH, value: "1"|CRASH, value: "0"|; s|demo:1|demo:2|' "$WORK/repository/web/20-front.yaml"
  push_change "The fix"
  await_equal 90 "the fix goes through" "$(applications_at "$REVISION")" application_states
}

waited_for() { kubectl -n "$NAMESPACE" get application web -o jsonpath='{.status.waitingOn[0].object}'; }
web_is() { [ "$(kubectl -n "$NAMESPACE" get application web -o jsonpath='{.status.health.status}')" = "$1" ]; }
