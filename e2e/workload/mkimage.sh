#!/usr/bin/env bash
# mkimage.sh NAME STATIC_BINARY OUT.tar [UID [VARIABLE=VALUE]]
#
# A one-layer OCI image around one static binary, with tar, gzip and sha256sum alone: no daemon, no registry.
# The same input always gives the same digest (fixed times, owners, order).
set -euo pipefail
name=$1 binary=$2 out=$(readlink -m "$3") uid=${4:-65532} variable=${5:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner "$@"; }
digest() { sha256sum <"$1" | cut -d' ' -f1; }
blob() { # blob FILE: store it and print the fields a descriptor needs
  cp "$1" "$work/oci/blobs/sha256/$(digest "$1")"
  printf '"digest":"sha256:%s","size":%s' "$(digest "$1")" "$(stat -c %s "$1")"
}

mkdir -p "$work/root/tmp" "$work/oci/blobs/sha256"
chmod 1777 "$work/root/tmp"
install -m 0755 "$binary" "$work/root/app"
pack -C "$work/root" -cf "$work/layer.tar" .
gzip -n -6 <"$work/layer.tar" >"$work/layer.tgz"

printf '{"architecture":"amd64","os":"linux","config":{"User":"%s:%s","Entrypoint":["/app"],"Env":[%s],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[]}' \
  "$uid" "$uid" "${variable:+\"$variable\"}" "$(digest "$work/layer.tar")" >"$work/config"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",%s}]}' \
  "$(blob "$work/config")" "$(blob "$work/layer.tgz")" >"$work/manifest"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",%s,"platform":{"architecture":"amd64","os":"linux"},"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
  "$(blob "$work/manifest")" "$name" "${name##*:}" >"$work/oci/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci/oci-layout"
pack -C "$work/oci" -cf "$out" oci-layout index.json blobs
