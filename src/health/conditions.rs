//! `status.conditions`, read leniently: controllers write them in many dialects.

use serde_json::Value;

use super::object::as_int;

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// `"True"`, or a JSON `true`.
    True,
    /// `"False"`, or a JSON `false`.
    False,
    /// `"Unknown"`, anything else, or nothing.
    Unknown,
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition<'a> {
    /// The type; empty when the controller forgot it.
    pub kind: &'a str,
    /// The value.
    pub truth: Truth,
    /// One CamelCase word, usually.
    pub reason: &'a str,
    /// A sentence for people.
    pub message: &'a str,
    /// Cluster API's `severity` (`Error`, `Warning`, `Info`); empty elsewhere.
    pub severity: &'a str,
    /// The generation that the condition is about.
    pub observed_generation: Option<i64>,
    /// When the value last changed, RFC 3339.
    pub last_transition: &'a str,
}

impl Condition<'_> {
    /// Whether the value is True.
    pub fn is_true(&self) -> bool {
        self.truth == Truth::True
    }

    /// Whether the value is False.
    pub fn is_false(&self) -> bool {
        self.truth == Truth::False
    }

    /// The message, else the reason, else the type with its value: never empty.
    pub fn explain(&self) -> String {
        let message = self.message.trim();
        if !message.is_empty() {
            return message.to_owned();
        }
        let value = match self.truth {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        };
        let kind = if self.kind.is_empty() { "a condition without a type" } else { self.kind };
        if self.reason.is_empty() {
            format!("{kind} is {value}")
        } else {
            format!("{kind} is {value}: {}", self.reason)
        }
    }
}

/// Reads a list of conditions; whatever is no object is passed over.
pub fn parse(list: &Value) -> Vec<Condition<'_>> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter(|item| item.is_object())
        .map(|item| {
            let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
            Condition {
                kind: text("type"),
                truth: truth(item.get("status")),
                reason: text("reason"),
                message: text("message"),
                severity: text("severity"),
                observed_generation: item.get("observedGeneration").and_then(as_int),
                last_transition: text("lastTransitionTime"),
            }
        })
        .collect()
}

/// The condition of a type, if there is one.
pub fn find<'a, 'c>(conditions: &'c [Condition<'a>], kind: &str) -> Option<&'c Condition<'a>> {
    conditions.iter().find(|condition| condition.kind == kind)
}

fn truth(value: Option<&Value>) -> Truth {
    match value {
        Some(Value::Bool(true)) => Truth::True,
        Some(Value::Bool(false)) => Truth::False,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Truth::True,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Truth::False,
        _ => Truth::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dialects_of_truth_are_read_and_rubbish_is_unknown() {
        let list = json!([
            {"type": "A", "status": "True"}, {"type": "B", "status": false}, {"type": "C", "status": "true"},
            {"type": "D"}, {"type": "E", "status": 7}, "text", null,
        ]);
        let read: Vec<_> = parse(&list).iter().map(|condition| (condition.kind, condition.truth)).collect();
        assert_eq!(
            read,
            [("A", Truth::True), ("B", Truth::False), ("C", Truth::True), ("D", Truth::Unknown), ("E", Truth::Unknown)]
        );
        assert_eq!(parse(&json!({"not": "a list"})), vec![]);
    }

    #[test]
    fn the_explanation_is_the_message_else_the_reason_else_the_value() {
        let list = json!([
            {"type": "Ready", "status": "False", "reason": "Why", "message": " sentence \n"},
            {"type": "Ready", "status": "False", "reason": "Why"},
            {"status": "Unknown"},
        ]);
        let read: Vec<_> = parse(&list).iter().map(Condition::explain).collect();
        assert_eq!(read, ["sentence", "Ready is False: Why", "a condition without a type is Unknown"]);
    }
}
