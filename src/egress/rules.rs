//! Which way a connection leaves. Pure: the decision depends on the destination and the rules alone, never on DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use thiserror::Error;
use url::Url;

use super::aws;
use super::destination::{Destination, Protocol};
use super::environment::{EnvironmentProxies, Verdict};
use super::pattern::{HostPattern, below, normal_name};
use super::policy::{Action, Otherwise, Policy, PolicyRule};
use super::proxy_url::{OF_ENVIRONMENT, ProxyScheme, ProxyUrl};
use super::route::Route;

/// A proxy and what it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRule {
    /// Name of the `EgressProxy`.
    pub name: String,
    /// Where it listens.
    pub url: ProxyUrl,
    /// Destinations that go through it.
    pub hosts: Vec<HostPattern>,
    /// Destinations that go direct although a proxy would serve them.
    pub direct: Vec<HostPattern>,
    /// Whether it serves what no pattern names.
    pub default: bool,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressRules {
    /// The proxies, in any order: order has no meaning.
    pub proxies: Vec<ProxyRule>,
    /// Hosts of the cluster's own API server, as names or addresses without port: always direct.
    pub cluster_api_hosts: Vec<String>,
    /// What the installation's `EgressPolicy` says.
    pub policy: Policy,
    /// What the `*_PROXY` variables say; `None` when they are not to be heeded.
    pub environment: Option<EnvironmentProxies>,
}

/// What the object that connects says about its route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Override {
    /// Nothing: the rules decide.
    #[default]
    None,
    /// No proxy.
    Direct,
    /// This proxy.
    Proxy(String),
}

/// A route and the rule that chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The way out.
    pub route: Route,
    /// The rule, in words.
    pub rule: String,
}

/// The rules give no route.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RuleError {
    /// The override names a proxy that is not among the rules.
    #[error("the EgressProxy `{0}` does not exist; create it or change egress.proxyRef")]
    UnknownProxy(String),
    /// A rule of the policy names a proxy that is not among the rules.
    #[error(
        "the EgressProxy `{proxy}` does not exist; create it or change rules[{index}].proxyRef of the EgressPolicy"
    )]
    UnknownPolicyProxy {
        /// The proxy.
        proxy: String,
        /// The rule, from 0.
        index: usize,
    },
    /// The URL has no host, or a scheme other than http and https.
    #[error("`{0}` is not an http or https URL with a host")]
    NotHttp(String),
    /// A rule, or the default, says so.
    #[error("{rule}: connections to {host} are not allowed")]
    Denied {
        /// The destination.
        host: String,
        /// The rule, in words.
        rule: String,
    },
    /// The connection is one for a proxy variable that can't be read. The value is not repeated.
    #[error(
        "the variable {variable}, which says by which proxy {host} is reached, can't be used: {problem}; correct or unset it \
         in the operator's environment"
    )]
    MalformedVariable {
        /// The variable.
        variable: String,
        /// The destination.
        host: String,
        /// What is wrong with its value.
        problem: &'static str,
    },
}

impl RuleError {
    /// The rule that gave no route, in words.
    pub fn rule(&self) -> String {
        match self {
            Self::UnknownProxy(name) => format!("the object names proxy {name}"),
            Self::UnknownPolicyProxy { index, .. } => format!("rules[{index}] of the EgressPolicy"),
            Self::NotHttp(_) => "none".to_owned(),
            Self::Denied { rule, .. } => rule.clone(),
            Self::MalformedVariable { variable, .. } => format!("the variable {variable}"),
        }
    }
}

impl EgressRules {
    /// The way to a URL; see [`Self::decide_destination`].
    pub fn decide(&self, target: &Url, chosen: &Override) -> Result<Decision, RuleError> {
        self.decide_destination(&Destination::of_url(target)?, chosen)
    }

