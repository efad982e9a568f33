# What is expected, and waiting for it. Every wait is for a condition, with a deadline.
# shellcheck shell=bash

clock_now() { echo "${EPOCHREALTIME/[.,]/}"; }
milliseconds_since() { echo $((($(clock_now) - $1) / 1000)); }
spell() { printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }
PROOF_BEGAN=$(clock_now)

part() { printf -- '-- %s\n' "$*"; }
ok() { printf 'ok      %s  (at %s)\n' "$*" "$(spell "$(milliseconds_since "$PROOF_BEGAN")")"; }
# A line of the report at the end.
report() { REPORT+=("$*"); }
REPORT=()

broken() { # broken WHAT [DETAIL...]: ends the proof with what a reader needs to find the cause
  printf 'BROKEN  %s\n' "$1" >&2
  shift
  [ "$#" = 0 ] || printf '  %s\n' "$@" >&2
  circumstances >&2 || :
  exit 1
}

# expect_equal WHAT WANTED FOUND: whole values.
expect_equal() {
  [ "$2" = "$3" ] || broken "$1" "wanted: ${2:0:1500}" "found:  ${3:0:1500}"
  ok "$1"
}

expect_match() { # expect_match WHAT PATTERN FOUND: an extended regular expression, where a value holds names or times
  grep -qE -- "$2" <<<"$3" || broken "$1" "wanted: $2" "found:  ${3:0:1500}"
  ok "$1"
}

# await SECONDS WHAT COMMAND...: until the command succeeds; shows its last output when it does not.
await() {
  local deadline=$((SECONDS + $1)) what=$2 output
  shift 2
  until output=$("$@" 2>&1); do
    [ "$SECONDS" -lt "$deadline" ] || broken "not in time: $what" "${output:0:1500}"
    sleep 0.1
  done
}

# await_equal SECONDS WHAT WANTED COMMAND...: until the command prints exactly this.
await_equal() {
  local deadline=$((SECONDS + $1)) what=$2 wanted=$3 output
  shift 3
  until output=$("$@" 2>&1) && [ "$output" = "$wanted" ]; do
    [ "$SECONDS" -lt "$deadline" ] || broken "not in time: $what" "wanted: ${wanted:0:1500}" "found:  ${output:0:1500}"
    sleep 0.1
  done
  ok "$what"
}
