# What the scripts say, all on stderr.
# shellcheck shell=bash

say() { printf '%6.1fs  %s\n' "$(awk -v started="$STARTED" '{print $1 - started}' /proc/uptime)" "$*" >&2; }
warn() { echo "testbed: $*" >&2; }
fail() {
  warn "$@"
  exit 1
}
