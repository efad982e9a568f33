//! The records of all watched objects, by identity and by owner. Pure.
//!
//! Answers to our own writes may arrive before the watch delivers them, and the watch may then deliver what was before
//! the write. So of two states of an object the one with the higher `resourceVersion` counts, whichever came last.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{LiveRecord, LiveView, Scope};
use crate::model::{InstanceId, ObjectKey};

/// Something that a decision may depend on has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The object.
    pub key: ObjectKey,
    /// The owner that its label names; for an object that is gone, the last one.
    pub instance: InstanceId,
    /// The owner that its label named before, when that was another.
    pub previous_instance: Option<InstanceId>,
}

/// Records by key and by instance label.
#[derive(Debug, Default)]
pub struct Index {
    records: BTreeMap<Arc<ObjectKey>, Arc<LiveRecord>>,
    by_instance: BTreeMap<InstanceId, BTreeSet<Arc<ObjectKey>>>,
    /// Uids of objects known to be gone whose deletion the watch has not delivered yet.
    gone: BTreeMap<ObjectKey, String>,
}

impl Index {
    /// An object is there in this state. Returns what changed: nothing when the state is older than the known one, or
    /// differs from it in nothing but its `resourceVersion`.
    pub fn apply(&mut self, key: ObjectKey, record: LiveRecord) -> Option<Change> {
        if record.marks.instance.as_str().is_empty() {
            // Without the label the object is outside of what is watched.
            return self.delete(&key, &record.uid, record.resource_version);
        }
        if self.gone.get(&key).is_some_and(|uid| *uid == record.uid) {
            return None;
        }
        let known = self.records.get_key_value(&key).map(|(key, known)| (Arc::clone(key), Arc::clone(known)));
        let (key, known) = match known {
            Some((_, known)) if record.resource_version < known.resource_version => return None,
            Some((key, known)) => (key, Some(known)),
            None => (Arc::new(key), None),
        };
        let instance = record.marks.instance.clone();
        let previous = known.as_ref().map(|known| known.marks.instance.clone()).filter(|before| *before != instance);
        if let Some(previous) = &previous {
            self.unlink(previous, &key);
        }
        let same = known.is_some_and(|known| same_but_for_version(&known, &record));
        if !same {
            self.by_instance.entry(instance.clone()).or_default().insert(Arc::clone(&key));
        }
        self.records.insert(Arc::clone(&key), Arc::new(record));
        (!same).then(|| Change { key: ObjectKey::clone(&key), instance, previous_instance: previous })
    }

    /// The watch says that the object `uid` is gone, or has lost its label, as of `resource_version`.
    pub fn delete(&mut self, key: &ObjectKey, uid: &str, resource_version: u64) -> Option<Change> {
        if self.gone.get(key).is_some_and(|gone| gone == uid) {
            self.gone.remove(key);
        }
        let known = self.records.get(key)?;
        // A newer state, or a later object of the same name, has been seen already.
        if known.resource_version > resource_version {
            return None;
        }
        self.remove(key)
    }

    /// A live read has shown that the object `uid` is gone; what the watch still delivers of it is history.
    pub fn forget(&mut self, key: &ObjectKey, uid: &str) -> Option<Change> {
        if self.records.get(key)?.uid != uid {
            return None;
        }
        self.gone.insert(key.clone(), uid.to_owned());
        self.remove(key)
    }

    /// The complete list of a scope's objects as of `resource_version`. What is of the scope and not listed is gone, unless it
    /// was seen in a newer state. The list says nothing of objects outside of the scope.
    pub fn reset(&mut self, scope: &Scope, listed: Vec<(ObjectKey, LiveRecord)>, resource_version: u64) -> Vec<Change> {
        let present: BTreeSet<&ObjectKey> = listed.iter().map(|(key, _)| key).collect();
        let absent: Vec<Arc<ObjectKey>> = self
            .of_scope(scope)
            .filter(|(key, record)| !present.contains(key.as_ref()) && record.resource_version <= resource_version)
            .map(|(key, _)| Arc::clone(key))
            .collect();
        let mut changes: Vec<Change> = absent.iter().filter_map(|key| self.remove(key)).collect();
        self.gone.retain(|key, uid| {
            let still_listed = || listed.iter().any(|(listed, record)| listed == key && record.uid == *uid);
            !scope.covers(key) || still_listed()
        });
        changes.extend(listed.into_iter().filter_map(|(key, record)| self.apply(key, record)));
        changes
    }

    /// Drops all records of a scope that is no longer watched. Nothing is reported: nothing is known to have changed.
    pub fn drop_scope(&mut self, scope: &Scope) {
        let keys: Vec<Arc<ObjectKey>> = self.of_scope(scope).map(|(key, _)| Arc::clone(key)).collect();
        for key in keys {
            self.remove(&key);
        }
        self.gone.retain(|key, _| !scope.covers(key));
    }

