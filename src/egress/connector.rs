//! Hands connections of this layer to another HTTP stack, that of the Kubernetes client: as the connector from which its
//! pool takes connections.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
/// The body of an answer on such a connection.
pub use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tower_service::Service;

use super::error::EgressError;
use super::http::Timeouts;
use super::stream::Stream;
use super::{Destination, Egress, Override, Protocol};

/// Opens the connection for a URI as the rules say, without TLS to the server: that is spoken by what lies above.
#[derive(Clone)]
pub struct UriConnector {
    egress: Egress,
    chosen: Override,
    timeouts: Timeouts,
    permit: Option<Permit>,
}

/// Whether bytes may be sent right now. Asked before each time that any are.
pub type Permit = Arc<dyn Fn() -> Result<(), Withheld> + Send + Sync>;

/// Bytes that are not sent, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Withheld(pub String);

impl UriConnector {
    /// A connector for one object (a cluster, say).
    pub fn new(egress: Egress, chosen: Override, timeouts: Timeouts) -> Self {
        Self { egress, chosen, timeouts, permit: None }
    }

    /// The same, and its connections send nothing that `permit` does not let out: what was handed to one, and not to the
    /// kernel yet, is never sent when the permit has gone meanwhile. The connection fails then.
    #[must_use]
    pub fn permitted_by(self, permit: Permit) -> Self {
        Self { permit: Some(permit), ..self }
    }

    /// Where a URI leads. Requests above are not in absolute form, so that a plain-text server is reached by a tunnel too.
    pub(super) fn destination(uri: &Uri) -> Option<Destination> {
        let tls = uri.scheme_str() == Some("https");
        let mut destination = Destination::tcp(uri.host()?, uri.port_u16().unwrap_or(if tls { 443 } else { 80 }));
        if tls {
            destination.protocol = Protocol::Https;
        }
        Some(destination)
    }
}

impl Service<Uri> for UriConnector {
    type Response = Carrier;
    type Error = EgressError;
    type Future = BoxFuture<'static, Result<Carrier, EgressError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { egress, chosen, timeouts, permit } = self.clone();
        Box::pin(async move {
            let Some(target) = Self::destination(&uri) else {
                return Err(EgressError::no_host(&uri.to_string()));
            };
            let stream = egress.open(&target, &chosen, &timeouts).await?;
            Ok(Carrier { stream: TokioIo::new(stream), permit })
        })
    }
}

/// A connection as the other stack wants it.
pub struct Carrier {
    stream: TokioIo<Stream>,
    permit: Option<Permit>,
}

impl Carrier {
    fn check(&self) -> io::Result<()> {
        let checked = self.permit.as_ref().map_or(Ok(()), |permit| permit());
        checked.map_err(|withheld| io::Error::new(io::ErrorKind::PermissionDenied, withheld))
    }
}

impl Connection for Carrier {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Carrier {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl Write for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}

/// A connector that must be done, TLS included, within a limit. What lies below has timers of its own that say more; this
/// one is for the handshake above it.
#[derive(Clone)]
pub struct Limited<C> {
    inner: C,
    limit: Duration,
}

/// Why a limited connector gave no connection.
#[derive(Debug, Error)]
pub enum LimitedError {
    /// The time was over.
    #[error("the connection was not ready, TLS handshake included, within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// It failed by itself.
    #[error(transparent)]
    Failed(Box<dyn StdError + Send + Sync>),
}

impl<C> Limited<C> {
    /// Limits `inner` to the sum of what its phases may take.
    pub fn new(inner: C, timeouts: &Timeouts) -> Self {
        let Timeouts { dns, dial, connect, tls, first_byte: _, idle: _, total: _, unacknowledged: _ } = timeouts;
        // A TLS handshake with the server, and perhaps one with a proxy.
        Self { inner, limit: *dns + *dial + *connect + *tls * 2 }
    }
}

impl<C> Service<Uri> for Limited<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: 'static,
    C::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = C::Response;
    type Error = LimitedError;
    type Future = BoxFuture<'static, Result<C::Response, LimitedError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LimitedError>> {
        self.inner.poll_ready(context).map_err(|error| LimitedError::Failed(error.into()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (opening, limit) = (self.inner.call(uri), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, opening).await {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(LimitedError::Failed(error.into())),
                Err(_) => Err(LimitedError::Late(limit)),
            }
        })
    }
}
