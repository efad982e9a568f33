use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::desired::ObjectOptions;
use crate::diff::Examination;
use crate::model::{Consent, GroupVersionKind, Hash64, Marks, Origin};

fn owner() -> Owner {
    Owner::new("tidelock", "tidelock", "shop")
}

fn key() -> ObjectKey {
    ObjectKey::new("", "ConfigMap", "shop", "a")
}

fn desired(hash: u64) -> DesiredSet {
    let object = DesiredObject {
        key: key(),
        gvk: GroupVersionKind::from_api_version("v1", "ConfigMap"),
        body: Bytes::new(),
        hash: Hash64(hash),
        wave: 0,
        options: ObjectOptions::default(),
        origin: Origin::default(),
        kind_is_new: false,
        depends_on: Vec::new(),
    };
    DesiredSet { objects: BTreeMap::from([(key(), Arc::new(object))]), ..DesiredSet::default() }
}

fn record() -> LiveRecord {
    LiveRecord {
        marks: Marks { instance: owner().instance, tracking_id: owner().tracking_id(&key()) },
        owned: Some(Hash64(7)),
        ..LiveRecord::plain("u1")
    }
}

fn view(record: LiveRecord) -> LiveView {
    LiveView { objects: BTreeMap::from([(key(), Arc::new(record))]) }
}

fn inventory(uid: &str, desired: u64, owned: u64) -> Inventory {
    let entry = InventoryEntry::Applied { uid: uid.into(), desired: Hash64(desired), owned: Hash64(owned) };
    Inventory { entries: BTreeMap::from([(key(), entry)]) }
}

fn difference(desired_set: &DesiredSet, live: &LiveView, inventory: &Inventory) -> Difference {
    compare(desired_set, live, inventory, &owner()).objects.remove(&key()).unwrap()
}

fn rules() -> IgnoreRules {
    let rule = crate::api::IgnoreDifferences {
        kind: "ConfigMap".to_owned(),
        json_pointers: vec!["/data/x".to_owned()],
        ..crate::api::IgnoreDifferences::default()
    };
    IgnoreRules::compile(&[rule], &[]).0
}

/// What comes of the object, and whether it has to be examined.
fn weighed(
    desired: &DesiredSet,
    record: &LiveRecord,
    inventory: &Inventory,
    rules: &IgnoreRules,
    extra_fields: ExtraFields,
    verdict: Option<Verdict>,
) -> (Difference, bool) {
    let accepted = verdict.map(|verdict| (key(), verdict)).into_iter().collect();
    let examined = Examined { rules, extra_fields, accepted: &accepted };
    let live = view(record.clone());
    let found = compare_examined(desired, &live, inventory, &owner(), &examined).objects.remove(&key()).unwrap();
    (found, !to_examine(desired, &live, inventory, &owner(), &examined).is_empty())
}

fn excepted_of(seen: &Verdict) -> Verdict {
    Verdict { has_extras: false, ..seen.clone() }
}

fn verdict(
    desired: &DesiredSet,
    record: &LiveRecord,
    rules: &IgnoreRules,
    only_ignored: bool,
    extras: bool,
) -> Verdict {
    let examination = Examination::default();
    let seen = Verdict::of(&desired.objects[&key()], record, rules, ExtraFields::Report, &examination);
    Verdict { only_ignored, has_extras: extras, ..seen }
}