    /// The records of these objects, whoever owns them, and of all objects with this label.
    pub fn view<'a>(&self, instance: &InstanceId, keys: impl Iterator<Item = &'a ObjectKey>) -> LiveView {
        let mut objects = BTreeMap::new();
        for key in keys {
            if let Some(record) = self.records.get(key) {
                objects.insert(key.clone(), Arc::clone(record));
            }
        }
        for key in self.by_instance.get(instance).into_iter().flatten() {
            if let Some(record) = self.records.get(key) {
                objects.entry(ObjectKey::clone(key)).or_insert_with(|| Arc::clone(record));
            }
        }
        LiveView { objects }
    }

    /// The record of one object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<LiveRecord>> {
        self.records.get(key).cloned()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keys sort by group, kind and namespace, so a scope's records are neighbours.
    fn of_scope<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = (&'a Arc<ObjectKey>, &'a Arc<LiveRecord>)> {
        let Scope { kind, namespace } = scope;
        let namespace = namespace.as_deref().unwrap_or_default();
        let first = ObjectKey::new(kind.group.as_str(), kind.kind.as_str(), namespace, "");
        self.records
            .range::<ObjectKey, _>((Bound::Included(&first), Bound::Unbounded))
            .take_while(|(key, _)| scope.covers(key))
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Change> {
        let record = self.records.remove(key)?;
        let instance = record.marks.instance.clone();
        self.unlink(&instance, key);
        Some(Change { key: key.clone(), instance, previous_instance: None })
    }

    fn unlink(&mut self, instance: &InstanceId, key: &ObjectKey) {
        if let Some(keys) = self.by_instance.get_mut(instance) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_instance.remove(instance);
            }
        }
    }
}

