# The node: one private PID, mount, network and UTS namespace that holds the whole test bed.
# Its first process starts everything and reaps orphans; when it is killed the kernel ends everything inside, and the
# mounts, bridges, packet filters, network namespaces and sysctls of the node go with it.
# shellcheck shell=bash

# ------------------------------------------------------------------ seen from the host

# The node's processes as the host sees them: the `unshare` that made the namespaces, and its child, the first process.
# Found by their arguments, not by a file, so that an `up` killed at any moment is still found.
node_processes() {
  local directory arguments
  for directory in /proc/[0-9]*; do
    mapfile -d '' -t arguments <"$directory/cmdline" || continue
    case "${arguments[*]:-}" in
      *" $NODE_COMMAND $STATE" | *" $NODE_COMMAND $STATE second-stage") echo "${directory#/proc/}" ;;
    esac
  done 2>/dev/null
}

# Pid of the node's first process on the host.
node_pid() {
  local pid
  for pid in $(node_processes); do
    if [ "$(awk '/^NSpid:/{print NF, $NF}' "/proc/$pid/status" 2>/dev/null)" = "3 1" ]; then
      echo "$pid"
      return 0
    fi
  done
  return 1
}

# Runs a command inside all namespaces of the node.
in_node() {
  local pid
  pid=$(node_pid) || fail "the test bed is down (state $STATE): run e2e/testbed.sh up"
  nsenter -t "$pid" -m -n -p -u -- "$@"
}

# What the caller has open, its lock and its pipes, is not the node's to hold.
close_inherited() {
  local descriptor
  for descriptor in /proc/"$BASHPID"/fd/*; do
    descriptor=${descriptor##*/}
    if [ "$descriptor" -gt 2 ]; then eval "exec $descriptor>&-"; fi
  done
}

# Starts the node's first process; it stays outside the caller's session so that Ctrl-C ends `up` alone, which then cleans up.
start_node() {
  (
    close_inherited
    exec setsid unshare --pid --fork --kill-child bash "$TESTBED" "$NODE_COMMAND" "$STATE" </dev/null >>"$STATE/log/node.log" 2>&1
  ) &
  local deadline=$((SECONDS + 10))
  until node_pid >/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the node did not start:" "$(tail -n 5 "$STATE/log/node.log")"
    sleep 0.02
  done
}

# The node's pods need one cgroup directory in every hierarchy (v1), or one with all controllers (v2).
make_cgroups() {
  local hierarchy
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    local controller
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || :; done
    mkdir -p "/sys/fs/cgroup/$CGROUP"
    return
  fi
  for hierarchy in /sys/fs/cgroup/*/; do
    if mountpoint -q "$hierarchy" && [ ! -L "${hierarchy%/}" ]; then mkdir -p "$hierarchy$CGROUP"; fi
  done
  local cpuset=/sys/fs/cgroup/cpuset
  cat "$cpuset/cpuset.cpus" >"$cpuset/$CGROUP/cpuset.cpus"
  cat "$cpuset/cpuset.mems" >"$cpuset/$CGROUP/cpuset.mems"
}

remove_cgroups() {
  local directory deadline=$((SECONDS + 5))
  for directory in "/sys/fs/cgroup/$CGROUP" /sys/fs/cgroup/*/"$CGROUP"; do
    while [ -d "$directory" ]; do
      find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null || :
      [ "$SECONDS" -lt "$deadline" ] || { warn "a cgroup is left over: $directory"; break; }
      [ ! -d "$directory" ] || sleep 0.05
    done
  done
}

# Where the node binds its own directories over well-known paths. On a machine that lacks the paths they are made, and
# noted, so that `down` can take them back.
MOUNT_POINTS=(kubelet:/var/lib/kubelet cni-state:/var/lib/cni containers:/var/log/containers)

make_mount_points() {
  local pair
  for pair in "${MOUNT_POINTS[@]}"; do
    mkdir -p "$STATE/${pair%%:*}"
    [ -d "${pair#*:}" ] || { echo "${pair#*:}" >>"$STATE/made-directories"; mkdir -p "${pair#*:}"; }
  done
}

remove_mount_points() {
  local directory
  [ -e "$STATE/made-directories" ] || return 0
  # Removing a directory takes away what another node has mounted there: leave it to the last one.
  if [ -n "$(other_nodes)" ]; then
    cat "$STATE/made-directories" >>"$(other_nodes | head -n 1)/made-directories"
    return 0
  fi
  while read -r directory; do rmdir "$directory" 2>/dev/null || :; done <"$STATE/made-directories"
}

# ------------------------------------------------------------------ runs as the node's first process

# start NAME COMMAND...: a process of the node with its own log. The last line of a name in `processes` counts.
start() {
  local name=$1
  shift
  "$@" </dev/null >>"$STATE/log/$name.log" 2>&1 &
  echo "$name $!" >>"$STATE/processes"
}

# First stage, still in the host's mount and network namespace.
node_first_stage() {
  : >"$STATE/processes"
  start_operator_holder
  exec unshare --mount --net --uts --mount-proc bash "$TESTBED" "$NODE_COMMAND" "$STATE" second-stage
}

node_second_stage() {
  # Debian's containerd 1.6 must not find the shim of a newer containerd elsewhere in PATH.
  PATH=$(dirname "$CONTAINERD"):/usr/sbin:/usr/bin:/sbin:/bin
  export PATH
  mount_node
  hostname "$NODE_NAME"
  connect_node
  start_dns-witness
  start_git
  start_proxy-names
  start_squid
  start_other_proxies
  start_outside
  start_control_plane
  if [ "$MODE" = pods ]; then start_pods; fi
  touch "$STATE/phase-started"
  while :; do wait -n 2>/dev/null || sleep 1; done # reaps orphans, e.g. containerd's shims
}

mount_node() {
  mount --make-rshared /
  mount -t tmpfs tmpfs /run
  mkdir -p /run/netns /run/containerd
  local pair
  for pair in "${MOUNT_POINTS[@]}"; do mount --bind "$STATE/${pair%%:*}" "${pair#*:}"; done
  # The kubelet writes these sysctls, which belong to the whole machine: give it files that already hold what it wants.
  local setting file
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$STATE/sysctl/${setting%%=*}
    mkdir -p "$(dirname "$file")"
    echo "${setting#*=}" >"$file"
    [ ! -e "/proc/sys/${setting%%=*}" ] || mount --bind "$file" "/proc/sys/${setting%%=*}"
  done
}
