//! A connection that remembers how the server began to speak, and that can be ended from outside.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::egress::Stream;

/// How much of the beginning is remembered: more than the line that an SSH server begins with may have.
const HEAD_LIMIT: usize = 300;

/// What the server said first.
#[derive(Clone, Debug, Default)]
pub(super) struct Head(Arc<Mutex<Vec<u8>>>);

impl Head {
    /// The first line that an SSH server says (`SSH-2.0-…`), when there was one.
    pub(super) fn version(&self) -> Option<String> {
        let text = self.text();
        let line = text.lines().find(|line| line.starts_with("SSH-"))?;
        Some(line.chars().filter(|character| !character.is_control()).take(100).collect())
    }

    /// The first characters, fit to be quoted.
    pub(super) fn quote(&self) -> String {
        let text: String = self.text().chars().take(80).map(|it| if it.is_control() { ' ' } else { it }).collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn note(&self, bytes: &[u8]) {
        let mut head = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = HEAD_LIMIT - head.len();
        head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The connection. Ends when its token is cancelled: the task that drives an SSH session listens to nothing else while
/// keys are exchanged, and would keep the connection open for as long as the server stays silent.
pub(super) struct Witness {
    stream: Stream,
    head: Head,
    full: bool,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Witness {
    pub(super) fn new(stream: Stream, head: Head, end: CancellationToken) -> Self {
        Self { stream, head, full: false, ended: Box::pin(end.cancelled_owned()) }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.ended.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Witness {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if !this.full && matches!(read, Poll::Ready(Ok(()))) {
            let seen = &buffer.filled()[before..];
            this.head.note(seen);
            this.full = this.head.0.lock().unwrap_or_else(PoisonError::into_inner).len() >= HEAD_LIMIT;
        }
        read
    }
}

impl AsyncWrite for Witness {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn the_beginning_is_remembered_and_the_end_can_be_called_from_outside() {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (head, end) = (Head::default(), CancellationToken::new());
        let mut witness = Witness::new(Box::new(ours), head.clone(), end.clone());
        let mut theirs = theirs;
        let text = format!("hello\r\nSSH-2.0-x\u{7}y\r\n{}", "z".repeat(1000));
        tokio::io::AsyncWriteExt::write_all(&mut theirs, text.as_bytes()).await.unwrap();
        let mut bytes = vec![0; text.len()];
        witness.read_exact(&mut bytes).await.unwrap();
        assert_eq!(head.version().as_deref(), Some("SSH-2.0-xy"));
        assert!(head.quote().starts_with("hello SSH-2.0-x yzz") || head.quote().starts_with("hello SSH-2.0-x y zz"));
        assert_eq!(head.text().len(), HEAD_LIMIT);

        let reading = tokio::spawn(async move { witness.read_u8().await });
        end.cancel();
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
