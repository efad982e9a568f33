# Waiting for the cluster by watching it: nothing is polled, and times are taken when the event arrives.
# shellcheck shell=bash

kubectl() { command "$BIN/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

# watch_open COMMAND...: starts a watch whose lines are read from file descriptor $WATCH.
watch_open() {
  exec {WATCH}< <(exec "$@" 2>/dev/null)
  WATCH_PID=$!
}
watch_close() {
  kill "$WATCH_PID" 2>/dev/null || :
  exec {WATCH}<&-
}

kubectl_watch() { watch_open "$BIN/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

# await_line SECONDS PATTERN: reads the open watch until a line equals PATTERN (a glob); 1 when it does not come.
await_line() {
  local deadline=$((SECONDS + $1)) pattern=$2 text
  while [ "$SECONDS" -lt "$deadline" ]; do
    if read -r -t $((deadline - SECONDS)) -u "$WATCH" text; then
      # shellcheck disable=SC2053
      [[ $text != $pattern ]] || return 0
    elif ! kill -0 "$WATCH_PID" 2>/dev/null; then
      return 1
    fi
  done
  return 1
}

APPLICATION_COLUMNS='{.metadata.name}{"|"}{.status.sync.status}{"|"}{.status.health.status}{"|"}{.status.sync.revision}{"|"}{.status.operationState.phase}{"|"}{.status.waitingOn[0].object}{"|"}{.status.waitingOn[0].message}{"|"}{.status.operationState.message}{"|"}{.status.health.message}{"\n"}'

# await_applications SECONDS WANTED...: shows every change of the Applications named until each WANTED (NAME or
# NAME=REVISION) is Synced and Healthy at its revision.
await_applications() {
  local deadline=$((SECONDS + $1)) name sync health revision phase object missing message cause sentence shown
  shift
  local -A wanted=() shown_names=() last=()
  for name; do
    revision=
    [[ $name != *=* ]] || revision=${name#*=}
    wanted[${name%%=*}]=$revision shown_names[${name%%=*}]=1
  done
  kubectl_watch -n "$NAMESPACE" get applications --watch -o jsonpath="$APPLICATION_COLUMNS"
  while [ "${#wanted[@]}" -gt 0 ] && [ "$SECONDS" -lt "$deadline" ]; do
    IFS='|' read -r -t $((deadline - SECONDS)) -u "$WATCH" name sync health revision phase object missing message cause || {
      kill -0 "$WATCH_PID" 2>/dev/null && operator_alive || break
      continue
    }
    [ -n "${shown_names[$name]:-}" ] || continue
    sentence=$message
    if [ "$sync/$health" = Synced/Healthy ]; then sentence=; elif [ -n "$object" ]; then sentence="waits for $object: $missing"; elif [ -z "$sentence" ]; then sentence=$cause; fi
    shown="$sync|$health|$revision|$sentence"
    [ "$shown" = "${last[$name]:-}" ] || application_line "$name" "${sync:--}" "${health:--}" "${revision:0:7}" "$sentence"
    last[$name]=$shown
    if [ "$sync/$health" = Synced/Healthy ] && [ -n "${wanted[$name]+known}" ] && [[ $revision == "${wanted[$name]}"* ]] && [ "$phase" != Running ]; then
      unset "wanted[$name]"
    fi
  done
  watch_close
  [ "${#wanted[@]}" = 0 ] || give_up "not Synced and Healthy in time: ${!wanted[*]}"
}

# refresh APPLICATION: asks for a poll now, with one small request.
refresh() {
  curl -sf -o /dev/null --noproxy '*' --cacert "$STATE/pki/ca.crt" --cert "$STATE/pki/admin.crt" --key "$STATE/pki/admin.key" \
    -X PATCH -H 'Content-Type: application/merge-patch+json' \
    -d "{\"metadata\":{\"annotations\":{\"tidelock.dev/refresh\":\"$(clock_now)\"}}}" \
    "$API_SERVER/apis/tidelock.dev/v1alpha1/namespaces/$NAMESPACE/applications/$1"
}

# writes_since OFFSET: what the operator wrote to managed objects, one line each, from the API server's audit log.
writes_since() {
  tail -c "+$(($1 + 1))" "$AUDIT_LOG" | jq -r --arg user "$OPERATOR_USER" '
    select(.user.username == $user and (.verb | IN("create", "update", "patch", "delete", "deletecollection")))
    | select(.objectRef.apiGroup != "tidelock.dev" and (.objectRef.resource | IN("events", "leases") | not))
    | select((.requestURI | contains("dryRun=") | not) and .responseStatus.code < 300)
    | "\(.verb) \(.objectRef.resource) \(if .objectRef.namespace and .objectRef.resource != "namespaces" then .objectRef.namespace + "/" else "" end)\(.objectRef.name // "")"'
}

# show_writes OFFSET: the same, counted, and cut to what fits the eye.
show_writes() {
  local written
  written=$(writes_since "$1" | sort | uniq -c | sort -k1,1rn -k2)
  head -n 8 <<<"$written" | detail
  [ "$(wc -l <<<"$written")" -le 8 ] || echo "… and $(($(wc -l <<<"$written") - 8)) more" | detail
}

# git_requests_since OFFSET: how often git was asked, by its own log.
git_requests_since() { tail -c "+$(($1 + 1))" "$GIT_LOG" | wc -l; }
