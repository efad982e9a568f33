#!/usr/bin/env bash
# demo.sh  -- the whole main job on this machine, shown as it happens: `make demo`.
#
#   KEEP=1 demo.sh     leaves everything up at the end and says how to play with it
#   demo.sh down       ends what KEEP=1 left
#
# TIDELOCK_BINARY names a binary to use instead of building one.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
repository=$(dirname "$here")
bed=$here/testbed.sh
# A test bed of its own: one that a developer has up is not disturbed.
export TIDELOCK_TESTBED=${TIDELOCK_DEMO_STATE:-/var/lib/tidelock-demo} TIDELOCK_TESTBED_NUMBER=${TIDELOCK_DEMO_NUMBER:-7}
NAMESPACE=tidelock
for part in screen watch operator; do
  # shellcheck source=/dev/null
  . "$here/demo/$part.sh"
done
unset GIT_SSL_CAINFO CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=Maria GIT_AUTHOR_EMAIL=maria@corp.test GIT_COMMITTER_NAME=Maria GIT_COMMITTER_EMAIL=maria@corp.test

if [ "${1:-}" = down ]; then exec "$bed" down; fi

exec {SCREEN}>&1
finished=
work=$(mktemp -d)
finish() {
  local status=$1
  trap - EXIT INT TERM HUP
  # The interrupted command may have had its output elsewhere.
  exec >&"$SCREEN"
  [ -z "${WATCH_PID:-}" ] || kill "$WATCH_PID" 2>/dev/null || :
  rm -rf "$work"
  if [ "${KEEP:-}" = 1 ] && [ "$status" -lt 128 ] && [ -e "$TIDELOCK_TESTBED/testbed.json" ]; then
    [ -n "$finished" ] || printf '\nKEEP=1: everything stays up for a look; %s down ends it.\n' "$here/demo.sh"
  else
    "$bed" down 2>/dev/null || :
    printf '\n%sCleaned up.%s\n' "$DIM" "$PLAIN"
  fi
  exit "$status"
}
trap 'finish $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

of() { jq -r ".$1" "$TIDELOCK_TESTBED/testbed.json"; }
size_of() { stat -c %s "$1"; }

# ---------------------------------------------------------------- the parts

step "Tidelock: three Applications follow git through a proxy"
"$here/install.sh"
"$here/tools/build.sh" >/dev/null
good "packages and tools are there"
if [ -z "${TIDELOCK_BINARY:-}" ]; then
  BINARY=$(make --no-print-directory -C "$repository" build | tail -n 1)
else
  BINARY=$(readlink -f "$TIDELOCK_BINARY")
fi
image_archive=$("$here/image.sh" "$BINARY")
good "operator built: $("$BINARY" --version), and its image: $(($(stat -c %s "$image_archive") / 1000000)) MB compressed, no shell in it"

step "A cluster with real pods, a git server, and Squid with a password"
"$bed" down 2>/dev/null
"$bed" up --pods 2>"$work/up.log" || { cat "$work/up.log"; exit 1; }
STATE=$TIDELOCK_TESTBED BIN=$(of bin) KUBECONFIG_FILE=$(of kubeconfig) API_SERVER=$(of api_server) AUDIT_LOG=$(of audit_log)
OPERATOR_USER=system:serviceaccount:$NAMESPACE:tidelock PROXY_LOG=$(of proxy_access_log) GIT_LOG=$(of git_access_log)
good "$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}: Kubernetes {.items[0].status.nodeInfo.kubeletVersion}, {.items[0].status.nodeInfo.containerRuntimeVersion}')"

for name in shop platform payments; do
  git init -q --bare -b main "$(of git_root)/$name.git"
  cp -r "$here/fixtures/$name" "$work/$name"
  git -C "$work/$name" init -q -b main
  git -C "$work/$name" add .
  git -C "$work/$name" commit -q -m "As it is"
  git -C "$work/$name" push -q "$(of git_root)/$name.git" main
done
good "git server: $(of git_https_url)/{shop,platform,payments}.git, private CA, password"
image=$("$bed" push "$image_archive" tidelock:demo)
good "image in the registry that only the node reaches: ${image:0:60}…"

# ---------------------------------------------------------------- what a team would write