    /// The way to a destination. First match wins:
    ///
    /// 1. built-in direct: loopback, link-local, the cluster's own API, `.svc`, `.cluster.local`, the policy's `direct`;
    /// 2. the override;
    /// 3. the policy's rules in their order;
    /// 4. the proxies' lists: any proxy's `direct`, then the narrowest `hosts` pattern (equal ones: first proxy by name);
    /// 5. API hosts of AWS, direct;
    /// 6. the proxy variables;
    /// 7. the default proxy (first by name);
    /// 8. the policy's default.
    pub fn decide_destination(&self, target: &Destination, chosen: &Override) -> Result<Decision, RuleError> {
        let Destination { protocol, host, port } = target;
        let (protocol, port) = (*protocol, *port);
        let by_name: BTreeMap<&str, &ProxyRule> =
            self.proxies.iter().rev().map(|proxy| (proxy.name.as_str(), proxy)).collect();
        let through =
            |proxy: &ProxyRule, rule: String| Decision { route: route(&proxy.name, &proxy.url, protocol), rule };

        if let Some(rule) = self.built_in(host, port) {
            return Ok(direct(rule));
        }
        match chosen {
            Override::None => {}
            Override::Direct => return Ok(direct("the object says direct")),
            Override::Proxy(name) => {
                let proxy = by_name.get(name.as_str()).ok_or_else(|| RuleError::UnknownProxy(name.clone()))?;
                return Ok(through(proxy, format!("the object names proxy {name}")));
            }
        }
        let covering = |(index, rule)| PolicyRule::covering(rule, host, port).map(|pattern| (index, rule, pattern));
        if let Some((index, rule, pattern)) = self.policy.rules.iter().enumerate().find_map(covering) {
            let words = format!("rules[{index}] of the EgressPolicy, {pattern}");
            return match &rule.action {
                Action::Direct => Ok(direct(words)),
                Action::Deny => Err(RuleError::Denied { host: target.to_string(), rule: words }),
                Action::Proxy(name) => match by_name.get(name.as_str()) {
                    Some(proxy) => Ok(through(proxy, words)),
                    None => Err(RuleError::UnknownPolicyProxy { proxy: name.clone(), index }),
                },
            };
        }
        for proxy in by_name.values() {
            if let Some(pattern) = proxy.direct.iter().find(|pattern| pattern.matches(host, port)) {
                return Ok(direct(format!("proxy {} lists {pattern} as direct", proxy.name)));
            }
        }
        let mut best: Option<(&ProxyRule, &HostPattern)> = None;
        for proxy in by_name.values() {
            for pattern in proxy.hosts.iter().filter(|pattern| pattern.matches(host, port)) {
                if best.is_none_or(|(_, other)| pattern.specificity() > other.specificity()) {
                    best = Some((proxy, pattern));
                }
            }
        }
        if let Some((proxy, pattern)) = best {
            return Ok(through(proxy, format!("proxy {} serves {pattern}", proxy.name)));
        }
        if self.policy.aws_direct && aws::is_api_host(host) {
            return Ok(direct("API hosts of AWS go direct"));
        }
        let verdict = self.environment.as_ref().map(|environment| environment.verdict(protocol, host, port));
        match verdict {
            None | Some(Verdict::Silent) => {}
            Some(Verdict::Except { variable, pattern }) => {
                return Ok(direct(format!("the variable {variable} lists {pattern}")));
            }
            Some(Verdict::Through { variable, url }) => {
                let name = format!("{OF_ENVIRONMENT}{variable}");
                return Ok(Decision { route: route(&name, url, protocol), rule: format!("the variable {variable}") });
            }
            Some(Verdict::Malformed { variable, problem }) => {
                let (variable, host) = (variable.to_owned(), target.to_string());
                return Err(RuleError::MalformedVariable { variable, host, problem });
            }
        }
        if let Some(proxy) = by_name.values().find(|proxy| proxy.default) {
            return Ok(through(proxy, format!("proxy {} is the default", proxy.name)));
        }
        match self.policy.otherwise {
            Otherwise::Direct => Ok(direct("no rule names this host, and there is no default proxy")),
            Otherwise::Deny => Err(RuleError::Denied {
                host: target.to_string(),
                rule: "the EgressPolicy's default is Deny and nothing names this host".to_owned(),
            }),
        }
    }

    fn built_in(&self, host: &str, port: u16) -> Option<String> {
        let named = |name: &str| Some(format!("built-in: {name} goes direct"));
        if let Ok(address) = host.parse::<IpAddr>() {
            if address.is_loopback() {
                return named("loopback");
            }
            let link_local = match address {
                IpAddr::V4(address) => address.is_link_local(),
                // fd00:ec2::/32 holds the credential and metadata addresses of EC2: as local as 169.254.0.0/16.
                IpAddr::V6(address) => address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0x0ec2],
            };
            if link_local {
                return named("a link-local address");
            }
        } else if host == "localhost" || below(host, "localhost") {
            return named("loopback");
        } else if below(host, "svc") {
            return named(".svc");
        } else if host == "cluster.local" || below(host, "cluster.local") {
            return named(".cluster.local");
        }
        if self.cluster_api_hosts.iter().any(|own| normal_name(own) == host) {
            return named("the cluster's own API");
        }
        let listed = self.policy.direct.iter().find(|pattern| pattern.matches(host, port))?;
        Some(format!("the EgressPolicy lists {listed} as direct"))
    }
}

fn direct(rule: impl Into<String>) -> Decision {
    Decision { route: Route::Direct, rule: rule.into() }
}

fn route(name: &str, url: &ProxyUrl, protocol: Protocol) -> Route {
    let (name, url) = (name.to_owned(), url.clone());
    match (url.scheme, protocol) {
        (ProxyScheme::Socks5h, Protocol::Http | Protocol::Https | Protocol::Tcp) => Route::Socks5 { name, url },
        (ProxyScheme::Http | ProxyScheme::Https, Protocol::Http) => Route::HttpForward { name, url },
        (ProxyScheme::Http | ProxyScheme::Https, Protocol::Https | Protocol::Tcp) => Route::Connect { name, url },
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
