#!/usr/bin/env bash
# proof.sh smoke|full TIDELOCK  -- the operator as its users run it: the image of this program, the charts, a real node, pods whose
# only way out is Squid.
#
# Needs a test bed with pods that is up (e2e/testbed.sh run --pods e2e/proof.sh …). Takes away what it made, CustomResourceDefinitions
# included. Exits 1 at the first thing that is not as expected. `smoke` leaves out what takes minutes.
set -euo pipefail
HERE=$(dirname "$(readlink -f "$0")")
REPOSITORY=$(dirname "$HERE")
BED=$HERE/testbed.sh
case "${1:-}" in smoke | full) ;; *) sed -n '2p' "$0" | cut -c3- >&2; exit 2 ;; esac
EXTENT=$1 BINARY=$(readlink -f "$2")
DESCRIPTION=$("$BED" description)
for PART in expectations cluster install modes rollout life doctor previous pressure; do
  # shellcheck source=/dev/null
  . "$HERE/proof/$PART.sh"
done
unset GIT_SSH GIT_SSH_COMMAND GIT_SSL_CAINFO CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY no_proxy
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=Proof GIT_AUTHOR_EMAIL=proof@corp.test GIT_COMMITTER_NAME=Proof GIT_COMMITTER_EMAIL=proof@corp.test
BIN=$(of bin) STATE=$(of state) AUDIT_LOG=$(of audit_log) PROXY_LOG=$(of proxy_access_log)
KUBECONFIG=$(of kubeconfig)
WORK=$(mktemp -d)
export KUBECONFIG HELM_CACHE_HOME=$WORK/helm HELM_CONFIG_HOME=$WORK/helm HELM_DATA_HOME=$WORK/helm
# How the operator is installed unless a part says otherwise: as the chart does by itself.
MODE=impersonate
declare -A OPERATOR_ADDRESSES=()
trap 'status=$?; [ -n "${KEEP:-}" ] || remove_everything; rm -rf "$WORK"; exit $status' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
remove_everything

part "the image"
ARCHIVE=$("$HERE/image.sh" "$BINARY")
MOST=
[ "$EXTENT" = smoke ] || MOST=130
"$HERE/image_check.sh" "$ARCHIVE" $MOST | tee "$WORK/image"
report "image: $(tail -n 1 "$WORK/image" | cut -c9-)"
if [ "$EXTENT" = full ]; then
  DIGEST=$(skopeo inspect --format '{{.Digest}}' "oci-archive:$ARCHIVE")
  TIDELOCK_IMAGE_REBUILD=1 "$HERE/image.sh" "$BINARY" >/dev/null
  expect_equal "built again it has the same digest" "$DIGEST" "$(skopeo inspect --format '{{.Digest}}' "oci-archive:$ARCHIVE")"
fi
IMAGE=$("$BED" push "$ARCHIVE" tidelock:proof)
ok "pushed to the registry that only the node reaches: $IMAGE"

prove_install
prove_pod
prove_egress
prove_doctor
prove_rollout
prove_helm_test
prove_upgrade
prove_egress
report "memory of the operator, highest so far: $(($(memory "$(operator_pod)") / 1048576)) MiB"
prove_rights "$INSTALL_MARK"
prove_reinstall
prove_egress
# A tunnel that is open is not in Squid's log yet.
kubectl -n "$NAMESPACE" delete pods -l app.kubernetes.io/name=tidelock --wait >/dev/null
prove_proxied
if [ "$EXTENT" = full ]; then
  remove_everything
  make_namespaces
  make_secrets
  make_repository
  MODE=clusterAdmin
  prove_previous_release
  prove_pressure
  prove_cache
  prove_mode namespaced
  prove_mode clusterAdmin
fi

printf '\n'
printf '%s\n' "${REPORT[@]}" "all of it: $(spell "$(milliseconds_since "$PROOF_BEGAN")")"
