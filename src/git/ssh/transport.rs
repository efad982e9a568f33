//! One SSH connection for one repository, kept between polls.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::egress::{Egress, Override, Timeouts};
use crate::git::{GitError, RepositoryUrl};
use crate::model::Reason;

use super::channel::{SshChannel, StartError};
use super::connection::{Connection, Server};
use super::hop::Hop;
use super::identity::SshConfig;

/// A connection that is not used for this long is closed. Longer than the usual time between polls.
const IDLE_LIMIT: Duration = Duration::from_mins(5);

/// How long a connection that was kept may take to react before a new one is made in its place.
const KEPT_PATIENCE: Duration = Duration::from_secs(10);

/// Reads a repository over SSH. Make a new one when URL, key, known hosts or egress rules change.
pub struct SshTransport {
    server: Result<Server, GitError>,
    timeouts: Timeouts,
    kept: Arc<Mutex<Option<Kept>>>,
}

struct Kept {
    connection: Arc<Connection>,
    used: Instant,
}

impl SshTransport {
    /// A transport that has made no connection yet. Without a configuration, or with a URL of another scheme than SSH, the
    /// first use fails.
    pub fn new(
        config: Option<SshConfig>,
        url: &RepositoryUrl,
        egress: Egress,
        route: Override,
        timeouts: Timeouts,
    ) -> Self {
        let server = match (url.ssh(), config) {
            (Some(place), Some(config)) => Ok(Server {
                config,
                destination: url.destination().clone(),
                place: place.clone(),
                egress,
                route,
                timeouts: timeouts.clone(),
                clock: Clock::system(),
            }),
            (Some(_), None) => Err(GitError::new(
                Reason::SecretNotFound,
                "no key for SSH: write a Repository that covers this URL, and name a Secret with the keys `sshPrivateKey` \
                 and `known_hosts` in its credentialsSecretRef",
            )),
            (None, _) => Err(GitError::new(Reason::InternalError, "SSH was asked for a URL that is not SSH")),
        };
        Self { server, timeouts, kept: Arc::default() }
    }

    /// The timers.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The route in words (`direct`, `proxy corporate (10.0.0.1:3128)`), for status and metrics.
    pub fn route(&self) -> String {
        self.server.as_ref().map_or_else(
            |error| error.message.clone(),
            |server| Hop::new(&server.egress, &server.destination, &server.route).route().to_owned(),
        )
    }

    /// `host:port` of the server.
    pub fn host(&self) -> String {
        self.server.as_ref().map_or_else(|_| String::new(), |server| server.destination.to_string())
    }

    /// Starts `git-upload-pack` on the server and asks for a version of the protocol; the server may answer in version 0.
    /// The kept connection is used when it still works; a new one is made once.
    pub async fn upload_pack(&self, version: u8) -> Result<SshChannel, GitError> {
        let server = self.server.as_ref().map_err(Clone::clone)?;
        let (path, timeouts) = (&server.place.path, &server.timeouts);
        let login = server.config.identity.describe();
        if let Some(connection) = self.take_kept() {
            let patience = timeouts.first_byte.min(KEPT_PATIENCE);
            match SshChannel::start(&connection, path, login.clone(), version, patience, timeouts).await {
                Ok(channel) => return Ok(channel),
                Err(StartError::Refused(error)) => return Err(error),
                // It may have died long ago; that is no failure of the repository.
                Err(StartError::Connection(_)) => connection.retire(),
            }
        }
        let connection = Arc::new(Connection::open(server).await?);
        let started = SshChannel::start(&connection, path, login, version, timeouts.first_byte, timeouts).await;
        match started {
            Ok(channel) => {
                self.keep(connection);
                Ok(channel)
            }
            Err(StartError::Refused(error) | StartError::Connection(error)) => Err(error),
        }
    }

    fn take_kept(&self) -> Option<Arc<Connection>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // A process that was stopped for long finds its connections old before their keeper has woken.
        kept.take_if(|one| !one.connection.is_usable() || now.duration_since(one.used) > IDLE_LIMIT);
        let one = kept.as_mut()?;
        one.used = now;
        Some(Arc::clone(&one.connection))
    }

    fn keep(&self, connection: Arc<Connection>) {
        let used = Instant::now();
        let watched = Arc::downgrade(&connection);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept { connection, used });
        tokio::spawn(close_when_idle(Arc::downgrade(&self.kept), watched, used));
    }
}

/// Drops the connection when it has been idle for long. Ends with the transport, or when another took its place.
async fn close_when_idle(kept: Weak<Mutex<Option<Kept>>>, watched: Weak<Connection>, mut used: Instant) {
    loop {
        sleep_until(used + IDLE_LIMIT).await;
        let Some(kept) = kept.upgrade() else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(one) = kept.as_mut().filter(|one| std::ptr::eq(Arc::as_ptr(&one.connection), watched.as_ptr())) else {
            return;
        };
        let now = Instant::now();
        if Arc::strong_count(&one.connection) > 1 {
            one.used = now;
        }
        used = one.used;
        if now.duration_since(used) >= IDLE_LIMIT {
            *kept = None;
            return;
        }
    }
}
