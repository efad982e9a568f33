#!/usr/bin/env bash
# install.sh  -- installs the Debian packages that building, testing and the demo need. Quick when all are there.
#
# No service is started by it: Squid and containerd are only ever run inside the test bed's namespaces.
set -euo pipefail

packages=(
  # building: C for libgit2 and jemalloc, a fast linker
  gcc libc6-dev make pkg-config clang mold
  # the node
  containerd runc containernetworking-plugins iproute2 nftables iptables openssl curl procps util-linux
  # git, its proxy, and what the scripts use
  git squid-openssl apache2-utils jq skopeo ca-certificates
  # the image of the operator, without a daemon
  buildah binutils
  # other proxies, and what else lies behind them
  tinyproxy-bin microsocks nginx-light fcgiwrap openssh-server openssh-client docker-registry gnupg
)

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || { echo "these packages are missing and there is no apt-get (Debian 12 is what is tested): ${missing[*]}" >&2; exit 1; }
  if [ "$(id -u)" != 0 ]; then
    printf 'these packages are missing; run as root, or install them:\n  sudo apt-get install --no-install-recommends %s\n' "${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}" >&2
  # Debian's own switch against starting services at installation; taken back at the end.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  log=$(mktemp)
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    printf 'apt-get failed (whole output: %s); needed are:\n  apt-get install --no-install-recommends %s\n' "$log" "${missing[*]}" >&2
    exit 1
  fi
  rm -f "$log"
fi

# Two tools that Debian 12 has only in versions too old for this repository.
unmet=0
go_wanted=1.26
go_found=$(go env GOVERSION 2>/dev/null || echo none)
if [ "$(printf '%s\n' "go$go_wanted" "$go_found" | sort -V | head -n 1)" != "go$go_wanted" ]; then
  echo "Go $go_wanted or newer is needed to build the test bed's tools (found: $go_found): https://go.dev/dl" >&2
  unmet=1
fi
if ! command -v cargo >/dev/null; then
  echo "Rust is needed (rust-toolchain.toml names the version): https://rustup.rs" >&2
  unmet=1
fi
exit "$unmet"
