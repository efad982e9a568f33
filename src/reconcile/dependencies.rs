//! Other Applications, as far as ours depend on them: seen from the one watch of our own namespace, and from one watch
//! for each other namespace that is named. A change of an Application wakes those that depend on it, and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::api::Api;
use tokio::task::AbortHandle;
use tracing::warn;

use super::objects::Objects;
use super::queue::Queue;
use crate::api::Application;
use crate::dependencies::{ApplicationId, Dependencies, Edges, Sight, circle, deletion_waits};
use crate::live::client::DEFAULT_DEADLINE;
use crate::plan::Waiting;

/// How often Applications of another namespace are asked for while that namespace can't be watched.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Most other namespaces that are looked at: each is a watch.
const MOST_NAMESPACES: usize = 32;
/// Most Applications of one namespace that are asked for one by one.
const MOST_ASKED: usize = 64;

/// What is known of other Applications.
pub(super) struct DependencyWatch {
    client: Client,
    namespace: String,
    applications: Arc<Objects<Application>>,
    queue: Arc<Queue>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What each Application of our namespace depends on.
    edges: Edges,
    /// The same, read: expressions are compiled once.
    compiled: BTreeMap<String, Arc<Dependencies>>,
    /// Those of our namespace that depend on each, by name.
    dependents: BTreeMap<ApplicationId, BTreeSet<String>>,
    /// Other namespaces that are looked at.
    foreign: BTreeMap<String, Foreign>,
}

