#!/usr/bin/env bash
# image.sh TIDELOCK  -- builds the image with the Dockerfile from this program, and helm and kustomize of the test bed's tools.
# Prints the path of an OCI archive in the cache; does nothing when the same image was built before.
#
# Needs root (buildah without a user namespace), no registry and no network.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
repository=$(dirname "$here")
[ "$#" = 1 ] && [ -x "$1" ] || { echo "usage: image.sh PATH-OF-TIDELOCK" >&2; exit 2; }
command -v buildah >/dev/null || { echo "buildah is missing: run e2e/install.sh" >&2; exit 1; }
tidelock=$(readlink -f "$1")
tools=$("$here/tools/build.sh")
cache=${TIDELOCK_CACHE:-$HOME/.cache/tidelock}/image
mkdir -p "$cache"
epoch=${SOURCE_DATE_EPOCH:-0}
work=$(mktemp -d "$cache/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir "$work/context"
SOURCE_DATE_EPOCH=$epoch "$repository/image/root.sh" "$work/context/dist" "$tidelock" "$tools/helm" "$tools/kustomize"
# Keyed by what goes in: modes, names and contents of the tree, and what builds it.
key=$({
  echo "$epoch"
  cat "$repository/Dockerfile" "$here/image.sh"
  cd "$work/context/dist"
  find . -printf '%m %y %p\n' | LC_ALL=C sort
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
} | sha256sum | cut -c1-16)
archive=$cache/tidelock-$key.tar
if [ ! -e "$archive" ] || [ -n "${TIDELOCK_IMAGE_REBUILD:-}" ]; then
  # Storage of its own, so that nothing of this machine's images goes in and nothing of ours stays.
  store=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs)
  if ! buildah "${store[@]}" bud --isolation chroot --layers=false --timestamp "$epoch" --format oci \
    --build-arg BINARIES=dist --tag tidelock.local/tidelock:built --file "$repository/Dockerfile" "$work/context" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
  fi
  buildah "${store[@]}" push --quiet tidelock.local/tidelock:built "oci-archive:$work/image.tar:tidelock.local/tidelock:built"
  buildah "${store[@]}" rmi --all --force >/dev/null
  mv "$work/image.tar" "$archive"
fi
# The last few are enough: each is as large as the programs.
find "$cache" -maxdepth 1 -name 'tidelock-*.tar' -printf '%T@ %p\n' | sort -rn | tail -n +6 | cut -d' ' -f2- | xargs -r rm -f
touch "$archive"
echo "$archive"