#[test]
fn a_difference_that_does_not_count_is_in_sync_for_as_long_as_nothing_moves() {
    let (rules, applied) = (rules(), inventory("u1", 1, 8));
    let (none, seen) = (ExtraFields::Ignore, verdict(&desired(1), &record(), &rules, true, false));
    let differs = Difference::Changed(Cause::Live);
    assert_eq!(weighed(&desired(1), &record(), &applied, &rules, none, None), (differs.clone(), true));
    assert_eq!(
        weighed(&desired(1), &record(), &applied, &rules, none, Some(seen.clone())),
        (Difference::InSync, false)
    );
    let counts = Verdict { only_ignored: false, ..seen.clone() };
    assert_eq!(weighed(&desired(1), &record(), &applied, &rules, none, Some(counts)), (differs.clone(), false));
    // Another field of ours was lost, git moved, the object is another, the rules are others: look again.
    let moved = LiveRecord { owned: Some(Hash64(9)), ..record() };
    assert_eq!(weighed(&desired(1), &moved, &applied, &rules, none, Some(seen.clone())), (differs.clone(), true));
    let wanted = Difference::Changed(Cause::Desired);
    assert_eq!(weighed(&desired(2), &record(), &applied, &rules, none, Some(seen.clone())), (wanted, true));
    let other = IgnoreRules::compile(
        &[],
        &[crate::api::IgnoreDifferences {
            kind: "*".to_owned(),
            json_pointers: vec!["/data/y".to_owned()],
            ..crate::api::IgnoreDifferences::default()
        }],
    )
    .0;
    assert_eq!(weighed(&desired(1), &record(), &applied, &other, none, Some(seen.clone())), (differs.clone(), true));
    // Without a rule about the object nothing is asked.
    assert_eq!(weighed(&desired(1), &record(), &applied, &IgnoreRules::default(), none, None), (differs, false));
    let replaced = LiveRecord { uid: "u2".into(), ..record() };
    assert_eq!(
        weighed(&desired(1), &replaced, &inventory("u1", 1, 7), &rules, none, Some(seen)),
        (Difference::Changed(Cause::Replaced), false)
    );
}

#[test]
fn a_change_in_git_of_what_does_not_count_is_in_sync() {
    let (rules, applied) = (rules(), inventory("u1", 1, 7));
    let seen = verdict(&desired(2), &record(), &rules, true, false);
    assert_eq!(
        weighed(&desired(2), &record(), &applied, &rules, ExtraFields::Ignore, Some(seen)),
        (Difference::InSync, false)
    );
}

#[test]
fn fields_that_people_added_count_when_the_application_says_so_and_no_rule_excepts_them() {
    let (none, applied) = (IgnoreRules::default(), inventory("u1", 1, 7));
    let edited = LiveRecord { by_hand: Some(Hash64(5)), ..record() };
    assert!(!Difference::Changed(Cause::Extra).is_drift(), "nothing is done about it");
    assert!(Difference::Changed(Cause::ExtraToRemove).is_drift());
    assert_eq!(weighed(&desired(1), &edited, &applied, &none, ExtraFields::Ignore, None), (Difference::InSync, false));
    for (policy, cause) in [(ExtraFields::Report, Cause::Extra), (ExtraFields::Remove, Cause::ExtraToRemove)] {
        let extra = Difference::Changed(cause);
        assert_eq!(weighed(&desired(1), &record(), &applied, &none, policy, None), (Difference::InSync, false));
        assert_eq!(weighed(&desired(1), &edited, &applied, &none, policy, None), (extra.clone(), true));
        let seen = verdict(&desired(1), &edited, &none, true, true);
        assert_eq!(weighed(&desired(1), &edited, &applied, &none, policy, Some(seen.clone())), (extra.clone(), false));
        let excepted = excepted_of(&seen);
        assert_eq!(weighed(&desired(1), &edited, &applied, &none, policy, Some(excepted)), (Difference::InSync, false));
        let not_looked_for = Verdict { looked_for_extras: false, ..excepted_of(&seen) };
        assert_eq!(weighed(&desired(1), &edited, &applied, &none, policy, Some(not_looked_for)), (extra.clone(), true));
        let more = LiveRecord { by_hand: Some(Hash64(6)), ..record() };
        assert_eq!(weighed(&desired(1), &more, &applied, &none, policy, Some(seen)), (extra.clone(), true));
        // A field of ours that people changed is drift, with or without.
        assert_eq!(
            weighed(&desired(1), &edited, &inventory("u1", 1, 8), &none, policy, None),
            (Difference::Changed(Cause::Live), false)
        );
    }
}

