//! JSON pointers (RFC 6901) of fields whose differences do not count.

use serde_json::Value;

use super::Way;
use crate::model::Location;

/// A JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads a pointer. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a JSON pointer begins with `/`, as in /spec/replicas".to_owned());
        };
        let token = |token: &str| {
            let mut read = String::with_capacity(token.len());
            let mut letters = token.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    '~' => match letters.next() {
                        Some('0') => read.push('~'),
                        Some('1') => read.push('/'),
                        Some(_) | None => {
                            return Err(format!("`~` in `{token}` must be followed by 0 (for ~) or 1 (for /)"));
                        }
                    },
                    other => read.push(other),
                }
            }
            Ok(read)
        };
        Ok(Self { tokens: rest.split('/').map(token).collect::<Result<_, _>>()? })
    }

    /// The way to the field in an object, when it is there.
    pub(super) fn locate(&self, object: &Value) -> Option<Way> {
        let mut value = object;
        let mut way = Way::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let (location, next) = match value {
                Value::Object(map) => (Location::Key(token.clone()), map.get(token)?),
                Value::Array(list) => {
                    let index: usize = token.parse().ok()?;
                    (Location::Index(index), list.get(index)?)
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
            };
            way.push(location);
            value = next;
        }
        Some(way)
    }
}
