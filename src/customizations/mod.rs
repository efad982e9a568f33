//! Fleet-wide settings from the data of one ConfigMap, under the names that Argo CD gives them in `argocd-cm`.
//!
//! Each key stands on its own: one that can't be used is reported and leaves the others in force.

mod overrides;
mod pattern;
mod resources;

use std::collections::BTreeMap;
use std::fmt;

use crate::api::{HealthCheckExpression, IgnoreDifferences};
use overrides::{Override, Overrides};
pub use pattern::KindPattern;
pub use resources::{Patterns, ResourceFilter};

/// Name of the ConfigMap.
pub const CONFIG_MAP: &str = "tidelock-cm";

const MONOLITHIC: &str = "resource.customizations";
const HEALTH: &str = "resource.customizations.health.";
const OPEN_LIBRARIES: &str = "resource.customizations.useOpenLibs.";
const IGNORE_DIFFERENCES: &str = "resource.customizations.ignoreDifferences.";
const EXPRESSION: &str = "resource.health.cel.";
const EXCLUSIONS: &str = "resource.exclusions";
const INCLUSIONS: &str = "resource.inclusions";
/// Keys of Argo CD below `resource.` that concern its user interface or its cache, and mean nothing here.
const WITHOUT_MEANING: [&str; 6] = [
    "resource.customizations.actions.",
    "resource.customizations.knownTypeFields.",
    "resource.customizations.ignoreResourceUpdates.",
    "resource.customLabels",
    "resource.links",
    "resource.ignoreResourceUpdatesEnabled",
];

/// A key that can't be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key of the ConfigMap.
    pub key: String,
    /// What is wrong with its value, and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with a key's value.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ConfigMap {CONFIG_MAP}, {}: {}", self.key, self.message)
    }
}

/// A health script for some kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthScript {
    /// The kinds.
    pub kinds: KindPattern,
    /// The key that it is from.
    pub origin: String,
    /// The script, in Lua.
    pub source: String,
    /// Whether it may use `string` and `math`.
    pub open_libraries: bool,
}

/// A health rule in CEL for one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthExpression {
    /// The key that it is from.
    pub origin: String,
    /// The rule; its `apiVersion` is the group alone.
    pub rule: HealthCheckExpression,
}

/// Everything that the ConfigMap says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customizations {
    /// Health scripts; the first whose kinds match counts. Those for one kind come before those with wildcards.
    pub health_scripts: Vec<HealthScript>,
    /// Health rules in CEL, by kind.
    pub health_expressions: Vec<HealthExpression>,
    /// Differences that count in no Application.
    pub ignore_differences: Vec<IgnoreDifferences>,
    /// Kinds that are left alone.
    pub exclusions: Vec<ResourceFilter>,
    /// When there are any, all other kinds are left alone.
    pub inclusions: Vec<ResourceFilter>,
}

impl Default for Customizations {
    /// What holds without a ConfigMap.
    fn default() -> Self {
        Self {
            health_scripts: Vec::new(),
            health_expressions: Vec::new(),
            ignore_differences: Vec::new(),
            exclusions: resources::default_exclusions(),
            inclusions: Vec::new(),
        }
    }
}

impl Customizations {
    /// Whether objects of a kind are left alone: neither watched nor synced. Events and metrics always are.
    pub fn excludes(&self, group: &str, kind: &str) -> bool {
        let listed = |filters: &[ResourceFilter]| filters.iter().any(|filter| filter.matches(group, kind));
        resources::never_managed(group, kind)
            || (!self.inclusions.is_empty() && !listed(&self.inclusions))
            || listed(&self.exclusions)
    }
}

/// Reads the data of the ConfigMap. The problems are in the order of their keys.
pub fn parse(data: &BTreeMap<String, String>) -> (Customizations, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut found = Customizations::default();
    let mut overrides = Overrides::new();
    if let Some(text) = data.get(MONOLITHIC) {
        overrides::parse_all(MONOLITHIC, text, &mut overrides, &mut problems);
    }
    for (key, value) in data {
        if let Err(message) = take(key, value, &mut found, &mut overrides) {
            problems.push(Problem::new(key, message));
        }
    }
    let (patterns, exact): (Vec<_>, Vec<_>) = overrides
        .into_iter()
        .map(|((group, kind), found)| (KindPattern::new(&group, &kind), found))
        .partition(|(kinds, _)| kinds.has_wildcard());
    for (kinds, found_override) in exact.into_iter().chain(patterns) {
        let Override { health, open_libraries, ignore_differences } = found_override;
        if let Some((origin, source)) = health {
            let open_libraries = open_libraries.unwrap_or_default();
            found.health_scripts.push(HealthScript { kinds: kinds.clone(), origin, source, open_libraries });
        } else if open_libraries.is_some() {
            let key = format!("{OPEN_LIBRARIES}{}", kinds.as_key());
            problems.push(Problem::new(key, "there is no health script for the kind, so this has no effect"));
        }
        found.ignore_differences.extend(ignore_differences);
    }
    problems.sort_by(|left, right| left.key.cmp(&right.key));
    (found, problems)
}

fn take(key: &str, value: &str, found: &mut Customizations, overrides: &mut Overrides) -> Result<(), String> {
    if let Some(kind) = key.strip_prefix(HEALTH) {
        let kinds = KindPattern::of_key(kind)?;
        if !value.trim().is_empty() {
            overrides.entry(kinds.texts()).or_default().health = Some((key.to_owned(), value.to_owned()));
        }
    } else if let Some(kind) = key.strip_prefix(OPEN_LIBRARIES) {
        let kinds = KindPattern::of_key(kind)?;
        let open = overrides::truth(value).ok_or_else(|| format!("`{value}` is neither `true` nor `false`"))?;
        overrides.entry(kinds.texts()).or_default().open_libraries = Some(open);
    } else if let Some(kind) = key.strip_prefix(IGNORE_DIFFERENCES) {
        let kinds = if kind == "all" { KindPattern::all() } else { KindPattern::of_key(kind)? };
        let ignored = overrides::ignore_differences(&kinds, value)?;
        overrides.entry(kinds.texts()).or_default().ignore_differences = Some(ignored);
    } else if let Some(kind) = key.strip_prefix(EXPRESSION) {
        let rule = overrides::health_expression(&KindPattern::of_key(kind)?, value)?;
        found.health_expressions.push(HealthExpression { origin: key.to_owned(), rule });
    } else if key == EXCLUSIONS {
        found.exclusions = resources::filters(value)?;
    } else if key == INCLUSIONS {
        found.inclusions = resources::filters(value)?;
    } else if key != MONOLITHIC
        && key.starts_with("resource.")
        && !WITHOUT_MEANING.iter().any(|known| key.starts_with(known))
    {
        return Err("this key is not known and has no effect".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
