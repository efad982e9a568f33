//! Where objects of Applications are, and with whose rights they are touched. An identity has its own view of the live state and
//! its own writer, made when the first Application needs them and dropped with the last: what one may not do concerns
//! nobody else, and what one sees nobody else sees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use tracing::info;

use crate::apply::Applier;
use crate::desired::out_of_reach;
use crate::live::{Cache, Coverage, Scope, acting_as};
use crate::model::{GroupKind, Identity, ObjectKey, Reason, ServiceAccount};
use crate::status::Failure;

/// The cluster as one identity sees and writes it.
pub(super) struct Destination {
    /// What is there.
    pub(super) cache: Cache,
    /// Writes.
    pub(super) applier: Applier,
    coverage: Coverage,
    /// The only namespaces that are touched; `None` is all.
    limit: Option<Arc<BTreeSet<String>>>,
}

impl Destination {
    /// The watch that an object is seen by.
    pub(super) fn scope_of(&self, key: &ObjectKey) -> Scope {
        self.coverage.scope_of(key)
    }

    /// The watches that objects are seen by.
    ///
    /// # Errors
    /// When one of them lies outside of the namespaces that the operator is limited to.
    pub(super) fn scopes<'a>(&self, keys: impl Iterator<Item = &'a ObjectKey>) -> Result<BTreeSet<Scope>, Failure> {
        let mut scopes = BTreeSet::new();
        for key in keys {
            if let Some(limit) = &self.limit
                && !limit.contains(&key.namespace)
            {
                let message = format!("{}; it is recorded as this Application's", out_of_reach(key, limit));
                return Err(Failure { reason: Reason::OutsideNamespaces, message });
            }
            scopes.insert(self.scope_of(key));
        }
        Ok(scopes)
    }
}

/// What one Application uses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Use {
    identity: Identity,
    scopes: BTreeSet<Scope>,
}

#[derive(Default)]
struct State {
    impersonated: BTreeMap<ServiceAccount, Arc<Destination>>,
    uses: HashMap<String, Use>,
}

/// All identities in use.
pub(super) struct Destinations {
    client: Client,
    own: Arc<Destination>,
    state: Mutex<State>,
}

impl Destinations {
    /// The operator's own identity; others follow as Applications need them. `namespaces` are the only ones that are touched.
    pub(super) fn new(client: Client, cache: Cache, applier: Applier, namespaces: Option<BTreeSet<String>>) -> Self {
        let coverage = if namespaces.is_some() { Coverage::Namespaces } else { Coverage::Cluster };
        let own = Arc::new(Destination { cache, applier, coverage, limit: namespaces.map(Arc::new) });
        Self { client, own, state: Mutex::default() }
    }

    /// The only namespaces that are touched; `None` is all.
    pub(super) fn limit(&self) -> Option<&BTreeSet<String>> {
        self.own.limit.as_deref()
    }

    /// What an Application is to be reconciled through, with the rights of `identity`. What it used with other rights before
    /// is let go.
    ///
    /// # Errors
    /// When the identity has no name that could be sent.
    pub(super) fn of(&self, application: &str, identity: &Identity) -> Result<Arc<Destination>, Failure> {
        let mut state = self.state();
        let found = match identity {
            Identity::Own => Arc::clone(&self.own),
            Identity::ServiceAccount(account) => {
                if let Some(known) = state.impersonated.get(account) {
                    Arc::clone(known)
                } else {
                    let made = Arc::new(self.impersonate(account)?);
                    state.impersonated.insert(account.clone(), Arc::clone(&made));
                    made
                }
            }
        };
        if state.uses.get(application).is_none_or(|used| used.identity != *identity) {
            let now = Use { identity: identity.clone(), scopes: BTreeSet::new() };
            if let Some(before) = state.uses.insert(application.to_owned(), now) {
                info!(before = %before.identity, now = %identity, "its objects are touched by another from now on");
                self.tidy(&mut state, &before.identity);
            }
        }
        Ok(found)
    }

    /// Takes note of what an Application needs to be watched; what none needs any more is watched no longer.
    pub(super) fn use_scopes(&self, application: &str, scopes: &BTreeSet<Scope>) {
        let mut state = self.state();
        let Some(used) = state.uses.get_mut(application) else { return };
        let before = std::mem::replace(&mut used.scopes, scopes.clone());
        let identity = used.identity.clone();
        if !before.is_subset(scopes) {
            self.tidy(&mut state, &identity);
        }
    }

    /// Forgets an Application that is gone.
    pub(super) fn forget(&self, application: &str) {
        let mut state = self.state();
        if let Some(before) = state.uses.remove(application) {
            self.tidy(&mut state, &before.identity);
        }
    }

    /// Reads all objects of kinds again for which `changed` holds, since the rules that judge them have changed.
    pub(super) fn reassess(&self, changed: impl Fn(&GroupKind) -> bool) {
        for destination in self.all() {
            destination.cache.reassess(&changed);
        }
    }

    /// How many records are held, and how many watches run.
    pub(super) fn size(&self) -> (usize, usize) {
        self.all().iter().fold((0, 0), |(records, watches), destination| {
            let more = destination.cache.counters().watches.load(Ordering::Relaxed);
            (records + destination.cache.len(), watches.saturating_add(usize::try_from(more).unwrap_or(usize::MAX)))
        })
    }

    fn impersonate(&self, account: &ServiceAccount) -> Result<Destination, Failure> {
        let client = acting_as(&self.client, account)
            .map_err(|error| Failure { reason: Reason::InvalidSpec, message: error.to_string() })?;
        let identity = Identity::ServiceAccount(account.clone());
        Ok(Destination {
            cache: self.own.cache.acting_as(client.clone(), identity.clone()),
            applier: self.own.applier.acting_as(client, identity),
            // What an account may do is said for namespaces.
            coverage: Coverage::Namespaces,
            limit: self.own.limit.clone(),
        })
    }

    /// Stops what no Application needs of an identity any more.
    fn tidy(&self, state: &mut State, identity: &Identity) {
        let State { impersonated, uses } = state;
        let mut of_identity = uses.values().filter(|used| used.identity == *identity).peekable();
        let destination = match identity {
            Identity::Own => &self.own,
            Identity::ServiceAccount(account) => {
                if of_identity.peek().is_none() {
                    impersonated.remove(account);
                    return;
                }
                let Some(destination) = impersonated.get(account) else { return };
                destination
            }
        };
        destination.cache.retain(&of_identity.flat_map(|used| &used.scopes).cloned().collect());
    }

    fn all(&self) -> Vec<Arc<Destination>> {
        std::iter::once(&self.own).chain(self.state().impersonated.values()).map(Arc::clone).collect()
    }

    /// A panic while the lock was held can't have left a half-made change that matters: what is unused is stopped with the next.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "destinations_tests.rs"]
mod tests;
