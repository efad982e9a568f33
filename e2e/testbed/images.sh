# The registry that the node pulls from, as ECR is behind its VPC endpoints: containerd alone reaches it. Pods have no way there.
# shellcheck shell=bash

write_image_registry_files() {
  local directory=$STATE/images
  mkdir -p "$directory/data" "$STATE/registries/$IMAGE_REGISTRY"
  cat >"$directory/config.yml" <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $directory/data, maxthreads: 100}
  delete: {enabled: true}
http: {addr: "127.0.0.1:${IMAGE_REGISTRY##*:}", relativeurls: true, secret: test-bed}
EOF
  # containerd reads this at each pull.
  cat >"$STATE/registries/$IMAGE_REGISTRY/hosts.toml" <<EOF
server = "http://127.0.0.1:${IMAGE_REGISTRY##*:}"
[host."http://127.0.0.1:${IMAGE_REGISTRY##*:}"]
  capabilities = ["pull", "resolve"]
EOF
}

# Runs in the node.
start_image-registry() { start image-registry env OTEL_TRACES_EXPORTER=none docker-registry serve "$STATE/images/config.yml"; }

# push_image ARCHIVE NAME[:TAG]: an OCI archive into the registry; prints the name by which a pod pulls it, with its digest.
push_image() {
  recall
  [ "$MODE" = pods ] || fail "push needs a test bed with pods: testbed.sh down, then up --pods"
  local name=${2%:*} digest port=${IMAGE_REGISTRY##*:}
  digest=$(skopeo inspect --format '{{.Digest}}' "oci-archive:$1")
  in_node skopeo copy --quiet --preserve-digests --dest-tls-verify=false "oci-archive:$(readlink -f "$1")" "docker://127.0.0.1:$port/$2" >&2
  echo "$IMAGE_REGISTRY/$name@$digest"
}
