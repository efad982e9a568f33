//! Why a workload is not well, as its pods tell it.

use serde_json::Value;

use super::AssessContext;
use super::object::Object;
use super::pod::pod;
use crate::model::{Health, HealthStatus};

/// What the pod that is worst off says, the youngest of several: `pod front-7d9f: container `app` waits: CrashLoopBackOff`.
/// `None` when all are well, or there are none.
pub fn worst_pod(pods: &[Value], context: &AssessContext) -> Option<String> {
    let told = pods.iter().filter_map(|value| {
        let object = Object::new(value);
        if !object.text("/metadata/deletionTimestamp").is_empty() {
            return None;
        }
        let Health { status, message } = pod(object, context);
        let rank = match status {
            HealthStatus::Degraded => 2,
            HealthStatus::Progressing | HealthStatus::Unknown => 1,
            HealthStatus::Healthy | HealthStatus::Suspended | HealthStatus::Missing => return None,
        };
        let (born, name) = (object.text("/metadata/creationTimestamp"), object.text("/metadata/name"));
        Some((rank, born, name, message))
    });
    let (_, _, name, message) = told.max()?;
    Some(format!("pod {name}: {message}"))
}

/// A label selector of a workload's spec in the form that a list of pods takes. `None` when it selects nothing in
/// particular or has an operator that is not known.
pub fn selector_text(workload: &Value) -> Option<String> {
    let selector = workload.pointer("/spec/selector")?;
    let mut terms = Vec::new();
    for (name, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        terms.push(format!("{name}={}", value.as_str()?));
    }
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let name = expression.get("key")?.as_str()?;
        let values: Option<Vec<&str>> =
            expression.get("values").and_then(Value::as_array).into_iter().flatten().map(Value::as_str).collect();
        let values = values?.join(",");
        terms.push(match expression.get("operator")?.as_str()? {
            "In" => format!("{name} in ({values})"),
            "NotIn" => format!("{name} notin ({values})"),
            "Exists" => name.to_owned(),
            "DoesNotExist" => format!("!{name}"),
            _ => return None,
        });
    }
    (!terms.is_empty()).then(|| terms.join(","))
}
