//! JSON values as CEL values.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value as CelValue;
use cel::objects::{Key, Map};
use serde_json::Value;

/// How large a value is; what the cost of an expression is reckoned from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Extent {
    /// The most elements that a list or map in it has.
    pub longest: f64,
    /// Bytes of all that is in it.
    pub bytes: f64,
}

impl Extent {
    /// Measures a value.
    pub fn of(value: &Value) -> Self {
        let mut extent = Self::default();
        extent.measure(value);
        extent
    }

    #[expect(clippy::cast_precision_loss, reason = "the extent is an estimate")]
    fn measure(&mut self, value: &Value) {
        // What a value takes besides its text.
        self.bytes += 16.0;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => self.bytes += text.len() as f64,
            Value::Array(items) => {
                self.longest = self.longest.max(items.len() as f64);
                for item in items {
                    self.measure(item);
                }
            }
            Value::Object(fields) => {
                self.longest = self.longest.max(fields.len() as f64);
                for (name, field) in fields {
                    self.bytes += name.len() as f64;
                    self.measure(field);
                }
            }
        }
    }
}

/// Copies a value. Whole numbers become `int`, whatever their sign, so that they compare with the numbers of an
/// expression.
pub fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                CelValue::Int(number)
            } else if let Some(number) = number.as_u64() {
                CelValue::UInt(number)
            } else {
                CelValue::Float(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let map: HashMap<Key, CelValue> =
                fields.iter().map(|(name, field)| (Key::String(Arc::new(name.clone())), to_cel(field))).collect();
            CelValue::Map(Map { map: Arc::new(map) })
        }
    }
}
