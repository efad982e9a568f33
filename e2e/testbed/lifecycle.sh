# up, down, status.
# shellcheck shell=bash

# One `up` or `down` at a time. The lock is on the directory that holds the state directory, so it leaves nothing behind.
lock() {
  [ "$(id -u)" = 0 ] || fail "the test bed makes network namespaces and mounts: run it as root"
  mkdir -p "$(dirname "$STATE")"
  exec 9<"$(dirname "$STATE")"
  flock -n 9 || { warn "waiting for another up or down"; flock -w 300 9 || fail "another up or down does not end"; }
}

# remember VARIABLE...: what the node's own processes, started later by others, must know.
remember() {
  local name
  for name; do printf '%s=%q\n' "$name" "${!name}"; done >"$STATE/environment"
}

# wait_for DESCRIPTION SECONDS COMMAND...
wait_for() {
  local what=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@"; do
    node_pid >/dev/null || fail "the node died before: $what" "$(tail -n 10 "$STATE/log/node.log")"
    [ "$SECONDS" -lt "$deadline" ] || fail "not in time: $what; see $STATE/log"
    sleep 0.1
  done
  say "$what"
}

processes_alive() {
  local name pid dead=0
  # shellcheck disable=SC2034
  while read -r name pid; do in_node kill -0 "$pid" 2>/dev/null || { warn "$name is dead, see $STATE/log/$name.log"; dead=1; }; done < <(current_processes)
  return "$dead"
}

current_processes() { awk '{pid[$1] = $2} END {for (name in pid) print name, pid[name]}' "$STATE/processes" | sort; }

healthy() {
  node_pid >/dev/null && [ -e "$STATE/testbed.json" ] && processes_alive && api_ready && proxy_ready &&
    { [ "$MODE" != pods ] || node_ready; }
}

service_account_exists() { kubectl -n default get serviceaccount default >/dev/null 2>&1; }
phase_started() { [ -e "$STATE/phase-started" ]; }

grant_operator() {
  kubectl apply -f - >/dev/null <<EOF
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: $OPERATOR_USER}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: $OPERATOR_USER}]
EOF
}

up() {
  local wanted=pods
  case "${1:---pods}" in
    --pods) ;;
    --control-plane) wanted=control-plane ;;
    *) fail "up takes --pods (default) or --control-plane, not $1" ;;
  esac
  lock
  if node_pid >/dev/null; then
    recall
    if [ "$wanted" = pods ] && [ "$MODE" = control-plane ]; then fail "up without pods at $STATE; to get pods: testbed.sh down, then up --pods"; fi
    if healthy; then
      say "already up ($MODE): $STATE/testbed.json"
      return
    fi
    warn "up but not healthy: starting again"
    take_down
  fi
  if ip link show "$HOST_LINK" >/dev/null 2>&1; then
    [ -z "$(other_nodes "$NUMBER")" ] || fail "test bed number $NUMBER is up already, at $(other_nodes "$NUMBER"): take it down, or choose another TIDELOCK_TESTBED_NUMBER"
    disconnect_host
  fi
  build_all
  STARTED=$(cut -d' ' -f1 /proc/uptime)
  trap 'interrupted=1; exit 130' INT TERM HUP
  trap 'up_ended $?' EXIT
  take_down
  if [ -d "$STATE" ] && [ -n "$(ls -A "$STATE")" ]; then fail "$STATE is not empty and not a test bed's: choose another directory by TIDELOCK_TESTBED"; fi
  mkdir -p "$STATE/log"
  chmod 755 "$STATE"
  touch "$MARKER"
  echo "$NUMBER" >"$STATE/number"
  MODE=$wanted
  remember MODE BIN GITSERVER IMAGES
  write_ssh_files & # the slowest: RSA keys
  local ssh_files=$!
  write_identities
  write_operator_files
  write_control_plane_files
  write_squid_files
  write_proxy_files
  write_git_files
  write_outside_files
  wait "$ssh_files"
  if [ "$MODE" = pods ]; then
    write_pod_files
    make_cgroups
  fi
  make_mount_points
  fence_addresses
  say "keys and configuration written"
  start_node
  connect_host
  wait_for "API server ready" 120 api_ready
  grant_operator
  wait_for "proxy and git server ready" 30 proxy_ready
  wait_for "default ServiceAccount exists" 60 service_account_exists
  wait_for "every component started" 60 phase_started
  if [ "$MODE" = pods ]; then wait_for "node Ready" 60 node_ready; fi
  processes_alive || fail "a component died at start"
  write_description
  trap - EXIT INT TERM HUP
  say "up ($MODE): $STATE/testbed.json; export KUBECONFIG=$STATE/admin.conf"
}

