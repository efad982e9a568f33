//! The conventional proxy variables (`https_proxy`, `HTTP_PROXY`, `no_proxy`, …) as a part of the rules. Pure: the values
//! come from outside. Programs disagree about their grammar; this is the union, read strictly, so that a value that
//! can't be read stops connections instead of letting them leave past the proxy.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::destination::Protocol;
use super::pattern::HostPattern;
use super::proxy_url::{OF_ENVIRONMENT, ProxyScheme, ProxyUrl};
use super::{BasicCredentials, ProxyAccess};

/// The variables that are heeded, in lower case.
const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// A proxy that a variable gives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EnvironmentProxy {
    /// The variable as it is written in the environment.
    variable: String,
    /// The proxy, or why the value can't be used. Nothing of the value is repeated.
    proxy: Result<ProxyUrl, &'static str>,
}

/// The proxy variables, read. Holds no credentials: those are in [`EnvironmentReading::access`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentProxies {
    http: Option<EnvironmentProxy>,
    https: Option<EnvironmentProxy>,
    all: Option<EnvironmentProxy>,
    /// Which variable lists the exceptions.
    none_variable: String,
    none: Vec<HostPattern>,
}

/// What came of reading the variables.
#[derive(Clone, Default)]
pub struct EnvironmentReading {
    /// The rules.
    pub proxies: EnvironmentProxies,
    /// By name of the proxy (`environment:https_proxy`): the credentials that stood in its URL.
    pub access: BTreeMap<String, ProxyAccess>,
    /// Sentences to show once: what contradicts itself, what is passed over. No value is repeated.
    pub warnings: Vec<String>,
}

/// What the variables say about a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Nothing.
    Silent,
    /// The list of exceptions names it.
    Except { variable: &'a str, pattern: &'a HostPattern },
    /// It goes through this proxy.
    Through { variable: &'a str, url: &'a ProxyUrl },
    /// It would go through a proxy whose variable can't be read.
    Malformed { variable: &'a str, problem: &'static str },
}

impl EnvironmentProxies {
    /// Reads the variables by their exact names; others than `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` (in lower or upper case) are passed over, and
    /// empty ones count as unset. Where both cases are set the lower one counts.
    pub fn read(variables: &BTreeMap<String, SecretString>) -> EnvironmentReading {
        let mut reading = EnvironmentReading::default();
        let mut choose = |name: &str| {
            let set = |name: &str| variables.get(name).filter(|value| !value.expose_secret().trim().is_empty());
            let upper = name.to_ascii_uppercase();
            match (set(name), set(&upper)) {
                (Some(lower_value), Some(upper_value)) => {
                    if lower_value.expose_secret() != upper_value.expose_secret() {
                        reading.warnings.push(format!(
                            "the variables {name} and {upper} differ; {name} counts. Unset one of them, since other programs \
                             take the other"
                        ));
                    }
                    Some((name.to_owned(), lower_value))
                }
                (Some(value), None) => Some((name.to_owned(), value)),
                (None, Some(value)) => Some((upper, value)),
                (None, None) => None,
            }
        };
        let [http, https, all, none] = PROXY_VARIABLES.map(&mut choose);
        let mut proxy = |chosen: Option<(String, &SecretString)>| {
            let (variable, value) = chosen?;
            let proxy = match parse(value.expose_secret()) {
                Ok((url, credentials)) => {
                    if credentials.is_some() {
                        let access = ProxyAccess { credentials, ..ProxyAccess::default() };
                        reading.access.insert(format!("{OF_ENVIRONMENT}{variable}"), access);
                    }
                    Ok(url)
                }
                Err(problem) => {
                    reading.warnings.push(format!(
                        "the variable {variable} can't be used: {problem}. Connections that it is about are refused \
                         until it is corrected or unset"
                    ));
                    Err(problem)
                }
            };
            Some(EnvironmentProxy { variable, proxy })
        };
        let (http, https, all) = (proxy(http), proxy(https), proxy(all));
        let mut proxies = Self { http, https, all, none_variable: String::new(), none: Vec::new() };
        if let Some((variable, value)) = none {
            let separator = |character: char| character == ',' || character.is_whitespace();
            let entries = value.expose_secret().split(separator).filter(|entry| !entry.is_empty());
            for (index, entry) in entries.enumerate() {
                match HostPattern::parse_conventional(entry) {
                    Ok(pattern) => proxies.none.push(pattern),
                    Err(error) => reading.warnings.push(format!(
                        "entry {} of the variable {variable} is passed over: {}",
                        index + 1,
                        error.problem()
                    )),
                }
            }
            proxies.none_variable = variable;
        }
        reading.proxies = proxies;
        reading
    }

