//! YAML and JSON text → `serde_json::Value`, read as kubectl and Argo CD read it.
//!
//! The grammar is libyaml's (`libyaml-safer` is a port of the ancestor of the Go parser that the Kubernetes tools use),
//! the meaning of scalars is that of `sigs.k8s.io/yaml`: YAML 1.1 booleans and octal numbers, merge keys, `!!binary`.
//! Two things are stricter on purpose: a key that appears twice is an error (or a warning by option), and everything is
//! bounded. Errors hold keys and positions, never values: the text may be a Secret.

mod compose;
mod json;
mod scalar;
mod tags;
mod text;

#[cfg(test)]
mod tests;

use serde_json::Value;
use thiserror::Error;

use crate::model::Reason;

/// Bounds on one text. A breach is a typed error, never exhausted memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YamlLimits {
    /// Size of the text in bytes.
    pub bytes: usize,
    /// Documents in the text.
    pub documents: usize,
    /// Nesting of mappings and sequences. The deepest custom resource definitions in use reach about half of the
    /// default; an API server's JSON decoder, `serde_json` and most clients give up at 128 or later.
    pub depth: usize,
    /// Values in the text, those that aliases repeat counted each time.
    pub nodes: usize,
    /// Bytes of strings that anchors and aliases copy.
    pub copied_bytes: usize,
}

impl Default for YamlLimits {
    fn default() -> Self {
        Self {
            bytes: 10 * 1024 * 1024,
            documents: 100_000,
            depth: 100,
            nodes: 1_000_000,
            copied_bytes: 10 * 1024 * 1024,
        }
    }
}

/// What to do about a key that appears twice in one mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DuplicateKeys {
    /// Refuse the text with [`Reason::DuplicateKey`].
    #[default]
    Refuse,
    /// Keep the last value, as the Go tools do silently, and warn.
    Warn,
}

/// One document of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its content; never null, for empty documents are left out.
    pub value: Value,
    /// Line of its first content, counted from 1.
    pub line: u32,
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The documents that are not empty, in order.
    pub documents: Vec<Document>,
    /// Duplicate keys with their lines, when they are not errors.
    pub warnings: Vec<String>,
}

/// A text can't be decoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", self.sentence())]
pub struct YamlError {
    /// [`Reason::InvalidYaml`], [`Reason::DuplicateKey`], [`Reason::YamlBudget`] or [`Reason::InputTooLarge`].
    pub reason: Reason,
    /// Line, counted from 1; 0 when the text as a whole is refused.
    pub line: u32,
    /// Column in characters, counted from 1; 0 when unknown.
    pub column: u32,
    /// What is wrong, without any value of the text.
    pub message: String,
}

impl YamlError {
    fn new(reason: Reason, line: u32, column: u32, message: impl Into<String>) -> Self {
        Self { reason, line, column, message: message.into() }
    }

    fn sentence(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.message.clone(),
            (line, 0) => format!("line {line}: {}", self.message),
            (line, column) => format!("line {line}, column {column}: {}", self.message),
        }
    }
}

/// Decodes every document of a YAML or JSON text.
pub fn decode(text: &[u8], limits: &YamlLimits, duplicates: DuplicateKeys) -> Result<Decoded, YamlError> {
    if text.len() > limits.bytes {
        let (size, limit) = (text.len(), limits.bytes);
        let message = format!("the text has {size} bytes, more than the limit of {limit}");
        return Err(YamlError::new(Reason::InputTooLarge, 0, 0, message));
    }
    let text = text::to_utf8(text)?;
    if let Some(documents) = json::decode(&text, limits) {
        return Ok(Decoded { documents, warnings: Vec::new() });
    }
    text::refuse_control_characters(&text)?;
    tags::refuse_before_commas(&text)?;
    compose::decode(&text, limits, duplicates)
}
