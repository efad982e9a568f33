//! What the trial of one object means.

use serde_json::Value;

use super::{Change, Definition, violations};
use crate::desired::DesiredObject;
use crate::model::Reason;

/// How many violations of a schema a message names.
const SHOWN: usize = 5;

/// How the server refused a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as conditions carry it.
    pub reason: Reason,
    /// The server's words.
    pub message: String,
}

/// What the trial of one object means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server would take it.
    Verified,
    /// The server can't judge it yet. The text says why, and what was checked instead.
    Unverified(String),
    /// It would be refused.
    Refused(Refusal),
}

/// What the trial of an object means. `strict` is whether undeclared fields are refused; `skips_missing` is the sync option
/// `SkipDryRunOnMissingResource`.
pub fn verdict(
    object: &DesiredObject,
    tried: Result<(), Refusal>,
    change: &Change,
    strict: bool,
    skips_missing: bool,
) -> Verdict {
    let definition = change.definitions.get(&object.gvk);
    let Err(refusal) = tried else { return taken(object, definition, strict) };
    if refusal.message.contains("does not support dry run") {
        return Verdict::Unverified(format!("an admission webhook knows no trial: {}", refusal.message));
    }
    match refusal.reason {
        Reason::KindNotFound if let Some(definition) = definition => by_schema(object, definition, strict),
        Reason::InvalidObject if let Some(definition) = definition.filter(|definition| definition.is_written) => {
            by_schema(object, definition, strict)
        }
        Reason::KindNotFound if skips_missing => {
            Verdict::Unverified("nobody serves its kind yet, and SkipDryRunOnMissingResource is set".to_owned())
        }
        Reason::NamespaceNotFound if change.namespaces.contains(&object.key.namespace) => Verdict::Unverified(format!(
            "its namespace {} comes with the same change; the server read its fields, and validation and admission are \
                 still to come",
            object.key.namespace
        )),
        _ => match needed_object(object, &refusal, change) {
            Some(needed) => {
                Verdict::Unverified(format!("it needs {needed}, which comes with the same change: {}", refusal.message))
            }
            None => Verdict::Refused(refusal),
        },
    }
}

/// What it means that the server takes an object as things stand. It was asked by the definition that is there; an object may
/// leave out what the new one requires when others set it, so that doubt is no refusal.
fn taken(object: &DesiredObject, definition: Option<&Definition>, strict: bool) -> Verdict {
    let written = definition.filter(|definition| definition.is_written);
    match written.map(|definition| complaint(object, definition, strict)) {
        None | Some(Ok(None)) => Verdict::Verified,
        Some(Err(why)) => Verdict::Unverified(why),
        Some(Ok(Some(complaint))) => {
            Verdict::Unverified(format!("the server takes it as things stand, but {complaint}"))
        }
    }
}

/// Checks an object against a definition of the Application, since the server can't.
fn by_schema(object: &DesiredObject, definition: &Definition, strict: bool) -> Verdict {
    match complaint(object, definition, strict) {
        Err(why) => Verdict::Unverified(why),
        Ok(None) => Verdict::Unverified(
            "the definition of its kind comes with the same change; it fits the schema there, and admission is still to come"
                .to_owned(),
        ),
        Ok(Some(message)) => Verdict::Refused(Refusal { reason: Reason::InvalidObject, message }),
    }
}

/// Why an object does not fit the schema of a definition; an error says why that can't be told.
fn complaint(object: &DesiredObject, definition: &Definition, strict: bool) -> Result<Option<String>, String> {
    let schema = definition.schema.as_ref().ok_or_else(|| {
        "the definition of its kind comes with the same change and has no schema to check by".to_owned()
    })?;
    let value = serde_json::from_slice::<Value>(&object.body).map_err(|_| "it is not valid JSON".to_owned())?;
    let found = violations(schema, &value, strict);
    if found.is_empty() {
        return Ok(None);
    }
    let shown: Vec<String> = found.iter().take(SHOWN).map(ToString::to_string).collect();
    let mut message = format!("it does not fit the schema that comes with the same change: {}", shown.join("; "));
    if found.len() > SHOWN {
        message.push_str(&format!("; and {} more", found.len() - SHOWN));
    }
    Ok(Some(message))
}

/// The object of the same change that a refusal misses: a ServiceAccount that a Pod names, a Role that a binding grants.
fn needed_object(object: &DesiredObject, refusal: &Refusal, change: &Change) -> Option<String> {
    if !refusal.message.contains("not found") {
        return None;
    }
    let quoted = |name: &str| refusal.message.contains(&format!("\"{name}\" not found"));
    let missed = change.objects.iter().find(|key| {
        **key != object.key
            && quoted(&key.name)
            && refusal.message.to_lowercase().contains(&key.kind.to_lowercase())
            && (key.namespace.is_empty() || key.namespace == object.key.namespace)
    });
    missed.map(|key| format!("{} {}", key.kind, key.name))
}

#[cfg(test)]
mod tests;
