//! The ways out. Pure.

use std::fmt;

use super::proxy_url::ProxyUrl;

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

impl Route {
    /// As metrics name it: `direct` or `proxy:NAME`.
    pub fn label(&self) -> String {
        self.proxy().map_or_else(|| "direct".to_owned(), |name| format!("proxy:{name}"))
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
