//! Build variables with Argo CD's names, and their replacement in parameters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::RenderRequest;

/// Characters that are a variable's whole name, as in a shell.
const SPECIAL: &str = "*#$@!?-0123456789";

/// The build variables of one render. Remembers what was made part of the result: a render that tells the revision does
/// not hold for any other commit.
#[derive(Debug)]
pub(super) struct BuildEnvironment {
    variables: BTreeMap<&'static str, Variable>,
    revision_used: AtomicBool,
    surface_used: AtomicBool,
}

/// What a variable tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// The Application and its source.
    Application,
    /// The commit.
    Revision,
    /// The destination's API server.
    Surface,
}

#[derive(Debug)]
struct Variable {
    value: String,
    about: About,
}

/// A text with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    /// The text. A variable that does not exist is replaced by nothing, as in Argo CD.
    pub(super) text: String,
    /// Whether there was one that does not exist.
    pub(super) unknown: bool,
}

impl BuildEnvironment {
    pub(super) fn new(request: &RenderRequest<'_>) -> Self {
        let revision = request.revision;
        let short = |length: usize| revision.get(..length).unwrap_or(revision).to_owned();
        let source = request.source;
        let plain = |value: &str| Variable { value: value.to_owned(), about: About::Application };
        let of_revision = |value: String| Variable { value, about: About::Revision };
        let of_surface = |value: String| Variable { value, about: About::Surface };
        let variables = BTreeMap::from([
            ("ARGOCD_APP_NAME", plain(request.application_name)),
            ("ARGOCD_APP_NAMESPACE", plain(request.destination_namespace)),
            ("ARGOCD_APP_PROJECT_NAME", plain(request.project)),
            ("ARGOCD_APP_REVISION", of_revision(revision.to_owned())),
            ("ARGOCD_APP_REVISION_SHORT", of_revision(short(7))),
            ("ARGOCD_APP_REVISION_SHORT_8", of_revision(short(8))),
            ("ARGOCD_APP_SOURCE_PATH", plain(source.path.as_deref().unwrap_or_default())),
            ("ARGOCD_APP_SOURCE_REPO_URL", plain(&source.repo_url)),
            ("ARGOCD_APP_SOURCE_TARGET_REVISION", plain(source.target_revision.as_deref().unwrap_or_default())),
            ("KUBE_VERSION", of_surface(bare_version(&request.kube_version).to_owned())),
            ("KUBE_API_VERSIONS", of_surface(request.api_versions.join(","))),
        ]);
        Self { variables, revision_used: AtomicBool::new(false), surface_used: AtomicBool::new(false) }
    }

    /// Whether a variable that tells the revision was replaced.
    pub(super) fn revision_used(&self) -> bool {
        self.revision_used.load(Ordering::Relaxed)
    }

    /// Whether a variable that tells about the API server was replaced.
    pub(super) fn surface_used(&self) -> bool {
        self.surface_used.load(Ordering::Relaxed)
    }

    /// Replaces `$NAME` and `${NAME}`; `$$` is a dollar sign.
    pub(super) fn expand(&self, text: &str) -> Expanded {
        let mut expanded = Expanded { text: String::with_capacity(text.len()), unknown: false };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.text.push_str(before);
            let (name, length) = name_at(after);
            match name {
                Some("$") => expanded.text.push('$'),
                Some(name) => match self.variables.get(name) {
                    Some(variable) => {
                        expanded.text.push_str(&variable.value);
                        match variable.about {
                            About::Application => {}
                            About::Revision => self.revision_used.store(true, Ordering::Relaxed),
                            About::Surface => self.surface_used.store(true, Ordering::Relaxed),
                        }
                    }
                    None => expanded.unknown = true,
                },
                // A dollar sign that begins no name stands for itself; one that begins a broken `${` is dropped with it.
                None if length == 0 => expanded.text.push('$'),
                None => expanded.unknown = true,
            }
            rest = after.get(length..).unwrap_or_default();
        }
        expanded.text.push_str(rest);
        expanded
    }
}

