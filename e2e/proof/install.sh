# Installing, as a user does it.
# shellcheck shell=bash

# chart_values CHART: what this cluster needs besides the defaults; the image by its digest. A chart from before the value
# image.registry has it in image.repository.
chart_values() {
  local registry=${IMAGE%%/*} name=${IMAGE#*/}
  name=${name%@*}
  if [ "$(helm show values "$1" | grep -c '^  registry:')" = 0 ]; then name=$registry/$name registry=; fi
  jq -n --arg registry "$registry" --arg name "$name" --arg digest "${IMAGE#*@}" '{
    image: ({repository: $name, digest: $digest} + if $registry == "" then {} else {registry: $registry} end)}'
  [ -z "$registry" ] || mode_values
}

make_namespaces() {
  local namespace
  for namespace in "$NAMESPACE" "${TARGETS[@]}"; do
    kubectl create namespace "$namespace" >/dev/null
    kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted >/dev/null
  done
}

make_secrets() {
  local secret=(kubectl -n "$NAMESPACE" create secret generic)
  of proxy_password | tr -d '\n' >"$WORK/proxy-password"
  of git_password | tr -d '\n' >"$WORK/git-password"
  "${secret[@]}" proxy-credentials --from-literal=username="$(of proxy_username)" --from-file=password="$WORK/proxy-password" >/dev/null
  "${secret[@]}" git-credentials --from-literal=username="$(of git_username)" --from-file=password="$WORK/git-password" >/dev/null
  "${secret[@]}" git-ca --from-file=ca.crt="$(of git_ca)" >/dev/null
}

make_repository() {
  rm -rf "$WORK/repository"
  git init -q --bare -b main "$(of git_root)/proof.git"
  cp -r "$HERE/proof/repository" "$WORK/repository"
  git -C "$WORK/repository" init -q -b main
  git -C "$WORK/repository" add .
  git -C "$WORK/repository" commit -q -m "As it is"
  git -C "$WORK/repository" push -q "$(of git_root)/proof.git" main
  REVISION=$(git -C "$WORK/repository" rev-parse HEAD)
}

install_definitions() {
  helm upgrade --install tidelock-crds "${CRDS_CHART:-$REPOSITORY/charts/tidelock-crds}" --namespace "$NAMESPACE" --wait --timeout 60s >"$WORK/notes" ||
    broken "helm install of the definitions fails" "$(cat "$WORK/notes")"
}

# install_operator [ARGUMENT...]: both charts; returns when helm says that the pods are ready.
install_operator() {
  install_definitions
  local chart=${CHART:-$REPOSITORY/charts/tidelock}
  chart_values "$chart" | jq -s add >"$WORK/values.json"
  helm upgrade --install tidelock "$chart" --namespace "$NAMESPACE" --values "$WORK/values.json" --wait --timeout 120s "$@" >"$WORK/notes" ||
    broken "helm install fails" "$(cat "$WORK/notes")"
}

# Takes away everything the proof made; what is not there is no error.
remove_everything() {
  [ -e "$DESCRIPTION" ] || return 0
  kubectl -n "$NAMESPACE" delete applications --all --wait=false >/dev/null 2>&1 || :
  kubectl -n "$NAMESPACE" get applications -o name 2>/dev/null | xargs -r "$BIN/kubectl" -n "$NAMESPACE" patch --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null 2>&1 || :
  helm -n "$NAMESPACE" uninstall tidelock --wait >/dev/null 2>&1 || :
  helm -n "$NAMESPACE" uninstall tidelock-crds >/dev/null 2>&1 || :
  kubectl delete namespace "$NAMESPACE" "${TARGETS[@]}" --ignore-not-found --wait=false >/dev/null 2>&1 || :
  kubectl get customresourcedefinitions -o name 2>/dev/null | grep 'tidelock[.]dev$' | xargs -r "$BIN/kubectl" delete --wait=true >/dev/null 2>&1 || :
  kubectl wait --for=delete --timeout=60s $(printf 'namespace/%s ' "$NAMESPACE" "${TARGETS[@]}") >/dev/null 2>&1 || :
  rm -rf "$(of git_root)/proof.git"
}