#[test]
fn an_extraneous_object_with_the_annotation_is_prunable_and_the_application_in_sync() {
    let live = view(LiveRecord { extraneous_ignored: true, ..record() });
    let found = compare(&DesiredSet::default(), &live, &inventory("u1", 1, 7), &owner());
    assert_eq!(found.extras, BTreeMap::from([(key(), Extra::Prunable { uid: "u1".into() })]));
    assert!(found.is_synced());
    let found = compare(&DesiredSet::default(), &view(record()), &inventory("u1", 1, 7), &owner());
    assert!(!found.is_synced());
    // The annotation says nothing about an object that git has.
    let changed = compare(&desired(2), &live, &inventory("u1", 1, 7), &owner());
    assert!(!changed.is_synced());
}

#[test]
fn each_way_to_differ_is_told_apart() {
    let applied = inventory("u1", 1, 7);
    assert_eq!(difference(&desired(1), &view(record()), &applied), Difference::InSync);
    assert_eq!(difference(&desired(2), &view(record()), &applied), Difference::Changed(Cause::Desired));
    assert_eq!(difference(&desired(1), &view(record()), &inventory("u0", 1, 7)), Difference::Changed(Cause::Replaced));
    assert_eq!(difference(&desired(1), &view(record()), &inventory("u1", 1, 8)), Difference::Changed(Cause::Live));
    assert_eq!(difference(&desired(1), &LiveView::default(), &applied), Difference::Absent { drift: true });
    assert_eq!(difference(&desired(2), &LiveView::default(), &applied), Difference::Absent { drift: false });
    assert_eq!(
        difference(&desired(1), &LiveView::default(), &Inventory::default()),
        Difference::Absent { drift: false }
    );
    let deleting = LiveRecord { deleting: true, ..record() };
    assert_eq!(difference(&desired(1), &view(deleting), &applied), Difference::Terminating);
    let wiped = LiveRecord { owned: None, ..record() };
    assert_eq!(difference(&desired(1), &view(wiped), &applied), Difference::Changed(Cause::Live));
}

#[test]
fn object_of_another_application_is_a_conflict_and_copied_marks_are_not() {
    let other = Owner::new("tidelock", "tidelock", "other");
    let theirs = Marks { instance: other.instance.clone(), tracking_id: other.tracking_id(&key()) };
    let record_of = |marks| view(LiveRecord { marks, ..record() });
    assert_eq!(
        difference(&desired(1), &record_of(theirs), &Inventory::default()),
        Difference::Conflict { application: "tidelock/other".into() }
    );
    let elsewhere = ObjectKey::new("", "ConfigMap", "shop", "b");
    let copied = Marks { instance: other.instance.clone(), tracking_id: other.tracking_id(&elsewhere) };
    assert_eq!(difference(&desired(1), &record_of(copied), &Inventory::default()), Difference::Changed(Cause::Desired));
}

#[test]
fn only_recorded_objects_with_proven_identity_may_be_pruned() {
    let none = DesiredSet::default();
    let extra = |live: &LiveView, inventory: &Inventory| compare(&none, live, inventory, &owner()).extras;
    let one = |state| BTreeMap::from([(key(), state)]);
    assert_eq!(extra(&view(record()), &inventory("u1", 1, 7)), one(Extra::Prunable { uid: "u1".into() }));
    assert_eq!(extra(&view(record()), &Inventory::default()), one(Extra::Unrecorded));
    assert_eq!(extra(&view(record()), &inventory("u0", 1, 7)), one(Extra::Unrecorded));
    assert_eq!(extra(&LiveView::default(), &inventory("u1", 1, 7)), one(Extra::Unseen));
    let kept = LiveRecord { prune: Some(Consent::Refused), ..record() };
    assert_eq!(extra(&view(kept), &inventory("u1", 1, 7)), one(Extra::Kept));
    let copied =
        Marks { tracking_id: owner().tracking_id(&ObjectKey::new("", "ConfigMap", "shop", "b")), ..record().marks };
    assert_eq!(extra(&view(LiveRecord { marks: copied, ..record() }), &Inventory::default()), BTreeMap::new());
}
