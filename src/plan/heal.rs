//! How often objects were corrected lately, and by whom the corrections were undone.
//!
//! A correction that never lasts means that somebody else wants something else: correcting ever more slowly leaves both
//! sides standing and the API server in peace. Each object, and each manager that changes it, is counted by itself, so
//! that a fight over one object delays the healing of no other.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::SyncOptions;
use crate::model::ObjectKey;

/// Healing may follow at once this often; then it is held back.
const FREE_HEALS: u32 = 3;
/// Longest pause between heals.
const LONGEST_HEAL_PAUSE: Duration = Duration::from_mins(5);
/// A heal that lasted this long proves that nobody fights it.
const HEAL_LASTED: Duration = Duration::from_mins(10);
/// So many objects with their managers are remembered; of more, those that were healed longest ago are forgotten. A
/// Deployment fleet that is scaled by hand all at once stays below.
const REMEMBERED: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fight {
    count: u32,
    last: Timestamp,
    field: String,
}

impl Fight {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.last).unsigned_abs() > HEAL_LASTED
    }

    fn not_before(&self) -> Option<Timestamp> {
        let excess = self.count.checked_sub(FREE_HEALS).filter(|excess| *excess > 0)?;
        let pause = Duration::from_secs(1 << excess.min(16)).min(LONGEST_HEAL_PAUSE);
        self.last.checked_add(pause).ok()
    }
}

/// A field that two managers keep changing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriftFight {
    /// The object.
    pub object: ObjectKey,
    /// Name of the other field manager; empty when `managedFields` does not tell.
    pub manager: String,
    /// Path of a field that it keeps changing (`.spec.replicas`); empty when the object keeps being deleted.
    pub field: String,
    /// How often the object was put back, without ten minutes of peace in between.
    pub count: u32,
    /// When it is put back next at the earliest.
    pub next: Timestamp,
}

impl fmt::Display for DriftFight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, manager, field, count, next } = self;
        let who = if manager.is_empty() { "something" } else { manager.as_str() };
        let what = if field.is_empty() { "deletes or replaces it" } else { "changes" };
        write!(
            formatter,
            "{object}: {who} keeps undoing what git says: it {what}{}{field}",
            if field.is_empty() { "" } else { " " }
        )?;
        write!(
            formatter,
            "; put back {count} times, next not before {next}. Take the field out of git, add it to ignoreDifferences, or \
             stop {who}"
        )
    }
}

/// Drifted objects that are not healed yet, each with when they may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldBack {
    /// By object.
    pub objects: BTreeMap<ObjectKey, Timestamp>,
    /// Whether any other drifted object may be healed now.
    pub some_are_free: bool,
}

impl HeldBack {
    /// The earliest time for a self-healing sync; `None` is at once.
    pub fn not_before(&self) -> Option<Timestamp> {
        if self.some_are_free { None } else { self.objects.values().min().copied() }
    }
}

/// How often objects were corrected lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heals {
    fights: BTreeMap<(ObjectKey, String), Fight>,
}

impl Heals {
    /// Takes note of a correction: of which object, against which field manager (empty when it is not known), and of which
    /// field.
    pub fn note(&mut self, object: &ObjectKey, manager: &str, field: &str, now: Timestamp) {
        let key = (object.clone(), manager.to_owned());
        let count = self.fights.get(&key).filter(|fight| !fight.is_over(now)).map_or(0, |fight| fight.count);
        if self.fights.len() >= REMEMBERED && !self.fights.contains_key(&key) {
            self.make_room(now);
        }
        self.fights.insert(key, Fight { count: count.saturating_add(1), last: now, field: field.to_owned() });
    }

