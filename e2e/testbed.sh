#!/usr/bin/env bash
# The test bed: a real one-node Kubernetes, an operator's place with no way out but a proxy, the proxy, and a git server,
# all in namespaces of their own on this machine. See e2e/README.md.
#
#   testbed.sh up [--pods|--control-plane]   start it (default --pods); nothing to do when it is up and healthy
#   testbed.sh down [--keep|--fence]         end it and remove everything; --keep leaves the state directory
#   testbed.sh run [--pods|--control-plane] CMD...   up, CMD, and down again unless it was up before
#   testbed.sh status                        what runs
#   testbed.sh exec CMD...                   run inside the node
#   testbed.sh operator CMD...               run in the operator's place
#   testbed.sh import TAR...                 load images into the node
#   testbed.sh push ARCHIVE NAME[:TAG]       put an OCI archive into the registry the node pulls from; prints its name with digest
#   testbed.sh service NAME stop|start       take squid, git, sshd, nginx, … away and bring it back
#   testbed.sh description                   path of testbed.json
#   testbed.sh dialled [pods]                what the operator (or any pod) dialled past the proxy, as JSON lines
#
# State: $TIDELOCK_TESTBED (/var/lib/tidelock-testbed), with testbed.json for harnesses. Cache: $TIDELOCK_CACHE (~/.cache/tidelock).
# Several at once: $TIDELOCK_TESTBED_NUMBER, 0 to 7, gives each its own addresses and default state directory.
set -euo pipefail
TESTBED=$(readlink -f "$0")
HERE=$(dirname "$TESTBED")
STARTED=$(cut -d' ' -f1 /proc/uptime)
for part in messages settings lifecycle build identity control_plane pods images squid proxies git outside operator network node description; do
  # shellcheck source=/dev/null
  . "$HERE/testbed/$part.sh"
done

command=${1:-}
[ "$#" = 0 ] || shift
case "$command" in
  up) up "$@" ;;
  down) down "$@" ;;
  status) status ;;
  run) run "$@" ;;
  exec) in_node "$@" ;;
  operator) in_operator "$@" ;;
  push) push_image "$@" ;;
  import) for image; do in_node "$CTR" -a "$CONTAINERD_SOCKET" -n k8s.io images import - <"$image"; done ;;
  service) service "$@" ;;
  dialled) dialled "$@" ;;
  description)
    [ -e "$STATE/testbed.json" ] || fail "the test bed is down (state $STATE): run $TESTBED up"
    echo "$STATE/testbed.json"
    ;;
  "$NODE_COMMAND")
    recall
    if [ "${2:-}" = second-stage ]; then node_second_stage; else node_first_stage; fi
    ;;
  __start) recall && "start_$1" ;;
  *)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$TESTBED"
    exit 2
    ;;
esac
