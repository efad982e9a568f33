//! Which way a connection leaves. Pure: the decision depends on the URL and the rules alone, never on DNS.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;
use url::Url;

use super::pattern::{HostPattern, host_of, normal_host};

/// A proxy's address is not usable.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProxyUrlError {
    /// Not a URL. The text is not repeated: it may hold a password.
    #[error("the proxy URL cannot be read ({0}); write `http://HOST:PORT`")]
    Unreadable(String),
    /// Something before `@`.
    #[error("the proxy URL holds a user name or password; put them into a Secret and name it in credentialsSecretRef")]
    HoldsCredentials,
    /// Another scheme.
    #[error("the proxy URL has the scheme `{0}`; `http` (the usual one), `https` and `socks5h` are supported")]
    Scheme(String),
    /// A path, a query or a fragment.
    #[error("the proxy URL has a path or a query; write only `http://HOST:PORT`")]
    HasPath,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyScheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS. Says nothing about the destinations.
    Https,
    /// SOCKS5 (RFC 1928) with names resolved by the proxy.
    Socks5h,
}

/// Where a proxy listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyUrl {
    /// How it is spoken to.
    pub scheme: ProxyScheme,
    /// Name or address, without brackets.
    pub host: String,
    /// Port; when the URL names none: 3128 on `http`, 443 on `https`, 1080 on `socks5h`.
    pub port: u16,
}

impl ProxyUrl {
    /// Reads `http://HOST[:PORT]`, `https://…` or `socks5h://…`.
    pub fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let text = text.trim();
        if text.contains('@') {
            return Err(ProxyUrlError::HoldsCredentials);
        }
        let url = Url::parse(text).map_err(|error| ProxyUrlError::Unreadable(error.to_string()))?;
        let (scheme, usual_port) = match url.scheme() {
            "http" => (ProxyScheme::Http, 3128),
            "https" => (ProxyScheme::Https, 443),
            "socks5h" => (ProxyScheme::Socks5h, 1080),
            other => return Err(ProxyUrlError::Scheme(other.to_owned())),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyUrlError::HasPath);
        }
        let host = host_of(&url).ok_or_else(|| ProxyUrlError::Unreadable("it has no host".to_owned()))?;
        // `Url` drops a port equal to the scheme's default, so a written `:80` has to be looked up in the text.
        let written = text.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
        let port = url.port().or(written).unwrap_or(usual_port);
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for ProxyUrl {
    /// `host:port`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

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

/// What is spoken to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// Anything else over TCP, such as SSH.
    Tcp,
}

/// Where a connection is to end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Name or address: lower case, without brackets and final dot.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Destination {
    /// The server of an http or https URL.
    pub fn of_url(url: &Url) -> Result<Self, RuleError> {
        let not_http = || RuleError::NotHttp(format!("{}:", url.scheme()));
        let protocol = match url.scheme() {
            "https" => Protocol::Https,
            "http" => Protocol::Http,
            _ => return Err(not_http()),
        };
        let (host, port) = normal_host(url).ok_or_else(not_http)?;
        Ok(Self { protocol, host, port })
    }

    /// A host and port that are spoken to in another protocol than HTTP.
    pub fn tcp(host: &str, port: u16) -> Self {
        let host = host.trim_matches(['[', ']']);
        Self { protocol: Protocol::Tcp, host: host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(), port }
    }
}

impl fmt::Display for Destination {
    /// `host:port`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// No proxy.
    Direct,
    /// A tunnel made by an HTTP proxy (everything but `http` URLs).
    Connect {
        /// Name of the proxy.
        name: String,
        /// Where it listens.
        url: ProxyUrl,
    },
    /// A request with the whole URL, given to the proxy (`http` URLs).
    HttpForward {
        /// Name of the proxy.
        name: String,
        /// Where it listens.
        url: ProxyUrl,
    },
    /// A connection made by a SOCKS5 proxy.
    Socks5 {
        /// Name of the proxy.
        name: String,
        /// Where it listens.
        url: ProxyUrl,
    },
}

