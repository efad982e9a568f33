# The operator, installed by its charts as a user would: a pod, whose only way out is the proxy.
# shellcheck shell=bash

HELM() { command "$BIN/helm" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

install_definitions() { HELM install tidelock-crds "$repository/charts/tidelock-crds" --namespace "$NAMESPACE" --wait --timeout 60s >/dev/null; }

# The image by its digest, from the registry that the node alone reaches.
install_operator() {
  local reference=$1
  OPERATOR_VALUES=(--set image.registry="${reference%%/*}" --set image.repository=tidelock --set image.digest="${reference#*@}"
    --set rbac.mode=clusterAdmin --set 'rbac.secretNames={proxy-credentials,git-credentials,git-ca}')
  HELM install tidelock "$repository/charts/tidelock" --namespace "$NAMESPACE" "${OPERATOR_VALUES[@]}" --wait --timeout 120s >"$work/notes" 2>&1 ||
    give_up "helm install fails: $(tail -n 3 "$work/notes")"
  note_operator
}

# Which pods there are; the demo asks about them by address.
note_operator() {
  mapfile -t OPERATOR_ADDRESSES < <(operator_pods -o 'jsonpath={range .items[*]}{.status.podIP}{"\n"}{end}')
}
operator_pods() { kubectl -n "$NAMESPACE" get pods -l app.kubernetes.io/name=tidelock "$@"; }
operator_alive() { [ -n "$(operator_pods --field-selector=status.phase=Running -o name 2>/dev/null)" ]; }
operator_address_list() { local IFS='|'; echo "${OPERATOR_ADDRESSES[*]}"; }

stop_operator() {
  [ -n "${OPERATOR_VALUES:-}" ] || return 0
  kubectl -n "$NAMESPACE" scale deployment/tidelock --replicas=0 >/dev/null 2>&1 || :
  kubectl -n "$NAMESPACE" wait --for=delete pods -l app.kubernetes.io/name=tidelock --timeout=40s >/dev/null 2>&1 || :
}

start_operator() {
  kubectl -n "$NAMESPACE" scale deployment/tidelock --replicas=2 >/dev/null
  kubectl -n "$NAMESPACE" rollout status deployment/tidelock --timeout=60s >/dev/null
}

# Processes of the operator's containers, as this machine sees them.
operator_processes() {
  local uid pid
  for uid in $(operator_pods -o 'jsonpath={.items[*].metadata.uid}'); do
    for pid in $(pgrep -x tidelock); do
      if grep -q "$uid" "/proc/$pid/cgroup" 2>/dev/null; then echo "$pid"; fi
    done
  done
}

resident_memory() {
  local pid
  for pid in $(operator_processes); do awk '/^VmRSS:/{print $2}' "/proc/$pid/status"; done | sort -n | tail -n 1 | awk '{printf "%d MiB\n", $1 / 1024}'
}

# Runs a program of this machine in the network of the operator's pod.
in_operator_network() {
  local pid
  pid=$(operator_processes | head -n 1)
  nsenter -t "$pid" -n -- "$@"
}

# Packets that the operator's pods sent past the proxy.
packets_past_the_proxy() {
  "$bed" dialled pods | jq -s --arg addresses "$(operator_address_list)" '($addresses | split("|")) as $own | map(select(.pod | IN($own[])) | .packets) | add // 0'
}

# Ends the demo with what a reader needs to find the cause.
give_up() {
  bad "$*"
  echo "last lines of the operator's log:" | detail
  kubectl -n "$NAMESPACE" logs -l app.kubernetes.io/name=tidelock -c controller --tail=8 2>&1 | cut -c1-400 | detail
  operator_pods 2>&1 | detail
  kubectl -n "$NAMESPACE" get applications,repositories,egressproxies -o json 2>/dev/null |
    jq -r '.items[] | . as $o | .status.conditions[]? | select(.status != "True" or .type == "Stalled") | "\($o.kind) \($o.metadata.name): \(.type)=\(.status) \(.reason): \(.message)"' 2>/dev/null | cut -c1-400 | detail
  exit 1
}
