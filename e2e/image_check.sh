#!/usr/bin/env bash
# image_check.sh ARCHIVE [MOST_MEGABYTES]  -- what is in the image, and nothing else: files, configuration, size; its programs start.
#
# The list of files is image/files.txt (mode, owner, kind, path; TRIPLET stands for Debian's name of the architecture).
set -euo pipefail
export TZ=UTC LC_ALL=C
here=$(dirname "$(readlink -f "$0")")
repository=$(dirname "$here")
archive=$1 most=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
broken() { printf 'BROKEN  %s\n' "$*" >&2; exit 1; }

mkdir "$work/oci" "$work/root"
tar -C "$work/oci" -xf "$archive"
blob() { echo "$work/oci/blobs/sha256/${1#sha256:}"; }
digest=$(jq -r '.manifests[0].digest' "$work/oci/index.json")
manifest=$(blob "$digest")
layers=$(jq -r '.layers[].digest' "$manifest")
for layer in $layers; do
  gzip -dc "$(blob "$layer")" >"$work/layer.tar" 2>/dev/null || cp "$(blob "$layer")" "$work/layer.tar"
  tar --numeric-owner -tvf "$work/layer.tar" >>"$work/listing"
  tar -C "$work/root" --numeric-owner -xpf "$work/layer.tar"
done

triplet=$(basename "$(dirname "$(find "$work/root" -name 'libc.so.6')")")
(cd "$work/root" && find . -mindepth 1 -printf '%m %U:%G %y %P\n' | sed "s|$triplet|TRIPLET|" | LC_ALL=C sort -k4) >"$work/files"
diff -u "$repository/image/files.txt" "$work/files" >&2 || broken "the image holds other files than image/files.txt says"
echo "ok      the image holds the $(grep -c ' f ' "$work/files") files of image/files.txt, all owned by root, no shell among them"

times=$(awk '{print $4, $5}' "$work/listing" | sort -u)
[ "$times" = "1970-01-01 00:00" ] || [ -n "${SOURCE_DATE_EPOCH:-}" ] || broken "files have times of their own: $times"
wanted='{"User":"65532:65532","Entrypoint":["/usr/local/bin/tidelock"],"Cmd":["controller"],"Env":["PATH=/usr/local/bin"],"ExposedPorts":["8080/tcp","8081/tcp"],"Volumes":null}'
found=$(jq -c '.config | {User, Entrypoint, Cmd, Env, ExposedPorts: (.ExposedPorts | keys), Volumes}' "$(blob "$(jq -r .config.digest "$manifest")")")
[ "$found" = "$wanted" ] || broken "the image's configuration is $found, not $wanted"
echo "ok      it runs tidelock controller as 65532:65532"

# As in a container: nothing but the image, another user, and no right to write.
run() { chroot --userspec=65532:65532 "$work/root" "/usr/local/bin/$1" "${@:2}" 2>&1; }
grep -qE '^tidelock [0-9]' <<<"$(run tidelock --version)" || broken "tidelock does not start: $(run tidelock --version)"
grep -qE '^v4\.' <<<"$(run helm version --short)" || broken "helm does not start: $(run helm version --short)"
run kustomize version >/dev/null || broken "kustomize does not start: $(run kustomize version)"
echo "ok      tidelock, helm and kustomize start with what is in it"

bytes=$(find "$work/root" -type f -printf '%s\n' | awk '{sum += $1} END {print sum}')
line=$(printf '%s: %d.%d MB uncompressed, %d MB compressed' "$digest" $((bytes / 1000000)) $((bytes / 100000 % 10)) "$(($(jq '[.layers[].size] | add' "$manifest") / 1000000))")
if [ -n "$most" ] && [ "$bytes" -gt $((most * 1000000)) ]; then broken "$line; at most $most MB are wanted"; fi
echo "ok      $line"
