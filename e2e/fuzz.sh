#!/usr/bin/env bash
# fuzz.sh [SECONDS] [TARGET...]  -- builds the fuzz targets and runs each for some seconds (60) from its kept corpus.
#
# On the stable compiler: coverage comes from LLVM's own pass, the engine from libfuzzer-sys. What a run finds that is new
# stays in the cache and is the start of the next one; an input that breaks a target is printed and ends the run.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${1:-60}
shift || :
cache=${TIDELOCK_CACHE:-$HOME/.cache/tidelock}
export CARGO_TARGET_DIR=$cache/target-fuzz
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=clang
host=$(rustc -vV | sed -n 's/^host: //p')
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes="$passes -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# With an explicit target the flags leave build scripts and macros alone.
export RUSTFLAGS="$passes --cfg fuzzing -Clink-arg=-fuse-ld=mold -Cdebug-assertions=on -Coverflow-checks=on"
unset CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS

targets=("$@")
if [ "${#targets[@]}" = 0 ]; then
  for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
cargo build --quiet --locked --target "$host" "${bins[@]}"

for target in "${targets[@]}"; do
  mkdir -p "$cache/fuzz-corpus/$target" "$cache/fuzz-found"
  log=$(mktemp)
  if ! "$CARGO_TARGET_DIR/$host/debug/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="$cache/fuzz-found/$target-" "$cache/fuzz-corpus/$target" "corpus/$target" >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "fuzz: $target fails; the input is kept in $cache/fuzz-found" >&2
    exit 1
  fi
  printf '%-16s %s runs, coverage %s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2)"
  rm -f "$log"
done
