//! How a repository's server is spoken to, whatever carries the conversation.
//!
//! ```text
//! Transport::greet()          ─► Incoming: the advertisement, packet by packet
//! Transport::settle(incoming) ─► Line: where commands go from now on
//! Transport::command(line, …) ─► Incoming: the answer
//! ```
//!
//! Over HTTP each command is a request of its own, so that a line can be kept and used again. Over SSH all of it is one
//! channel, and a line is good for one command.

use bytes::Bytes;

use crate::egress::{HttpResponse, Timeouts};
use crate::model::Reason;

use super::advertisement::Server;
use super::error::GitError;
use super::http_transport::{HttpLine, HttpTransport};
use super::packet_line::{Packet, PacketReader};
use super::protocol::ProtocolError;
use super::ssh::{SshChannel, SshTransport};

/// Ends a conversation, in any version of the protocol.
const FLUSH: &[u8] = b"0000";

/// What carries conversations with one repository's server.
pub(super) enum Transport {
    /// Smart HTTP.
    Http(Box<HttpTransport>),
    /// SSH.
    Ssh(Box<SshTransport>),
}

/// Where commands go.
pub(super) enum Line {
    /// To a URL.
    Http(HttpLine),
    /// To a program that runs on the server.
    Ssh(Box<SshChannel>),
}

impl Line {
    /// The same line once more, where it serves more than one command.
    pub(super) fn keep(&self) -> Option<Self> {
        match self {
            Self::Http(line) => Some(Self::Http(line.clone())),
            Self::Ssh(_) => None,
        }
    }
}

impl Transport {
    /// The timers.
    pub(super) fn timeouts(&self) -> &Timeouts {
        match self {
            Self::Http(http) => http.timeouts(),
            Self::Ssh(ssh) => ssh.timeouts(),
        }
    }

    /// The route in words.
    pub(super) fn route(&self) -> String {
        match self {
            Self::Http(http) => http.route(),
            Self::Ssh(ssh) => ssh.route(),
        }
    }

    /// Asks for the advertisement, in protocol version 2 if the server knows it.
    pub(super) async fn greet(&self) -> Result<Incoming, GitError> {
        match self {
            Self::Http(http) => Ok(Incoming::new(Source::Http(Box::new(http.greet().await?)))),
            Self::Ssh(ssh) => Ok(Incoming::new(Source::Ssh(Box::new(ssh.upload_pack(2).await?)))),
        }
    }

    /// Ends the reading of an advertisement: says where commands go.
    pub(super) async fn settle(&self, greeting: Incoming, server: &Server) -> Result<Line, GitError> {
        match (self, &greeting.source) {
            (Self::Http(http), Source::Http(answer)) => {
                let line = http.line(answer, server)?;
                greeting.finish().await?;
                Ok(Line::Http(line))
            }
            (Self::Ssh(_), Source::Ssh(_)) if !greeting.reader.is_empty() => {
                Err(greeting.broken(&ProtocolError::Unexpected("it goes on after its end".to_owned())))
            }
            (Self::Ssh(_), Source::Ssh(_)) => match greeting.source {
                Source::Ssh(channel) => Ok(Line::Ssh(channel)),
                Source::Http(_) => Err(mixed()),
            },
            (Self::Http(_), Source::Ssh(_)) | (Self::Ssh(_), Source::Http(_)) => Err(mixed()),
        }
    }

    /// Sends a command.
    pub(super) async fn command(&self, line: Line, body: Bytes) -> Result<Incoming, GitError> {
        match (self, line) {
            (Self::Http(http), Line::Http(line)) => {
                Ok(Incoming::new(Source::Http(Box::new(http.command(&line, body).await?))))
            }
            (Self::Ssh(_), Line::Ssh(mut channel)) => {
                channel.send(body).await?;
                Ok(Incoming::new(Source::Ssh(channel)))
            }
            (Self::Http(_), Line::Ssh(_)) | (Self::Ssh(_), Line::Http(_)) => Err(mixed()),
        }
    }

    /// Leaves a line on which there is nothing to ask.
    pub(super) async fn leave(&self, line: Line) {
        match line {
            Line::Http(_) => {}
            Line::Ssh(channel) => hang_up(*channel).await,
        }
    }
}

