//! Where a proxy listens and how it is spoken to. Pure.

use std::fmt;

use thiserror::Error;
use url::Url;

use super::pattern::host_of;

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

/// What begins the name of a proxy that a variable of the environment gives.
pub(super) const OF_ENVIRONMENT: &str = "environment:";

/// The variable that gives a proxy, if it is one and not an object.
pub(super) fn variable_of(proxy: &str) -> Option<&str> {
    proxy.strip_prefix(OF_ENVIRONMENT)
}

/// Where a proxy's setting is to be corrected: a field of its object, or the variable that gives it.
pub(super) fn setting(proxy: &str, field: &str) -> String {
    match variable_of(proxy) {
        Some(variable) => format!("the variable {variable}"),
        None => format!("{field} of the EgressProxy `{proxy}`"),
    }
}
