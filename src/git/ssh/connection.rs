//! A connection to an SSH server: trusted first, then logged in to. One attempt each.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::client::{AuthResult, Config, GexParams, Handle, connect_stream};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{AlgorithmKind, MethodKind, Preferred, SshId, cipher, compression, kex, mac};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::egress::{Destination, Egress, Override, Timeouts};
use crate::git::GitError;
use crate::git::url::SshPlace;
use crate::model::Reason;

use super::handler::{Gatekeeper, Notes, SessionError, one_line};
use super::hop::{Hop, phase, seconds};
use super::identity::SshConfig;
use super::trust::{HostTrust, Untrusted};
use super::witness::{Head, Witness};

/// What we begin with, as RFC 4253 wants it.
const VERSION: &str = concat!("SSH-2.0-tidelock_", env!("CARGO_PKG_VERSION"));

/// A sign of life on a silent connection. Below the minute after which common proxies forget a tunnel.
const KEEPALIVE: Duration = Duration::from_secs(25);

/// A server that leaves this many signs of life without an answer is gone.
const KEEPALIVES_UNANSWERED: usize = 2;

/// Everything needed to connect.
pub(super) struct Server {
    pub config: SshConfig,
    pub destination: Destination,
    pub place: SshPlace,
    pub egress: Egress,
    pub route: Override,
    pub timeouts: Timeouts,
    pub clock: Clock,
}

/// An established connection. Closed when dropped.
pub(super) struct Connection {
    handle: Handle<Gatekeeper>,
    notes: Notes,
    hop: Hop,
    retired: AtomicBool,
    _end: DropGuard,
}

impl Connection {
    /// Connects, checks the host key, logs in. The timer of TLS limits what comes after the dial: it is this protocol's
    /// handshake.
    pub(super) async fn open(server: &Server) -> Result<Self, GitError> {
        let Server { config, destination, place, egress, route, timeouts, clock } = server;
        let hop = Hop::new(egress, destination, route);
        let stream = egress.open(destination, route, timeouts).await?;
        let deadline = Instant::now() + timeouts.tls;
        let (head, notes, end) = (Head::default(), Notes::default(), CancellationToken::new());
        let guard = end.clone().drop_guard();
        let trust = HostTrust::of(&config.known_hosts, &destination.host, destination.port);
        let session = Arc::new(session_config(&trust)?);
        let gatekeeper = Gatekeeper { trust: trust.clone(), clock: clock.clone(), notes: notes.clone() };
        let connecting = connect_stream(session, Witness::new(stream, head.clone(), end), gatekeeper);
        let handle = match timeout_at(deadline, connecting).await {
            Ok(Ok(handle)) => handle,
            Ok(Err(error)) => return Err(handshake_error(&hop, &trust, &head, &notes, error)),
            Err(_) => {
                let limit = seconds(timeouts.tls);
                let message = match head.version() {
                    Some(version) => {
                        format!("the server introduced itself as {version} and did not finish within {limit}")
                    }
                    None if head.quote().is_empty() => {
                        format!("the server said nothing within {limit}; an SSH server speaks first: is this its port?")
                    }
                    None => not_ssh(&head),
                };
                return Err(hop.error(Reason::ServerSilent, phase::HANDSHAKE, message));
            }
        };
        let mut connection = Self { handle, notes, hop, retired: AtomicBool::new(false), _end: guard };
        let Ok(logged_in) = timeout_at(deadline, connection.log_in(config, place)).await else {
            let message = format!("the server did not answer the login within {}", seconds(timeouts.tls));
            return Err(connection.hop.error(Reason::ServerSilent, phase::LOGIN, message));
        };
        logged_in?;
        Ok(connection)
    }

