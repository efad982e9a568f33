//! Our own kinds in the operator's namespace, kept in memory by one watch each.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tracing::warn;

/// The objects of one kind by name. An object that this version can't read is kept as its error, so that one mistake
/// neither stops the watch nor goes unseen.
#[derive(Debug)]
pub struct Objects<K> {
    items: RwLock<BTreeMap<String, Result<Arc<K>, String>>>,
    /// Number of the last complete list; 0 before the first.
    synced: watch::Sender<u64>,
    /// Number of the list that is wanted.
    wanted: AtomicU64,
    list_again: Notify,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self {
            items: RwLock::default(),
            synced: watch::Sender::new(0),
            wanted: AtomicU64::new(1),
            list_again: Notify::new(),
        }
    }
}

impl<K> Objects<K> {
    /// An object by name; the error says why this version can't read it.
    pub fn get(&self, name: &str) -> Option<Result<Arc<K>, String>> {
        self.items.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All objects that can be read, by name.
    pub fn all(&self) -> Vec<(String, Arc<K>)> {
        let items = self.items.read().unwrap_or_else(PoisonError::into_inner);
        items.iter().filter_map(|(name, item)| Some((name.clone(), Arc::clone(item.as_ref().ok()?)))).collect()
    }

    /// All objects by name, with the error of each that can't be read.
    pub fn all_or_broken(&self) -> Vec<(String, Result<Arc<K>, String>)> {
        let items = self.items.read().unwrap_or_else(PoisonError::into_inner);
        items.iter().map(|(name, item)| (name.clone(), item.clone())).collect()
    }

    /// Waits until the first complete list is in; after [`Objects::list_again`] that one.
    pub async fn synced(&self) {
        let wanted = self.wanted.load(Ordering::Acquire);
        // The sender lives as long as `self`, so the wait can only end by the value.
        let _ = self.synced.subscribe().wait_for(|synced| *synced >= wanted).await;
    }

    /// Lists everything anew, as it is from now on: a watch may lag behind, or hang without showing it.
    pub fn list_again(&self) {
        self.wanted.fetch_add(1, Ordering::AcqRel);
        self.list_again.notify_one();
    }

    fn put(&self, name: &str, item: Option<Result<Arc<K>, String>>) -> Option<Result<Arc<K>, String>> {
        let mut items = self.items.write().unwrap_or_else(PoisonError::into_inner);
        match item {
            Some(item) => items.insert(name.to_owned(), item),
            None => items.remove(name),
        }
    }

    fn names(&self) -> Vec<String> {
        self.items.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl<K> Objects<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    /// Keeps the store current until the task is dropped, and calls back with the name, the object before and the
    /// object after each change.
    pub async fn run(
        self: Arc<Self>,
        client: Client,
        namespace: String,
        changed: impl Fn(&str, Option<&K>, Option<&K>) + Send,
    ) {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
        let follow = || watcher(api.clone(), watcher::Config::default()).default_backoff().boxed();
        let mut number = self.wanted.load(Ordering::Acquire);
        let mut events = follow();
        let mut listed: Option<Vec<String>> = None;
        loop {
            let event = tokio::select! {
                biased;
                () = self.list_again.notified() => {
                    number = self.wanted.load(Ordering::Acquire);
                    events = follow();
                    listed = None;
                    continue;
                }
                event = events.try_next() => event,
            };
            match event {
                Ok(Some(watcher::Event::Init)) => listed = Some(Vec::new()),
                Ok(Some(watcher::Event::InitApply(object))) => {
                    if let Some(listed) = &mut listed {
                        listed.push(object.name_any());
                    }
                    self.take_in(object, &changed);
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    if let Some(listed) = listed.take() {
                        for name in self.names() {
                            if !listed.contains(&name) {
                                self.drop_out(&name, &changed);
                            }
                        }
                    }
                    self.synced.send_replace(number);
                }
                Ok(Some(watcher::Event::Apply(object))) => self.take_in(object, &changed),
                Ok(Some(watcher::Event::Delete(object))) => self.drop_out(&object.name_any(), &changed),
                Ok(None) => return,
                Err(error) => {
                    warn!(kind = %resource.kind, %error, "the watch of our own objects failed; it starts again");
                }
            }
        }
    }

    /// Reads the objects once.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer.
    pub async fn fill(&self, client: &Client, namespace: &str) -> Result<(), kube::Error> {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        for object in api.list(&ListParams::default()).await? {
            self.take_in(object, &|_, _, _| {});
        }
        self.synced.send_replace(self.wanted.load(Ordering::Acquire));
        Ok(())
    }

    fn take_in(&self, object: DynamicObject, changed: &impl Fn(&str, Option<&K>, Option<&K>)) {
        let name = object.name_any();
        let item = serde_json::to_value(object)
            .and_then(serde_json::from_value::<K>)
            .map(Arc::new)
            .map_err(|error| error.to_string());
        if let Err(error) = &item {
            warn!(%name, %error, "an object can't be read by this version");
        }
        let new = item.clone();
        let old = self.put(&name, Some(item));
        let old = old.as_ref().and_then(|old| old.as_ref().ok());
        changed(&name, old.map(AsRef::as_ref), new.as_ref().ok().map(AsRef::as_ref));
    }

    fn drop_out(&self, name: &str, changed: &impl Fn(&str, Option<&K>, Option<&K>)) {
        let old = self.put(name, None);
        let old = old.as_ref().and_then(|old| old.as_ref().ok());
        changed(name, old.map(AsRef::as_ref), None);
    }
}
