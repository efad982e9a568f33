//! The health of many objects as one.

use crate::model::{Health, HealthStatus, ObjectKey};

/// How many causes a message names.
const NAMED_CAUSES: usize = 3;

/// The worst of the objects; healthy when there are none. The message counts the objects that are as bad as the worst
/// and names the first three by key, whatever the order of the input.
pub fn aggregate<'a>(objects: impl Iterator<Item = (&'a ObjectKey, &'a Health)>) -> Health {
    let objects: Vec<_> = objects.collect();
    let worst = objects.iter().map(|(_, health)| health.status).max().unwrap_or(HealthStatus::Healthy);
    if worst == HealthStatus::Healthy {
        return Health::healthy();
    }
    let mut causes: Vec<_> = objects.iter().filter(|(_, health)| health.status == worst).collect();
    causes.sort_by_key(|(key, _)| *key);
    let named: Vec<String> =
        causes.iter().take(NAMED_CAUSES).map(|(key, health)| sentence(key, &health.message)).collect();
    let (count, total) = (causes.len(), objects.len());
    let noun = if total == 1 { "object is" } else { "objects are" };
    let more = match count.saturating_sub(NAMED_CAUSES) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Health::new(worst, format!("{count} of {total} {noun} {worst}: {}{more}", named.join("; ")))
}

/// `Deployment shop/cart (2 of 3 replicas are available)`.
fn sentence(key: &ObjectKey, message: &str) -> String {
    let name = if key.namespace.is_empty() { key.name.clone() } else { format!("{}/{}", key.namespace, key.name) };
    let subject = format!("{} {name}", key.kind);
    if message.is_empty() { subject } else { format!("{subject} ({message})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(status: HealthStatus, message: &str) -> Health {
        Health::new(status, message)
    }

    fn of(list: &[(ObjectKey, Health)]) -> Health {
        aggregate(list.iter().map(|(key, health)| (key, health)))
    }

    fn deployment(name: &str) -> ObjectKey {
        ObjectKey::new("apps", "Deployment", "shop", name)
    }

    #[test]
    fn nothing_and_healthy_objects_are_healthy_without_a_message() {
        assert_eq!(of(&[]), Health::healthy());
        assert_eq!(of(&[(deployment("a"), health(HealthStatus::Healthy, "note"))]), Health::healthy());
    }

    #[test]
    fn the_worst_wins_and_is_named_with_its_cause() {
        let list = [
            (deployment("b"), health(HealthStatus::Progressing, "1 of 2 replicas are ready")),
            (ObjectKey::new("", "Namespace", "", "shop"), health(HealthStatus::Missing, "")),
            (deployment("a"), health(HealthStatus::Healthy, "")),
        ];
        assert_eq!(of(&list), health(HealthStatus::Missing, "1 of 3 objects are Missing: Namespace shop"));
    }

    #[test]
    fn three_causes_are_named_by_key_and_the_others_counted() {
        let mut list: Vec<_> =
            ["e", "d", "c", "b", "a"].map(|name| (deployment(name), health(HealthStatus::Degraded, name))).into();
        let wanted = health(
            HealthStatus::Degraded,
            "5 of 5 objects are Degraded: Deployment shop/a (a); Deployment shop/b (b); Deployment shop/c (c); and 2 more",
        );
        assert_eq!(of(&list), wanted);
        list.reverse();
        assert_eq!(of(&list), wanted);
    }
}
