//! Asking a SOCKS5 proxy for a connection (RFC 1928, with user name and password by RFC 1929). Names go to the proxy
//! unresolved.

use std::io;
use std::net::IpAddr;

use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::model::Reason;

use super::BasicCredentials;
use super::destination::Destination;
use super::error::{EgressError, Phase, Place};
use super::proxy_url::{setting, variable_of};
use super::stream::Stream;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USERNAME_PASSWORD: u8 = 2;
const NOTHING_ACCEPTABLE: u8 = 0xFF;

/// Asks for a connection to `target`. Gives the connection and what was agreed. Never ends by itself when the proxy is
/// silent. Reads no byte beyond the proxy's own answers.
pub(super) async fn open(
    mut stream: Stream,
    target: &Destination,
    credentials: Option<&BasicCredentials>,
    proxy: &str,
    place: &Place,
) -> Result<(Stream, String), EgressError> {
    let dialogue = Dialogue { proxy, place };
    let request = dialogue.request(target)?;
    let login = credentials.map(|credentials| dialogue.login(credentials)).transpose()?;

    let greeting: &[u8] = match &login {
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USERNAME_PASSWORD],
        None => &[VERSION, 1, NO_AUTHENTICATION],
    };
    let [version, method] = dialogue.exchange(&mut stream, greeting, "the greeting").await?;
    if version != VERSION {
        return Err(dialogue.not_socks(&[version, method]));
    }
    let agreed = match (method, &login) {
        (NO_AUTHENTICATION, _) => "no authentication",
        (USERNAME_PASSWORD, Some(login)) => {
            let sent = login.expose_secret();
            let [_, status] = dialogue.exchange(&mut stream, sent, "user name and password").await?;
            if status != 0 {
                return Err(dialogue.login_refused());
            }
            "user name and password"
        }
        (NOTHING_ACCEPTABLE, _) => return Err(dialogue.login_wanted(login.is_some())),
        (other, _) => {
            let message = format!("the SOCKS5 proxy chose a way of authentication that was not offered ({other})");
            return Err(dialogue.error(Reason::ProxyUnreachable, message));
        }
    };

    let [version, reply, _, kind] = dialogue.exchange(&mut stream, &request, "the request").await?;
    if version != VERSION {
        return Err(dialogue.not_socks(&[version, reply]));
    }
    if reply != 0 {
        return Err(dialogue.refused(reply));
    }
    // The address that the proxy connects from: of no use, but it must be read to its end.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let [length] = dialogue.read(&mut stream, "its answer").await?;
            usize::from(length)
        }
        _ => {
            let message = format!("the SOCKS5 proxy's answer holds an address of unknown kind ({kind})");
            return Err(dialogue.error(Reason::ProxyUnreachable, message));
        }
    };
    let mut rest = vec![0; length + 2];
    let read = stream.read_exact(&mut rest).await;
    read.map_err(|error| dialogue.closed("its answer", &error))?;
    Ok((stream, format!("SOCKS5, {agreed}")))
}

struct Dialogue<'a> {
    proxy: &'a str,
    place: &'a Place,
}

