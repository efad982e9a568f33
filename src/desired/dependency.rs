//! Explicit dependencies of one object on another (`tidelock.dev/depends-on`).

use crate::model::ObjectKey;

/// What must be so of an object before what depends on it is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DependencyState {
    /// It is in the cluster.
    Present,
    /// It is healthy at its current generation.
    #[default]
    Ready,
    /// It has run to its end and succeeded: a Job, a Pod, a Workflow, or a hook.
    Completed,
}

impl DependencyState {
    /// The word for it in annotations and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Ready => "ready",
            Self::Completed => "completed",
        }
    }
}

/// One entry of `tidelock.dev/depends-on`: `<group>/<kind>/<namespace>/<name>[:present|ready|completed]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The object that is depended on; of this Application or of none.
    pub key: ObjectKey,
    /// What must be so of it.
    pub state: DependencyState,
}

/// Annotation that lists what an object depends on, separated by commas or blanks.
pub const DEPENDS_ON_ANNOTATION: &str = "tidelock.dev/depends-on";

const FORM: &str = "<group>/<kind>/<namespace>/<name>, with :present, :ready or :completed after it if wanted (group empty or \
                    `core` for core kinds, namespace empty for cluster-scoped kinds), as in apps/Deployment/shop/cart:ready";

impl DependencyState {
    fn parse(word: &str) -> Option<Self> {
        [Self::Present, Self::Ready, Self::Completed].into_iter().find(|state| state.as_str() == word)
    }
}

impl Dependency {
    /// Reads one entry. The error says what is wrong with it and how it is written.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{entry}` {what}: write {FORM}");
        let mut parts = entry.splitn(4, '/');
        let (Some(group), Some(kind), Some(namespace), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong("has fewer than four parts"));
        };
        let (name, state) = match rest.rsplit_once(':') {
            Some((name, word)) => match DependencyState::parse(word) {
                Some(state) => (name, state),
                // Names of roles and bindings may hold a colon, other names may not.
                None if group == "rbac.authorization.k8s.io" => (rest, DependencyState::default()),
                None => return Err(wrong(&format!("asks for the state `{word}`, which is not known"))),
            },
            None => (rest, DependencyState::default()),
        };
        if kind.is_empty() || name.is_empty() {
            return Err(wrong("names no kind or no object"));
        }
        if name.contains('/') {
            return Err(wrong("has more than four parts"));
        }
        let group = if group == "core" { "" } else { group };
        Ok(Self { key: ObjectKey::new(group, kind, namespace, name), state })
    }

    /// Reads the value of the annotation. Entries that can't be read are errors, one text each; the others are sorted.
    pub fn parse_list(value: &str) -> Result<Vec<Self>, Vec<String>> {
        let (mut read, mut errors) = (Vec::new(), Vec::new());
        let entries = value.split(|letter: char| letter == ',' || letter.is_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match Self::parse(entry) {
                Ok(dependency) => read.push(dependency),
                Err(error) => errors.push(error),
            }
        }
        read.sort();
        read.dedup();
        if errors.is_empty() { Ok(read) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(group: &str, kind: &str, namespace: &str, name: &str, state: DependencyState) -> Dependency {
        Dependency { key: ObjectKey::new(group, kind, namespace, name), state }
    }

    #[test]
    fn entries_are_read_in_every_form() {
        let list = "apps/Deployment/shop/cart, /ConfigMap/shop/a:present\n core/Secret/shop/s:ready,batch/Job/shop/m:completed \
                    rbac.authorization.k8s.io/ClusterRole//system:node /Namespace//shop:present";
        assert_eq!(
            Dependency::parse_list(list),
            Ok(vec![
                on("", "ConfigMap", "shop", "a", DependencyState::Present),
                on("", "Namespace", "", "shop", DependencyState::Present),
                on("", "Secret", "shop", "s", DependencyState::Ready),
                on("apps", "Deployment", "shop", "cart", DependencyState::Ready),
                on("batch", "Job", "shop", "m", DependencyState::Completed),
                on("rbac.authorization.k8s.io", "ClusterRole", "", "system:node", DependencyState::Ready),
            ])
        );
        assert_eq!(Dependency::parse_list(" , "), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_right_form() {
        for (entry, what) in [
            ("Deployment/cart", "`Deployment/cart` has fewer than four parts: write <group>/<kind>/"),
            ("apps/Deployment/shop/cart:healthy", "asks for the state `healthy`, which is not known: write"),
            ("apps//shop/cart", "names no kind or no object"),
            ("apps/Deployment/shop/", "names no kind or no object"),
            ("apps/v1/Deployment/shop/cart", "has more than four parts"),
        ] {
            let error = Dependency::parse(entry).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
