//! A process without the lease: it keeps what it will need current, and writes nothing. And the moment when it gets the
//! lease.
//!
//! What only reads goes on in both roles: watches of our own kinds, polls and fetches of repositories, live state of the
//! kinds that inventories name. What is remembered of single Applications is made by reconciles, which only the holder
//! runs; so nothing of another holder's time is taken for the present.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

use super::controller::Kinds;
use super::destinations::Destination;
use super::driver::Reconciler;
use super::egress_policy;
use super::projects;
use super::queue::Queue;
use crate::api::Application;
use crate::live::Scope;
use crate::live::client::DEFAULT_DEADLINE;
use crate::model::Owner;
use crate::server::probes::{Readiness, Requirement};
use crate::status::Failure;

/// How often Applications are looked through for what has changed. Only memory is read.
const LOOK: Duration = Duration::from_secs(2);
/// How long the first complete list of a kind is waited for before the process counts as standing by without it.
const LIST_DEADLINE: Duration = Duration::from_secs(30);

/// Applications that are made ready at the same time.
const AT_ONCE: usize = 16;

/// What a process is to the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The Lease was not seen yet.
    Unknown,
    /// Another process holds it.
    StandsBy,
    /// This one.
    Leads,
}

/// What of an Application was made ready, so that it is looked at again only when that may have changed.
#[derive(Debug, PartialEq, Eq)]
struct Prepared {
    version: Option<String>,
    /// What tells that an inventory which is kept in objects of its own is another.
    inventory: Option<(i64, Option<String>)>,
    /// Whether its watches were asked for.
    complete: bool,
}

/// Prepares a process for the lease.
pub(super) struct Standby {
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) kinds: Kinds,
    pub(super) queue: Arc<Queue>,
    pub(super) client: Client,
    pub(super) readiness: Readiness,
}

impl Standby {
    /// Keeps what will be needed current until the lease is ours.
    pub(super) async fn until_it_leads(&self, mut role: watch::Receiver<Role>) {
        let mut prepared = BTreeMap::new();
        let preparing = async {
            loop {
                self.prepare(&mut prepared).await;
                tokio::time::sleep(LOOK).await;
            }
        };
        let leads = async {
            if role.wait_for(|role| *role == Role::Leads).await.is_err() {
                // Nobody wants the lease any more: the process ends.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = leads => {}
            () = preparing => {}
        }
    }

    async fn prepare(&self, prepared: &mut BTreeMap<String, Prepared>) {
        let applications = self.kinds.applications.all();
        let there: BTreeSet<&String> = applications.iter().map(|(name, _)| name).collect();
        let gone: Vec<String> = prepared.keys().filter(|name| !there.contains(name)).cloned().collect();
        for name in gone {
            prepared.remove(&name);
            self.reconciler.no_longer_anticipate(&name).await;
        }
        let places = Semaphore::new(AT_ONCE);
        let mut preparing = FuturesUnordered::new();
        for (name, application) in &applications {
            let before = prepared.get(name);
            let current = |before: &Prepared| before.version == application.metadata.resource_version;
            if !before.is_some_and(|before| before.complete && current(before)) {
                preparing.push(self.prepare_one(name, application, before, &places));
            }
        }
        let mut made = Vec::new();
        while let Some(one) = preparing.next().await {
            made.push(one);
        }
        drop(preparing);
        prepared.extend(made);
        let late = prepared.values().filter(|prepared| !prepared.complete).count();
        let (records, watches) = self.reconciler.destinations.size();
        let without = if late == 0 { String::new() } else { format!("; of {late} not everything is known") };
        self.readiness.met_with(
            Requirement::Standby,
            format!("{} Applications, {watches} watches, {records} objects{without}", applications.len()),
        );
    }

    async fn prepare_one(
        &self,
        name: &str,
        application: &Application,
        before: Option<&Prepared>,
        places: &Semaphore,
    ) -> (String, Prepared) {
        // It is never closed; if it were, more at once would still be right.
        let _place = places.acquire().await;
        let owner = Owner::new(&self.reconciler.installation, &self.reconciler.namespace, name);
        if let Err(failure) = self.reconciler.anticipate(application, &owner).await {
            debug!(application = name, message = %failure.message, "its sources are not polled by a process that stands by");
        }
        let status = application.status.as_ref();
        // It is large, and written anew with every step of a sync; at its end it is read again.
        let inventory = status.and_then(|status| {
            let ended = status.operation_state.as_ref().and_then(|state| state.finished_at.clone());
            Some((status.inventory_objects?, ended))
        });
        let mut complete = true;
        if inventory.is_none() || before.is_none_or(|before| !before.complete || before.inventory != inventory) {
            match self.reconciler.anticipated_scopes(application).await {
                Ok((destination, scopes)) => {
                    complete = destination.cache.ensure(&scopes, LIST_DEADLINE).await.is_ok();
                }
                Err(failure) => {
                    complete = false;
                    debug!(application = name, message = %failure.message, "its objects are not known here yet");
                }
            }
        }
        let version = application.metadata.resource_version.clone();
        (name.to_owned(), Prepared { version, inventory, complete })
    }

    /// Begins to work after another process did: what it wrote last is read, and what it may have learnt since.
    pub(super) async fn take_over(&self) {
        let Kinds { applications, projects, repositories, proxies, policies } = &self.kinds;
        make_default_project(&self.client, &self.reconciler.namespace).await;
        applications.list_again();
        projects.list_again();
        repositories.list_again();
        proxies.list_again();
        policies.list_again();
        self.reconciler.sources.begin_anew();
        tokio::join!(
            applications.synced(),
            projects.synced(),
            repositories.synced(),
            proxies.synced(),
            policies.synced()
        );
        let (client, namespace) = (&self.client, &self.reconciler.namespace);
        let now = self.reconciler.clock.now();
        for (_, project) in projects.all() {
            tokio::spawn(projects::report_unsupported(client.clone(), namespace.clone(), (*project).clone(), now));
        }
        for (_, policy) in policies.all() {
            tokio::spawn(egress_policy::report(client.clone(), namespace.clone(), (*policy).clone(), now));
        }
        let all = applications.all();
        for (name, _) in &all {
            self.queue.now(name);
        }
        info!(applications = all.len(), "took over");
    }
}

/// Makes the project that Applications are in which name none.
pub(super) async fn make_default_project(client: &Client, namespace: &str) {
    match tokio::time::timeout(DEFAULT_DEADLINE, projects::ensure_default(client.clone(), namespace)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "the project `default` could not be made"),
        Err(_) => warn!("the project `default` could not be made in time"),
    }
}

impl Reconciler {
    /// What an Application that another process works on has brought, and with whose rights it is looked at; noted as in
    /// use.
    async fn anticipated_scopes(
        &self,
        application: &Application,
    ) -> Result<(Arc<Destination>, BTreeSet<Scope>), Failure> {
        let name = application.metadata.name.as_deref().unwrap_or_default();
        let (inventory, _) = self.inventories.load(application).await?;
        let destination = self.destinations.of(name, &self.identity_of(application)?)?;
        let scopes = destination.scopes(self.served_of(Some(&inventory)))?;
        self.destinations.use_scopes(name, &scopes);
        Ok((destination, scopes))
    }

    async fn no_longer_anticipate(&self, name: &str) {
        self.destinations.forget(name);
        // Losing interest opens nothing, so it can't fail.
        let _ = self.sources.set_interest(name, &[]).await;
    }
}
