//! What an AppProject allows. Empty means deny; a `!` pattern denies and wins.

use globset::{GlobBuilder, GlobMatcher};
use thiserror::Error;

use crate::api::{AppProjectSpec, Destination, IN_CLUSTER_NAME, IN_CLUSTER_SERVER, ResourceRule};
use crate::model::ObjectKey;

/// A source that the project does not allow.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("project `{project}` does not allow the repository {url}: add it to the project's sourceRepos")]
pub struct SourceDenied {
    project: String,
    url: String,
}

/// The rules of a project, compiled.
#[derive(Debug)]
pub struct ProjectRules {
    name: String,
    sources: Patterns,
    destinations: Vec<DestinationRule>,
    cluster_allow: Vec<KindRule>,
    cluster_deny: Vec<KindRule>,
    namespaced_allow: Option<Vec<KindRule>>,
    namespaced_deny: Vec<KindRule>,
    protected_namespaces: Vec<String>,
}

#[derive(Debug)]
struct Patterns {
    allow: Vec<GlobMatcher>,
    deny: Vec<GlobMatcher>,
}

#[derive(Debug)]
struct DestinationRule {
    server: Option<Pattern>,
    name: Option<Pattern>,
    namespace: Option<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    deny: bool,
    glob: GlobMatcher,
}

#[derive(Debug)]
struct KindRule {
    group: GlobMatcher,
    kind: GlobMatcher,
    name: Option<GlobMatcher>,
}

/// `*` crosses `/`, as in Argo CD's repository and destination globs. A pattern that is no glob matches itself.
#[expect(clippy::expect_used, reason = "invariant: an escaped pattern is a valid glob")]
fn glob(pattern: &str) -> GlobMatcher {
    let build = |text: &str| GlobBuilder::new(text).literal_separator(false).build();
    build(pattern)
        .or_else(|_| build(&globset::escape(pattern)))
        .expect("invariant: an escaped pattern is a valid glob")
        .compile_matcher()
}

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        let (deny, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        (!text.is_empty()).then(|| Self { deny, glob: glob(text) })
    }
}

fn kind_rules(rules: &[ResourceRule]) -> Vec<KindRule> {
    rules
        .iter()
        .map(|rule| KindRule {
            group: glob(&rule.group),
            kind: glob(&rule.kind),
            name: (!rule.name.is_empty()).then(|| glob(&rule.name)),
        })
        .collect()
}

impl KindRule {
    fn matches(&self, key: &ObjectKey) -> bool {
        self.group.is_match(&key.group)
            && self.kind.is_match(&key.kind)
            && self.name.as_ref().is_none_or(|name| name.is_match(&key.name))
    }
}

impl ProjectRules {
    /// Compiles a project's rules. `protected_namespaces` can't be deployed to by any project that has not named
    /// them literally: the operator's own and `kube-system`.
    pub fn new(name: &str, spec: &AppProjectSpec, protected_namespaces: &[&str]) -> Self {
        let (mut allow, mut deny) = (Vec::new(), Vec::new());
        for source in spec.source_repos.iter().filter_map(|source| Pattern::new(source)) {
            if source.deny { deny.push(source.glob) } else { allow.push(source.glob) }
        }
        let named: Vec<&str> = spec.destinations.iter().map(|destination| destination.namespace.as_str()).collect();
        Self {
            name: name.to_owned(),
            sources: Patterns { allow, deny },
            destinations: spec
                .destinations
                .iter()
                .map(|destination| DestinationRule {
                    server: Pattern::new(&destination.server),
                    name: Pattern::new(&destination.name),
                    namespace: Pattern::new(&destination.namespace),
                })
                .collect(),
            cluster_allow: kind_rules(&spec.cluster_resource_whitelist),
            cluster_deny: kind_rules(&spec.cluster_resource_blacklist),
            namespaced_allow: spec.namespace_resource_whitelist.as_deref().map(kind_rules),
            namespaced_deny: kind_rules(&spec.namespace_resource_blacklist),
            protected_namespaces: protected_namespaces
                .iter()
                .filter(|namespace| !named.contains(namespace))
                .map(|namespace| (*namespace).to_owned())
                .collect(),
        }
    }

