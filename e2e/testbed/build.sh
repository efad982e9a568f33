# What the test bed builds of its own, in the cache, keyed by everything that can change it.
# shellcheck shell=bash

# built DIRECTORY PREFIX COMMAND...: runs COMMAND with an output directory unless the sources were built before; prints the directory.
built() {
  local sources=$1 key out staging
  key=$({ find "$sources" -type f ! -name '*.tar' | LC_ALL=C sort | xargs sha256sum; go env GOVERSION; } | sha256sum | cut -c1-16)
  out=$CACHE/testbed/$2-$key
  shift 2
  if [ ! -d "$out" ]; then
    mkdir -p "$CACHE/testbed"
    staging=$(mktemp -d "$CACHE/testbed/.staging.XXXXXX")
    chmod 755 "$staging"
    if ! "$@" "$sources" "$staging"; then
      rm -rf "$staging"
      return 1
    fi
    mv -T "$staging" "$out" 2>/dev/null || rm -rf "$staging" # another process was first
  fi
  echo "$out"
}

go_binary() { # go_binary SOURCES PACKAGE OUT
  (cd "$1" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off go build -trimpath -ldflags='-s -w' -o "$3" "$2") >&2
}

make_gitserver() { go_binary "$1" . "$2/gitserver"; }

make_images() {
  go_binary "$1" . "$2/app" && go_binary "$1" ./pause "$2/pause" || return 1
  "$1/mkimage.sh" "$PAUSE_IMAGE" "$2/pause" "$2/pause.tar" 65535 >&2 || return 1
  local version
  for version in "${DEMO_VERSIONS[@]}"; do
    "$1/mkimage.sh" "$DEMO_IMAGE:$version" "$2/app" "$2/demo-$version.tar" 65532 "VERSION=$version" >&2 || return 1
  done
}

build_all() {
  BIN=$("$HERE/tools/build.sh")
  GITSERVER=$(built "$HERE/gitserver" gitserver make_gitserver)/gitserver
  IMAGES=$(built "$HERE/workload" images make_images)
}