/// The name that follows a dollar sign, and how many bytes it takes with its braces.
fn name_at(text: &str) -> (Option<&str>, usize) {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if let Some(inside) = text.strip_prefix('{') {
        let Some(end) = inside.find('}') else { return (None, 1) };
        let name = inside.get(..end).unwrap_or_default();
        return ((!name.is_empty()).then_some(name), end + 2);
    }
    match text.chars().next() {
        Some(first) if SPECIAL.contains(first) => (text.get(..1), 1),
        Some(first) if is_name(first) => {
            let end = text.find(|character| !is_name(character)).unwrap_or(text.len());
            (text.get(..end), end)
        }
        Some(_) | None => (None, 0),
    }
}

/// `v1.35.2-eks-1a2b` → `1.35.2`.
fn bare_version(version: &str) -> &str {
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split(['-', '+']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApplicationSource;
    use crate::render::{References, RenderLimits};

    fn environment(source: &ApplicationSource) -> BuildEnvironment {
        BuildEnvironment::new(&RenderRequest {
            source,
            application_name: "payments",
            destination_namespace: "pay",
            project: "bank",
            revision: "0123456789abcdef0123456789abcdef01234567",
            references: References::default(),
            kube_version: "v1.35.2-eks-1a2b".to_owned(),
            api_versions: vec!["v1".to_owned(), "apps/v1".to_owned()],
            limits: RenderLimits::default(),
        })
    }

    fn source() -> ApplicationSource {
        ApplicationSource {
            repo_url: "https://git.example.com/pay.git".to_owned(),
            path: Some("apps/pay".to_owned()),
            target_revision: Some("1.x".to_owned()),
            ..ApplicationSource::default()
        }
    }

    #[test]
    fn each_variable_has_the_value_that_its_name_says() {
        let source = source();
        let environment = environment(&source);
        let value = |name: &str| environment.expand(&format!("${name}/${{{name}}}")).text;
        for (name, expected) in [
            ("ARGOCD_APP_NAME", "payments"),
            ("ARGOCD_APP_NAMESPACE", "pay"),
            ("ARGOCD_APP_PROJECT_NAME", "bank"),
            ("ARGOCD_APP_REVISION", "0123456789abcdef0123456789abcdef01234567"),
            ("ARGOCD_APP_REVISION_SHORT", "0123456"),
            ("ARGOCD_APP_REVISION_SHORT_8", "01234567"),
            ("ARGOCD_APP_SOURCE_PATH", "apps/pay"),
            ("ARGOCD_APP_SOURCE_REPO_URL", "https://git.example.com/pay.git"),
            ("ARGOCD_APP_SOURCE_TARGET_REVISION", "1.x"),
            ("KUBE_VERSION", "1.35.2"),
            ("KUBE_API_VERSIONS", "v1,apps/v1"),
        ] {
            assert_eq!(value(name), format!("{expected}/{expected}"), "{name}");
        }
    }

    #[test]
    fn dollars_are_escaped_kept_or_dropped_as_a_shell_would() {
        let source = source();
        let environment = environment(&source);
        for (text, expanded, unknown) in [
            ("", "", false),
            ("plain", "plain", false),
            ("$$ARGOCD_APP_NAME", "$ARGOCD_APP_NAME", false),
            ("a $$5 b", "a $5 b", false),
            ("pre-${ARGOCD_APP_NAME}post", "pre-paymentspost", false),
            ("$ARGOCD_APP_NAME.$ARGOCD_APP_NAMESPACE", "payments.pay", false),
            ("$ARGOCD_APP_NAMEx", "", true),
            ("a$HOME-b", "a-b", true),
            ("costs 5$", "costs 5$", false),
            ("a$.b", "a$.b", false),
            ("a$é", "a$é", false),
            ("a$1b", "ab", true),
            ("${}x", "x", true),
            ("${ARGOCD_APP_NAME", "ARGOCD_APP_NAME", true),
        ] {
            assert_eq!(environment.expand(text), Expanded { text: expanded.to_owned(), unknown }, "{text}");
        }
    }

    #[test]
    fn only_a_variable_that_tells_the_revision_binds_the_result_to_it() {
        let source = source();
        let environment = environment(&source);
        environment.expand("$ARGOCD_APP_NAME $$ARGOCD_APP_REVISION $ARGOCD_APP_SOURCE_TARGET_REVISION");
        assert!(!environment.revision_used());
        environment.expand("tag-${ARGOCD_APP_REVISION_SHORT_8}");
        assert_eq!((environment.revision_used(), environment.surface_used()), (true, false));
        environment.expand("$KUBE_VERSION");
        assert!(environment.surface_used());
    }
}