step "Samples applied: EgressProxy, Repository, project, three Applications"
kubectl create namespace "$NAMESPACE" >/dev/null
kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
install_definitions
good "helm install tidelock-crds"
secret() { kubectl -n "$NAMESPACE" create secret generic "$@" >/dev/null; }
of proxy_password | tr -d '\n' >"$work/proxy-password"
of git_password | tr -d '\n' >"$work/git-password"
secret proxy-credentials --from-literal=username="$(of proxy_username)" --from-file=password="$work/proxy-password"
secret git-credentials --from-literal=username="$(of git_username)" --from-file=password="$work/git-password"
secret git-ca --from-file=ca.crt="$(of git_ca)"
samples=$repository/config/samples
kubectl apply -f "$samples/10-egress-proxy.yaml" -f "$samples/20-repositories.yaml" -f "$samples/30-project-shop.yaml" | detail
operator_began=$(clock_now)
install_operator "$image"
good "helm install tidelock: ready after $(spell "$(milliseconds_since "$operator_began")"), ${#OPERATOR_ADDRESSES[@]} pods in a namespace that enforces Pod Security restricted"
operator_tries() { in_operator_network curl -s -o /dev/null -m 2 -w '%{http_code}' "$@" 2>/dev/null || :; }
[ "$(operator_tries -k --resolve git.corp.test:443:198.51.100.10 https://git.corp.test/)" = 000 ] || give_up "the operator's pod reaches git without the proxy"
[ "$(operator_tries -x "$(of proxy_url)" http://git.corp.test/)" = 407 ] || give_up "the proxy does not ask for a password"
good "the pods' only way out is $(of proxy_url): past it nothing answers, without its password it says 407"
proxy_start=$(size_of "$PROXY_LOG") audit_start=$(size_of "$AUDIT_LOG") git_start=$(size_of "$GIT_LOG")
blackholed=$(packets_past_the_proxy)

step "Sync"
began=$(clock_now)
kubectl apply -f "$samples/40-shop.yaml" -f "$samples/41-platform.yaml" -f "$samples/42-payments.yaml" | detail
await_applications 300 shop platform payments
sync_time=$(milliseconds_since "$began")
objects=$(kubectl -n "$NAMESPACE" get applications -o json | jq '[.items[].status.resourceCount] | add')
good "all Synced and Healthy after $(spell "$sync_time"): $objects objects, $(kubectl get pods -A --field-selector=status.phase=Running -o name | wc -l) running pods, $(writes_since "$audit_start" | wc -l) writes"

# ---------------------------------------------------------------- a day's work

step "A commit arrives"
sed -i 's|image: tidelock.local/demo:1|image: tidelock.local/demo:2|; s|"newCheckout": false|"newCheckout": true|; s|config-version: "31"|config-version: "32"|' "$work/shop/deploy/edge/storefront.yaml"
git -C "$work/shop" commit -q -a -m "Storefront: new checkout on, version 2"
audit_mark=$(size_of "$AUDIT_LOG")
kubectl_watch -n shop-edge get deployment storefront --watch -o 'jsonpath={.spec.template.spec.containers[0].image}{"\n"}'
await_line 10 '*demo:1' || give_up "the Deployment shop-edge/storefront is not there"
git -C "$work/shop" push -q "$(of git_root)/shop.git" main
revision=$(git -C "$work/shop" rev-parse HEAD)
line "pushed ${revision:0:7} \"$(git -C "$work/shop" log -1 --format=%s)\", and asked for a poll (annotation tidelock.dev/refresh)"
began=$(clock_now)
refresh shop
await_line 90 '*demo:2' || give_up "the commit did not arrive"
commit_time=$(milliseconds_since "$began")
watch_close
good "applied $(spell "$commit_time") after the request"
await_applications 120 "shop=$revision"
kubectl -n shop-edge rollout status deployment/storefront --timeout=60s >/dev/null || give_up "the new version does not come up"
good "rolled out $(spell "$(milliseconds_since "$began")") after the request; written of $objects objects, by the API server's audit log:"
show_writes "$audit_mark"

step "A hand edit is healed"
audit_mark=$(size_of "$AUDIT_LOG")
kubectl_watch -n shop-edge get deployment storefront --watch -o 'jsonpath={.spec.template.spec.containers[0].image}{"\n"}'
await_line 10 '*demo:2' || give_up "the Deployment shop-edge/storefront is not as committed"
kubectl -n shop-edge set image deployment/storefront web=tidelock.local/demo:3 | detail
await_line 10 '*demo:3' || give_up "the edit did not happen"
began=$(clock_now) git_mark=$(size_of "$GIT_LOG")
await_line 60 '*demo:2' || give_up "the edit was not healed"
heal_time=$(milliseconds_since "$began")
watch_close
good "put back $(spell "$heal_time") after the edit, with $(git_requests_since "$git_mark") requests to git: demo:2 again"
await_applications 120 shop
show_writes "$audit_mark"

