//! A connection, whatever it is made of.

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// TCP, a tunnel, TLS, or TLS in a tunnel in TLS.
pub type Stream = Box<dyn Duplex>;
