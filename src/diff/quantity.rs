//! Whether two spellings of a Kubernetes quantity mean the same amount: the API server stores `0.5` as `500m`.

use serde_json::Value;

/// Fields whose entries are quantities, whatever their names (`resources.limits.cpu`).
const MAPS: [&str; 8] = ["limits", "requests", "hard", "capacity", "default", "defaultRequest", "max", "min"];
/// Fields that are quantities.
const FIELDS: [&str; 5] = ["sizeLimit", "averageValue", "divisor", "storage", "ephemeral-storage"];

/// Whether the API server reads the field `name` of the map `parent` as a quantity, in its own kinds.
pub(super) fn is_quantity(parent: &str, name: &str) -> bool {
    MAPS.contains(&parent) || FIELDS.contains(&name)
}

/// Whether both values are quantities and mean the same amount.
pub(super) fn same_amount(left: &Value, right: &Value) -> bool {
    match (amount(left), amount(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

/// The amount in billionths.
fn amount(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn parse(text: &str) -> Option<i128> {
    let end =
        text.find(|letter: char| !(letter.is_ascii_digit() || matches!(letter, '.' | '-' | '+'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let (binary, exponent): (u32, i32) = match suffix {
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "" => (0, 0),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        other => (0, other.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // What is finer than a billionth, or too large to count in them, is compared as text.
    let power = u32::try_from(exponent.checked_sub(places)?.checked_add(9)?).ok()?;
    digits.checked_mul(10_i128.checked_pow(power)?)?.checked_mul(1_i128 << binary)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spellings_of_one_amount_are_the_same_and_other_amounts_are_not() {
        for (left, right) in [
            (json!("0.5"), json!("500m")),
            (json!(1), json!("1000m")),
            (json!("1024Mi"), json!("1Gi")),
            (json!("1e3"), json!("1k")),
            (json!(0.25), json!("250m")),
            (json!("1.5Gi"), json!("1536Mi")),
        ] {
            assert!(same_amount(&left, &right), "{left} {right}");
        }
        for (left, right) in [
            (json!("1G"), json!("1Gi")),
            (json!("500m"), json!("500")),
            (json!("all"), json!("all")),
            (json!(true), json!(1)),
            (json!("9e99"), json!("9e99")),
            (json!("-"), json!("")),
        ] {
            assert!(!same_amount(&left, &right), "{left} {right}");
        }
    }
}
