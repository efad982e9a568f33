//! One run of a command on the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use tokio::time::timeout;

use crate::egress::Timeouts;
use crate::git::GitError;
use crate::model::Reason;

use super::connection::Connection;
use super::handler::one_line;
use super::hop::{phase, seconds};
use super::outcome::{Ending, judge};

/// How much of what the command writes to its standard error is kept.
const COMPLAINT_LIMIT: usize = 4096;

/// The kind of extended data that is a command's standard error (RFC 4254 §5.2).
const STANDARD_ERROR: u32 = 1;

/// How long a command that has done its work may take to end, before its connection is given up.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How much it may still say then.
const LAST_WORDS_LIMIT: usize = 64 * 1024;

/// `git-upload-pack` on the server, spoken to. Dropped before its end it takes its connection out of use.
pub struct SshChannel {
    channel: Channel<Msg>,
    connection: Arc<Connection>,
    /// The path, and the key that logged in: for messages.
    path: String,
    login: String,
    first_byte: Duration,
    idle: Duration,
    /// Came before it was asked for.
    early: VecDeque<ChannelMsg>,
    complaint: Vec<u8>,
    ending: Ending,
    /// Whether the next byte is the first of an answer.
    asked: bool,
    ended: bool,
    received: u64,
}

/// A command could not be started.
pub(super) enum StartError {
    /// The connection is of no use any more.
    Connection(GitError),
    /// The server said no.
    Refused(GitError),
}

