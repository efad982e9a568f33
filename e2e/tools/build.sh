#!/usr/bin/env bash
# Builds every tool the test bed needs from Go modules and prints the directory that holds them.
#
#   build.sh            build what is missing, say so on stderr, print the binary directory on stdout
#   build.sh versions   print "tool version" lines, read from the go.mod files
#
# A module's products are keyed by the hash of everything that can change them (go.mod, go.sum, own
# sources, Go version, flags), so a second run costs a few file reads and a changed version rebuilds alone.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${TIDELOCK_CACHE:-$HOME/.cache/tidelock}
kubernetes=$(awk '$1=="k8s.io/kubernetes"{print $2}' "$here/kubernetes/go.mod")
k8s_flags="-X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${kubernetes#v1.}"
k8s_flags=${k8s_flags%.*}

# module  ->  "binary=package" pairs
declare -A products=(
  [etcd]="etcd=go.etcd.io/etcd/server/v3"
  [kustomize]="kustomize=sigs.k8s.io/kustomize/kustomize/v5"
  [kubernetes]="kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver kube-controller-manager=k8s.io/kubernetes/cmd/kube-controller-manager kube-scheduler=k8s.io/kubernetes/cmd/kube-scheduler kubelet=k8s.io/kubernetes/cmd/kubelet kube-proxy=k8s.io/kubernetes/cmd/kube-proxy kubectl=k8s.io/kubernetes/cmd/kubectl"
  [helm]="helm=helm.sh/helm/v4/cmd/helm"
  [coredns]="coredns=."
  [kube-score]="kube-score=github.com/zegl/kube-score/cmd/kube-score"
  [cyclonus]="cyclonus=github.com/mattfenwick/cyclonus/cmd/cyclonus"
)
order=(etcd kustomize kubernetes helm coredns kube-score cyclonus)

if [ "${1:-}" = versions ]; then
  for pair in kubernetes=k8s.io/kubernetes etcd=go.etcd.io/etcd/server/v3 coredns=github.com/coredns/coredns helm=helm.sh/helm/v4 kustomize=sigs.k8s.io/kustomize/kustomize/v5; do
    printf '%s %s\n' "${pair%%=*}" "$(awk -v m="${pair#*=}" '$1==m{print $2} $1=="require"&&$2==m{print $3}' "$here/${pair%%=*}/go.mod" | head -n 1)"
  done
  exit
fi

command -v go >/dev/null || { echo "the test bed's tools are built from Go modules and go is missing: install Go 1.26 (https://go.dev/dl) or apt-get install golang" >&2; exit 1; }
go_version=$(go env GOVERSION)
all=""
for module in "${order[@]}"; do
  key=$({ cat "$here/$module"/go.* "$here/$module"/*.go 2>/dev/null; echo "$go_version ${products[$module]} $k8s_flags 1"; } | sha256sum | cut -c1-16)
  out="$cache/tools/$module-$key"
  all="$all $out"
  [ ! -e "$out/.done" ] || continue
  mkdir -p "$out"
  for pair in ${products[$module]}; do
    started=$SECONDS
    echo "building ${pair%%=*} (${pair#*=}) ..." >&2
    (cd "$here/$module" && CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly" go build -trimpath -ldflags="-s -w $k8s_flags" -o "$out/${pair%%=*}" "${pair#*=}")
    echo "built ${pair%%=*} in $((SECONDS - started)) s" >&2
  done
  touch "$out/.done"
done
bin="$cache/tools/bin-$(echo "$all" | sha256sum | cut -c1-16)"
if [ ! -d "$bin" ]; then
  staging=$(mktemp -d "$cache/tools/.bin.XXXXXX")
  for directory in $all; do for file in "$directory"/*; do ln -s "$file" "$staging/"; done; done
  chmod 755 "$staging"
  mv -T "$staging" "$bin" 2>/dev/null || rm -rf "$staging"
fi
echo "$bin"
