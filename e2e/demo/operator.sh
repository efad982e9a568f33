# The operator, as a process in the place whose only way out is the proxy.
# shellcheck shell=bash

start_operator() {
  OPERATOR_LOG=$STATE/tidelock.log
  # An empty environment: what it knows it knows from its flags and from the cluster. A session of its own: Ctrl-C is for the demo.
  setsid env -i PATH=/usr/bin:/bin "${OPERATOR_PLACE[@]}" "$BINARY" controller --kubeconfig "$STATE/operator.conf" --namespace "$NAMESPACE" \
    --state "$STATE/tidelock" --listen "$OPERATOR_ADDRESS:8080" --tools "$BIN" </dev/null >>"$OPERATOR_LOG" 2>&1 {SCREEN}>&- &
  OPERATOR_PID=$!
  local deadline=$((SECONDS + 30))
  until curl -sf -o /dev/null -m 2 --noproxy '*' "http://$OPERATOR_ADDRESS:8080/readyz"; do
    operator_alive || give_up "the operator ended"
    [ "$SECONDS" -lt "$deadline" ] || give_up "the operator is not ready after 30 s"
    sleep 0.05
  done
}

operator_alive() { kill -0 "$OPERATOR_PID" 2>/dev/null; }

stop_operator() {
  [ -n "${OPERATOR_PID:-}" ] || return 0
  kill "$OPERATOR_PID" 2>/dev/null || :
  wait "$OPERATOR_PID" 2>/dev/null || :
}

resident_memory() { awk '/^VmRSS:/{printf "%d MiB\n", $2 / 1024}' "/proc/$OPERATOR_PID/status"; }

# Ends the demo with what a reader needs to find the cause.
give_up() {
  bad "$*"
  if [ -e "${OPERATOR_LOG:-/nonexistent}" ]; then
    echo "last lines of the operator's log:" | detail
    tail -n 8 "$OPERATOR_LOG" | cut -c1-400 | detail
  fi
  kubectl -n "$NAMESPACE" get applications,repositories,egressproxies -o json 2>/dev/null |
    jq -r '.items[] | . as $o | .status.conditions[]? | select(.status != "True" or .type == "Stalled") | "\($o.kind) \($o.metadata.name): \(.type)=\(.status) \(.reason): \(.message)"' 2>/dev/null | cut -c1-400 | detail
  exit 1
}
