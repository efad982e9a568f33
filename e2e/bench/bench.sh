#!/usr/bin/env bash
# bench.sh  -- speed and memory of the operator against a bare loader on this machine: `make bench`. See docs/benchmarks.md.
#
# BENCH_RUNS (3), BENCH_APPLICATIONS (100), BENCH_PUSHES (20), BENCH_REST (60 seconds) make it shorter or longer.
# TIDELOCK_BINARY names the binary to measure; BENCH_DIRECTORY gets result.json and the operator's logs.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
repository=$(readlink -f "$here/../..")
bed=$repository/e2e/testbed.sh
# A test bed of its own: each run begins with a fresh one, and one that somebody has up is not disturbed.
export TIDELOCK_TESTBED=${BENCH_STATE:-/var/lib/tidelock-bench} TIDELOCK_TESTBED_NUMBER=${TIDELOCK_TESTBED_NUMBER:-3}
unset GIT_SSL_CAINFO CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR

binary=$(readlink -f "${TIDELOCK_BINARY:?names the release binary: use make bench}")
out=$(readlink -m "${BENCH_DIRECTORY:-$repository/target/bench}")
runs=${BENCH_RUNS:-3}
if "$bed" description >/dev/null 2>&1; then
  echo "bench.sh: the test bed at $TIDELOCK_TESTBED is up already; another bench may be running. If not: TIDELOCK_TESTBED=$TIDELOCK_TESTBED TIDELOCK_TESTBED_NUMBER=$TIDELOCK_TESTBED_NUMBER $bed down" >&2
  exit 1
fi

work=$(mktemp -d)
# An `up` that failed or was interrupted has cleaned up by itself, and may have been refused because another test bed has
# the number: only a test bed that came up here is taken down.
finish() {
  trap - EXIT INT TERM HUP
  if "$bed" description >/dev/null 2>&1; then "$bed" down >/dev/null 2>&1 || :; fi
  rm -rf "$work"
  exit "$1"
}
trap 'finish $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir -p "$out"
(cd "$here" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off go build -trimpath -o "$work/bench" .)
results=()
for ((run = 1; run <= runs; run++)); do
  echo "run $run of $runs" >&2
  "$bed" up --control-plane >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; exit 1; }
  "$work/bench" run -testbed "$("$bed" description)" -binary "$binary" -crds "$repository/crds" -log "$out/operator-$run.log" \
    -applications "${BENCH_APPLICATIONS:-100}" -pushes "${BENCH_PUSHES:-20}" -rest "${BENCH_REST:-60}" -out "$out/run-$run.json"
  results+=("$out/run-$run.json")
  "$bed" down >/dev/null 2>&1
done
echo
"$work/bench" report -out "$out/result.json" "${results[@]}"
echo "figures of all runs: $out/result.json"
