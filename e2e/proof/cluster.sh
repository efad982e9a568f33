# The cluster as the proof sees it: kubectl, the API server's audit log, pods, the operator's container.
# shellcheck shell=bash

NAMESPACE=tidelock
APPLICATIONS=(batch pay web)
TARGETS=(proof-batch proof-pay proof-web)
# The user that the audit log names for requests of the operator.
OPERATOR_USER=system:serviceaccount:$NAMESPACE:tidelock

of() { jq -r ".$1" "$DESCRIPTION"; }
kubectl() { command "$BIN/kubectl" "$@"; }
helm() { command "$BIN/helm" "$@"; }
size_of() { stat -c %s "$1"; }

# The version of an audit log line that is complete: the API server writes each with its answer.
audit_mark() { size_of "$AUDIT_LOG"; }
audit_since() { tail -c "+$(($1 + 1))" "$AUDIT_LOG"; }

# writes_since MARK: what the operator wrote to managed objects, by the audit log, one line each.
writes_since() {
  audit_since "$1" | jq -r --arg user "$OPERATOR_USER" '
    select(.user.username == $user and (.verb | IN("create", "update", "patch", "delete", "deletecollection")))
    | select(.objectRef.apiGroup != "tidelock.dev" and (.objectRef.resource | IN("events", "leases", "subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews") | not))
    | select(.objectRef.namespace != "tidelock")
    | select((.requestURI | contains("dryRun=") | not) and .responseStatus.code < 300)
    | "\(.verb) \(.objectRef.resource) \(.objectRef.namespace // "")/\(.objectRef.name // "")"'
}

# One line for each Application: name, sync, health, how the last sync ended; of `web`, which every commit of the proof changes,
# also the revision. A commit that changes nothing of an Application is no reason to write its status.
application_states() {
  kubectl -n "$NAMESPACE" get applications -o json |
    jq -r '.items[] | "\(.metadata.name) \(.status.sync.status // "-") \(.status.health.status // "-") \(.status.operationState.phase // "-") \(if .metadata.name == "web" then .status.sync.revision // "-" else "" end)"'
}

# applications_at REVISION: what application_states says when all is well.
applications_at() { printf 'batch Synced Healthy Succeeded \npay Synced Healthy Succeeded \nweb Synced Healthy Succeeded %s\n' "$1"; }

refresh() { kubectl -n "$NAMESPACE" annotate applications "$@" --overwrite "tidelock.dev/refresh=$(clock_now)" >/dev/null; }

# push_change MESSAGE: commits what was changed in $WORK/repository and asks for a poll; $REVISION is the commit.
push_change() {
  git -C "$WORK/repository" add -A
  git -C "$WORK/repository" commit -q -m "$1"
  git -C "$WORK/repository" push -q "$(of git_root)/proof.git" main
  REVISION=$(git -C "$WORK/repository" rev-parse HEAD)
  refresh "${APPLICATIONS[@]}"
}

# Every pod of the Applications: name, uid and restarts.
workload_pods() {
  local namespace
  for namespace in "${TARGETS[@]}"; do
    kubectl -n "$namespace" get pods -o json | jq -r '.items[] | select(.metadata.deletionTimestamp == null) | "\(.metadata.namespace)/\(.metadata.name) \(.metadata.uid) \([.status.containerStatuses[]?.restartCount] | add)"'
  done | sort
}

# resourceVersions of everything the Applications made, to see that nothing was written.
object_versions() {
  local namespace
  for namespace in "${TARGETS[@]}"; do
    kubectl -n "$namespace" get configmaps,services,deployments.apps -l tidelock.dev/instance -o json |
      jq -r '.items[] | "\(.metadata.namespace)/\(.kind)/\(.metadata.name) \(.metadata.uid) \(.metadata.generation // .metadata.resourceVersion)"'
  done | sort
}

# The operator's pods that are not on their way out.
operator_pods() {
  kubectl -n "$NAMESPACE" get pods -l app.kubernetes.io/name=tidelock -o json |
    jq -c '[.items[] | select(.metadata.deletionTimestamp == null and .status.phase == "Running")]'
}
# The one that leads: it holds the lease and runs. Fails while there is none.
operator_pod() {
  local holder
  holder=$(kubectl -n "$NAMESPACE" get lease tidelock-controller -o jsonpath='{.spec.holderIdentity}' 2>/dev/null)
  operator_pods | jq -re --arg holder "${holder%_*}" '.[].metadata.name | select(. == $holder)'
}
operator_log() { kubectl -n "$NAMESPACE" logs "$1" -c controller; }

# metrics POD: through the API server, as a stranger's network would not let us.
metrics() { kubectl get --raw "/api/v1/namespaces/$NAMESPACE/pods/$1:8080/proxy/metrics"; }

# caught_up: the operator that leads has reconciled every Application since it began to, and is done.
caught_up() {
  local pod text
  pod=$(operator_pod) || { echo "no pod of the operator leads"; return 1; }
  text=$(metrics "$pod") || return 1
  awk -v wanted="${#APPLICATIONS[@]}" '
    /^tidelock_applications\{/ {if ($0 ~ /sync="Synced"/ && $0 ~ /health="Healthy"/) well = $2; else other += $2}
    END {if (well + 0 < wanted || other > 0) {print "Synced and Healthy: " well + 0 ", others: " other + 0; exit 1}}' <<<"$text"
}

# The process of the operator's container, as a process of this machine.
operator_process() {
  local uid pid
  uid=$(kubectl -n "$NAMESPACE" get pod "$1" -o jsonpath='{.metadata.uid}')
  for pid in $(pgrep -x tidelock); do
    if grep -q "$uid" "/proc/$pid/cgroup" 2>/dev/null; then echo "$pid"; return; fi
  done
  return 1
}

# memory POD [FILE]: a number of the container's memory cgroup: the highest use so far unless named otherwise.
memory() {
  local pid group
  pid=$(operator_process "$1") || return 1
  group=$(awk -F: '$2 == "memory" {print $3}' "/proc/$pid/cgroup")
  cat "/sys/fs/cgroup/memory$group/${2:-memory.max_usage_in_bytes}"
}

circumstances() {
  echo "circumstances:"
  {
    application_states | grep -v ' Synced Healthy Succeeded' | head -n 10
    kubectl -n "$NAMESPACE" get applications,repositories,egressproxies -o json |
      jq -r '.items[] | . as $o | .status.conditions[]? | select((.type == "Ready" and .status != "True") or (.type != "Ready" and .status == "True")) | "\($o.kind) \($o.metadata.name): \(.type)=\(.status) \(.reason): \(.message)"' | head -n 12
    kubectl get pods -A -o wide | grep -vE ' (Running|Completed) ' | head -n 20
    kubectl -n "$NAMESPACE" describe pods -l app.kubernetes.io/name=tidelock | grep -A 12 '^Events'
    kubectl -n "$NAMESPACE" logs -l app.kubernetes.io/name=tidelock -c controller --tail=12
  } 2>&1 | cut -c1-500 | sed 's/^/  /'
}
