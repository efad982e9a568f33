# From the previous release's charts to these, and back.
# shellcheck shell=bash

custom_resource_versions() {
  kubectl -n "$NAMESPACE" get applications,appprojects,repositories,egressproxies -o json | jq -r '.items[] | "\(.kind) \(.metadata.name) \(.metadata.uid) \(.metadata.resourceVersion)"' | sort
}

# unchanged_by MARK WHAT: nothing of the Applications was written since, and their pods are the same.
unchanged_by() {
  expect_equal "$2: writes to what the Applications made" "" "$(writes_since "$1")"
  expect_equal "$2: their pods and objects are as they were" "$PODS_BEFORE
$OBJECTS_BEFORE" "$(workload_pods)
$(object_versions)"
}

prove_previous_release() {
  part "an upgrade from the previous release, and the way back"
  local previous mark stored old
  previous=$(find "$HERE/previous" -name 'tidelock-[0-9]*.tgz')
  CHART=$previous CRDS_CHART=$(find "$HERE/previous" -name 'tidelock-crds-*.tgz') install_operator
  apply_applications
  await_equal 120 "the previous release's charts bring the Applications to Synced and Healthy" "$(applications_at "$REVISION")" application_states
  PODS_BEFORE=$(workload_pods) OBJECTS_BEFORE=$(object_versions)

  await 30 "the operator is at rest" at_rest
  stored=$(custom_resource_versions) mark=$(audit_mark)
  install_definitions
  expect_equal "new CustomResourceDefinitions leave stored objects untouched" "$stored" "$(custom_resource_versions)"
  old=$(operator_pods | jq -r '.[].metadata.name')
  install_operator
  await 40 "the old pods are gone" pods_are_gone $old
  settled
  unchanged_by "$mark" "after the upgrade"

  mark=$(audit_mark) old=$(operator_pods | jq -r '.[].metadata.name')
  helm -n "$NAMESPACE" rollback tidelock --wait --timeout 120s >/dev/null || broken "helm rollback fails"
  await 40 "the new pods are gone" pods_are_gone $old
  settled
  unchanged_by "$mark" "after helm rollback"
  install_operator
  settled
}

# Nothing was written to our own objects for a second.
at_rest() {
  local before
  before=$(custom_resource_versions)
  sleep 1
  [ "$before" = "$(custom_resource_versions)" ]
}
