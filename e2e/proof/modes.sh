# The three RBAC modes: what the operator's ServiceAccount was given, against what the audit log says that it used.
# shellcheck shell=bash

# mode_values: what the mode MODE needs besides: who touches the Applications' objects.
mode_values() {
  jq -n --arg mode "$MODE" '$ARGS.positional as $targets | {rbac: ({mode: $mode, secretNames: ["git-ca", "git-credentials", "proxy-credentials"]}
    + if $mode == "impersonate" then {deployers: [$targets[] | {namespace: ., name: "deployer", clusterRole: "admin"}]}
      elif $mode == "namespaced" then {namespaces: $targets, namespacedRules: [
        {apiGroups: [""], resources: ["configmaps", "services"], verbs: ["get", "watch", "create", "patch", "delete"]},
        {apiGroups: ["apps"], resources: ["deployments"], verbs: ["get", "watch", "create", "patch", "delete"]}]}
      else {} end)}' --args "${TARGETS[@]}"
}

# In the mode `impersonate` the project says whose rights count in each namespace.
apply_applications() {
  kubectl -n "$NAMESPACE" apply -f - >/dev/null < <(
    if [ "$MODE" = impersonate ]; then
      jq -n '{apiVersion: "tidelock.dev/v1alpha1", kind: "AppProject", metadata: {name: "proof"}, spec: {
        sourceRepos: ["https://git.corp.test/*"], clusterResourceWhitelist: [],
        destinations: [$ARGS.positional[] | {server: "https://kubernetes.default.svc", namespace: .}],
        destinationServiceAccounts: [$ARGS.positional[] | {server: "https://kubernetes.default.svc", namespace: ., defaultServiceAccount: "deployer"}]}}' --args "${TARGETS[@]}"
      echo ---
      sed 's/project: default/project: proof/' "$HERE/proof/applications.yaml"
    else
      cat "$HERE/proof/applications.yaml"
    fi
  )
}

# replay MARK: what was refused to the operator, what of its rights was not used, and whether it ever listed Secrets, as JSON.
replay() {
  kubectl get roles,rolebindings,clusterroles,clusterrolebindings -A -o json >"$WORK/rbac.json"
  audit_since "$1" >"$WORK/audit.json"
  jq -n --arg namespace "$NAMESPACE" --arg user "$OPERATOR_USER" --slurpfile rbac "$WORK/rbac.json" '
    ($rbac[0].items) as $items
    | [inputs | select(.user.username == $user and .objectRef != null)] as $requests
    | def account: [.subjects[]? | select(.kind == "ServiceAccount" and .name == ($user | split(":")[3]) and .namespace == $namespace)] | length > 0;
      ([ $items[] | select(.kind | endswith("Binding")) | select(account) | . as $binding
         | $items[] | select(.kind == $binding.roleRef.kind and .metadata.name == $binding.roleRef.name
             and (.kind == "ClusterRole" or .metadata.namespace == $binding.metadata.namespace))
         | .rules[]? | . as $rule | $rule.apiGroups[]? as $group | $rule.resources[]? as $resource | $rule.verbs[] as $verb
         | ($rule.resourceNames // [""])[] as $name
         | {verb: $verb, group: $group, resource: $resource, namespace: ($binding.metadata.namespace // "*"), name: $name} ] | unique) as $granted
    | ([ $requests[] | select(.responseStatus.code != 403)
         | if .impersonatedUser then (.impersonatedUser.username | split(":")) as $parts | {verb: "impersonate", group: "", resource: "serviceaccounts", namespace: $parts[2], name: $parts[3]}
           else (.verb, if .verb == "patch" and .responseStatus.code == 201 then "create" else empty end) as $verb
             | {verb: $verb, group: (.objectRef.apiGroup // ""), resource: (.objectRef.resource + if .objectRef.subresource then "/" + .objectRef.subresource else "" end),
                 namespace: (.objectRef.namespace // ""), name: (.objectRef.name // "")} end ] | unique) as $used
    | def allows($use): (.verb == "*" or .verb == $use.verb) and (.group == "*" or .group == $use.group) and (.resource == "*" or .resource == $use.resource)
        and (.namespace == "*" or .namespace == $use.namespace) and (.name == "" or .name == $use.name);
      {refused: ([$requests[] | select(.responseStatus.code == 403) | "\(.verb) \(.objectRef.resource) \(.objectRef.namespace // "")/\(.objectRef.name // "")"] | unique),
       lists_of_all_secrets: ([$requests[] | select(.objectRef.resource == "secrets" and (.verb | IN("list", "watch")) and .objectRef.namespace == null) | .requestURI] | unique),
       unused: ([$granted[] | . as $right | select([$used[] | . as $use | select($right | allows($use))] == [])
         | "\(.verb) \(.resource)\(if .name == "" then "" else " " + .name end) in \(.namespace)"] | unique)}' "$WORK/audit.json"
}

# prove_rights MARK
prove_rights() {
  part "rights in the mode $MODE"
  local found
  found=$(replay "$1")
  expect_equal "nothing was refused to the operator" "[]" "$(jq -c .refused <<<"$found")"
  expect_equal "it never listed or watched all Secrets" "[]" "$(jq -c .lists_of_all_secrets <<<"$found")"
  # Whether an event comes a second time within minutes, which patches it, is a matter of timing.
  expect_equal "what it was given and did not need here" "$(grep -v '^#' "$HERE/proof/unused-$MODE.txt")" "$(jq -r '.unused[] | select(startswith("patch events ") | not)' <<<"$found")"
}

# The same installation once more, in another mode.
prove_mode() {
  MODE=$1
  remove_everything
  make_namespaces
  make_secrets
  make_repository
  part "the mode $MODE"
  local mark
  mark=$(audit_mark)
  install_operator
  apply_applications
  await_equal 120 "three Applications are Synced and Healthy in the mode $MODE" "$(applications_at "$REVISION")" application_states
  echo "  more: here" >>"$WORK/repository/web/00-settings.yaml"
  push_change "One more setting"
  await_equal 60 "a commit arrives" "$(applications_at "$REVISION")" application_states
  prove_rights "$mark"
}
