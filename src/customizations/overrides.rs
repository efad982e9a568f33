//! Settings of single kinds: from keys of their own, or all in one YAML document.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Value;

use super::{KindPattern, Problem};
use crate::api::{HealthCheckExpression, IgnoreDifferences};

/// What is said about some kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Override {
    /// Where the health script is from, and the script.
    pub(super) health: Option<(String, String)>,
    /// Whether the script may use more of the library.
    pub(super) open_libraries: Option<bool>,
    /// Differences that don't count.
    pub(super) ignore_differences: Option<IgnoreDifferences>,
}

/// Overrides by group and kind, which may be globs.
pub(super) type Overrides = BTreeMap<(String, String), Override>;

/// Fields of a kind that have no meaning here.
const WITHOUT_MEANING: [&str; 3] = ["actions", "knownTypeFields", "ignoreResourceUpdates"];

/// Reads `group/Kind: {health.lua: …}` for all kinds.
pub(super) fn parse_all(key: &str, text: &str, overrides: &mut Overrides, problems: &mut Vec<Problem>) {
    let kinds: BTreeMap<String, Value> = match serde_yaml::from_str::<Option<BTreeMap<String, Value>>>(text) {
        Ok(kinds) => kinds.unwrap_or_default(),
        Err(error) => {
            problems.push(Problem::new(key, format!("is no YAML mapping of kinds: {error}")));
            return;
        }
    };
    for (name, value) in kinds {
        let place = format!("{key}, `{name}`");
        match KindPattern::of_path(&name).and_then(|kinds| Ok((read(&place, &kinds, &value, problems)?, kinds))) {
            Ok((found, kinds)) => {
                overrides.insert(kinds.texts(), found);
            }
            Err(message) => problems.push(Problem::new(place, message)),
        }
    }
}

fn read(place: &str, kinds: &KindPattern, value: &Value, problems: &mut Vec<Problem>) -> Result<Override, String> {
    let fields = value.as_mapping().ok_or("must be a mapping, as in `health.lua: |`")?;
    let mut found = Override::default();
    for (name, value) in fields {
        let name = name.as_str().unwrap_or_default();
        let result = match name {
            "health.lua" => value.as_str().ok_or_else(|| "must be text".to_owned()).map(|source| {
                found.health = (!source.trim().is_empty()).then(|| (format!("{place}, health.lua"), source.to_owned()));
            }),
            "health.lua.useOpenLibs" => {
                let open = value.as_bool().or_else(|| value.as_str().and_then(truth));
                found.open_libraries = open;
                open.map(drop).ok_or_else(|| "is neither `true` nor `false`".to_owned())
            }
            "ignoreDifferences" => {
                let ignored = match value.as_str() {
                    Some(text) => ignore_differences(kinds, text),
                    None => serde_yaml::to_string(value)
                        .map_err(|error| error.to_string())
                        .and_then(|text| ignore_differences(kinds, &text)),
                };
                ignored.map(|ignored| found.ignore_differences = Some(ignored))
            }
            _ if WITHOUT_MEANING.contains(&name) => Ok(()),
            _ => Err("is not known and has no effect".to_owned()),
        };
        if let Err(message) = result {
            problems.push(Problem::new(format!("{place}, {name}"), message));
        }
    }
    Ok(found)
}

/// Reads `jsonPointers`, `jqPathExpressions` and `managedFieldsManagers` for some kinds.
pub(super) fn ignore_differences(kinds: &KindPattern, text: &str) -> Result<IgnoreDifferences, String> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Fields {
        json_pointers: Vec<String>,
        jq_path_expressions: Vec<String>,
        managed_fields_managers: Vec<String>,
    }
    let fields: Option<Fields> = serde_yaml::from_str(text)
        .map_err(|error| format!("{error}; write lists of jsonPointers, jqPathExpressions or managedFieldsManagers"))?;
    let Fields { json_pointers, jq_path_expressions, managed_fields_managers } = fields.unwrap_or_default();
    if json_pointers.is_empty() && jq_path_expressions.is_empty() && managed_fields_managers.is_empty() {
        return Err("names nothing to ignore: give jsonPointers, jqPathExpressions or managedFieldsManagers".to_owned());
    }
    Ok(IgnoreDifferences {
        group: kinds.group.clone(),
        kind: kinds.kind.clone(),
        name: String::new(),
        namespace: String::new(),
        json_pointers,
        jq_path_expressions,
        managed_fields_managers,
    })
}

/// Reads a health rule in CEL.
pub(super) fn health_expression(kinds: &KindPattern, text: &str) -> Result<HealthCheckExpression, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Fields {
        #[serde(default)]
        in_progress: String,
        #[serde(default)]
        failed: String,
        #[serde(default)]
        suspended: String,
        current: String,
    }
    let Fields { in_progress, failed, suspended, current } =
        serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    Ok(HealthCheckExpression {
        api_version: kinds.group.clone(),
        kind: kinds.kind.clone(),
        in_progress,
        failed,
        suspended,
        current,
    })
}

/// `true` or `false`, as people write them in a ConfigMap.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}
