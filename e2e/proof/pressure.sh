# Little memory, little CPU, a cache that is full or can't be written.
# shellcheck shell=bash

CROWD=300
CROWD_NAMESPACE=proof-crowd

make_crowd() { # make_crowd VALUE: 300 directories with four ConfigMaps each
  local number
  for ((number = 0; number < CROWD; number++)); do
    mkdir -p "$WORK/crowd/apps/$number"
    for part in a b c d; do
      printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: crowd-%d-%s}\ndata: {value: "%s"}\n' "$number" "$part" "$1" >"$WORK/crowd/apps/$number/$part.yaml"
    done
  done
}

push_crowd() { # push_crowd MESSAGE
  git -C "$WORK/crowd" add -A
  git -C "$WORK/crowd" commit -q -m "$1"
  git -C "$WORK/crowd" push -q "$(of git_root)/proof-crowd.git" main
}

crowd_applications() {
  local number
  sed 's/{name: proof}/{name: crowd}/; s/proof[.]git/proof-crowd.git/' "$HERE/proof/applications.yaml" | awk 'BEGIN {RS = "---\n"} /kind: Repository/ {printf "---\n%s", $0}'
  for ((number = 0; number < CROWD; number++)); do
    printf -- '---\napiVersion: tidelock.dev/v1alpha1\nkind: Application\nmetadata: {name: crowd-%d}\nspec:\n  project: default\n  source: {repoURL: https://git.corp.test/proof-crowd.git, targetRevision: main, path: apps/%d}\n  destination: {server: https://kubernetes.default.svc, namespace: %s}\n  syncPolicy: {automated: {prune: true, selfHeal: true}}\n' "$number" "$number" "$CROWD_NAMESPACE"
  done
}

# How many of the crowd are Synced and Healthy at a revision.
crowd_at() {
  kubectl -n "$NAMESPACE" get applications -o json | jq -r --arg revision "$1" '
    [.items[] | select(.metadata.name | startswith("crowd-")) | select(.status.sync.status == "Synced" and .status.health.status == "Healthy" and .status.sync.revision == $revision)] | length'
}

restarts() { operator_pods | jq -c '[.[].status.containerStatuses[0] | {restartCount, last: (.lastState.terminated.reason // "")}]'; }

# What can't be given back: anonymous memory and tmpfs of the container, in bytes.
working_set() {
  local usage inactive
  usage=$(memory "$1" memory.usage_in_bytes)
  inactive=$(memory "$1" memory.stat | awk '$1 == "total_inactive_file" {print $2}')
  echo $((usage - inactive))
}

# sampled POD COMMAND...: runs the command and notes the working set of the pod, of which the highest counts.
sampled() {
  working_set "$1" >>"$WORK/samples" 2>/dev/null || :
  "${@:2}"
}

prove_pressure() {
  part "$CROWD Applications of 4 objects"
  local pod steady limit began revision peak
  kubectl create namespace "$CROWD_NAMESPACE" >/dev/null
  git init -q --bare -b main "$(of git_root)/proof-crowd.git"
  git init -q -b main "$WORK/crowd"
  make_crowd one
  push_crowd "As it is"
  revision=$(git -C "$WORK/crowd" rev-parse HEAD)
  install_operator --set replicas=1 --set resources.requests.cpu=1 --set resources.limits.cpu=1
  began=$(clock_now)
  crowd_applications | kubectl -n "$NAMESPACE" apply --server-side -f - >/dev/null
  await_equal 300 "all of them are Synced and Healthy" "$CROWD" crowd_at "$revision"
  report "$CROWD Applications applied to all Synced and Healthy, with one CPU: $(spell "$(milliseconds_since "$began")")"
  pod=$(operator_pod)
  await 60 "it is at rest" at_rest
  steady=$(working_set "$pod")
  limit=$(((2 * steady + 1048575) / 1048576))

  part "half of the memory to spare, and a tenth of a CPU"
  began=$(clock_now)
  install_operator --set replicas=1 --set resources.requests.memory="${limit}Mi" --set resources.limits.memory="${limit}Mi" --set resources.requests.cpu=100m --set resources.limits.cpu=100m
  report "with 100m CPU, helm upgrade to Ready with $CROWD Applications: $(spell "$(milliseconds_since "$began")")"
  pod=$(operator_pod)
  make_crowd two
  push_crowd "A change of all objects"
  revision=$(git -C "$WORK/crowd" rev-parse HEAD)
  began=$(clock_now)
  refresh crowd-0
  await_equal 600 "a commit that changes all $((4 * CROWD)) objects arrives" "$CROWD" sampled "$pod" crowd_at "$revision"
  report "with 100m CPU, a commit that changes all $((4 * CROWD)) objects to all Synced and Healthy: $(spell "$(milliseconds_since "$began")")"
  expect_equal "the operator was never restarted" '[{"restartCount":0,"last":""}]' "$(restarts)"
  expect_equal "it is the same pod" "$pod" "$(operator_pod)"
  expect_equal "nothing was killed for want of memory" "0" "$(memory "$pod" memory.oom_control | awk '$1 == "oom_kill" {print $2}')"
  peak=$(sort -n "$WORK/samples" | tail -n 1)
  [ "$peak" -lt $((limit * 1048576)) ] || broken "memory: $peak bytes were in use, of $limit MiB"
  report "memory with $CROWD Applications: $((steady / 1048576)) MiB at rest, limit $limit MiB, highest of $(wc -l <"$WORK/samples") samples $((peak / 1048576)) MiB"
  kubectl -n "$NAMESPACE" get applications -o name | grep /crowd- | xargs "$BIN/kubectl" -n "$NAMESPACE" delete --wait=false >/dev/null
  kubectl delete namespace "$CROWD_NAMESPACE" --wait=false >/dev/null
}

