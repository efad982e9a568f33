//! The policy of the installation: what goes direct whatever any object says, rules in their order, and what becomes of
//! the rest. Pure.

use thiserror::Error;

use crate::api::{EgressDefault, EgressPolicyRule, EgressPolicySpec};

use super::pattern::{HostPattern, PatternError};

/// What an `EgressPolicy` says, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Destinations that go direct before anything else is asked.
    pub direct: Vec<HostPattern>,
    /// Rules; the first that matches wins.
    pub rules: Vec<PolicyRule>,
    /// Whether the API hosts of AWS go direct where no rule and no proxy's list names them.
    pub aws_direct: bool,
    /// What becomes of a destination that nothing is about.
    pub otherwise: Otherwise,
}

impl Default for Policy {
    /// What counts without an `EgressPolicy`: no rule, AWS direct, the rest direct.
    fn default() -> Self {
        Self { direct: Vec::new(), rules: Vec::new(), aws_direct: true, otherwise: Otherwise::Direct }
    }
}

/// What becomes of a destination that nothing is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// It leaves without a proxy.
    #[default]
    Direct,
    /// It does not leave.
    Deny,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Destinations.
    pub hosts: Vec<HostPattern>,
    /// Only these ports; all when empty.
    pub ports: Vec<u16>,
    /// What becomes of them.
    pub action: Action,
}

/// What a rule does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes through the proxy of this name.
    Proxy(String),
    /// It goes without a proxy.
    Direct,
    /// It does not go.
    Deny,
}

impl PolicyRule {
    /// The pattern that covers a destination, when the rule is about it.
    pub(super) fn covering(&self, host: &str, port: u16) -> Option<&HostPattern> {
        if !self.ports.is_empty() && !self.ports.contains(&port) {
            return None;
        }
        self.hosts.iter().find(|pattern| pattern.matches(host, port))
    }
}

/// A policy that can't be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// A text that is no host pattern.
    #[error("spec.{field}: {source}")]
    Pattern {
        /// The field, with its place in lists.
        field: String,
        /// What is wrong.
        source: PatternError,
    },
    /// None or several of the three actions.
    #[error("spec.rules[{index}]: set exactly one of proxyRef, direct and deny")]
    Action {
        /// The rule, from 0.
        index: usize,
    },
    /// A rule without hosts.
    #[error("spec.rules[{index}].hosts: name at least one host; `*` is every host")]
    NoHosts {
        /// The rule, from 0.
        index: usize,
    },
}

impl Policy {
    /// Reads a spec. Says nothing about whether the proxies that rules name exist: that is found when one is needed.
    pub fn read(spec: &EgressPolicySpec) -> Result<Self, PolicyError> {
        let EgressPolicySpec { direct, rules, aws_direct, environment: _, default } = spec;
        Ok(Self {
            direct: patterns("direct", direct)?,
            rules: rules.iter().enumerate().map(|(index, rule)| read_rule(index, rule)).collect::<Result<_, _>>()?,
            aws_direct: aws_direct.unwrap_or(true),
            otherwise: match default.unwrap_or_default() {
                EgressDefault::Direct => Otherwise::Direct,
                EgressDefault::Deny => Otherwise::Deny,
            },
        })
    }
}

fn read_rule(index: usize, rule: &EgressPolicyRule) -> Result<PolicyRule, PolicyError> {
    let EgressPolicyRule { hosts, ports, proxy_ref, direct, deny } = rule;
    let action = match (proxy_ref, direct, deny) {
        (Some(proxy), false, false) => Action::Proxy(proxy.name.clone()),
        (None, true, false) => Action::Direct,
        (None, false, true) => Action::Deny,
        (None, false, false) | (None, true, true) | (Some(_), true, _) | (Some(_), _, true) => {
            return Err(PolicyError::Action { index });
        }
    };
    if hosts.is_empty() {
        return Err(PolicyError::NoHosts { index });
    }
    Ok(PolicyRule { hosts: patterns(&format!("rules[{index}].hosts"), hosts)?, ports: ports.clone(), action })
}

fn patterns(field: &str, texts: &[String]) -> Result<Vec<HostPattern>, PolicyError> {
    let read = |(index, text): (usize, &String)| {
        HostPattern::parse(text).map_err(|source| PolicyError::Pattern { field: format!("{field}[{index}]"), source })
    };
    texts.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::LocalReference;

    fn rule(hosts: &[&str]) -> EgressPolicyRule {
        EgressPolicyRule { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), ..EgressPolicyRule::default() }
    }

    #[test]
    fn a_policy_is_read_with_its_defaults() {
        assert_eq!(Policy::read(&EgressPolicySpec::default()), Ok(Policy::default()));
        let spec = EgressPolicySpec {
            direct: vec!["10.0.0.0/16".to_owned()],
            rules: vec![
                EgressPolicyRule {
                    ports: vec![443],
                    proxy_ref: Some(LocalReference { name: "partner".to_owned() }),
                    ..rule(&["*.partner.test", "x.test"])
                },
                EgressPolicyRule { deny: true, ..rule(&["*"]) },
            ],
            aws_direct: Some(false),
            environment: Some(false),
            default: Some(EgressDefault::Deny),
        };
        let pattern = |text: &str| HostPattern::parse(text).unwrap();
        let expected = Policy {
            direct: vec![pattern("10.0.0.0/16")],
            rules: vec![
                PolicyRule {
                    hosts: vec![pattern("*.partner.test"), pattern("x.test")],
                    ports: vec![443],
                    action: Action::Proxy("partner".to_owned()),
                },
                PolicyRule { hosts: vec![pattern("*")], ports: Vec::new(), action: Action::Deny },
            ],
            aws_direct: false,
            otherwise: Otherwise::Deny,
        };
        assert_eq!(Policy::read(&spec), Ok(expected));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let with = |rules: Vec<EgressPolicyRule>| EgressPolicySpec { rules, ..EgressPolicySpec::default() };
        let direct = EgressPolicySpec { direct: vec!["a.test".into(), "a b".into()], ..EgressPolicySpec::default() };
        let good = EgressPolicyRule { direct: true, ..rule(&["x.test"]) };
        let table = [
            (direct, "spec.direct[1]: `a b` is not a host pattern"),
            (
                with(vec![good.clone(), EgressPolicyRule { deny: true, ..rule(&["x..y"]) }]),
                "spec.rules[1].hosts[0]: `x..y` is not a host pattern",
            ),
            (with(vec![rule(&["x.test"])]), "spec.rules[0]: set exactly one of proxyRef, direct and deny"),
            (with(vec![EgressPolicyRule { deny: true, ..good }]), "spec.rules[0]: set exactly one"),
            (with(vec![EgressPolicyRule { deny: true, ..rule(&[]) }]), "spec.rules[0].hosts: name at least one host"),
        ];
        for (spec, expected) in table {
            let error = Policy::read(&spec).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
