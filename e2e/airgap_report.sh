#!/usr/bin/env bash
# airgap_report.sh [OUTPUT...]: docs/airgap-statements.md with what the tests say about each statement.
#
# Reads the given outputs of `cargo test`, or runs every test named airgap_…. Exits 1 when a claimed statement fails or has no test.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

outputs=("$@")
if [ "${#outputs[@]}" = 0 ]; then
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  echo "running every test named airgap_…" >&2
  # What fails is told below, with the rest.
  e2e/testbed.sh run --pods cargo test --locked --no-fail-fast -- airgap_ 2>&1 | tee "$output" | grep -E '^(error|test .*(FAILED|panicked))' >&2 || :
  grep -q '^test result' "$output" || { tail -n 20 "$output" >&2; echo "the tests did not run" >&2; exit 1; }
  outputs=("$output")
fi

awk -F'|' '
  FILENAME != ARGV[1] {
    # "test module::airgap_07_words ... ok", also where a test printed between the two.
    if (match($0, /airgap_[0-9][0-9]_[a-z0-9_]*/) && $0 ~ /^test /) { name = substr($0, RSTART, RLENGTH); pending = name }
    if (pending != "" && match($0, /(\.\.\. |^)(ok|FAILED|ignored)/)) {
      number = substr(pending, 8, 2) + 0
      if ($0 ~ /FAILED/) { failed[number]++; list[number] = list[number] "\n        failed: " pending }
      else if ($0 ~ /ignored/) { ignored[number]++ }
      else passed[number]++
      pending = ""
    }
    next
  }
  $2 ~ /^ *[0-9]+ *$/ { count++; order[count] = $2 + 0; text[$2 + 0] = $3; claim[$2 + 0] = ($4 ~ /claimed/) }
  function trim(words) { gsub(/^ +| +$/, "", words); return words }
  END {
    for (i = 1; i <= count; i++) {
      n = order[i]
      if (failed[n]) { state = "FAILED"; bad++ }
      else if (passed[n] && claim[n]) { state = "passed"; good++ }
      else if (claim[n]) { state = "NO TEST"; bad++ }
      else { state = "not yet claimed"; later++ }
      tests = passed[n] + failed[n]
      printf "%2d  %-15s %s%s%s\n", n, state, trim(text[n]), tests ? sprintf("  (%d test%s)", tests, tests > 1 ? "s" : "") : "", list[n]
    }
    printf "\n%d of %d statements passed, %d failed or without a test, %d not yet claimed\n", good, count, bad, later
    exit bad ? 1 : 0
  }
' docs/airgap-statements.md "${outputs[@]}"
