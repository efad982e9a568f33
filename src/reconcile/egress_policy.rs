//! What an EgressPolicy is told about itself.

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tracing::warn;

use crate::api::{Condition, ConditionStatus, EGRESS_POLICY_NAME, EgressPolicy, set_condition};
use crate::egress::Policy;
use crate::live::client::DEFAULT_DEADLINE;
use crate::model::Reason;
use crate::status::{READY, rfc3339};

/// Writes `Ready` when it is to say something else than it does.
pub(super) async fn report(client: Client, namespace: String, policy: EgressPolicy, now: Timestamp) {
    let name = policy.name_any();
    let (status, reason, message) = judge(&name, &policy);
    let before = policy.status.unwrap_or_default().conditions;
    let mut conditions = before.clone();
    set_condition(
        &mut conditions,
        Condition {
            type_: READY.to_owned(),
            status,
            reason: reason.to_string(),
            message,
            last_transition_time: rfc3339(now),
            observed_generation: policy.metadata.generation,
        },
    );
    if conditions == before {
        return;
    }
    let api: Api<EgressPolicy> = Api::namespaced(client, &namespace);
    let body = json!({ "status": { "observedGeneration": policy.metadata.generation, "conditions": conditions } });
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(&body));
    let written = tokio::time::timeout(DEFAULT_DEADLINE, api.patch_status(&name, &parameters, &patch)).await;
    if !matches!(written, Ok(Ok(_))) {
        warn!(policy = %name, "the status of an EgressPolicy could not be written");
    }
}

fn judge(name: &str, policy: &EgressPolicy) -> (ConditionStatus, Reason, String) {
    if name != EGRESS_POLICY_NAME {
        let message = format!("only the EgressPolicy `{EGRESS_POLICY_NAME}` counts; this one has no effect");
        return (ConditionStatus::False, Reason::UnsupportedField, message);
    }
    match Policy::read(&policy.spec) {
        Ok(_) => (ConditionStatus::True, Reason::InForce, "the rules are in force".to_owned()),
        Err(error) => {
            let message = format!("{error}; nothing leaves until it is corrected");
            (ConditionStatus::False, Reason::InvalidSpec, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EgressPolicyRule, EgressPolicySpec};

    #[test]
    fn a_policy_is_told_whether_it_counts() {
        let rule =
            EgressPolicyRule { hosts: vec!["*.corp.test".to_owned()], direct: true, ..EgressPolicyRule::default() };
        let spec = EgressPolicySpec { rules: vec![rule.clone()], ..EgressPolicySpec::default() };
        let said = |name: &str, spec: EgressPolicySpec| {
            let (status, reason, message) = judge(name, &EgressPolicy::new(name, spec));
            (status == ConditionStatus::True, reason, message)
        };
        assert_eq!(said("default", spec.clone()), (true, Reason::InForce, "the rules are in force".to_owned()));
        assert_eq!(
            said("other", spec),
            (
                false,
                Reason::UnsupportedField,
                "only the EgressPolicy `default` counts; this one has no effect".to_owned()
            )
        );
        let twice = EgressPolicyRule { deny: true, ..rule };
        let bad = EgressPolicySpec { rules: vec![twice], ..EgressPolicySpec::default() };
        assert_eq!(
            said("default", bad),
            (
                false,
                Reason::InvalidSpec,
                "spec.rules[0]: set exactly one of proxyRef, direct and deny; nothing leaves until it is corrected"
                    .to_owned()
            )
        );
    }
}
