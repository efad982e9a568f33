//! Acquires, renews and releases the lease. Decides nothing that `evaluate` can decide.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Decision, Fence, Holder, LEASE_NAME, Terms, evaluate};
use crate::clock::Clock;

/// Pause after a lost race for the Lease, so that two rivals do not spin.
const RACE_PAUSE: Duration = Duration::from_millis(50);

/// Whether the lease was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It is held, and the fence is open.
    Held,
    /// The process was told to stop first.
    ShuttingDown,
}

/// How long the end waits for a renewal that is under way: nothing can be released before it is answered.
const LAST_RENEWAL: Duration = Duration::from_millis(500);

/// What a look at the Lease showed, to whoever wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// Another process holds it.
    HeldBy(&'a str),
    /// It could not be looked at, or taken.
    Failed(&'a str),
    /// It is ours.
    Ours,
}

/// Why the lease is not held (any more).
#[derive(Debug, Error)]
pub enum LeaseError {
    /// The API server refuses: only a change of rights or of the namespace helps.
    #[error(
        "cannot use the Lease {namespace}/{LEASE_NAME}: {}; the controller needs get, create and update on leases.coordination.k8s.io in its namespace, which must exist",
        explain(source)
    )]
    Refused {
        /// The namespace.
        namespace: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// Another process took it.
    #[error("the lease was taken by {holder}; this process ends so that only one writes")]
    Taken {
        /// Who holds it now.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error("the lease could not be renewed for {} s ({problem}); this process ends before another may write", .limit.as_secs_f64())]
    NotRenewed {
        /// How long it may do without.
        limit: Duration,
        /// What the last attempt ended in.
        problem: String,
    },
}

/// A problem with one request.
#[derive(Debug, Error)]
enum RequestError {
    #[error("no answer of the API server within {} s", .0.as_secs_f64())]
    Deadline(Duration),
    #[error("{}", explain(.0))]
    Kube(#[from] kube::Error),
}

/// The answer in the API server's own words.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

impl RequestError {
    /// Whether someone else wrote the Lease meanwhile.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists())
    }
}

/// Keeps the lease of one installation.
#[derive(Debug)]
pub struct LeaseKeeper {
    api: Api<Lease>,
    namespace: String,
    holder: Holder,
    clock: Clock,
    fence: Fence,
    terms: Terms,
    /// The Lease as this process last wrote it.
    held: Option<Lease>,
}

/// A Lease as it was first seen in one version.
struct Sighting {
    version: Option<String>,
    since: Instant,
}

impl LeaseKeeper {
    /// A keeper that holds nothing yet.
    pub fn new(client: Client, namespace: &str, holder: Holder, clock: Clock, terms: Terms) -> Self {
        let api = Api::namespaced(client, namespace);
        let fence = Fence::closed(clock.clone(), terms.writes_end);
        Self { api, namespace: namespace.to_owned(), holder, clock, fence, terms, held: None }
    }

    /// The fence that every writer asks.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Waits until the lease is ours. `looked` is called after each look. Only reads while it waits. Failures that may
    /// pass are logged and tried again.
    pub async fn acquire(
        &mut self,
        shutdown: CancellationToken,
        mut looked: impl FnMut(Look<'_>),
    ) -> Result<Acquired, LeaseError> {
        let mut sighting: Option<Sighting> = None;
        let mut announced: Option<String> = None;
        loop {
            let pause = match self.try_acquire(&mut sighting).await {
                Ok(None) => {
                    tracing::info!(identity = %self.holder, "holds the lease and may write");
                    looked(Look::Ours);
                    return Ok(Acquired::Held);
                }
                Ok(Some((holder, expires_in))) => {
                    if announced.as_ref() != Some(&holder) {
                        tracing::info!(holder, identity = %self.holder, "stands by: another process holds the lease");
                        announced = Some(holder.clone());
                    }
                    looked(Look::HeldBy(&holder));
                    expires_in.clamp(RACE_PAUSE, self.terms.look.max(RACE_PAUSE))
                }
                Err(RequestError::Kube(error)) if is_final(&error) => {
                    return Err(LeaseError::Refused { namespace: self.namespace.clone(), source: Box::new(error) });
                }
                Err(error) => {
                    tracing::warn!(namespace = self.namespace, %error, "cannot acquire the lease; trying again");
                    looked(Look::Failed(&error.to_string()));
                    self.terms.retry
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(Acquired::ShuttingDown),
                () = sleep(pause) => {}
            }
        }
    }

    /// One attempt; `None` is success, else who holds the lease and for how long.
    async fn try_acquire(
        &mut self,
        sighting: &mut Option<Sighting>,
    ) -> Result<Option<(String, Duration)>, RequestError> {
        let current = self.within_deadline(self.api.get_opt(LEASE_NAME)).await?;
        let version = current.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        let since = match sighting {
            Some(seen) if seen.version == version => seen.since,
            _ => {
                let since = self.clock.monotonic();
                *sighting = Some(Sighting { version, since });
                since
            }
        };
        let unchanged_for = self.clock.monotonic().saturating_duration_since(since);
        let sent = (self.clock.monotonic(), self.clock.now());
        let written = match evaluate(current.as_ref(), &self.holder, self.terms.on_lease, unchanged_for, sent.1) {
            Decision::Wait { holder, expires_in } => return Ok(Some((holder, expires_in))),
            Decision::Create(lease) => self.within_deadline(self.api.create(&PostParams::default(), &lease)).await,
            Decision::Take(lease) => {
                self.within_deadline(self.api.replace(LEASE_NAME, &PostParams::default(), &lease)).await
            }
        };
        match written {
            Ok(lease) => {
                self.fence.renewed(sent.0, sent.1);
                self.held = Some(lease);
                Ok(None)
            }
            // A rival was faster; look again at once.
            Err(error) if error.is_conflict() => Ok(Some(("another process".to_owned(), Duration::ZERO))),
            Err(error) => Err(error),
        }
    }

    /// Renews until told to stop, or until the lease is lost; then the fence is closed. `looked` is called after each
    /// try. Stop it only when nothing writes any more.
    pub async fn keep(&mut self, stop: CancellationToken, mut looked: impl FnMut(Look<'_>)) -> Result<(), LeaseError> {
        let mut pause = self.terms.renew;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
            let renewed = {
                let mut renewing = std::pin::pin!(self.renew());
                tokio::select! {
                    renewed = &mut renewing => renewed,
                    () = stop.cancelled() => match timeout(LAST_RENEWAL, renewing).await {
                        Ok(renewed) => renewed,
                        // Whether it was renewed is not known, so it is not released either.
                        Err(_) => return Ok(()),
                    }
                }
            };
            let problem = match renewed {
                Ok(()) => {
                    pause = self.terms.renew;
                    looked(Look::Ours);
                    continue;
                }
                Err(RenewError::Taken { holder }) => {
                    self.fence.close();
                    return Err(LeaseError::Taken { holder });
                }
                Err(RenewError::Request(error)) => {
                    // A conflict says that someone wrote the Lease: look who, at once.
                    pause = if error.is_conflict() { RACE_PAUSE } else { self.terms.retry };
                    error.to_string()
                }
            };
            looked(Look::Failed(&problem));
            let remaining = self.fence.remaining().unwrap_or_default();
            if remaining.is_zero() {
                self.fence.close();
                return Err(LeaseError::NotRenewed { limit: self.terms.writes_end, problem });
            }
            tracing::warn!(seconds_left = remaining.as_secs(), problem, "cannot renew the lease; trying again");
            pause = pause.min(remaining);
        }
    }

    /// Renews with the version that this process wrote last: one request, and it fails when anyone else wrote.
    async fn renew(&mut self) -> Result<(), RenewError> {
        let (monotonic, now) = (self.clock.monotonic(), self.clock.now());
        // After a failure `held` stays empty: whether the request arrived is not known, so the next attempt reads.
        let current = match self.held.take() {
            Some(held) => Some(held),
            None => self.within_deadline(self.api.get_opt(LEASE_NAME)).await?,
        };
        if let Some(lease) = &current {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
            if holder != self.holder.as_str() {
                let holder = if holder.is_empty() { "a process that released it" } else { holder }.to_owned();
                return Err(RenewError::Taken { holder });
            }
        }
        let request = match evaluate(current.as_ref(), &self.holder, self.terms.on_lease, Duration::ZERO, now) {
            Decision::Wait { holder, .. } => return Err(RenewError::Taken { holder }),
            Decision::Create(lease) => self.within_deadline(self.api.create(&PostParams::default(), &lease)).await,
            Decision::Take(lease) => {
                self.within_deadline(self.api.replace(LEASE_NAME, &PostParams::default(), &lease)).await
            }
        };
        self.held = Some(request?);
        self.fence.renewed(monotonic, now);
        Ok(())
    }

    /// Closes the fence and gives the lease up, so that a successor need not wait. Nothing may write any more, and no write
    /// may be under way.
    pub async fn release(mut self) {
        self.fence.close();
        let Some(mut lease) = self.held.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(self.clock.now()));
        match self.within_deadline(self.api.replace(LEASE_NAME, &PostParams::default(), &lease)).await {
            Ok(_) => tracing::info!("released the lease"),
            Err(error) => tracing::warn!(%error, "cannot release the lease; a successor waits until it runs out"),
        }
    }

    async fn within_deadline<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, RequestError> {
        match timeout(self.terms.request, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RequestError::Deadline(self.terms.request)),
        }
    }
}

/// Why a renewal failed.
#[derive(Debug, Error)]
enum RenewError {
    #[error("taken by {holder}")]
    Taken { holder: String },
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Whether trying again is of no use.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404 | 422))
}