impl Route {
    /// The proxy's name, when there is one.
    pub fn proxy(&self) -> Option<&str> {
        match self {
            Self::Direct => None,
            Self::Connect { name, .. } | Self::HttpForward { name, .. } | Self::Socks5 { name, .. } => Some(name),
        }
    }
}

impl fmt::Display for Route {
    /// `direct`, or `proxy corporate (10.0.0.1:3128)`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => formatter.write_str("direct"),
            Self::Connect { name, url } | Self::HttpForward { name, url } | Self::Socks5 { name, url } => {
                write!(formatter, "proxy {name} ({url})")
            }
        }
    }
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
}

impl EgressRules {
    /// The way to a URL. First match wins: built-in direct, the object's override, any proxy's `direct` patterns, the
    /// narrowest `hosts` pattern (equal ones: first proxy by name), the default proxy (first by name), direct.
    pub fn decide(&self, target: &Url, chosen: &Override) -> Result<Decision, RuleError> {
        self.decide_destination(&Destination::of_url(target)?, chosen)
    }

    /// The way to a destination; see [`Self::decide`].
    pub fn decide_destination(&self, target: &Destination, chosen: &Override) -> Result<Decision, RuleError> {
        let Destination { protocol, host, port } = target;
        let port = *port;
        let direct = |rule: String| Ok(Decision { route: Route::Direct, rule });
        let through = |proxy: &ProxyRule, rule: String| {
            let (name, url) = (proxy.name.clone(), proxy.url.clone());
            let route = match (url.scheme, protocol) {
                (ProxyScheme::Socks5h, _) => Route::Socks5 { name, url },
                (ProxyScheme::Http | ProxyScheme::Https, Protocol::Http) => Route::HttpForward { name, url },
                (ProxyScheme::Http | ProxyScheme::Https, Protocol::Https | Protocol::Tcp) => Route::Connect { name, url },
            };
            Ok(Decision { route, rule })
        };

        if let Some(rule) = self.built_in(host) {
            return direct(format!("built-in: {rule} goes direct"));
        }
        let by_name: BTreeMap<&str, &ProxyRule> =
            self.proxies.iter().rev().map(|proxy| (proxy.name.as_str(), proxy)).collect();
        match chosen {
            Override::None => {}
            Override::Direct => return direct("the object says direct".to_owned()),
            Override::Proxy(name) => {
                let proxy = by_name.get(name.as_str()).ok_or_else(|| RuleError::UnknownProxy(name.clone()))?;
                return through(proxy, format!("the object names proxy {name}"));
            }
        }
        for proxy in by_name.values() {
            if let Some(pattern) = proxy.direct.iter().find(|pattern| pattern.matches(host, port)) {
                return direct(format!("proxy {} lists {pattern} as direct", proxy.name));
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
            return through(proxy, format!("proxy {} serves {pattern}", proxy.name));
        }
        if let Some(proxy) = by_name.values().find(|proxy| proxy.default) {
            return through(proxy, format!("proxy {} is the default", proxy.name));
        }
        direct("no rule names this host, and there is no default proxy".to_owned())
    }

    fn built_in(&self, host: &str) -> Option<&'static str> {
        if let Ok(address) = host.parse::<std::net::IpAddr>() {
            if address.is_loopback() {
                return Some("loopback");
            }
            let link_local = match address {
                std::net::IpAddr::V4(address) => address.is_link_local(),
                // fd00:ec2::/32 holds the credential and metadata addresses of EC2: as local as 169.254.0.0/16.
                std::net::IpAddr::V6(address) => {
                    address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0x0ec2]
                }
            };
            if link_local {
                return Some("a link-local address");
            }
        } else if host == "localhost" || below(host, "localhost") {
            return Some("loopback");
        } else if below(host, "svc") {
            return Some(".svc");
        } else if host == "cluster.local" || below(host, "cluster.local") {
            return Some(".cluster.local");
        }
        let own = self.cluster_api_hosts.iter().map(|own| own.trim_matches(['[', ']']).trim_end_matches('.'));
        own.into_iter().any(|own| own.eq_ignore_ascii_case(host)).then_some("the cluster's own API")
    }
}

fn below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