/// Whether two states of an object mean the same to every decision: a heartbeat in its status changes only the version.
fn same_but_for_version(left: &LiveRecord, right: &LiveRecord) -> bool {
    let LiveRecord {
        uid,
        resource_version: _,
        generation,
        marks,
        owned,
        health,
        deleting,
        prune,
        delete,
        extraneous_ignored,
        hook_attempt,
        by_hand,
        health_ignored,
        wave,
    } = left;
    *uid == right.uid
        && *generation == right.generation
        && *marks == right.marks
        && *owned == right.owned
        && *health == right.health
        && *deleting == right.deleting
        && *prune == right.prune
        && *delete == right.delete
        && *extraneous_ignored == right.extraneous_ignored
        && *hook_attempt == right.hook_attempt
        && *by_hand == right.by_hand
        && *health_ignored == right.health_ignored
        && *wave == right.wave
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupKind, Hash64, Marks};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("", "ConfigMap", "shop", name)
    }

    fn record(instance: &str, uid: &str, resource_version: u64) -> LiveRecord {
        LiveRecord {
            resource_version,
            marks: Marks { instance: InstanceId::from_label(instance), tracking_id: String::new() },
            owned: Some(Hash64(1)),
            ..LiveRecord::plain(uid)
        }
    }

    fn change(name: &str, instance: &str, previous: Option<&str>) -> Change {
        Change {
            key: key(name),
            instance: InstanceId::from_label(instance),
            previous_instance: previous.map(InstanceId::from_label),
        }
    }

    fn names(index: &Index, instance: &str) -> Vec<String> {
        let view = index.view(&InstanceId::from_label(instance), std::iter::empty());
        view.objects.into_keys().map(|key| key.name).collect()
    }

    fn all_of(kind: &str) -> Scope {
        Scope::all_of(GroupKind::new("", kind))
    }

    #[test]
    fn a_new_object_is_a_change_and_a_heartbeat_is_none() {
        let mut index = Index::default();
        assert_eq!(index.apply(key("a"), record("app", "u1", 5)), Some(change("a", "app", None)));
        assert_eq!(index.apply(key("a"), record("app", "u1", 6)), None);
        assert_eq!(index.get(&key("a")).unwrap().resource_version, 6);
        let drifted = LiveRecord { owned: Some(Hash64(2)), ..record("app", "u1", 7) };
        assert_eq!(index.apply(key("a"), drifted), Some(change("a", "app", None)));
    }

    #[test]
    fn what_the_watch_delivers_late_does_not_undo_what_a_write_showed() {
        let mut index = Index::default();
        index.apply(key("a"), record("app", "u1", 10));
        let stale = LiveRecord { owned: None, ..record("app", "u1", 9) };
        assert_eq!(index.apply(key("a"), stale), None);
        assert_eq!(index.delete(&key("a"), "u1", 9), None);
        assert_eq!(index.get(&key("a")).unwrap().owned, Some(Hash64(1)));
        assert_eq!(index.delete(&key("a"), "u1", 11), Some(change("a", "app", None)));
        assert!(index.is_empty());
    }

    #[test]
    fn the_deletion_of_an_earlier_object_of_the_same_name_is_ignored() {
        let mut index = Index::default();
        index.apply(key("a"), record("app", "u2", 20));
        assert_eq!(index.delete(&key("a"), "u1", 15), None);
        assert_eq!(index.get(&key("a")).unwrap().uid, "u2");
    }

    #[test]
    fn a_list_removes_what_it_lacks_but_not_what_is_newer_than_itself() {
        let mut index = Index::default();
        let other = ObjectKey::new("", "Secret", "shop", "s");
        index.apply(key("gone"), record("app", "u1", 5));
        index.apply(key("new"), record("app", "u2", 101));
        index.apply(other.clone(), record("app", "u3", 5));
        let listed = vec![(key("listed"), record("app", "u4", 90))];
        assert_eq!(
            index.reset(&all_of("ConfigMap"), listed, 100),
            vec![change("gone", "app", None), change("listed", "app", None)]
        );
        assert_eq!(names(&index, "app"), ["listed", "new", "s"]);
    }

    #[test]
    fn a_list_of_one_namespace_says_nothing_of_objects_of_another() {
        let mut index = Index::default();
        let (here, there) = (key("a"), ObjectKey::new("", "ConfigMap", "cart", "a"));
        let before = ObjectKey::new("", "ConfigMap", "a-first", "a");
        for key in [&here, &there, &before] {
            index.apply(key.clone(), record("app", "u1", 5));
        }
        index.apply(ObjectKey::new("", "Secret", "shop", "s"), record("app", "u3", 5));
        index.forget(&there, "u1");
        let of_shop = Scope { namespace: Some("shop".to_owned()), ..all_of("ConfigMap") };
        assert_eq!(index.reset(&of_shop, Vec::new(), 100), vec![change("a", "app", None)]);
        assert_eq!((index.get(&here).is_some(), index.get(&before).is_some(), index.len()), (false, true, 2));
        assert_eq!(index.apply(there, record("app", "u1", 6)), None, "what was seen to be gone elsewhere stays gone");
        index.apply(here, record("app", "u9", 101));
        index.drop_scope(&of_shop);
        assert_eq!(names(&index, "app"), ["a", "s"]);
    }

    #[test]
    fn an_object_that_was_shown_to_be_gone_does_not_come_back_by_late_events() {
        let mut index = Index::default();
        index.apply(key("a"), record("app", "u1", 5));
        assert_eq!(index.forget(&key("a"), "other"), None);
        assert_eq!(index.forget(&key("a"), "u1"), Some(change("a", "app", None)));
        let deleting = LiveRecord { deleting: true, ..record("app", "u1", 6) };
        assert_eq!(index.apply(key("a"), deleting), None);
        assert_eq!(index.delete(&key("a"), "u1", 7), None);
        assert_eq!(index.apply(key("a"), record("app", "u2", 8)), Some(change("a", "app", None)));
    }

    #[test]
    fn a_change_of_owner_names_both_owners() {
        let mut index = Index::default();
        index.apply(key("a"), record("one", "u1", 5));
        assert_eq!(index.apply(key("a"), record("two", "u1", 6)), Some(change("a", "two", Some("one"))));
        assert_eq!(names(&index, "one"), Vec::<String>::new());
        assert_eq!(names(&index, "two"), ["a"]);
    }

    #[test]
    fn an_object_that_loses_its_label_leaves_the_index() {
        let mut index = Index::default();
        index.apply(key("a"), record("app", "u1", 5));
        assert_eq!(index.apply(key("a"), record("", "u1", 6)), Some(change("a", "app", None)));
        assert!(index.is_empty());
    }

    #[test]
    fn a_view_holds_wanted_objects_of_any_owner_and_all_objects_of_its_own() {
        let mut index = Index::default();
        index.apply(key("mine"), record("me", "u1", 5));
        index.apply(key("theirs"), record("them", "u2", 5));
        index.apply(key("unrelated"), record("them", "u3", 5));
        let wanted = [key("theirs"), key("absent")];
        let view = index.view(&InstanceId::from_label("me"), wanted.iter());
        assert_eq!(view.objects.into_keys().collect::<Vec<_>>(), vec![key("mine"), key("theirs")]);
    }

    #[test]
    fn a_dropped_kind_leaves_no_record_of_it_and_all_of_the_others() {
        let mut index = Index::default();
        index.apply(key("a"), record("app", "u1", 5));
        index.apply(ObjectKey::new("", "ConfigMaps", "shop", "x"), record("app", "u2", 5));
        index.drop_scope(&all_of("ConfigMap"));
        assert_eq!(names(&index, "app"), ["x"]);
        assert_eq!(index.len(), 1);
    }
}