impl SshChannel {
    /// Starts `git-upload-pack`. `patience` limits each answer to a step of it.
    pub(super) async fn start(
        connection: &Arc<Connection>,
        path: &str,
        login: String,
        version: u8,
        patience: Duration,
        timeouts: &Timeouts,
    ) -> Result<Self, StartError> {
        let hop = connection.hop();
        let lost = |reason, message: String| StartError::Connection(hop.error(reason, phase::COMMAND, message));
        let silent = || lost(Reason::ServerSilent, format!("the server did not answer within {}", seconds(patience)));
        let cut = || lost(Reason::ConnectionCut, format!("the connection ended ({})", connection.farewell()));
        let channel = match timeout(patience, connection.handle().channel_open_session()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                let why = one_line(&format!("{why:?}"), 100);
                return Err(lost(Reason::ServerError, format!("the server opens no channel ({why})")));
            }
            Ok(Err(_)) => return Err(cut()),
            Err(_) => return Err(silent()),
        };
        // Servers that do not know the variable answer in version 0.
        if version > 0 {
            let set = channel.set_env(false, "GIT_PROTOCOL", format!("version={version}"));
            set.await.map_err(|_| cut())?;
        }
        channel.exec(true, format!("git-upload-pack {}", quoted(path))).await.map_err(|_| cut())?;
        let mut started = Self {
            channel,
            connection: Arc::clone(connection),
            path: path.to_owned(),
            login,
            first_byte: timeouts.first_byte,
            idle: timeouts.idle,
            early: VecDeque::new(),
            complaint: Vec::new(),
            ending: Ending::default(),
            asked: true,
            ended: false,
            received: 0,
        };
        loop {
            match timeout(patience, started.channel.wait()).await {
                Err(_) => return Err(silent()),
                Ok(None) => return Err(cut()),
                Ok(Some(ChannelMsg::Success)) => return Ok(started),
                Ok(Some(ChannelMsg::Failure)) => {
                    let message = "the server runs no command for this user; is this a git server?".to_owned();
                    return Err(StartError::Refused(hop.error(Reason::ServerError, phase::COMMAND, message)));
                }
                Ok(Some(ChannelMsg::WindowAdjusted { .. })) => {}
                // A server that answers before it says that it will.
                Ok(Some(other)) => {
                    started.early.push_back(other);
                    return Ok(started);
                }
            }
        }
    }

    /// Sends a part of a request. What comes next is the first byte of an answer.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), GitError> {
        self.asked = true;
        match timeout(self.idle, self.channel.data_bytes(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.cut()),
            Err(_) => {
                let message = format!("the server took no more of the request for {}", seconds(self.idle));
                Err(self.lost(Reason::Stalled, phase::TRANSFER, message))
            }
        }
    }

    /// Says that no more will be sent: the command on the server ends when it has answered.
    pub async fn finish_sending(&mut self) -> Result<(), GitError> {
        if self.ended {
            return Ok(());
        }
        let sent = self.channel.eof().await;
        sent.map_err(|_| self.cut())
    }

    /// The next bytes that the command writes; `None` when it has ended well. A command that ends badly is an error made
    /// of what it wrote to its standard error and of its exit status.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, GitError> {
        while !self.ended {
            let message = if let Some(early) = self.early.pop_front() {
                Some(early)
            } else {
                let limit = if self.asked { self.first_byte } else { self.idle };
                match timeout(limit, self.channel.wait()).await {
                    Ok(message) => message,
                    Err(_) if self.asked => {
                        let message = format!("the server did not answer within {}", seconds(limit));
                        return Err(self.lost(Reason::ServerSilent, phase::FIRST_BYTE, message));
                    }
                    Err(_) => {
                        let received = self.received;
                        let message = format!("nothing came for {} after {received} bytes", seconds(limit));
                        return Err(self.lost(Reason::Stalled, phase::TRANSFER, message));
                    }
                }
            };
            match message {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => {
                    self.asked = false;
                    self.received += data.len() as u64;
                    return Ok(Some(data));
                }
                Some(ChannelMsg::ExtendedData { data, ext: STANDARD_ERROR }) => {
                    let room = COMPLAINT_LIMIT - self.complaint.len();
                    self.complaint.extend_from_slice(&data[..data.len().min(room)]);
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => self.ending.status = Some(exit_status),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.ending.signal = Some(one_line(&format!("{signal_name:?}"), 20));
                }
                Some(ChannelMsg::Close) => self.ended = true,
                // The end of the connection; what was told of the command's end before counts.
                None if self.ending != Ending::default() => self.ended = true,
                None => return Err(self.cut()),
                // Nothing else says anything about the answer.
                Some(_) => {}
            }
        }
        if self.ending.is_good() {
            return Ok(None);
        }
        let complaint = String::from_utf8_lossy(&self.complaint);
        let (reason, message) = judge(&self.ending, &complaint, &self.path, &self.login);
        Err(self.error(reason, message))
    }

    /// Ends a conversation whose answer is complete, so that the connection can be used again: lets the command end, and
    /// passes over what it may still say.
    pub async fn finish(mut self) {
        let rest = async {
            self.finish_sending().await?;
            let mut passed_over = 0;
            while let Some(chunk) = self.next_chunk().await? {
                passed_over += chunk.len();
                if passed_over > LAST_WORDS_LIMIT {
                    break;
                }
            }
            Ok::<_, GitError>(())
        };
        // Whatever goes wrong here, the answer was complete; dropping takes a connection in doubt out of use.
        let _ = timeout(LAST_WORDS, rest).await;
    }

    /// Bytes that came so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// What the command wrote to its standard error so far, on one line.
    pub fn complaint(&self) -> String {
        one_line(&String::from_utf8_lossy(&self.complaint), 300)
    }

    /// An error about what came, with host, route and rule.
    pub fn error(&self, reason: Reason, message: impl AsRef<str>) -> GitError {
        self.connection.hop().error(reason, phase::TRANSFER, message)
    }

    fn lost(&self, reason: Reason, phase: &str, message: String) -> GitError {
        self.connection.retire();
        self.connection.hop().error(reason, phase, message)
    }

    fn cut(&self) -> GitError {
        let why = self.connection.farewell();
        let message = format!("the connection ended after {} bytes of the answer ({why})", self.received);
        self.lost(Reason::ConnectionCut, phase::TRANSFER, message)
    }
}

impl Drop for SshChannel {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.retire();
        }
    }
}

/// As git quotes a path for the shell that servers run commands by.
fn quoted(path: &str) -> String {
    let mut text = String::from("'");
    for character in path.chars() {
        match character {
            '\'' | '!' => {
                text.push_str("'\\");
                text.push(character);
                text.push('\'');
            }
            other => text.push(other),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted("/team/shop.git"), "'/team/shop.git'");
        assert_eq!(quoted("a b;$(x)`y`"), "'a b;$(x)`y`'");
        assert_eq!(quoted("it's!"), "'it'\\''s'\\!''");
    }
}