up_ended() {
  trap - EXIT INT TERM HUP
  if [ -n "${interrupted:-}" ]; then
    take_down
    warn "interrupted; nothing is left"
  else
    end_node
    warn "up failed; logs are in $STATE/log until the next up or down"
  fi
  exit "$1"
}

# other_nodes [NUMBER]: the state directories of other test beds that are up on this machine.
other_nodes() {
  local directory arguments index state
  for directory in /proc/[0-9]*; do
    mapfile -d '' -t arguments <"$directory/cmdline" || continue
    for index in "${!arguments[@]}"; do
      [ "${arguments[index]}" = "$NODE_COMMAND" ] || continue
      state=${arguments[index + 1]:-}
      if [ "$state" != "$STATE" ] && { [ -z "${1:-}" ] || [ "$(cat "$state/number" 2>/dev/null || echo 0)" = "$1" ]; }; then echo "$state"; fi
    done
  done 2>/dev/null | sort -u
}

# Ends every process and removes what is outside the state directory.
end_node() {
  kill_operator_processes
  local pid deadline=$((SECONDS + 10))
  for pid in $(node_processes); do kill -9 "$pid" 2>/dev/null || :; done
  while [ -n "$(node_processes)" ]; do
    [ "$SECONDS" -lt "$deadline" ] || { warn "the node's processes do not end: $(node_processes)"; break; }
    sleep 0.05
  done
  disconnect_host
  remove_cgroups
  remove_mount_points
}

take_down() {
  end_node
  if [ -e "$MARKER" ]; then rm -rf --one-file-system "$STATE"; fi
}

down() {
  lock
  case "${1:-}" in
    "") take_down ;;
    --keep) end_node ;;
    --fence)
      take_down
      [ -z "$(other_nodes)" ] || fail "the unreachable routes stay: they are needed by $(other_nodes)"
      unfence_addresses
      ;;
    *) fail "down takes nothing, --keep (the state directory stays, for its logs) or --fence (the unreachable routes go too)" ;;
  esac
  warn "down"
}

# run [--pods|--control-plane] CMD...
run() {
  local mode=--pods result=0
  case "${1:-}" in --pods | --control-plane)
    mode=$1
    shift
    ;;
  esac
  [ "$#" -gt 0 ] || fail "run needs a command"
  if ! node_pid >/dev/null; then
    "$TESTBED" up "$mode"
    trap '"$TESTBED" down' EXIT
    trap 'exit 130' INT TERM HUP
  else
    "$TESTBED" up "$mode"
  fi
  "$@" || result=$?
  exit "$result"
}

recall() {
  [ -e "$STATE/environment" ] || fail "the test bed is down (state $STATE): run e2e/testbed.sh up"
  # shellcheck disable=SC1091
  . "$STATE/environment"
}

status() {
  node_pid >/dev/null || { echo "down (state $STATE)"; return 1; }
  recall
  echo "up ($MODE), state $STATE"
  in_node ps -o pid,rss,etimes,args -p "$(current_processes | awk '{print $2}' | paste -sd,)" | cut -c1-120
  if [ "$MODE" = pods ]; then kubectl get nodes -o wide; fi
  if healthy; then echo healthy; else
    echo "not healthy"
    return 1
  fi
}

# service NAME stop|start: takes a service away and brings it back.
service() {
  local name=$1 pid
  case "$name" in squid | git | dns-witness | misbehave | tinyproxy | socks | socks-password | nginx | registry | sshd) ;; *) fail "service takes squid, git, dns-witness, misbehave, tinyproxy, socks, socks-password, nginx, registry or sshd, not '$name'" ;; esac
  recall
  case "${2:-}" in
    stop)
      pid=$(current_processes | awk -v name="$name" '$1==name{print $2}')
      in_node kill -9 "$pid" 2>/dev/null || :
      while in_node kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
      ;;
    start)
      (close_inherited && in_node bash "$TESTBED" __start "$name")
      [ "$name" = dns-witness ] || wait_for "$name is back" 20 proxy_ready
      ;;
    *) fail "service $name takes stop or start" ;;
  esac
}
