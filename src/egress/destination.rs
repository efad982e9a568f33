//! Where a connection is to end. Pure.

use std::fmt;

use url::Url;

use super::pattern::{normal_host, normal_name};
use super::rules::RuleError;

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
        Self { protocol: Protocol::Tcp, host: normal_name(host), port }
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
