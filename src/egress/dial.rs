//! Resolving a name and opening a TCP connection, each under its own timer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// How long one address may be silent before the next is tried besides it (RFC 8305 recommends 250 ms).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How often a silent connection is probed, so that one whose other end is gone is noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Dialling failed.
#[derive(Debug)]
pub(super) enum DialError {
    /// No answer from the resolver in time.
    ResolveTimeout,
    /// The resolver has no address.
    Resolve(String),
    /// No address answered in time.
    Timeout(Vec<SocketAddr>),
    /// Every address refused or is unreachable.
    Refused(Vec<SocketAddr>, String),
}

/// The addresses of `host`.
#[expect(clippy::disallowed_methods, reason = "the one place that resolves names")]
pub(super) async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, DialError> {
    let addresses: Vec<SocketAddr> = match timeout(limit, tokio::net::lookup_host((host, port))).await {
        Err(_) => return Err(DialError::ResolveTimeout),
        Ok(Err(error)) => return Err(DialError::Resolve(error.to_string())),
        Ok(Ok(found)) => found.collect(),
    };
    if addresses.is_empty() {
        return Err(DialError::Resolve("the name has no address".to_owned()));
    }
    Ok(addresses)
}

/// Opens a connection to the first of the addresses that answers. It ends when sent bytes stay unacknowledged for so long.
pub(super) async fn dial(
    addresses: &[SocketAddr],
    limit: Duration,
    unacknowledged: Duration,
) -> Result<TcpStream, DialError> {
    let listed = || addresses.to_vec();
    match timeout(limit, first_to_answer(addresses)).await {
        Err(_) => Err(DialError::Timeout(listed())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(DialError::Timeout(listed())),
        Ok(Err(error)) => Err(DialError::Refused(listed(), error.to_string())),
        Ok(Ok(stream)) => {
            if let Err(error) = tune(&stream, unacknowledged) {
                tracing::debug!(%error, "cannot set the options of a socket");
            }
            Ok(stream)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that dials")]
async fn first_to_answer(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::other("no address");
    let mut next_at = Instant::now();
    loop {
        let more = waiting.len() > 0;
        if more && (attempts.is_empty() || Instant::now() >= next_at) {
            if let Some(address) = waiting.next() {
                attempts.push(TcpStream::connect(*address));
                next_at = Instant::now() + NEXT_ADDRESS_AFTER;
            }
            continue;
        }
        tokio::select! {
            result = attempts.next() => match result {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    last_error = error;
                    next_at = Instant::now();
                }
                None => return Err(last_error),
            },
            () = sleep_until(next_at), if more => {}
        }
    }
}

fn tune(stream: &TcpStream, unacknowledged: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, KEEPALIVE)?;
    rustix::net::sockopt::set_tcp_keepcnt(stream, 4)?;
    // Zero would be the system's own limit, which is a quarter of an hour.
    let milliseconds = u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX).max(1);
    rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds)?;
    Ok(())
}

/// Addresses as a message shows them: a few, without the port.
pub(super) fn list(addresses: &[SocketAddr]) -> String {
    let mut shown: Vec<String> = addresses.iter().take(4).map(|address| address.ip().to_string()).collect();
    if addresses.len() > shown.len() {
        shown.push(format!("and {} more", addresses.len() - shown.len()));
    }
    shown.join(", ")
}
