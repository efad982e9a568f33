//! What holds an object on purpose: flags and wishes in its spec, annotations of its operator, a partition.

use serde_json::Value;

use super::object::Object;
use super::states;
use super::words::{self, Meaning};

/// Spec flags that hold an object while they are true.
const FLAGS: [&str; 9] = [
    "/spec/suspend",
    "/spec/suspended",
    "/spec/paused",
    "/spec/pause",
    "/spec/stopped",
    "/spec/hibernate",
    "/spec/strategy/paused",
    "/spec/updateStrategy/paused",
    "/spec/updateStrategy/rollingUpdate/paused",
];
/// Spec fields by which a state is wished for, of which a paused one holds the object.
const WISHES: [&str; 5] = [
    "/spec/desiredState",
    "/spec/desiredPhase",
    "/spec/lifecycle/desiredPhase",
    "/spec/job/state",
    "/spec/runStrategy",
];
/// Names of annotations that hold while they are there, unless they say no.
const PAUSE_ANNOTATIONS: [&[&str]; 7] = [
    &["pause"],
    &["paused"],
    &["suspend"],
    &["suspended"],
    &["pause", "reconcile"],
    &["pause", "reconciliation"],
    &["paused", "replicas"],
];
/// Names of annotations that hold when they say no.
const RECONCILE_ANNOTATIONS: [&[&str]; 3] = [&["reconcile"], &["reconciliation"], &["reconciliation", "loop"]];
/// Pauses the objects of all Crossplane providers, whatever their group.
const CROSSPLANE_PAUSED: &str = "crossplane.io/paused";
/// Where workload kinds keep the number (or share) of pods that are to stay as they are.
const PARTITIONS: [&str; 2] = ["/spec/updateStrategy/rollingUpdate/partition", "/spec/updateStrategy/partition"];

/// What holds the object, as a sentence.
pub fn held(object: Object<'_>) -> Option<String> {
    by_flag(object).or_else(|| by_wish(object)).or_else(|| by_annotation(object))
}

fn by_flag(object: Object<'_>) -> Option<String> {
    let pointer = FLAGS.iter().find(|pointer| object.is_true(pointer))?;
    Some(format!("is held by {}", field_of(pointer)))
}

fn by_wish(object: Object<'_>) -> Option<String> {
    let pointer = WISHES.iter().find(|pointer| words::meaning(object.text(pointer)) == Some(Meaning::Paused))?;
    Some(format!("is held by {}: {}", field_of(pointer), object.text(pointer)))
}

/// Annotations count only in the domain of the object's own group: another tool's pause (of who applies it, say) is not
/// a pause of what the object does.
fn by_annotation(object: Object<'_>) -> Option<String> {
    let annotations = object.at("/metadata/annotations")?.as_object()?;
    annotations.iter().find_map(|(name, value)| {
        let (prefix, local) = name.split_once('/')?;
        let value = value.as_str()?.trim().to_ascii_lowercase();
        let says_no = matches!(value.as_str(), "false" | "no" | "off" | "disabled");
        let words = words::split(local);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let is_own = name == CROSSPLANE_PAUSED || is_same_domain(prefix, object.group());
        let holds = if RECONCILE_ANNOTATIONS.contains(&words.as_slice()) {
            says_no
        } else {
            PAUSE_ANNOTATIONS.contains(&words.as_slice()) && !says_no
        };
        (is_own && holds).then(|| format!("is held by the annotation {name}"))
    })
}

/// What a partition holds back: pods of the new revision wait on purpose once as many as it lets through are updated.
pub fn by_partition(object: Object<'_>) -> Option<String> {
    let (pointer, value) = PARTITIONS.iter().find_map(|pointer| Some((pointer, object.at(pointer)?)))?;
    let desired = object.int("/spec/replicas").or_else(|| object.int("/status/desiredNumberScheduled"))?;
    let kept = kept_back(value, desired)?;
    let updated = object.int("/status/updatedReplicas").or_else(|| object.int("/status/updatedNumberScheduled"))?;
    let wanted = desired.saturating_sub(kept).max(0);
    let is_held = kept > 0 && updated < desired && updated >= wanted;
    is_held.then(|| format!("{updated} of {desired} are updated; {} holds the others", field_of(pointer)))
}

/// A count, or a share of the desired count as `"40%"`.
fn kept_back(value: &Value, desired: i64) -> Option<i64> {
    if let Some(count) = super::object::as_int(value) {
        return Some(count);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.trim().parse().ok()?;
    // Rounded up, as the controllers do for what stays.
    Some(desired.saturating_mul(percent).saturating_add(99) / 100)
}

fn is_same_domain(prefix: &str, group: &str) -> bool {
    let is_below = |whole: &str, part: &str| whole.strip_suffix(part).is_some_and(|rest| rest.ends_with('.'));
    let own = states::registered_domain(prefix);
    prefix == group
        || is_below(group, prefix)
        || is_below(prefix, group)
        || (own.is_some() && own == states::registered_domain(group))
}

fn field_of(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}