    /// One attempt with the one key: servers lock out who tries often, and no other method is configured.
    async fn log_in(&mut self, config: &SshConfig, place: &SshPlace) -> Result<(), GitError> {
        let key = Arc::clone(config.identity.key());
        let hash = if matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            match self.handle.best_supported_rsa_hash().await {
                Ok(Some(Some(hash))) => Some(hash),
                Ok(Some(None)) => {
                    let message = "the server takes RSA keys with SHA-1 signatures only, which are not safe; use an ed25519 \
                        or ecdsa key";
                    return Err(self.hop.error(Reason::AuthFailed, phase::LOGIN, message));
                }
                // Servers that do not tell: every one of the last ten years takes this.
                Ok(None) => Some(HashAlg::Sha256),
                Err(error) => return Err(self.login_cut(&error)),
            }
        } else {
            None
        };
        let key = PrivateKeyWithHashAlg::new(key, hash);
        match self.handle.authenticate_publickey(place.user.clone(), key).await {
            Ok(AuthResult::Success) => Ok(()),
            Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                let login = config.identity.describe();
                let user = &place.user;
                let banner = self.notes.banner();
                let quote = if banner.is_empty() { String::new() } else { format!("; it says: \"{banner}\"") };
                let methods = remaining_methods.iter().map(<&str>::from).collect::<Vec<_>>().join(", ");
                let message = if partial_success {
                    format!("the server takes the key ({login}) of `{user}` and wants {methods} besides{quote}")
                } else if remaining_methods.contains(&MethodKind::PublicKey) || remaining_methods.is_empty() {
                    format!(
                        "the server refuses the key ({login}) for the user `{user}`; register its public half there as a \
                         deploy key, or correct `sshPrivateKey` in the Secret of the Repository's credentialsSecretRef{quote}"
                    )
                } else {
                    format!("the server does not take keys for the user `{user}`, only {methods}{quote}")
                };
                Err(self.hop.error(Reason::AuthFailed, phase::LOGIN, message))
            }
            Err(error) => Err(self.login_cut(&error)),
        }
    }

    fn login_cut(&self, error: &russh::Error) -> GitError {
        let why = self.notes.farewell().unwrap_or_else(|| one_line(&error.to_string(), 100));
        let reason = if why.to_ascii_lowercase().contains("authentication fail") {
            Reason::AuthFailed
        } else {
            Reason::ConnectionCut
        };
        self.hop.error(reason, phase::LOGIN, format!("the server closed the connection during the login ({why})"))
    }

    pub(super) fn handle(&self) -> &Handle<Gatekeeper> {
        &self.handle
    }

    pub(super) fn hop(&self) -> &Hop {
        &self.hop
    }

    /// Why the connection ended, in words.
    pub(super) fn farewell(&self) -> String {
        self.notes.farewell().unwrap_or_else(|| "end of stream".to_owned())
    }

    /// Takes no new channel from now on.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Acquire) && !self.handle.is_closed()
    }
}

fn not_ssh(head: &Head) -> String {
    format!(
        "what answers there is not an SSH server: it says \"{}\"; check host and port of the URL, and whether the proxy lets \
         SSH pass (services with a host for port 443, such as ssh.github.com, exist for proxies that don't)",
        head.quote()
    )
}

fn handshake_error(hop: &Hop, trust: &HostTrust, head: &Head, notes: &Notes, error: SessionError) -> GitError {
    use russh::Error as E;
    let fail = |reason, message: String| hop.error(reason, phase::HANDSHAKE, message);
    let error = match error {
        SessionError::Untrusted(Untrusted(text)) => return fail(Reason::HostKeyUntrusted, text),
        SessionError::Ssh(error) => error,
    };
    let Some(version) = head.version() else {
        if head.quote().is_empty() {
            let message = "the server closed the connection before it said anything; it may limit connections, or a firewall \
                may end them";
            return fail(Reason::ConnectionCut, message.to_owned());
        }
        return fail(Reason::ProtocolError, not_ssh(head));
    };
    match error {
        E::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. } => {
            fail(Reason::HostKeyUntrusted, trust.no_common_type(&theirs).0)
        }
        E::NoCommonAlgo { kind, theirs, .. } => {
            let what = match kind {
                AlgorithmKind::Kex => "key exchange",
                AlgorithmKind::Key => "host key",
                AlgorithmKind::Cipher => "cipher",
                AlgorithmKind::Compression => "compression",
                AlgorithmKind::Mac => "MAC",
            };
            let theirs = one_line(&theirs.join(", "), 300);
            let message = format!("the server ({version}) has no {what} that is safe, only {theirs}; update it");
            fail(Reason::ProtocolError, message)
        }
        E::WrongServerSig => {
            let message = "the server could not prove that it holds its host key; someone may be in between";
            fail(Reason::HostKeyUntrusted, message.to_owned())
        }
        E::Version => {
            let message =
                format!("what the server begins with is not SSH 2, or longer than allowed (\"{}\")", head.quote());
            fail(Reason::ProtocolError, message)
        }
        E::Disconnect | E::HUP | E::IO(_) | E::RecvError | E::SendError => {
            let why = notes.farewell().unwrap_or_else(|| one_line(&error.to_string(), 100));
            let message = format!("the server ({version}) closed the connection during the handshake ({why})");
            fail(Reason::ConnectionCut, message)
        }
        other => {
            let message =
                format!("the handshake with the server ({version}) failed: {}", one_line(&other.to_string(), 200));
            fail(Reason::ProtocolError, message)
        }
    }
}

/// No SHA-1, no CBC, no group below 2048 bits; strict key exchange; no compression, since packs are compressed.
fn session_config(trust: &HostTrust) -> Result<Config, GitError> {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::ECDH_SHA2_NISTP256,
        kex::ECDH_SHA2_NISTP384,
        kex::ECDH_SHA2_NISTP521,
        kex::DH_G16_SHA512,
        kex::DH_G14_SHA256,
        kex::DH_GEX_SHA256,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ];
    const CIPHERS: &[cipher::Name] = &[
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256];
    let gex = GexParams::new(2048, 3072, 8192)
        .map_err(|error| GitError::new(Reason::InternalError, format!("SSH parameters: {error}")))?;
    Ok(Config {
        client_id: SshId::Standard(Cow::Borrowed(VERSION)),
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Owned(trust.key_algorithms()),
            host_key_certificates: Cow::Owned(trust.certificate_algorithms()),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES_UNANSWERED,
        gex,
        ..Config::default()
    })
}
