//! What a server may do to us: show its key, say why it goes, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId};

use crate::clock::Clock;

use super::trust::{HostTrust, Untrusted};

/// How much of a server's banner is kept.
const BANNER_LIMIT: usize = 300;

/// Why a session ended before it was established.
#[derive(Debug)]
pub(super) enum SessionError {
    /// The server is not trusted. Nothing was shown to it.
    Untrusted(Untrusted),
    /// Anything else.
    Ssh(russh::Error),
}

impl From<russh::Error> for SessionError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

/// What the server said besides its answers.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    banner: String,
    farewell: Option<String>,
}

impl Notes {
    /// What it said at login, fit to be quoted.
    pub(super) fn banner(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).banner.clone()
    }

    /// Why the connection ended, when it has.
    pub(super) fn farewell(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).farewell.clone()
    }
}

/// Text of a server on one line, without control characters.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").chars().take(limit).collect()
}

/// Answers the server's requests.
pub(super) struct Gatekeeper {
    pub trust: HostTrust,
    pub clock: Clock,
    pub notes: Notes,
}

impl Handler for Gatekeeper {
    type Error = SessionError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let judged = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.trust.judge_key(key),
            PublicKeyOrCertificate::Certificate(certificate) => {
                let now = u64::try_from(self.clock.now().as_second()).unwrap_or(0);
                self.trust.judge_certificate(certificate, now)
            }
        };
        judged.map(|()| true).map_err(SessionError::Untrusted)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Self::Error> {
        self.notes.0.lock().unwrap_or_else(PoisonError::into_inner).banner = one_line(banner, BANNER_LIMIT);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let text = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("it says: \"{}\"", one_line(&info.message, BANNER_LIMIT))
            }
            DisconnectReason::Error(SessionError::Ssh(error)) => one_line(&error.to_string(), BANNER_LIMIT),
            DisconnectReason::Error(SessionError::Untrusted(Untrusted(text))) => text,
        };
        self.notes.0.lock().unwrap_or_else(PoisonError::into_inner).farewell = Some(text);
        Ok(())
    }

    // A server has no reason to open channels to us. Dropping the handle refuses.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        refused: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        drop(refused);
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        refused: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        drop(refused);
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        refused: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        drop(refused);
        Ok(())
    }

    async fn should_accept_unknown_server_channel(&mut self, _: ChannelId, _: &str) -> bool {
        false
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        refused: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        drop(refused);
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        refused: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        drop(refused);
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        refused: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        drop(refused);
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        refused: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        drop(refused);
        Ok(())
    }
}
