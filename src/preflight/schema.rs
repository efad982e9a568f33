//! Checking a custom resource against the structural schema of its definition, as the API server will.
//!
//! Not checked: rules in CEL (`x-kubernetes-validations`), formats other than those of numbers, and patterns that this
//! program's regular expressions can't read. An object that fits is therefore still "not verified by admission".

mod scalars;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::model::json_type;

/// The deepest object that is looked into. The API server refuses deeper ones.
const MAX_DEPTH: usize = 128;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where, from the root: `.spec.items[2].name`; empty for the object itself.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the object" } else { &self.path };
        write!(formatter, "{path}: {}", self.message)
    }
}

/// What is wrong with an object of a custom resource by the `openAPIV3Schema` of its definition, in the order of the
/// fields. With `strict`, fields that the schema does not declare are wrong too; otherwise the server drops them.
pub fn violations(schema: &Value, object: &Value, strict: bool) -> Vec<Violation> {
    let mut check = Check { strict, found: Vec::new() };
    check.resource(schema, object, "", MAX_DEPTH);
    check.found
}

struct Check {
    strict: bool,
    found: Vec<Violation>,
}

/// A keyword that is set to true.
fn is_set(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).and_then(Value::as_bool).unwrap_or_default()
}

impl Check {
    fn complain(&mut self, path: &str, message: impl Into<String>) {
        self.found.push(Violation { path: path.to_owned(), message: message.into() });
    }

    /// A whole object with `apiVersion`, `kind` and `metadata`, which a schema need not declare.
    fn resource(&mut self, schema: &Value, object: &Value, path: &str, depth: usize) {
        let Value::Object(fields) = object else {
            self.complain(path, format!("must be an object, is {}", json_type(object)));
            return;
        };
        for field in ["apiVersion", "kind"] {
            if fields.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                self.complain(&join(path, field), "is required");
            }
        }
        let own = |name: &str| !matches!(name, "apiVersion" | "kind" | "metadata");
        let rest: Map<String, Value> =
            fields.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut schema = schema.clone();
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name.as_str().is_some_and(own));
        }
        self.value(&schema, &Value::Object(rest), path, depth);
    }

    fn value(&mut self, schema: &Value, value: &Value, path: &str, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            self.complain(path, format!("is more than {MAX_DEPTH} levels deep"));
            return;
        };
        if value.is_null() {
            // A null where a default exists asks for the default.
            if !is_set(schema, "nullable") && schema.get("default").is_none() && schema.get("type").is_some() {
                self.complain(path, format!("must be {}, is null", wanted_type(schema)));
            }
            return;
        }
        if !fits_type(schema, value) {
            self.complain(path, format!("must be {}, is {}", wanted_type(schema), json_type(value)));
            return;
        }
        if let Some(message) = scalars::complaint(schema, value) {
            self.complain(path, message);
        }
        match value {
            Value::Object(fields) => self.fields(schema, fields, path, depth),
            Value::Array(items) => self.items(schema, items, path, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        self.junctors(schema, value, path, depth);
    }

    fn fields(&mut self, schema: &Value, fields: &Map<String, Value>, path: &str, depth: usize) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| !fields.contains_key(*name)) {
            let has_default = properties.and_then(|properties| properties.get(name)?.get("default")).is_some();
            if !has_default {
                self.complain(&join(path, name), "is required");
            }
        }
        let size = fields.len() as u64;
        if let Some(message) = scalars::count(schema, "Properties", size, "fields") {
            self.complain(path, message);
        }
        let embedded = is_set(schema, "x-kubernetes-embedded-resource");
        if embedded {
            for name in ["apiVersion", "kind"] {
                if fields.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                    self.complain(&join(path, name), "is required");
                }
            }
        }
        let keeps_unknown = is_set(schema, "x-kubernetes-preserve-unknown-fields");
        let additional = schema.get("additionalProperties").filter(|additional| **additional != Value::Bool(false));
        for (name, below) in fields {
            let at = join(path, name);
            if let Some(property) = properties.and_then(|properties| properties.get(name)) {
                self.value(property, below, &at, depth);
            } else if embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                // Declared by being embedded.
            } else if let Some(additional) = additional {
                if additional.is_object() {
                    self.value(additional, below, &at, depth);
                }
            } else if self.strict && !keeps_unknown {
                self.complain(&at, "is not declared in the schema");
            }
        }
    }

    fn items(&mut self, schema: &Value, items: &[Value], path: &str, depth: usize) {
        if let Some(message) = scalars::count(schema, "Items", items.len() as u64, "items") {
            self.complain(path, message);
        }
        if let Some(item) = schema.get("items") {
            for (index, value) in items.iter().enumerate() {
                self.value(item, value, &format!("{path}[{index}]"), depth);
            }
        }
        let identity = |item: &Value| match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => Some(item.to_string()),
            Some("map") => Some(keys_of(schema, item)),
            Some(_) | None => None,
        };
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(identity) = identity(item)
                && !seen.insert(identity.clone())
            {
                self.complain(&format!("{path}[{index}]"), format!("is there twice: {identity}"));
            }
        }
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`. In a structural schema they constrain values and declare no fields.
    fn junctors(&mut self, schema: &Value, value: &Value, path: &str, depth: usize) {
        let parts =
            |keyword: &str| schema.get(keyword).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for part in parts("allOf") {
            let mut below = Self { strict: false, found: Vec::new() };
            below.value(part, value, path, depth);
            self.found.append(&mut below.found);
        }
        let fits = |part: &Value| {
            let mut below = Self { strict: false, found: Vec::new() };
            below.value(part, value, path, depth);
            below.found.is_empty()
        };
        let any = parts("anyOf");
        if !any.is_empty() && !any.iter().any(fits) {
            self.complain(path, "fits none of the alternatives (`anyOf`)");
        }
        let one = parts("oneOf");
        let fitting = one.iter().filter(|part| fits(part)).count();
        if !one.is_empty() && fitting != 1 {
            self.complain(path, format!("must fit exactly one alternative (`oneOf`), fits {fitting}"));
        }
        if schema.get("not").is_some_and(fits) {
            self.complain(path, "is what the schema rules out (`not`)");
        }
    }
}

fn join(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

/// The key fields of an item of a list that is a map; a key that is left out has its default.
fn keys_of(schema: &Value, item: &Value) -> String {
    let names = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
    let default = |name: &str| schema.pointer("/items/properties").and_then(|all| all.get(name)?.get("default"));
    let keys = names.filter_map(Value::as_str).map(|name| {
        let value = item.get(name).or_else(|| default(name)).unwrap_or(&Value::Null);
        format!("{name}={value}")
    });
    keys.collect::<Vec<_>>().join(",")
}

fn fits_type(schema: &Value, value: &Value) -> bool {
    if is_set(schema, "x-kubernetes-int-or-string") {
        return value.is_string() || is_integer(value);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => is_integer(value),
        Some("number") => value.is_number(),
        // No type, or one that the server refuses with the definition itself.
        Some(_) | None => true,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn wanted_type(schema: &Value) -> &str {
    if is_set(schema, "x-kubernetes-int-or-string") {
        return "an integer or a string";
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => "an object",
        Some("array") => "a list",
        Some("string") => "a string",
        Some("boolean") => "a boolean",
        Some("integer") => "an integer",
        Some("number") => "a number",
        Some(other) => other,
        None => "a value",
    }
}

#[cfg(test)]
mod tests;