    /// Whether a repository may be used. A source has several spellings (letter case of the host, `.git` at the end, the
    /// short form of SSH); a pattern may be about any of them, and one that denies one of them denies all.
    pub fn permits_source<S: AsRef<str>>(&self, url: &str, spellings: &[S]) -> Result<(), SourceDenied> {
        let matched = |patterns: &[GlobMatcher]| {
            let all = || std::iter::once(url).chain(spellings.iter().map(AsRef::as_ref));
            patterns.iter().any(|pattern| all().any(|spelling| pattern.is_match(spelling)))
        };
        let allowed = matched(&self.sources.allow) && !matched(&self.sources.deny);
        if allowed { Ok(()) } else { Err(SourceDenied { project: self.name.clone(), url: url.to_owned() }) }
    }

    /// Whether a namespace of a cluster may be deployed to. The cluster is given by its URL or name; both forms of
    /// the operator's own cluster are the same.
    pub fn permits_namespace(&self, destination: &Destination, namespace: &str) -> Result<(), String> {
        let given_name = destination.name.as_deref().unwrap_or_default();
        let given_server = destination.server.as_deref().unwrap_or_default().trim_end_matches('/');
        let in_cluster = given_name == IN_CLUSTER_NAME
            || given_server == IN_CLUSTER_SERVER
            || (given_name.is_empty() && given_server.is_empty());
        let (server, name) = if in_cluster { (IN_CLUSTER_SERVER, IN_CLUSTER_NAME) } else { (given_server, given_name) };
        if self.protected_namespaces.iter().any(|protected| protected == namespace) {
            return Err(format!(
                "project `{}` does not allow the namespace `{namespace}`: it is protected, and a project must name it \
                 literally in its destinations to allow it",
                self.name
            ));
        }
        let mut allowed = false;
        for rule in &self.destinations {
            let cluster = match (&rule.server, &rule.name) {
                (None, None) => continue,
                (Some(pattern), None) => pattern.glob.is_match(server) != pattern.deny,
                (None, Some(pattern)) => pattern.glob.is_match(name) != pattern.deny,
                (Some(by_server), Some(by_name)) => {
                    by_server.glob.is_match(server) != by_server.deny || by_name.glob.is_match(name) != by_name.deny
                }
            };
            let Some(pattern) = &rule.namespace else { continue };
            let matches = pattern.glob.is_match(namespace);
            if cluster && pattern.deny && matches {
                allowed = false;
                break;
            }
            if cluster && !pattern.deny && matches {
                allowed = true;
            }
        }
        if allowed && !self.denied_namespace(namespace) {
            Ok(())
        } else {
            Err(format!(
                "project `{}` does not allow the namespace `{namespace}` of the cluster {server}: add it to the \
                 project's destinations",
                self.name
            ))
        }
    }

    fn denied_namespace(&self, namespace: &str) -> bool {
        self.destinations
            .iter()
            .filter_map(|rule| rule.namespace.as_ref())
            .any(|p| p.deny && p.glob.is_match(namespace))
    }

