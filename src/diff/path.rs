//! Paths of fields as text: `.spec.template.spec.containers[name="app"].image`.

use std::fmt::Write as _;

use serde_json::Value;

/// A field of an object, with what is above it.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    /// The whole path.
    pub(super) path: String,
    /// The nearest field's name; an item of a list has the list's.
    pub(super) name: &'a str,
    /// The name of the field above.
    pub(super) parent: &'a str,
}

impl<'a> Place<'a> {
    /// The object itself.
    pub(super) const fn root() -> Self {
        Self { path: String::new(), name: "", parent: "" }
    }

    /// A field below.
    pub(super) fn field(&self, name: &'a str) -> Self {
        let path = if is_plain(name) {
            format!("{}.{name}", self.path)
        } else {
            format!("{}[{}]", self.path, Value::from(name))
        };
        Self { path, name, parent: self.name }
    }

    /// The item of a list that has these values.
    pub(super) fn item(&self, keys: &[&str], item: &Value) -> Self {
        let mut path = format!("{}[", self.path);
        for (number, (name, value)) in keys.iter().filter_map(|name| Some((name, item.get(name)?))).enumerate() {
            // Writing to a string never fails.
            let _ = write!(path, "{}{name}={value}", if number == 0 { "" } else { "," });
        }
        path.push(']');
        Self { path, ..*self }
    }

    /// The item of a set.
    pub(super) fn member(&self, member: &Value) -> Self {
        Self { path: format!("{}[={member}]", self.path), ..*self }
    }

    /// The item at an index, counted from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), ..*self }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte == b'$')
}
