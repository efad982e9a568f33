# The operator's place: a network namespace as described in network.sh, and a mount namespace that differs from the
# host's only in how names are resolved. Its processes are ordinary processes of the host otherwise, so a harness may
# kill and trace them by the pid it started.
# shellcheck shell=bash

# The file's name is unique to this test bed: it identifies the processes that run in the operator's place.
operator_resolver() { echo "$STATE/operator/resolv-$(sha256sum <<<"$STATE" | cut -c1-16).conf"; }

write_operator_files() {
  mkdir -p "$STATE/operator"
  echo "nameserver $BLACKHOLE_IP" >"$(operator_resolver)"
  echo "127.0.0.1 localhost" >"$STATE/operator/hosts"
  echo "hosts: files dns" >"$STATE/operator/nsswitch.conf"
}

# Runs in the node's first stage, as a process of the node: it ends with it.
start_operator_holder() {
  # shellcheck disable=SC2016
  start operator-holder unshare --mount --net --propagation private bash -c '
    set -e
    mount --bind "$1" "$(readlink -f /etc/resolv.conf)"
    mount --bind "$2/operator/hosts" /etc/hosts
    [ ! -e /etc/nsswitch.conf ] || mount --bind "$2/operator/nsswitch.conf" "$(readlink -f /etc/nsswitch.conf)"
    touch "$2/phase-operator"
    exec sleep infinity' holder "$(operator_resolver)" "$STATE"
}

# Pid of the holder on the host.
operator_pid() {
  local node inner child
  node=$(node_pid) || return 1
  inner=$(awk '$1=="operator-holder"{print $2}' "$STATE/processes" 2>/dev/null)
  for child in $(cat "/proc/$node/task/$node/children" 2>/dev/null); do
    if [ "$(awk '/^NSpid:/{print $NF}' "/proc/$child/status" 2>/dev/null)" = "$inner" ]; then
      echo "$child"
      return 0
    fi
  done
  return 1
}

# Runs a command in the operator's place, replacing this process.
in_operator() {
  local pid
  pid=$(operator_pid) || fail "the test bed is down (state $STATE): run e2e/testbed.sh up"
  exec nsenter -t "$pid" -m -n -- "$@"
}

# Ends what a harness left running in the operator's place.
kill_operator_processes() {
  local directory mark own
  mark=$(basename "$(operator_resolver)")
  own=$(readlink /proc/self/ns/mnt)
  for directory in /proc/[0-9]*; do
    [ "$(readlink "$directory/ns/mnt" 2>/dev/null)" != "$own" ] || continue
    if grep -q -- "$mark" "$directory/mountinfo" 2>/dev/null; then kill -9 "${directory#/proc/}" 2>/dev/null || :; fi
  done
}