    /// Whether objects of a kind may be deployed.
    pub fn permits_kind(&self, key: &ObjectKey, namespaced: bool) -> Result<(), String> {
        let (scope, allowed, list) = if namespaced {
            let allowed = self.namespaced_allow.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.matches(key)))
                && !self.namespaced_deny.iter().any(|rule| rule.matches(key));
            ("namespaced", allowed, "namespaceResourceWhitelist")
        } else {
            let allowed = self.cluster_allow.iter().any(|rule| rule.matches(key))
                && !self.cluster_deny.iter().any(|rule| rule.matches(key));
            ("cluster-scoped", allowed, "clusterResourceWhitelist")
        };
        if allowed {
            Ok(())
        } else {
            Err(format!(
                "project `{}` does not allow the {scope} kind {} (`{}`): see the project's {list}",
                self.name,
                key.group_kind(),
                key.name
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProjectDestination;

    fn rules(spec: &AppProjectSpec) -> ProjectRules {
        ProjectRules::new("team", spec, &["tidelock", "kube-system"])
    }

    fn destination(server: &str, namespace: &str) -> ProjectDestination {
        ProjectDestination { server: server.into(), namespace: namespace.into(), ..ProjectDestination::default() }
    }

    fn rule(group: &str, kind: &str) -> ResourceRule {
        ResourceRule { group: group.into(), kind: kind.into(), name: String::new() }
    }

    #[test]
    fn empty_project_denies_everything_but_namespaced_kinds() {
        let rules = rules(&AppProjectSpec::default());
        assert!(rules.permits_source::<&str>("https://git.corp.test/a.git", &[]).is_err());
        assert!(rules.permits_namespace(&Destination::default(), "shop").is_err());
        assert!(rules.permits_kind(&ObjectKey::new("", "Namespace", "", "shop"), false).is_err());
        assert_eq!(rules.permits_kind(&ObjectKey::new("apps", "Deployment", "shop", "cart"), true), Ok(()));
    }

    #[test]
    fn denying_patterns_win() {
        let spec = AppProjectSpec {
            source_repos: vec!["https://git.corp.test/*".into(), "!https://git.corp.test/secret/*".into()],
            destinations: vec![destination("*", "shop-*"), destination("*", "!shop-prod")],
            cluster_resource_whitelist: vec![rule("*", "*")],
            cluster_resource_blacklist: vec![rule("", "Namespace")],
            namespace_resource_blacklist: vec![rule("networking.k8s.io", "*")],
            ..AppProjectSpec::default()
        };
        let rules = rules(&spec);
        assert_eq!(rules.permits_source::<&str>("https://git.corp.test/team/a.git", &[]), Ok(()));
        assert!(rules.permits_source::<&str>("https://git.corp.test/secret/a.git", &[]).is_err());
        assert!(
            rules.permits_source("https://GIT.corp.test/secret/a", &["https://git.corp.test/secret/a"]).is_err(),
            "a denial is about the repository, however it is written"
        );
        assert_eq!(rules.permits_namespace(&Destination::default(), "shop-dev"), Ok(()));
        assert!(rules.permits_namespace(&Destination::default(), "shop-prod").is_err());
        assert!(rules.permits_kind(&ObjectKey::new("", "Namespace", "", "x"), false).is_err());
        assert_eq!(rules.permits_kind(&ObjectKey::new("", "PersistentVolume", "", "x"), false), Ok(()));
        assert!(rules.permits_kind(&ObjectKey::new("networking.k8s.io", "Ingress", "a", "x"), true).is_err());
    }

    #[test]
    fn protected_namespaces_need_to_be_named_literally() {
        let any =
            AppProjectSpec { destinations: vec![destination(IN_CLUSTER_SERVER, "*")], ..AppProjectSpec::default() };
        assert_eq!(rules(&any).permits_namespace(&Destination::default(), "shop"), Ok(()));
        assert!(rules(&any).permits_namespace(&Destination::default(), "kube-system").is_err());
        assert!(rules(&any).permits_namespace(&Destination::default(), "tidelock").is_err());
        let named = AppProjectSpec {
            destinations: vec![destination(IN_CLUSTER_SERVER, "kube-system")],
            ..AppProjectSpec::default()
        };
        assert_eq!(rules(&named).permits_namespace(&Destination::default(), "kube-system"), Ok(()));
    }

    #[test]
    fn own_cluster_is_the_same_by_name_and_by_url() {
        let spec = AppProjectSpec {
            destinations: vec![ProjectDestination {
                name: IN_CLUSTER_NAME.into(),
                namespace: "shop".into(),
                ..ProjectDestination::default()
            }],
            ..AppProjectSpec::default()
        };
        let by_url = Destination { server: Some(IN_CLUSTER_SERVER.into()), ..Destination::default() };
        assert_eq!(rules(&spec).permits_namespace(&by_url, "shop"), Ok(()));
        let with_slash = Destination { server: Some(format!("{IN_CLUSTER_SERVER}/")), ..Destination::default() };
        assert_eq!(rules(&spec).permits_namespace(&with_slash, "shop"), Ok(()));
        let elsewhere = Destination { server: Some("https://10.0.0.1".into()), ..Destination::default() };
        assert!(rules(&spec).permits_namespace(&elsewhere, "shop").is_err());
    }
}