step "A removed file is pruned"
audit_mark=$(size_of "$AUDIT_LOG")
mapfile -t doomed < <(kubectl get -f "$work/shop/deploy/promotions/seasonal.yaml" -n shop-services -o name 2>/dev/null)
[ "${#doomed[@]}" -gt 0 ] || give_up "the objects of deploy/promotions/seasonal.yaml are not there"
git -C "$work/shop" rm -q deploy/promotions/seasonal.yaml
git -C "$work/shop" commit -q -m "The season is over"
git -C "$work/shop" push -q "$(of git_root)/shop.git" main
revision=$(git -C "$work/shop" rev-parse HEAD)
line "pushed ${revision:0:7} without deploy/promotions/seasonal.yaml (${#doomed[@]} objects)"
began=$(clock_now)
refresh shop
kubectl -n shop-services wait --for=delete --timeout=90s "${doomed[@]}" >/dev/null || give_up "the objects are still there"
prune_time=$(milliseconds_since "$began")
good "gone $(spell "$prune_time") after the request"
await_applications 120 "shop=$revision"
show_writes "$audit_mark"

# ---------------------------------------------------------------- the evidence

step "What the others saw"
line "operator: $(resident_memory) resident, $(tail -c "+$((audit_start + 1))" "$AUDIT_LOG" | jq -r --arg user "$OPERATOR_USER" 'select(.user.username == $user and .stage == "ResponseComplete") | .verb' | wc -l) requests to the API server in $(spell "$(milliseconds_since "$operator_began")")"
began=$(clock_now)
note_operator
past=$(($(packets_past_the_proxy) - blackholed))
stop_operator
line "operator stopped in $(spell "$(milliseconds_since "$began")"): Squid logs a tunnel when it ends"
targets=$(tail -c "+$((proxy_start + 1))" "$PROXY_LOG" | awk -v operators="$(operator_address_list)" 'BEGIN {split(operators, list, "|"); for (i in list) own[list[i]]} $2 in own {target = $8; sub(/\?.*/, "", target); k = $4 " " $5 " " $7 " " target; n[k] += 1; bytes[k] += $9} END {for (k in n) printf "%4d × %s, %.0f KiB\n", n[k], k, bytes[k] / 1024}' | sort -rn)
line "Squid's own log of the operator, by user, answer and target:"
detail <<<"$targets"
strangers=$(grep -cvE ' (https?://)?git\.corp\.test(:|/|,)' <<<"$targets" || :)
[ -n "$targets" ] || give_up "Squid saw nothing of the operator"
[ "$strangers" = 0 ] || give_up "requests went to hosts other than git.corp.test"
[ "$past" = 0 ] || give_up "$past packets went past the proxy: $("$bed" dialled pods | tr '\n' ' ')"
good "no other host, no packet of its pods past the proxy"
line "git server: $(tail -c "+$((git_start + 1))" "$GIT_LOG" | jq -r '.command // empty' | sort | uniq -c | awk '{printf "%s%d × %s", sep, $1, $2; sep=", "}') for three repositories"
if [ "${KEEP:-}" = 1 ]; then
  start_operator
  good "operator started again"
fi

step "Summary"
printf '  %-34s %s\n' \
  "$objects objects Synced and Healthy" "$(spell "$sync_time")" \
  "commit to applied" "$(spell "$commit_time")" \
  "hand edit to healed" "$(spell "$heal_time")" \
  "removed file to pruned" "$(spell "$prune_time")"
finished=1
if [ "${KEEP:-}" = 1 ]; then
  cat <<EOF

It all stays up:
  export KUBECONFIG=$KUBECONFIG_FILE PATH=$BIN:\$PATH
  kubectl -n $NAMESPACE get applications,repositories,egressproxies
  git clone $(of git_root)/shop.git      # push to it, and wait up to a minute, or:
  kubectl -n $NAMESPACE annotate application shop --overwrite tidelock.dev/refresh=\$(date +%s)
  kubectl -n $NAMESPACE logs -f deployment/tidelock
  kubectl -n $NAMESPACE get --raw /api/v1/namespaces/$NAMESPACE/services/tidelock-metrics:8080/proxy/metrics
  $here/demo.sh down                     # ends it
EOF
else
  echo "  kubeconfig was $KUBECONFIG_FILE; make demo KEEP=1 leaves it up"
fi