    /// What the variables say about a destination. The list of exceptions counts only where a variable would give a proxy.
    /// Tunnels for other protocols than HTTP are `all_proxy`'s, and `https_proxy`'s where that is unset.
    pub(super) fn verdict(&self, protocol: Protocol, host: &str, port: u16) -> Verdict<'_> {
        let proxy = match protocol {
            Protocol::Http => self.http.as_ref().or(self.all.as_ref()),
            Protocol::Https => self.https.as_ref().or(self.all.as_ref()),
            Protocol::Tcp => self.all.as_ref().or(self.https.as_ref()),
        };
        let Some(EnvironmentProxy { variable, proxy }) = proxy else { return Verdict::Silent };
        if let Some(pattern) = self.none.iter().find(|pattern| pattern.matches(host, port)) {
            return Verdict::Except { variable: &self.none_variable, pattern };
        }
        match proxy {
            Ok(url) => Verdict::Through { variable, url },
            Err(problem) => Verdict::Malformed { variable, problem },
        }
    }

    /// Whether no variable gives a proxy.
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none() && self.all.is_none()
    }
}

/// Reads `[scheme://][user[:password]@]host[:port][/]`. User and password are percent-decoded.
fn parse(value: &str) -> Result<(ProxyUrl, Option<BasicCredentials>), &'static str> {
    let value = value.trim();
    if value.chars().any(|character| character.is_whitespace() || character.is_control() || character == '\u{fffd}') {
        return Err("it holds a space or another character that no URL has (in a password write %20 for a space)");
    }
    let (scheme, rest) = match value.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => ("http".to_owned(), value),
    };
    let (scheme, usual_port) = match scheme.as_str() {
        "http" => (ProxyScheme::Http, 80),
        "https" => (ProxyScheme::Https, 443),
        "socks5h" | "socks5" => (ProxyScheme::Socks5h, 1080),
        _ => return Err("its scheme is not http, https or socks5h"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '\\']) {
        return Err(
            "it holds a `/`, `?`, `#` or `\\` (in a password write %2F, %3F, %23 and %5C; after the port nothing may follow)",
        );
    }
    let (userinfo, address) = match rest.split_once('@') {
        None => (None, rest),
        Some((_, after)) if after.contains('@') => {
            return Err("it holds more than one `@` (in a user name or password write %40)");
        }
        Some((userinfo, address)) => (Some(userinfo), address),
    };
    let credentials = match userinfo {
        None | Some("") => None,
        Some(userinfo) => Some(credentials(userinfo)?),
    };
    let (host, port) = host_and_port(address)?;
    Ok((ProxyUrl { scheme, host, port: port.unwrap_or(usual_port) }, credentials))
}

fn credentials(userinfo: &str) -> Result<BasicCredentials, &'static str> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let (user, password) = (decode(user)?, decode(password)?);
    BasicCredentials::new(user, password)
        .map_err(|_| "its user name holds a `:`, or it holds a control character, which a proxy can't be given")
}

fn decode(text: &str) -> Result<SecretString, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("it holds a `%` that two hexadecimal digits don't follow (for the character itself write %25)");
        };
        // Two hexadecimal digits fit into a byte.
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    let decoded = String::from_utf8(bytes).map_err(|_| "its user name or password is not UTF-8 once decoded")?;
    Ok(SecretString::from(decoded))
}

fn host_and_port(address: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("a `[` in it is not closed")?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or("something other than a port follows its `]`")?),
        };
        let host: std::net::Ipv6Addr = host.parse().map_err(|_| "what stands in its brackets is no address")?;
        (host.to_string(), port)
    } else {
        let (host, port) = match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        if host.is_empty() {
            return Err("it names no host");
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || byte >= 0x80;
        if !host.bytes().all(allowed) {
            return Err("its host has characters that no host has");
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let labels_missing = host.split('.').any(str::is_empty);
        let host = url::Host::parse(host).ok().filter(|_| !labels_missing).ok_or("its host is no host name")?;
        (host.to_string(), port)
    };
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        Ok(_) | Err(_) => Err("what follows the host is no port"),
    };
    Ok((host, port.map(number).transpose()?))
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
