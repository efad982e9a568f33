#!/usr/bin/env bash
# transfer.sh  -- what transfers through Squid cost, beside `git clone --bare` on the same route: `make bench`. See docs/benchmarks.md.
#
# TRANSFER_ROUNDS (5) clones of each kind; TRANSFER_LARGE_MEBIBYTES (1024) is the size of the large pack.
# TIDELOCK_TRANSFER names the measuring program (the benchmark `transfer`).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
repository=$(readlink -f "$here/../..")
bed=$repository/e2e/testbed.sh
export TIDELOCK_TESTBED=${BENCH_STATE:-/var/lib/tidelock-bench} TIDELOCK_TESTBED_NUMBER=${TIDELOCK_TESTBED_NUMBER:-3}
unset GIT_SSL_CAINFO CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
measure=$(readlink -f "${TIDELOCK_TRANSFER:?names the measuring program: use make bench}")
rounds=${TRANSFER_ROUNDS:-5} large=${TRANSFER_LARGE_MEBIBYTES:-1024}

if "$bed" description >/dev/null 2>&1; then
  echo "transfer.sh: the test bed at $TIDELOCK_TESTBED is up already; another bench may be running" >&2
  exit 1
fi
work=$(mktemp -d)
finish() {
  trap - EXIT INT TERM HUP
  if "$bed" description >/dev/null 2>&1; then "$bed" down >/dev/null 2>&1 || :; fi
  rm -rf "$work"
  exit "$1"
}
trap 'finish $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

"$bed" up --control-plane >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; exit 1; }
described=$("$bed" description)
value() { jq -r ".$1" "$described"; }
root=$(value git_root)/public/bench proxy=$(value proxy_open_url) url=$(value git_http_url)/public/bench
mapfile -t inside < <(jq -r '.operator_netns[]' "$described")
mkdir -p "$root"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null HOME=$work GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=bench GIT_AUTHOR_EMAIL=bench@example.com GIT_COMMITTER_NAME=bench GIT_COMMITTER_EMAIL=bench@example.com

# random NAME MEBIBYTES: a repository of one commit with files of 4 MiB that don't compress.
random() {
  local tree=$work/tree file
  rm -rf "$tree"
  git init -q -b main "$tree"
  for ((file = 0; file < $2 / 4; file++)); do head -c 4194304 /dev/urandom >"$tree/$file.bin"; done
  git -C "$tree" -c core.bigFileThreshold=1m -c pack.compression=0 -c core.compression=0 add .
  git -C "$tree" commit -q -m first
  git clone -q --bare --no-hardlinks "$tree" "$root/$1.git"
  git -C "$root/$1.git" config core.bigFileThreshold 1m
  git -C "$root/$1.git" config pack.compression 0
  git -C "$root/$1.git" config pack.window 0
  rm -rf "$tree"
}
median() { sort -n | awk '{all[NR] = $1} END {print all[int((NR + 1) / 2)]}'; }

random clone 160
ours=() theirs=()
for ((round = 0; round < rounds; round++)); do
  begun=$(date +%s%N)
  "${inside[@]}" git -c http.proxy="$proxy" clone -q --bare "$url/clone.git" "$work/bare" 2>/dev/null
  theirs+=($((($(date +%s%N) - begun) / 1000000)))
  rm -rf "$work/bare"
  ours+=("$("${inside[@]}" "$measure" "$url/clone.git" --proxy "$proxy" --store "$work/store" | jq '.wall_ms|floor')")
  rm -rf "$work/store"
done
our=$(printf '%s\n' "${ours[@]}" | median) their=$(printf '%s\n' "${theirs[@]}" | median)

# One commit in 10 000 files, and polls that find nothing.
tree=$work/many
git init -q -b main "$tree"
for ((folder = 0; folder < 100; folder++)); do
  mkdir -p "$tree/$folder"
  for ((file = 0; file < 100; file++)); do echo "value: $folder-$file" >"$tree/$folder/$file.yaml"; done
done
git -C "$tree" add .
git -C "$tree" commit -q -m first
git clone -q --bare "$tree" "$root/many.git"
"${inside[@]}" "$measure" "$url/many.git" --proxy "$proxy" --store "$work/many-store" >/dev/null
echo "value: new" >"$tree/7/7.yaml"
git -C "$tree" commit -qam second
git -C "$tree" push -q "$root/many.git" main
commit=$("${inside[@]}" "$measure" "$url/many.git" --proxy "$proxy" --store "$work/many-store")
before=$(wc -l <"$(value proxy_access_log)")
"${inside[@]}" "$measure" "$url/many.git" --proxy "$proxy" --store "$work/many-store" --times 11 >/dev/null
polls=$(($(wc -l <"$(value proxy_access_log)") - before))

random large "$large"
big=$("${inside[@]}" "$measure" "$url/large.git" --proxy "$proxy" --store "$work/large-store")

jq -n --argjson our "$our" --argjson their "$their" --argjson commit "$commit" --argjson polls "$polls" --argjson big "$big" --argjson rounds "$rounds" '{
  clone_160_mib_ms: $our, git_clone_bare_ms: $their, ratio: (($their / $our * 100 | round) / 100), rounds: $rounds,
  one_commit_in_10000_files: {processor_ms: $commit.processor_ms, bytes: $commit.bytes, objects: $commit.objects},
  requests_of_eleven_polls: $polls,
  large_pack: {mebibytes: ($big.bytes / 1048576 | floor), wall_ms: $big.wall_ms, peak_rss_mib: $big.peak_rss_mib}}' | tee "${BENCH_DIRECTORY:-$work}/transfer.json"
