//! Health rules in CEL, in the shape that Flux has them.

use crate::api::HealthCheckExpression;
use crate::expression::{ExpressionError, Predicate};
use crate::model::{GroupKind, Health, HealthStatus};
use serde_json::Value;

/// A health rule of one kind, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthExpressions {
    /// The kind.
    pub kind: GroupKind,
    failed: Option<Predicate>,
    suspended: Option<Predicate>,
    in_progress: Option<Predicate>,
    current: Option<Predicate>,
    /// What can't be compiled; then every verdict is Unknown.
    broken: Option<String>,
}

impl HealthExpressions {
    /// Compiles a rule. What can't be compiled is returned besides; such a rule's verdict is Unknown, since the built-in
    /// rules are what its author did not want.
    pub fn compile(rule: &HealthCheckExpression) -> (Self, Option<ExpressionError>) {
        let mut error = None;
        let mut compile = |text: &str| {
            if text.trim().is_empty() {
                return None;
            }
            Predicate::compile(text).map_err(|problem| error.get_or_insert(problem).clone()).ok()
        };
        let (failed, suspended) = (compile(&rule.failed), compile(&rule.suspended));
        let (in_progress, current) = (compile(&rule.in_progress), compile(&rule.current));
        let broken = error.as_ref().map(ToString::to_string);
        let kind = GroupKind::new(group_of(&rule.api_version), rule.kind.as_str());
        (Self { kind, failed, suspended, in_progress, current, broken }, error)
    }

    /// The verdict on an object: the first expression that is true tells. None that is true is Progressing; one that
    /// reads a field that is not there is not true yet, and one that fails otherwise is Unknown.
    pub fn assess(&self, object: &Value) -> Health {
        if let Some(problem) = &self.broken {
            return Health::new(HealthStatus::Unknown, problem.clone());
        }
        let cases = [
            (&self.failed, HealthStatus::Degraded),
            (&self.suspended, HealthStatus::Suspended),
            (&self.in_progress, HealthStatus::Progressing),
            (&self.current, HealthStatus::Healthy),
        ];
        let mut missing = None;
        for (predicate, status) in cases {
            let Some(predicate) = predicate else { continue };
            match predicate.holds_for(object) {
                Ok(true) if status == HealthStatus::Healthy => return Health::healthy(),
                Ok(true) => return Health::new(status, format!("`{}` is true", predicate.text())),
                Ok(false) => {}
                Err(error @ ExpressionError::FieldMissing { .. }) => missing = missing.or(Some(error)),
                Err(error) => return Health::new(HealthStatus::Unknown, error.to_string()),
            }
        }
        let why = match (missing, &self.current) {
            (Some(error), _) => error.to_string(),
            (None, Some(current)) => format!("`{}` is not true yet", current.text()),
            (None, None) => "the rule has no expression `current`".to_owned(),
        };
        Health::new(HealthStatus::Progressing, why)
    }
}

/// The group of `apps/v1`, `apps` or `v1`.
fn group_of(api_version: &str) -> &str {
    match api_version.split_once('/') {
        Some((group, _)) => group,
        None if is_version(api_version) => "",
        None => api_version,
    }
}

/// `v1`, `v1beta2`: a version of the core group.
fn is_version(text: &str) -> bool {
    text.strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()) && !rest.contains('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule() -> HealthCheckExpression {
        HealthCheckExpression {
            api_version: "shop.example/v1".to_owned(),
            kind: "Cart".to_owned(),
            in_progress: "status.phase == 'Rolling'".to_owned(),
            failed: "status.phase == 'Broken'".to_owned(),
            suspended: "has(spec.hold) && spec.hold".to_owned(),
            current: "status.phase == 'Ready'".to_owned(),
        }
    }

    fn assessed(rule: &HealthCheckExpression, object: &Value) -> (HealthStatus, String) {
        let (compiled, problem) = HealthExpressions::compile(rule);
        assert_eq!(problem, None);
        let Health { status, message } = compiled.assess(object);
        (status, message)
    }

    #[test]
    fn the_first_expression_that_is_true_tells() {
        let of = |phase: &str, hold: bool| json!({"spec": {"hold": hold}, "status": {"phase": phase}});
        let texts = |status, message: &str| (status, message.to_owned());
        assert_eq!(assessed(&rule(), &of("Ready", false)), texts(HealthStatus::Healthy, ""));
        assert_eq!(
            assessed(&rule(), &of("Broken", true)),
            texts(HealthStatus::Degraded, "`status.phase == 'Broken'` is true")
        );
        assert_eq!(
            assessed(&rule(), &of("Ready", true)),
            texts(HealthStatus::Suspended, "`has(spec.hold) && spec.hold` is true")
        );
        assert_eq!(
            assessed(&rule(), &of("Rolling", false)),
            texts(HealthStatus::Progressing, "`status.phase == 'Rolling'` is true")
        );
        assert_eq!(
            assessed(&rule(), &of("Odd", false)),
            texts(HealthStatus::Progressing, "`status.phase == 'Ready'` is not true yet")
        );
    }

    #[test]
    fn an_object_that_says_nothing_yet_is_progressing() {
        assert_eq!(
            assessed(&rule(), &json!({"metadata": {}})),
            (
                HealthStatus::Progressing,
                "`status.phase == 'Broken'` reads `phase`, which is not there; guard it with has()".to_owned()
            )
        );
    }

    #[test]
    fn an_expression_that_fails_is_unknown_with_its_text() {
        let object = json!({"status": {"phase": 7}});
        let own = HealthCheckExpression { current: "status.phase".to_owned(), failed: String::new(), ..rule() };
        assert_eq!(
            assessed(&own, &object),
            (HealthStatus::Unknown, "`status.phase` is a int and must be true or false".to_owned())
        );
    }

    #[test]
    fn a_rule_that_does_not_compile_is_reported_and_never_healthy() {
        let own = HealthCheckExpression { failed: "status..phase".to_owned(), ..rule() };
        let (compiled, problem) = HealthExpressions::compile(&own);
        let problem = problem.unwrap().to_string();
        assert!(problem.starts_with("`status..phase` is no CEL expression: "), "{problem}");
        let verdict = compiled.assess(&json!({"status": {"phase": "Ready"}}));
        assert_eq!(verdict, Health::new(HealthStatus::Unknown, problem));
    }

    #[test]
    fn any_version_of_the_group_counts() {
        for (api_version, group) in [
            ("apps/v1", "apps"),
            ("apps", "apps"),
            ("v1", ""),
            ("", ""),
            ("v1beta1", ""),
            ("vault.example", "vault.example"),
        ] {
            assert_eq!(group_of(api_version), group, "{api_version}");
        }
    }
}