    fn make_room(&mut self, now: Timestamp) {
        self.fights.retain(|_, fight| !fight.is_over(now));
        if self.fights.len() < REMEMBERED {
            return;
        }
        // A tenth at a time, so that a flood does not search for the oldest at each entry.
        let mut times: Vec<Timestamp> = self.fights.values().map(|fight| fight.last).collect();
        times.sort_unstable();
        let Some(limit) = times.get(REMEMBERED / 10).copied() else { return };
        let mut surplus = REMEMBERED / 10;
        self.fights.retain(|_, fight| {
            let goes = surplus > 0 && fight.last <= limit;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// The earliest time for the next correction of an object; `None` is at once.
    pub fn not_before(&self, object: &ObjectKey, now: Timestamp) -> Option<Timestamp> {
        self.of(object).filter(|(_, fight)| !fight.is_over(now)).filter_map(|(_, fight)| fight.not_before()).max()
    }

    /// Whether an object was corrected lately.
    pub fn is_known(&self, object: &ObjectKey, now: Timestamp) -> bool {
        self.of(object).any(|(_, fight)| !fight.is_over(now))
    }

    /// Which of the drifted objects have to wait.
    pub fn hold_back<'a>(&self, drifted: impl IntoIterator<Item = &'a ObjectKey>, now: Timestamp) -> HeldBack {
        let mut held = HeldBack::default();
        for object in drifted {
            match self.not_before(object, now).filter(|time| *time > now) {
                Some(time) => {
                    held.objects.insert(object.clone(), time);
                }
                None => held.some_are_free = true,
            }
        }
        held
    }

    /// Fights that are established: corrections are held back because they do not last.
    pub fn fights(&self, now: Timestamp) -> Vec<DriftFight> {
        self.fights
            .iter()
            .filter(|(_, fight)| !fight.is_over(now))
            .filter_map(|((object, manager), fight)| {
                Some(DriftFight {
                    object: object.clone(),
                    manager: manager.clone(),
                    field: fight.field.clone(),
                    count: fight.count,
                    next: fight.not_before()?,
                })
            })
            .collect()
    }

    fn of<'a>(&'a self, object: &ObjectKey) -> impl Iterator<Item = (&'a (ObjectKey, String), &'a Fight)> {
        let object = object.clone();
        let start = (object.clone(), String::new());
        self.fights.range(start..).take_while(move |((key, _), _)| *key == object)
    }
}

/// Whether a sync runs hooks: every one does but a self-healing one, which only does by option (`SelfHealHooks=true`).
pub const fn runs_hooks(heal: bool, options: &SyncOptions) -> bool {
    !heal || options.self_heal_hooks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn object(name: &str) -> ObjectKey {
        ObjectKey::new("apps", "Deployment", "shop", name)
    }

    #[test]
    fn a_fight_is_fought_ever_more_slowly_and_forgotten_when_it_ends() {
        let mut heals = Heals::default();
        let pauses: Vec<Option<i64>> = (0..14)
            .map(|_| {
                heals.note(&object("web"), "hpa", ".spec.replicas", at(0));
                heals.not_before(&object("web"), at(0)).map(Timestamp::as_second)
            })
            .collect();
        let expected = [0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300];
        assert_eq!(pauses, expected.map(|seconds| (seconds > 0).then_some(seconds)));
        heals.note(&object("web"), "hpa", ".spec.replicas", at(10_000));
        assert_eq!(heals.not_before(&object("web"), at(10_000)), None);
    }

    #[test]
    fn a_fight_over_one_object_delays_no_other_and_is_reported_once_established() {
        let mut heals = Heals::default();
        for _ in 0..3 {
            heals.note(&object("web"), "hpa", ".spec.replicas", at(0));
        }
        assert_eq!(heals.fights(at(0)), []);
        heals.note(&object("web"), "hpa", ".spec.replicas", at(0));
        // Another manager of the same object is another fight, and one of the same name elsewhere is another object.
        heals.note(&object("web"), "kubectl-edit", ".metadata.labels.a", at(0));
        let elsewhere = ObjectKey::new("apps", "Deployment", "other", "web");
        let fight = DriftFight {
            object: object("web"),
            manager: "hpa".into(),
            field: ".spec.replicas".into(),
            count: 4,
            next: at(2),
        };
        assert_eq!(heals.fights(at(0)), std::slice::from_ref(&fight));
        assert_eq!(
            fight.to_string(),
            "apps/Deployment/shop/web: hpa keeps undoing what git says: it changes .spec.replicas; put back 4 times, next \
             not before 1970-01-01T00:00:02Z. Take the field out of git, add it to ignoreDifferences, or stop hpa"
        );
        let held = heals.hold_back([&object("web"), &elsewhere], at(1));
        assert_eq!(held, HeldBack { objects: BTreeMap::from([(object("web"), at(2))]), some_are_free: true });
        assert_eq!(held.not_before(), None);
        assert_eq!(heals.hold_back([&object("web")], at(1)).not_before(), Some(at(2)));
        assert_eq!(heals.fights(at(601)), []);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_are_forgotten() {
        let mut heals = Heals::default();
        for number in 0..3_000 {
            heals.note(&object(&format!("web-{number}")), "x", ".a", at(i64::from(number) / 10));
            assert!(heals.fights.len() <= REMEMBERED);
        }
        assert!(heals.fights.contains_key(&(object("web-2999"), "x".into())));
        assert!(!heals.fights.contains_key(&(object("web-0"), "x".into())));
    }
}
