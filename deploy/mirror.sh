#!/usr/bin/env bash
# mirror.sh  -- copies the images of a release into a registry of yours, with all their platforms and by digest.
#
#   mirror.sh [--tool skopeo|crane] [--images FILE] [--plain-http] REGISTRY[/PREFIX]
#
#   mirror.sh 111122223333.dkr.ecr.eu-central-1.amazonaws.com/mirror
#
# Run it where both registries can be reached; HTTPS_PROXY is heeded by both tools. Log in beforehand, for ECR:
#   aws ecr get-login-password | skopeo login --username AWS --password-stdin 111122223333.dkr.ecr.eu-central-1.amazonaws.com
# ECR wants each repository to exist (aws ecr create-repository --repository-name mirror/tidelock/tidelock).
# An image that is there already, with the same digest, is not copied again. At the end it prints the values for the chart.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

fail() { echo "mirror.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 2; }

tool="" images=$here/../images.txt plain_http="" target=""
while [ $# -gt 0 ]; do
  case "$1" in
    --tool) [ $# -gt 1 ] || usage; tool=$2; shift 2 ;;
    --images) [ $# -gt 1 ] || usage; images=$2; shift 2 ;;
    --plain-http) plain_http=1; shift ;;
    -h | --help) usage ;;
    -*) fail "the flag $1 is not known (--help)" ;;
    *) [ -z "$target" ] || usage; target=${1%/}; shift ;;
  esac
done
[ -n "$target" ] || usage
[ -r "$images" ] || fail "cannot read the list of images $images; name it with --images"
if [ -z "$tool" ]; then
  if command -v skopeo >/dev/null; then tool=skopeo; elif command -v crane >/dev/null; then tool=crane; else fail "neither skopeo nor crane is installed"; fi
fi
command -v "$tool" >/dev/null || fail "$tool is not installed"

# Digest of an image as its registry has it (of the index, where it has several platforms); nothing when it is not there.
digest_of() {
  case "$tool" in
    skopeo) { skopeo inspect ${plain_http:+--tls-verify=false} --raw "docker://$1" 2>/dev/null || :; } | sha256sum_of ;;
    crane) crane digest ${plain_http:+--insecure} "$1" 2>/dev/null || : ;;
  esac
}
sha256sum_of() {
  local manifest
  manifest=$(mktemp)
  cat >"$manifest"
  [ ! -s "$manifest" ] || sha256sum "$manifest" | sed 's/^\([0-9a-f]*\).*/sha256:\1/'
  rm -f "$manifest"
}

copy() {
  case "$tool" in
    # --all: every platform; --preserve-digests: fail rather than change a byte of a manifest.
    skopeo) skopeo copy --quiet --all --preserve-digests ${plain_http:+--src-tls-verify=false --dest-tls-verify=false} "docker://$1" "docker://$2" ;;
    crane) crane copy ${plain_http:+--insecure} "$1" "$2" ;;
  esac
}

digest=""
while read -r image; do
  case "$image" in "" | "#"*) continue ;; esac
  # host/path, host/path:tag or host/path@digest
  path=${image#*/}
  name=${path%%@*}
  # A reference by digest gets a tag too, where it names one: registries may remove what has none.
  case "${name##*/}" in
    *:*) tag=${name##*:} name=${name%:*} ;;
    *) tag="" ;;
  esac
  wanted=""
  source=$image
  case "$path" in *@*) wanted=${path##*@} source=${image%%/*}/$name@$wanted ;; esac
  destination=$target/$name${tag:+:$tag}
  [ -n "$tag" ] || destination=$target/$name@$wanted
  found=$(digest_of "$source")
  [ -n "$found" ] || fail "$source can't be read: is it published, are you logged in, and is the way out open? ($tool)"
  [ -z "$wanted" ] || [ "$found" = "$wanted" ] || fail "$source has the digest $found"
  if [ "$(digest_of "$destination")" = "$found" ]; then
    echo "there:  ${destination%@*}@$found" >&2
  else
    copy "$source" "$destination"
    [ "$(digest_of "$destination")" = "$found" ] || fail "$destination does not have the digest $found after the copy: do not use it"
    echo "copied: ${destination%@*}@$found" >&2
  fi
  digest=$found
done <"$images"
[ -n "$digest" ] || fail "$images lists no image"
# The chart has one image.
printf 'global:\n  imageRegistry: %s\nimage:\n  digest: %s\n' "$target" "$digest"
