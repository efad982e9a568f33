#!/usr/bin/env bash
# root.sh ROOT TIDELOCK HELM KUSTOMIZE  -- lays out everything that is in the image below the directory ROOT, which it makes.
#
# Needs Debian's paths: the C library and what else tidelock is linked with are taken from where the loader finds them.
# The same programs give the same tree: owners are the caller's to fix (root in an image), times are $SOURCE_DATE_EPOCH.
set -euo pipefail
here=$(dirname "$(dirname "$(readlink -f "$0")")")
[ "$#" = 4 ] || { sed -n '2p' "$0" | cut -c3- >&2; exit 2; }
root=$1 tidelock=$2 helm=$3 kustomize=$4
[ ! -e "$root" ] || { echo "root.sh: $root exists; name a directory to make" >&2; exit 1; }
for program in "$tidelock" "$helm" "$kustomize"; do
  [ -x "$program" ] || { echo "root.sh: $program is not an executable" >&2; exit 1; }
done
umask 022

mkdir -p "$root/usr/local/bin"
strip --strip-all -o "$root/usr/local/bin/tidelock" "$tidelock"
install -m 0755 "$helm" "$root/usr/local/bin/helm"
install -m 0755 "$kustomize" "$root/usr/local/bin/kustomize"
for program in helm kustomize; do
  if readelf --program-headers "$root/usr/local/bin/$program" | grep -q INTERP; then
    echo "root.sh: $program is linked dynamically; build it with CGO_ENABLED=0" >&2
    exit 1
  fi
done

# The loader and the libraries, at the paths where the loader looks. The C library resolves names by itself: no modules.
libraries=$(ldd "$tidelock")
if grep 'not found' <<<"$libraries" >&2; then exit 1; fi
awk '$2 == "=>" {print $3} $1 ~ "^/" {print $1}' <<<"$libraries" | while read -r library; do
  install -D -m 0755 "$library" "$root$library"
done

install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 0644 "$root/etc/passwd" "$root/etc/group" "$root/etc/nsswitch.conf"

# Mount points: the one that must outlive a container, and the one that need not.
mkdir -p "$root/var/lib/tidelock" "$root/tmp"
chmod 1777 "$root/tmp"

install -D -m 0644 -t "$root/usr/share/doc/tidelock" "$here/LICENSE" "$here/NOTICE"
for package in libc6 libgcc-s1 zlib1g ca-certificates; do
  if [ -e "/usr/share/doc/$package/copyright" ]; then
    install -D -m 0644 "$(readlink -f "/usr/share/doc/$package/copyright")" "$root/usr/share/doc/$package/copyright"
  fi
done

find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
