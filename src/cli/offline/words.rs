//! What reports share: names, columns, sections.

use std::fmt;

use serde::Serialize;

use super::OfflineError;
use crate::model::{ObjectKey, Owner};

/// The name of an Application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplicationName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ApplicationName {
    /// The name of an owner.
    pub fn of(owner: &Owner) -> Self {
        Self { namespace: owner.namespace.clone(), name: owner.name.clone() }
    }
}

impl fmt::Display for ApplicationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectName {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// The name that a key states.
    pub fn of(key: &ObjectKey) -> Self {
        let ObjectKey { group, kind, namespace, name } = key.clone();
        Self { group, kind, namespace, name }
    }
}

impl fmt::Display for ObjectName {
    /// `apps/Deployment shop/cart`, `Namespace shop`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.group.is_empty() {
            write!(formatter, "{}/", self.group)?;
        }
        write!(formatter, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(formatter, "{}/", self.namespace)?;
        }
        formatter.write_str(&self.name)
    }
}

/// Rows with every column but the last as wide as its widest cell.
pub(in crate::cli) fn columns<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A heading with indented lines; nothing when there are none.
pub(in crate::cli) fn section(text: &mut String, heading: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    text.extend(["\n", heading, ":\n"]);
    for line in lines {
        text.extend(["  ", &line, "\n"]);
    }
}

/// One JSON object with a line break at its end.
pub(in crate::cli) fn json(report: &impl Serialize) -> Result<String, OfflineError> {
    let mut text = serde_json::to_string_pretty(report).map_err(|error| OfflineError::Print(error.into()))?;
    text.push('\n');
    Ok(text)
}
