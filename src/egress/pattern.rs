//! Host patterns of egress rules. Pure.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;
use url::Url;

/// A text that is no host pattern.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` is not a host pattern: {problem}; write a host (`git.corp.example`), a suffix (`.corp.example` or \
     `*.corp.example`), `host:port`, a network (`10.0.0.0/8`) or `*`"
)]
pub struct PatternError {
    text: String,
    problem: &'static str,
}

impl PatternError {
    /// What is wrong, without the text.
    pub(super) const fn problem(&self) -> &'static str {
        self.problem
    }
}

/// One entry of `hosts` or `direct`. Names compare without regard to case and to a final dot. Networks match literal
/// addresses only: a name is never resolved to be matched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern {
    text: String,
    host: HostPart,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostPart {
    Any,
    /// Hosts below this name, without the leading dot; not the name itself.
    Below(String),
    /// This name and hosts below it.
    AtOrBelow(String),
    Name(String),
    Network(IpAddr, u8),
}

impl HostPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let fail = |problem| PatternError { text: text.chars().take(100).collect(), problem };
        let lower = text.trim().to_ascii_lowercase();
        if lower.is_empty() {
            return Err(fail("it is empty"));
        }
        if lower.contains("://") {
            return Err(fail("it has a scheme"));
        }
        if lower.bytes().any(|byte| byte.is_ascii_whitespace() || byte == b'@' || byte == b',') {
            return Err(fail("it has a character that no host has"));
        }
        if let Some(host) = network(&lower).map_err(fail)? {
            return Ok(Self { text: text.trim().to_owned(), host, port: None });
        }
        let (host, port) = split_port(&lower).map_err(fail)?;
        let host = if host == "*." { host } else { host.strip_suffix('.').unwrap_or(host) };
        let part = if host == "*" {
            HostPart::Any
        } else if let Some(suffix) = host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
            HostPart::Below(valid_name(suffix).map_err(fail)?)
        } else if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            HostPart::Network(address, full_length(address))
        } else {
            HostPart::Name(valid_name(host).map_err(fail)?)
        };
        Ok(Self { text: text.trim().to_owned(), host: part, port })
    }

    /// Reads an entry of `NO_PROXY`, where a bare name means itself and what lies below it. The rest of the grammar is the same, but
    /// for brackets around the address of a network.
    pub(super) fn parse_conventional(text: &str) -> Result<Self, PatternError> {
        let mut plain = text.trim();
        let unwrapped;
        if let Some((address, length)) = plain.strip_prefix('[').and_then(|rest| rest.split_once("]/")) {
            unwrapped = format!("{address}/{length}");
            plain = &unwrapped;
        }
        let mut pattern = Self::parse(plain)?;
        if let HostPart::Name(name) = pattern.host {
            pattern.host = HostPart::AtOrBelow(name);
        }
        Ok(pattern)
    }

    /// Whether the pattern covers a host (as [`normal_host`] gives it) and port.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        match &self.host {
            HostPart::Any => true,
            HostPart::Name(name) => name == host,
            HostPart::Below(suffix) => below(host, suffix),
            HostPart::AtOrBelow(name) => name == host || below(host, name),
            HostPart::Network(network, length) => {
                host.parse().is_ok_and(|address| in_network(address, *network, *length))
            }
        }
    }

    /// How narrow the pattern is; of two that match, the greater wins.
    pub fn specificity(&self) -> (u8, usize, bool) {
        let with_port = self.port.is_some();
        match &self.host {
            HostPart::Any => (0, 0, with_port),
            HostPart::Below(suffix) => (1, suffix.len(), with_port),
            HostPart::Network(_, length) => (2, usize::from(*length), with_port),
            HostPart::Name(name) | HostPart::AtOrBelow(name) => (3, name.len(), with_port),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The host of a URL as patterns compare it: lower case, no final dot, no brackets. And the port it means.
pub(super) fn normal_host(url: &Url) -> Option<(String, u16)> {
    Some((host_of(url)?, url.port_or_known_default()?))
}

/// The host of a URL as patterns compare it.
pub(super) fn host_of(url: &Url) -> Option<String> {
    let host = plain(url.host()?.to_owned());
    (!host.is_empty()).then_some(host)
}

/// A host that stands alone, as patterns compare it: as [`host_of`] would give it had it stood in a URL, so that `2130706433`
/// is 127.0.0.1 here too.
pub(super) fn normal_name(host: &str) -> String {
    let address = host.trim_matches(['[', ']']);
    if let Ok(address) = address.parse::<IpAddr>() {
        return address.to_canonical().to_string();
    }
    match url::Host::parse(host) {
        Ok(host) => plain(host),
        Err(_) => address.strip_suffix('.').unwrap_or(address).to_ascii_lowercase(),
    }
}

/// IPv4 addresses that are written as IPv6 ones (`::ffff:10.0.0.1`) are dialled as IPv4, and so are compared as such.
fn plain(host: url::Host<String>) -> String {
    match host {
        url::Host::Domain(name) => name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => IpAddr::V6(address).to_canonical().to_string(),
    }
}

/// Whether a host lies below a domain (without leading dot), and is not the domain itself.
pub(super) fn below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn network(text: &str) -> Result<Option<HostPart>, &'static str> {
    let Some((address, length)) = text.split_once('/') else { return Ok(None) };
    let address: IpAddr = address.parse().map_err(|_| "what stands before `/` is no address")?;
    let length: u8 = length.parse().map_err(|_| "what stands after `/` is no prefix length")?;
    if length > full_length(address) {
        return Err("the prefix length is too great");
    }
    Ok(Some(HostPart::Network(address, length)))
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    }
    match text.rsplit_once(':') {
        Some((_, "")) => Err("the port is empty"),
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().map_err(|_| "what stands after `:` is no port")?;
            Ok((host, Some(port)))
        }
        Some(_) | None => Ok((text, None)),
    }
}

