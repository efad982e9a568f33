//! Rules for all Applications, from a ConfigMap with Argo CD's keys.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::IgnoreDifferences;
use crate::desired::Problem;
use crate::model::Reason;

/// Beginning of the keys: `resource.customizations.ignoreDifferences.<group>_<kind>`, or `.all`.
const KEY: &str = "resource.customizations.ignoreDifferences.";
/// What stands for every kind.
const ALL: &str = "all";

/// What stands under a key.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Fields {
    json_pointers: Vec<String>,
    jq_path_expressions: Vec<String>,
    managed_fields_managers: Vec<String>,
}

/// Reads the rules of a ConfigMap's `data`, in the order of its keys. A key whose value can't be read is told and left
/// out. Kinds of the core group are written without a group (`Service`); `*` stands for any text.
pub fn system_rules(data: &BTreeMap<String, String>) -> (Vec<IgnoreDifferences>, Vec<Problem>) {
    let mut rules = Vec::new();
    let mut problems = Vec::new();
    for (key, text) in data {
        let Some(kinds) = key.strip_prefix(KEY) else { continue };
        let (group, kind) = match kinds.split_once('_') {
            _ if kinds == ALL => ("*", "*"),
            Some((group, kind)) => (group, kind),
            None => ("", kinds),
        };
        match serde_yaml::from_str::<Option<Fields>>(text) {
            Ok(fields) => {
                let Fields { json_pointers, jq_path_expressions, managed_fields_managers } = fields.unwrap_or_default();
                rules.push(IgnoreDifferences {
                    group: group.to_owned(),
                    kind: kind.to_owned(),
                    json_pointers,
                    jq_path_expressions,
                    managed_fields_managers,
                    ..IgnoreDifferences::default()
                });
            }
            Err(error) => problems.push(Problem {
                reason: Reason::InvalidRule,
                message: format!(
                    "{key}: {error}; write lists of jsonPointers, jqPathExpressions or managedFieldsManagers in YAML"
                ),
            }),
        }
    }
    (rules, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_kinds_and_values_fields() {
        let data = [
            ("resource.customizations.ignoreDifferences.all", "managedFieldsManagers: [hpa]"),
            ("resource.customizations.ignoreDifferences.apps_Deployment", "jsonPointers:\n- /spec/replicas\n"),
            ("resource.customizations.ignoreDifferences.Service", "jqPathExpressions: ['.spec.clusterIP']"),
            ("resource.customizations.ignoreDifferences.x_Y", "jsonPointers: 5"),
            ("resource.customizations.health.x_Y", "return {}"),
        ];
        let data = data.map(|(key, text)| (key.to_owned(), text.to_owned())).into_iter().collect();
        let (rules, problems) = system_rules(&data);
        let rule = |group: &str, kind: &str| IgnoreDifferences {
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..IgnoreDifferences::default()
        };
        assert_eq!(
            rules,
            [
                IgnoreDifferences { jq_path_expressions: vec![".spec.clusterIP".to_owned()], ..rule("", "Service") },
                IgnoreDifferences { managed_fields_managers: vec!["hpa".to_owned()], ..rule("*", "*") },
                IgnoreDifferences { json_pointers: vec!["/spec/replicas".to_owned()], ..rule("apps", "Deployment") },
            ]
        );
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.starts_with("resource.customizations.ignoreDifferences.x_Y: "), "{problems:?}");
        assert_eq!(problems[0].reason, Reason::InvalidRule);
    }
}
