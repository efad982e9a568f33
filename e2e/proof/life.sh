# The life of an installation: test, upgrade, uninstall, installed again. What the Applications made stays as it is.
# shellcheck shell=bash

# settled: the operator that leads has looked at every Application since it began to.
settled() { await 60 "the operator has looked at every Application" caught_up; }

prove_helm_test() {
  part "helm test"
  local output
  output=$(helm -n "$NAMESPACE" test tidelock --timeout 60s 2>&1) || broken "helm test fails" "$output"
  expect_match "helm test passes" 'Phase: +Succeeded' "$output"
}

prove_upgrade() {
  part "helm upgrade with a changed value"
  local mark pods versions began old
  pods=$(workload_pods) versions=$(object_versions) old=$(operator_pods | jq -r '.[].metadata.name')
  mark=$(audit_mark) began=$(clock_now)
  install_operator --set log.level=debug
  report "helm upgrade to Ready: $(spell "$(milliseconds_since "$began")")"
  await 40 "the old pods are gone" pods_are_gone $old
  settled
  expect_match "the new pods have the new value" '"level":"DEBUG"' "$(operator_log "$(operator_pod)" | grep -m 1 DEBUG)"
  expect_equal "writes to what the Applications made" "" "$(writes_since "$mark")"
  expect_equal "their objects are as they were" "$versions" "$(object_versions)"
  expect_equal "and so are their pods" "$pods" "$(workload_pods)"
}

pods_are_gone() { [ -z "$(kubectl -n "$NAMESPACE" get pods "$@" --ignore-not-found -o name)" ]; }
no_operator_pods() { [ -z "$(kubectl -n "$NAMESPACE" get pods -l app.kubernetes.io/name=tidelock -o name)" ]; }

prove_reinstall() {
  part "helm uninstall, and installed again"
  local mark pods versions resources began
  pods=$(workload_pods) versions=$(object_versions) mark=$(audit_mark)
  resources=$(custom_resources)
  helm -n "$NAMESPACE" uninstall tidelock --wait >/dev/null
  helm -n "$NAMESPACE" uninstall tidelock-crds --wait >/dev/null
  await 40 "the operator's pods are gone" no_operator_pods
  expect_equal "the custom resources and their definitions stay" "$resources" "$(custom_resources)"
  expect_equal "the Applications' objects stay" "$versions" "$(object_versions)"
  began=$(clock_now)
  install_operator
  report "installed again to Ready: $(spell "$(milliseconds_since "$began")")"
  settled
  await_equal 30 "the Applications are found as they were" "$(applications_at "$REVISION")" application_states
  expect_equal "writes to what the Applications made" "" "$(writes_since "$mark")"
  expect_equal "no pod was restarted or replaced" "$pods" "$(workload_pods)"
  expect_equal "no object was changed" "$versions" "$(object_versions)"
}

custom_resources() {
  kubectl get customresourcedefinitions -o name | grep 'tidelock[.]dev$' | sort
  kubectl -n "$NAMESPACE" get applications,repositories,egressproxies -o json | jq -r '.items[] | "\(.kind) \(.metadata.name) \(.metadata.uid)"' | sort
}