fn valid_name(name: &str) -> Result<String, &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.split('.').any(str::is_empty) {
        return Err("it has an empty label");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err("`*` may only stand first, and a name has letters, digits, `-`, `_` and `.`");
    }
    Ok(name.to_owned())
}

const fn full_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn in_network(address: IpAddr, network: IpAddr, length: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - length.min(32))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - length.min(128))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, url: &str) -> bool {
        let (host, port) = normal_host(&Url::parse(url).unwrap()).unwrap();
        HostPattern::parse(pattern).unwrap().matches(&host, port)
    }

    #[test]
    fn patterns_cover_what_they_say_and_nothing_else() {
        let table = [
            ("git.corp.test", "https://git.corp.test/x", true),
            ("GIT.Corp.Test.", "https://git.corp.test/x", true),
            ("git.corp.test", "https://GIT.CORP.TEST./x", true),
            ("git.corp.test", "https://agit.corp.test/x", false),
            ("git.corp.test", "https://a.git.corp.test/x", false),
            ("corp.test", "https://git.corp.test/x", false),
            (".corp.test", "https://git.corp.test/x", true),
            ("*.corp.test", "https://a.b.corp.test/x", true),
            (".corp.test", "https://corp.test/x", false),
            (".corp.test", "https://xcorp.test/x", false),
            ("*.corp.test.", "https://git.corp.test/x", true),
            ("git.corp.test:443", "https://git.corp.test/x", true),
            ("git.corp.test:443", "https://git.corp.test:8443/x", false),
            ("git.corp.test:80", "http://git.corp.test/x", true),
            ("*.corp.test:8443", "https://git.corp.test:8443/x", true),
            ("*", "https://anything.example/x", true),
            ("*:80", "https://anything.example/x", false),
            ("10.88.0.0/16", "https://10.88.0.2/x", true),
            ("10.88.0.0/16", "https://10.89.0.2/x", false),
            ("10.88.0.0/16", "https://git.corp.test/x", false),
            ("0.0.0.0/0", "https://10.89.0.2/x", true),
            ("0.0.0.0/0", "https://[fd00::1]/x", false),
            ("10.88.0.2", "https://10.88.0.2/x", true),
            ("10.88.0.2:443", "https://10.88.0.2/x", true),
            ("10.88.0.2:80", "https://10.88.0.2/x", false),
            ("fd00::/8", "https://[fd00::1]/x", true),
            ("fd00::1", "https://[fd00:0::1]/x", true),
            ("[fd00::1]", "https://[fd00::1]/x", true),
            ("[fd00::1]:8443", "https://[fd00::1]:8443/x", true),
            ("[fd00::1]:8443", "https://[fd00::1]/x", false),
            ("::/0", "https://[fd00::1]/x", true),
        ];
        for (pattern, url, expected) in table {
            assert_eq!(covers(pattern, url), expected, "{pattern} on {url}");
        }
    }

    #[test]
    fn a_text_that_is_no_pattern_is_refused_with_what_to_write() {
        for text in [
            "",
            " ",
            "https://x.test",
            "a b",
            "x..test",
            "a*b.test",
            "10.0.0.0/33",
            "x/8",
            "10.0.0.0/a",
            "x:99999",
            "x:",
            "user@x.test",
            "*.",
            ".",
        ] {
            let error = HostPattern::parse(text).expect_err(text).to_string();
            assert!(error.contains("write a host"), "{error}");
        }
    }

    #[test]
    fn the_narrower_pattern_is_the_more_specific() {
        let order =
            ["*", "*:443", ".test", "*.corp.test", "*.corp.test:443", "10.0.0.0/8", "10.1.0.0/16", "git.corp.test"];
        let ranks: Vec<_> = order.iter().map(|text| HostPattern::parse(text).unwrap().specificity()).collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
    }
}
