//! Texts that are plain JSON, which most custom tools emit: faster, and exact where YAML's grammar is narrower (surrogate
//! pairs, keys of any length).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::text::saturate;
use super::{Document, YamlLimits, scalar};

/// The documents of a text of concatenated JSON objects, or `None` when it is not that, or when anything about it is
/// wrong: the YAML reader then finds the error and its place.
pub(super) fn decode(text: &str, limits: &YamlLimits) -> Option<Vec<Document>> {
    let budget = Cell::new(limits.nodes);
    let mut documents = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if !rest.starts_with('{') || documents.len() >= limits.documents {
            return None;
        }
        let line = text.get(..text.len() - rest.len())?.matches('\n').count() + 1;
        let mut stream = serde_json::Deserializer::from_str(rest);
        let value = Node { budget: &budget, depth: limits.depth }.deserialize(&mut stream).ok()?;
        let read = stream.into_iter::<serde::de::IgnoredAny>().byte_offset();
        rest = rest.get(read..)?.trim_start();
        documents.push(Document { value, line: saturate(line) });
    }
    (!documents.is_empty()).then_some(documents)
}

#[derive(Clone, Copy)]
struct Node<'a> {
    budget: &'a Cell<usize>,
    depth: usize,
}

impl Node<'_> {
    fn below<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.budget.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.budget.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        scalar::unsigned(value).ok_or_else(|| E::custom("no JSON number"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        scalar::float(value).ok_or_else(|| E::custom("no JSON number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(below)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(map))
    }
}
