//! Constraints on single values: enumerations, texts, numbers, sizes.

use regex::Regex;
use serde_json::Value;

/// Why a value breaks a constraint of its schema; the first of several.
pub(super) fn complaint(schema: &Value, value: &Value) -> Option<String> {
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        return Some(format!("must be one of {}", allowed.join(", ")));
    }
    match value {
        Value::String(text) => of_text(schema, text),
        Value::Number(_) => of_number(schema, value),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Why a number of things breaks `min<what>` or `max<what>`.
pub(super) fn count(schema: &Value, what: &str, number: u64, shown: &str) -> Option<String> {
    let limit = |bound: &str| schema.get(format!("{bound}{what}")).and_then(Value::as_u64);
    if let Some(least) = limit("min").filter(|least| number < *least) {
        return Some(format!("must have at least {least} {shown}, has {number}"));
    }
    limit("max").filter(|most| number > *most).map(|most| format!("must have at most {most} {shown}, has {number}"))
}

fn of_text(schema: &Value, text: &str) -> Option<String> {
    if let Some(message) = count(schema, "Length", text.chars().count() as u64, "characters") {
        return Some(message);
    }
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    // The server's dialect is nearly this one; what can't be read here is left to the server.
    let fits = Regex::new(pattern).ok()?.is_match(text);
    (!fits).then(|| format!("must match the pattern {pattern}"))
}

fn of_number(schema: &Value, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let exclusive = |keyword: &str| schema.get(keyword).and_then(Value::as_bool).unwrap_or_default();
    if let Some(least) = bound("minimum") {
        if exclusive("exclusiveMinimum") && number <= least {
            return Some(format!("must be greater than {least}"));
        }
        if number < least {
            return Some(format!("must be at least {least}"));
        }
    }
    if let Some(most) = bound("maximum") {
        if exclusive("exclusiveMaximum") && number >= most {
            return Some(format!("must be less than {most}"));
        }
        if number > most {
            return Some(format!("must be at most {most}"));
        }
    }
    if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0)
        && (number / step - (number / step).round()).abs() > 1e-9
    {
        return Some(format!("must be a multiple of {step}"));
    }
    let is_small = || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
    match schema.get("format").and_then(Value::as_str) {
        Some("int32") if !is_small() => Some("must be an integer of 32 bits".to_owned()),
        Some("int64") if value.as_i64().is_none() => Some("must be an integer of 64 bits".to_owned()),
        Some(_) | None => None,
    }
}