impl Dialogue<'_> {
    fn error(&self, reason: Reason, message: impl Into<String>) -> EgressError {
        self.place.error(reason, Phase::Connect, message)
    }

    fn request(&self, target: &Destination) -> Result<Vec<u8>, EgressError> {
        let mut request = vec![VERSION, 1, 0];
        match target.host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            Err(_) => {
                let length = u8::try_from(target.host.len()).map_err(|_| {
                    let message = "the host name has more than 255 bytes, which SOCKS5 can't carry";
                    self.error(Reason::ProxyForbidden, message)
                })?;
                request.extend_from_slice(&[3, length]);
                request.extend_from_slice(target.host.as_bytes());
            }
        }
        request.extend_from_slice(&target.port.to_be_bytes());
        Ok(request)
    }

    /// The message of RFC 1929.
    fn login(&self, credentials: &BasicCredentials) -> Result<SecretSlice<u8>, EgressError> {
        let (username, password) = credentials.parts();
        let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length > 0);
        let (username, password) = (username.expose_secret(), password.expose_secret());
        let (Some(username_length), Some(password_length)) = (length(username), length(password)) else {
            let message = format!(
                "SOCKS5 carries user names and passwords of 1 to 255 bytes, and one of those given is empty or longer; \
                 correct {}",
                self.where_credentials_are()
            );
            return Err(self.error(Reason::ProxyAuthRequired, message));
        };
        let mut message = Vec::with_capacity(username.len() + password.len() + 3);
        message.extend_from_slice(&[1, username_length]);
        message.extend_from_slice(username.as_bytes());
        message.push(password_length);
        message.extend_from_slice(password.as_bytes());
        Ok(SecretSlice::from(message))
    }

    async fn exchange<const N: usize>(
        &self,
        stream: &mut Stream,
        message: &[u8],
        after: &str,
    ) -> Result<[u8; N], EgressError> {
        let sent = async {
            stream.write_all(message).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| self.closed(after, &error))?;
        self.read(stream, after).await
    }

    async fn read<const N: usize>(&self, stream: &mut Stream, after: &str) -> Result<[u8; N], EgressError> {
        let mut bytes = [0; N];
        stream.read_exact(&mut bytes).await.map_err(|error| self.closed(after, &error))?;
        Ok(bytes)
    }

    fn closed(&self, after: &str, error: &io::Error) -> EgressError {
        let message = format!("the SOCKS5 proxy closed the connection after {after} ({error})");
        self.error(Reason::ProxyUnreachable, message)
    }

    fn not_socks(&self, bytes: &[u8]) -> EgressError {
        let what = match bytes {
            b"HT" => "an HTTP server",
            [4, ..] | [0, _] => "perhaps a SOCKS4 proxy",
            _ => "something else",
        };
        let message = format!(
            "what answers there is no SOCKS5 proxy but {what}; check scheme and port in {}",
            setting(self.proxy, "url")
        );
        self.error(Reason::ProxyUnreachable, message)
    }

    fn where_credentials_are(&self) -> String {
        match variable_of(self.proxy) {
            Some(variable) => format!("the variable {variable}"),
            None => "the Secret of the EgressProxy's credentialsSecretRef".to_owned(),
        }
    }

    fn login_refused(&self) -> EgressError {
        let message =
            format!("the SOCKS5 proxy refused the user name or password; correct {}", self.where_credentials_are());
        self.error(Reason::ProxyAuthRequired, message)
    }

    fn login_wanted(&self, offered: bool) -> EgressError {
        let message = if offered {
            "the SOCKS5 proxy accepts neither user name and password nor their absence (it may want GSSAPI, which this \
             program can't do)"
                .to_owned()
        } else {
            format!(
                "the SOCKS5 proxy wants authentication; put user name and password into {}",
                self.where_credentials_are()
            )
        };
        self.error(Reason::ProxyAuthRequired, message)
    }

    /// By the reply codes of RFC 1928.
    fn refused(&self, reply: u8) -> EgressError {
        let host = &self.place.host;
        let (reason, message) = match reply {
            1 => (Reason::ProxyFailed, "the SOCKS5 proxy failed within itself (reply 1)".to_owned()),
            2 => (
                Reason::ProxyForbidden,
                format!("the SOCKS5 proxy's rules refuse this destination (reply 2); ask its operators to allow {host}"),
            ),
            3 => (Reason::ProxyUpstreamFailed, "the SOCKS5 proxy has no route to the destination (reply 3)".to_owned()),
            4 => (
                Reason::ProxyUpstreamFailed,
                "the SOCKS5 proxy can't resolve or reach the destination (reply 4)".to_owned(),
            ),
            5 => (Reason::ProxyUpstreamFailed, "the destination refused the SOCKS5 proxy's dial (reply 5)".to_owned()),
            6 => (
                Reason::ProxyUpstreamFailed,
                "the destination did not answer the SOCKS5 proxy in time (reply 6)".to_owned(),
            ),
            7 => (
                Reason::ProxyForbidden,
                "the SOCKS5 proxy does not do connections of this kind (reply 7); ask its operators to allow CONNECT"
                    .to_owned(),
            ),
            8 => (
                Reason::ProxyForbidden,
                "the SOCKS5 proxy does not know this kind of address (reply 8): it may not resolve names, or not do IPv6"
                    .to_owned(),
            ),
            other => (
                Reason::ProxyFailed,
                format!("the SOCKS5 proxy refused with a reply that no standard knows ({other})"),
            ),
        };
        self.error(reason, message)
    }
}

#[cfg(test)]
#[path = "socks_tests.rs"]
mod tests;