/// A line or an answer of one transport in the hands of another.
fn mixed() -> GitError {
    GitError::new(Reason::InternalError, "a conversation changed its transport")
}

/// Lets the program on the server end, so that the connection can be used again.
async fn hang_up(mut channel: SshChannel) {
    // It may have ended by itself; that is told by `finish`.
    let _ = channel.send(Bytes::from_static(FLUSH)).await;
    channel.finish().await;
}

/// What comes from the server.
pub(super) struct Incoming {
    source: Source,
    reader: PacketReader,
    ended: bool,
}

enum Source {
    Http(Box<HttpResponse>),
    Ssh(Box<SshChannel>),
}

impl Incoming {
    fn new(source: Source) -> Self {
        Self { source, reader: PacketReader::default(), ended: false }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, GitError> {
        let chunk = match &mut self.source {
            Source::Http(answer) => answer.next_chunk().await?,
            Source::Ssh(channel) => channel.next_chunk().await?,
        };
        self.ended = chunk.is_none();
        Ok(chunk)
    }

    /// The next packet, `None` at the end. Fails when the end comes within a packet.
    pub(super) async fn packet(&mut self) -> Result<Option<Packet>, GitError> {
        loop {
            match self.reader.next() {
                Ok(Some(packet)) => return Ok(Some(packet)),
                Ok(None) => {}
                Err(error) => return Err(self.broken(&ProtocolError::from(error))),
            }
            match self.chunk().await? {
                Some(chunk) => self.reader.push(&chunk),
                None if self.reader.is_empty() => return Ok(None),
                None => return Err(self.cut()),
            }
        }
    }

    /// The next four bytes, which stay where they are; `None` when fewer come before the end.
    pub(super) async fn peek(&mut self) -> Result<Option<[u8; 4]>, GitError> {
        loop {
            if let Some(bytes) = self.reader.peek() {
                return Ok(Some(bytes));
            }
            match self.chunk().await? {
                Some(chunk) => self.reader.push(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// The next bytes as they came, `None` at the end.
    pub(super) async fn bytes(&mut self) -> Result<Option<Bytes>, GitError> {
        if !self.reader.is_empty() {
            return Ok(Some(self.reader.take()));
        }
        self.chunk().await
    }

    /// Takes note that the answer is complete. What may be used again is put back; more than was announced is an error.
    pub(super) async fn finish(mut self) -> Result<(), GitError> {
        let goes_on = || ProtocolError::Unexpected("it goes on after its end".to_owned());
        let over_ssh = matches!(self.source, Source::Ssh(_));
        if over_ssh && !self.reader.is_empty() {
            return Err(self.broken(&goes_on()));
        }
        match self.source {
            // The program waits for the next command.
            Source::Ssh(channel) => {
                if !self.ended {
                    hang_up(*channel).await;
                }
                Ok(())
            }
            Source::Http(_) => match self.packet().await? {
                None | Some(Packet::ResponseEnd) => Ok(()),
                Some(Packet::Flush | Packet::Delimiter | Packet::Data(_)) => Err(self.broken(&goes_on())),
            },
        }
    }

    /// Bytes so far.
    pub(super) fn received(&self) -> u64 {
        match &self.source {
            Source::Http(answer) => answer.received,
            Source::Ssh(channel) => channel.received(),
        }
    }

    /// An error about what came, with its host and route.
    pub(super) fn error(&self, reason: Reason, message: impl Into<String>) -> GitError {
        match &self.source {
            Source::Http(answer) => answer.error(reason, message).into(),
            Source::Ssh(channel) => channel.error(reason, message.into()),
        }
    }

    /// A violation of the protocol, with the place it came from.
    pub(super) fn broken(&self, error: &ProtocolError) -> GitError {
        let GitError { reason, message, .. } = GitError::protocol(error);
        self.error(reason, message)
    }

    /// An answer that ended before git's end mark.
    pub(super) fn cut(&self) -> GitError {
        let message = format!("the answer ended in the middle, after {} bytes", self.received());
        self.error(Reason::ConnectionCut, message)
    }
}