struct Foreign {
    objects: Arc<Objects<Application>>,
    /// Read one by one, while there is no watch.
    asked: BTreeMap<String, Sight>,
    /// Whether the watch has ever brought a complete list.
    listed: bool,
    tasks: [AbortHandle; 2],
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl DependencyWatch {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        applications: Arc<Objects<Application>>,
        queue: Arc<Queue>,
    ) -> Arc<Self> {
        Arc::new(Self { client, namespace: namespace.to_owned(), applications, queue, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a change of an Application of our own namespace. To be called for each, from the first list on.
    pub(super) fn changed(self: &Arc<Self>, name: &str, before: Option<&Application>, after: Option<&Application>) {
        let id = ApplicationId::new(self.namespace.as_str(), name);
        let mut state = self.state();
        if before.map(|before| &before.spec.depends_on) != after.map(|after| &after.spec.depends_on) {
            let wanted: BTreeSet<ApplicationId> = after
                .iter()
                .flat_map(|after| &after.spec.depends_on)
                .map(|dependency| ApplicationId::named_by(dependency, &self.namespace))
                .collect();
            match after.filter(|after| !after.spec.depends_on.is_empty()) {
                Some(after) => {
                    let compiled = Dependencies::new(id.clone(), &after.spec.depends_on);
                    state.compiled.insert(name.to_owned(), Arc::new(compiled));
                }
                None => {
                    state.compiled.remove(name);
                }
            }
            let had = if wanted.is_empty() {
                state.edges.remove(&id)
            } else {
                state.edges.insert(id.clone(), wanted.clone())
            }
            .unwrap_or_default();
            for gone in had.difference(&wanted) {
                if let Some(dependents) = state.dependents.get_mut(gone) {
                    dependents.remove(name);
                    if dependents.is_empty() {
                        state.dependents.remove(gone);
                    }
                }
                // Its deletion may have waited for this one, or a circle with it may be broken.
                if gone.namespace == self.namespace {
                    self.queue.now(&gone.name);
                }
            }
            for new in wanted.difference(&had) {
                state.dependents.entry(new.clone()).or_default().insert(name.to_owned());
            }
            self.look_at_namespaces(&mut state);
            if had != wanted {
                // A circle is opened or closed for all that are part of it.
                self.wake_around(&state, &id);
            }
        }
        if says_something_else(before, after) {
            self.wake_dependents(&state, &id);
        }
    }

    /// What an Application of our namespace waits for before it may be synced; empty when it may.
    pub(super) fn waits(&self, name: &str) -> Vec<Waiting> {
        let state = self.state();
        let Some(dependencies) = state.compiled.get(name).cloned() else { return Vec::new() };
        let sights = dependencies.ids().into_iter().map(|id| (id.clone(), self.sight(&state, &id))).collect();
        let circle = circle(&ApplicationId::new(self.namespace.as_str(), name), &state.edges);
        // An expression may take its time.
        drop(state);
        dependencies.evaluate(&sights, circle.as_deref())
    }

    /// Which Applications must be gone before what this one brought is taken away.
    pub(super) fn deletion_waits(&self, name: &str, deleted: &Application) -> Vec<Waiting> {
        let state = self.state();
        let id = ApplicationId::new(self.namespace.as_str(), name);
        let dependents = state.dependents.get(&id).into_iter().flatten().filter_map(|dependent| {
            let application = self.applications.get(dependent)?.ok()?;
            Some((ApplicationId::new(self.namespace.as_str(), dependent.as_str()), application))
        });
        deletion_waits(&id, deleted, &dependents.collect(), &state.edges)
    }

    fn sight(&self, state: &State, id: &ApplicationId) -> Sight {
        if id.namespace == self.namespace {
            return seen_in(&self.applications, &id.name);
        }
        match state.foreign.get(&id.namespace) {
            Some(foreign) if foreign.listed => seen_in(&foreign.objects, &id.name),
            Some(foreign) => foreign.asked.get(&id.name).cloned().unwrap_or_else(|| Sight::Unseen {
                why: format!("namespace `{}` has not been listed yet", id.namespace),
            }),
            None => Sight::Unseen {
                why: format!("Applications of at most {MOST_NAMESPACES} other namespaces can be depended on at once"),
            },
        }
    }

    fn wake_dependents(&self, state: &State, id: &ApplicationId) {
        for dependent in state.dependents.get(id).into_iter().flatten() {
            self.queue.now(dependent);
        }
    }

    /// Wakes what an Application depends on, however far, in our namespace.
    fn wake_around(&self, state: &State, id: &ApplicationId) {
        let mut seen = BTreeSet::from([id]);
        let mut ahead = vec![id];
        while let Some(application) = ahead.pop() {
            for next in state.edges.get(application).into_iter().flatten() {
                if seen.insert(next) {
                    self.queue.now(&next.name);
                    ahead.push(next);
                }
            }
        }
    }

    /// Starts to look at namespaces that are named, and stops to look at those that are not any more.
    fn look_at_namespaces(self: &Arc<Self>, state: &mut State) {
        let wanted: BTreeSet<String> =
            state.dependents.keys().map(|id| &id.namespace).filter(|name| **name != self.namespace).cloned().collect();
        state.foreign.retain(|namespace, _| wanted.contains(namespace));
        for namespace in wanted {
            if state.foreign.contains_key(&namespace) {
                continue;
            }
            if state.foreign.len() >= MOST_NAMESPACES {
                warn!(%namespace, limit = MOST_NAMESPACES, "Applications of this namespace can't be depended on: too many others are");
                continue;
            }
            let objects: Arc<Objects<Application>> = Arc::default();
            let watching = tokio::spawn(Arc::clone(&objects).run(self.client.clone(), namespace.clone(), {
                let (this, namespace) = (Arc::downgrade(self), namespace.clone());
                move |name, before: Option<&Application>, after: Option<&Application>| {
                    if says_something_else(before, after)
                        && let Some(this) = this.upgrade()
                    {
                        this.wake_dependents(&this.state(), &ApplicationId::new(namespace.as_str(), name));
                    }
                }
            }));
            let asking = tokio::spawn(Arc::clone(self).ask_until_listed(namespace.clone(), Arc::clone(&objects)));
            let tasks = [watching.abort_handle(), asking.abort_handle()];
            state.foreign.insert(namespace, Foreign { objects, asked: BTreeMap::new(), listed: false, tasks });
        }
    }

    /// Reads the Applications of a namespace one by one until it can be watched: the right to read some of them by name
    /// is easier to come by than the right to watch all.
    async fn ask_until_listed(self: Arc<Self>, namespace: String, objects: Arc<Objects<Application>>) {
        let api: Api<Application> = Api::namespaced(self.client.clone(), &namespace);
        while tokio::time::timeout(ASK_AGAIN, objects.synced()).await.is_err() {
            let wanted: Vec<ApplicationId> = {
                let state = self.state();
                state.dependents.keys().filter(|id| id.namespace == namespace).take(MOST_ASKED).cloned().collect()
            };
            for id in wanted {
                let sight = match tokio::time::timeout(DEFAULT_DEADLINE, api.get_opt(&id.name)).await {
                    Ok(Ok(Some(application))) => Sight::Present(Arc::new(application)),
                    Ok(Ok(None)) => Sight::Missing,
                    Ok(Err(error)) => Sight::Unseen { why: error.to_string() },
                    Err(_) => Sight::Unseen { why: "the API server did not answer in time".to_owned() },
                };
                let mut state = self.state();
                let Some(foreign) = state.foreign.get_mut(&namespace) else { return };
                let before = foreign.asked.insert(id.name.clone(), sight.clone());
                if !same(before.as_ref(), &sight) {
                    self.wake_dependents(&state, &id);
                }
            }
        }
        let mut state = self.state();
        let Some(foreign) = state.foreign.get_mut(&namespace) else { return };
        foreign.listed = true;
        foreign.asked.clear();
        for id in state.dependents.keys().filter(|id| id.namespace == namespace) {
            self.wake_dependents(&state, id);
        }
    }
}

fn seen_in(objects: &Objects<Application>, name: &str) -> Sight {
    match objects.get(name) {
        Some(Ok(application)) => Sight::Present(application),
        Some(Err(why)) => Sight::Unreadable { why },
        None => Sight::Missing,
    }
}

/// Whether two looks at an Application show the same.
fn same(before: Option<&Sight>, after: &Sight) -> bool {
    match (before, after) {
        (Some(Sight::Present(before)), Sight::Present(after)) => {
            before.metadata.resource_version == after.metadata.resource_version
        }
        (Some(Sight::Missing), Sight::Missing) => true,
        (Some(Sight::Unseen { why: before }), Sight::Unseen { why: after })
        | (Some(Sight::Unreadable { why: before }), Sight::Unreadable { why: after }) => before == after,
        (Some(Sight::Present(_) | Sight::Missing | Sight::Unseen { .. } | Sight::Unreadable { .. }) | None, _) => false,
    }
}

/// Whether an Application tells those that depend on it anything new. All of spec and status can stand in an expression.
fn says_something_else(before: Option<&Application>, after: Option<&Application>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    before.status != after.status
        || before.spec != after.spec
        || before.metadata.generation != after.metadata.generation
        || before.metadata.annotations != after.metadata.annotations
        || before.metadata.labels != after.metadata.labels
        || before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
}
