//! A borrowed view of a live object, in the words that the rules use.

use serde_json::Value;

use super::conditions::{self, Condition};

/// A live object. Every accessor is total: a field of the wrong type reads as absent.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    value: &'a Value,
}

impl<'a> Object<'a> {
    /// Wraps a JSON object as the API server returns it.
    pub const fn new(value: &'a Value) -> Self {
        Self { value }
    }

    /// API group; empty for core.
    pub fn group(self) -> &'a str {
        self.text("/apiVersion").rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// API version without its group.
    pub fn version(self) -> &'a str {
        let api_version = self.text("/apiVersion");
        api_version.rsplit_once('/').map_or(api_version, |(_, version)| version)
    }

    /// Kind in CamelCase.
    pub fn kind(self) -> &'a str {
        self.text("/kind")
    }

    /// The value at a JSON pointer; `null` reads as absent.
    pub fn at(self, pointer: &str) -> Option<&'a Value> {
        self.value.pointer(pointer).filter(|value| !value.is_null())
    }

    /// The text at a JSON pointer, or empty.
    pub fn text(self, pointer: &str) -> &'a str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The whole number at a JSON pointer.
    pub fn int(self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(as_int)
    }

    /// The count at a JSON pointer: API servers omit a count of zero.
    pub fn count(self, pointer: &str) -> i64 {
        self.int(pointer).unwrap_or(0)
    }

    /// Whether the value at a JSON pointer is `true`.
    pub fn is_true(self, pointer: &str) -> bool {
        self.at(pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The items of the list at a JSON pointer.
    pub fn list(self, pointer: &str) -> &'a [Value] {
        self.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// An annotation's value.
    pub fn annotation(self, name: &str) -> Option<&'a str> {
        self.at("/metadata/annotations")?.get(name)?.as_str()
    }

    /// `metadata.generation`, or 0 where the API server keeps none.
    pub fn generation(self) -> i64 {
        self.count("/metadata/generation")
    }

    /// `status.conditions`.
    pub fn conditions(self) -> Vec<Condition<'a>> {
        self.at("/status/conditions").map(conditions::parse).unwrap_or_default()
    }
}

/// A whole number, also when it is written as text.
pub fn as_int(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}
