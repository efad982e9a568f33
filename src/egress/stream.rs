//! A connection, whatever it is made of.

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// TCP, a tunnel, TLS, or TLS in a tunnel in TLS.
pub(super) type Stream = Box<dyn Duplex>;