# cache_values SIZE READ_ONLY: another directory for the state, on a volume that is really limited.
cache_values() {
  jq -n --arg size "$1" --argjson only "$2" '{
    replicas: 1, extraArgs: ["--state=/cache"],
    extraVolumes: [{name: "cache", emptyDir: {medium: "Memory", sizeLimit: $size}}],
    extraVolumeMounts: [{name: "cache", mountPath: "/cache", readOnly: $only}]}' >"$WORK/cache.json"
}

web_condition() { kubectl -n "$NAMESPACE" get application web -o json | jq -r '.status.conditions[] | select(.type == "Ready") | "\(.status) \(.reason): \(.message)"'; }
web_complains_of() { web_condition | tee /dev/stderr | grep -qE "$1"; }

prove_cache() {
  part "a cache that is full"
  local began
  cache_values 2Mi false
  install_operator --values "$WORK/cache.json"
  settled
  head -c 4000000 /dev/urandom >"$WORK/repository/web/large.bin"
  push_change "A file that is larger than the cache"
  await 90 "the Application says that the cache is full" web_complains_of 'StoreFailed: .*no space is left for the pack: .* of 2097152 bytes are free'
  report "cache full: $(web_condition)"
  expect_equal "the operator goes on" '[{"restartCount":0,"last":""}]' "$(restarts)"
  git -C "$WORK/repository" reset -q --hard HEAD~1
  git -C "$WORK/repository" push -q --force "$(of git_root)/proof.git" main
  REVISION=$(git -C "$WORK/repository" rev-parse HEAD)
  refresh web
  await_equal 90 "it recovers when the file is taken back" "$(applications_at "$REVISION")" application_states

  part "a cache that can't be written"
  local before
  install_operator
  settled
  before=$(operator_pod)
  cache_values 2Mi true
  helm upgrade tidelock "$REPOSITORY/charts/tidelock" --namespace "$NAMESPACE" --values "$WORK/values.json" --values "$WORK/cache.json" --set replicas=2 >/dev/null ||
    broken "helm upgrade fails"
  await 60 "the new pod says why it can't start" cache_is_read_only
  report "cache read-only: $(cache_is_read_only)"
  echo "  later: here" >>"$WORK/repository/web/00-settings.yaml"
  push_change "While the new pods can't start"
  await_equal 60 "the pods from before go on meanwhile: a commit arrives" "$(applications_at "$REVISION")" application_states
  expect_equal "by the same leader" "$before" "$(operator_pod)"
  helm -n "$NAMESPACE" rollback tidelock --wait --timeout 120s >/dev/null || broken "helm rollback fails"
  settled
}

# What the log of a pod says that can't write its cache.
cache_is_read_only() {
  local pod
  for pod in $(kubectl -n "$NAMESPACE" get pods -l app.kubernetes.io/name=tidelock -o name); do
    { kubectl -n "$NAMESPACE" logs "$pod" -c controller --tail=5 || kubectl -n "$NAMESPACE" logs "$pod" -c controller --previous --tail=5; } 2>/dev/null |
      jq -r 'select(.error != null) | .error' 2>/dev/null | grep -m 1 '^cannot write to the state directory /cache: Read-only file system' && return
  done
  return 1
}
