//! Which destinations there are: from objects and from the command line. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;
use url::Url;

use super::report::Kind;
use crate::api::{Application, ApplicationSource, EgressProxy, Repository, RepositoryType};
use crate::artifacts::{HelmRepositoryUrl, RegistryReference};
use crate::egress::{Destination, ProxyScheme, ProxyUrl};
use crate::git::{RepositoryUrl, Target};
use crate::reconcile::SourceLocation;

/// A destination to look at, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) place: Place,
    /// `Application shop`, `Repository corp`, `argument`.
    pub(super) used_by: BTreeSet<String>,
    /// What of a git repository is tracked.
    pub(super) targets: BTreeSet<Target>,
    /// Versions, tags, digests or ranges of an artifact that are tracked.
    pub(super) versions: BTreeSet<String>,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A git repository.
    Git(RepositoryUrl),
    /// A Helm repository or an OCI registry: a file or path of it that answers, and where that lies for the rules; without
    /// a location it is a registry as a whole.
    Http { kind: Kind, shown: String, ask: Url, location: Option<SourceLocation> },
    /// An EgressProxy.
    Proxy { name: String, url: ProxyUrl },
    /// A host and port, without more knowledge of it.
    Address { shown: String, destination: Destination },
}

impl Place {
    /// Its address, without credentials.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Git(url) => url.to_string(),
            Self::Http { shown, .. } | Self::Address { shown, .. } => shown.clone(),
            Self::Proxy { url, .. } => format!("{}://{url}", scheme(url.scheme)),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Git(_) => Kind::Git,
            Self::Http { kind, .. } => *kind,
            Self::Proxy { .. } => Kind::Proxy,
            Self::Address { .. } => Kind::Address,
        }
    }
}

const fn scheme(scheme: ProxyScheme) -> &'static str {
    match scheme {
        ProxyScheme::Http => "http",
        ProxyScheme::Https => "https",
        ProxyScheme::Socks5h => "socks5h",
    }
}

/// A destination on the command line: a URL, or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    place: Place,
}

/// A text that names no destination. It is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ArgumentError {
    /// Neither a URL nor a host with a port.
    #[error("write a URL (`https://HOST/PATH`, `oci://HOST/NAME`) or `HOST:PORT`")]
    Unreadable,
    /// A user or password in it.
    #[error("leave user and password out of the URL: those of the Repository that covers it are used")]
    HoldsCredentials,
}

impl FromStr for Argument {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let text = text.trim();
        let place = match text.split_once("://") {
            None => Place::Address { shown: text.to_owned(), destination: host_and_port(text)? },
            Some((_, rest)) if rest.split('/').next().is_some_and(|host| host.contains('@')) && !is_ssh(text) => {
                return Err(ArgumentError::HoldsCredentials);
            }
            Some(("oci", _)) => http(Kind::Oci, text, None).ok_or(ArgumentError::Unreadable)?,
            Some(_) => {
                if let Ok(url) = RepositoryUrl::parse(text) {
                    Place::Git(url)
                } else {
                    let url = Url::parse(text).map_err(|_| ArgumentError::Unreadable)?;
                    let destination = Destination::of_url(&url).map_err(|_| ArgumentError::Unreadable)?;
                    Place::Address { shown: format!("{}://{destination}", url.scheme()), destination }
                }
            }
        };
        Ok(Self { place })
    }
}

fn is_ssh(text: &str) -> bool {
    text.starts_with("ssh://")
}

fn host_and_port(text: &str) -> Result<Destination, ArgumentError> {
    let (host, port) = text.rsplit_once(':').ok_or(ArgumentError::Unreadable)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(if host.contains('@') { ArgumentError::HoldsCredentials } else { ArgumentError::Unreadable });
    }
    let port = port.parse().ok().filter(|port| *port > 0).ok_or(ArgumentError::Unreadable)?;
    Ok(Destination::tcp(host, port))
}

/// A Helm repository or registry, with what of it answers.
fn http(kind: Kind, text: &str, chart: Option<&str>) -> Option<Place> {
    let text = text.trim();
    let address = match text.strip_prefix("oci://") {
        Some(rest) => format!("https://{rest}"),
        None if text.contains("://") => text.to_owned(),
        // A registry is also written without a scheme.
        None => format!("https://{text}"),
    };
    let base = Url::parse(&address).ok().filter(|url| url.has_host() && url.username().is_empty())?;
    let mut ask = base.clone();
    ask.set_query(None);
    ask.set_fragment(None);
    let (location, shown) = match kind {
        Kind::Oci => {
            let shown =
                format!("oci://{}", address.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/'));
            (RegistryReference::parse(&shown, chart).ok().map(SourceLocation::registry), shown)
        }
        Kind::Helm | Kind::Git | Kind::Proxy | Kind::ApiServer | Kind::Address => (
            HelmRepositoryUrl::parse(&address).ok().map(SourceLocation::helm),
            address.trim_end_matches('/').to_owned(),
        ),
    };
    let shown = match &location {
        Some(SourceLocation::Registry { identity, .. }) => identity.clone(),
        Some(SourceLocation::Git(_) | SourceLocation::Helm { .. }) | None => shown,
    };
    match kind {
        Kind::Oci => ask.set_path("/v2/"),
        Kind::Helm | Kind::Git | Kind::Proxy | Kind::ApiServer | Kind::Address => {
            let path = format!("{}/index.yaml", base.path().trim_end_matches('/'));
            ask.set_path(&path);
        }
    }
    Some(Place::Http { kind, shown, ask, location })
}

/// The objects that destinations follow from. What can't be read is told by whoever read them.
pub(super) struct Declared {
    pub(super) applications: Vec<(String, Arc<Application>)>,
    pub(super) repositories: Vec<(String, Arc<Repository>)>,
    pub(super) proxies: Vec<(String, Arc<EgressProxy>)>,
}

/// All destinations, each once, and what is wrong with the addresses of others.
pub(super) fn wanted(declared: &Declared, arguments: &[Argument], only_arguments: bool) -> (Vec<Wanted>, Vec<String>) {
    let mut found = Found::default();
    for argument in arguments {
        found.add(argument.place.clone(), "argument".to_owned(), None);
    }
    if !only_arguments {
        for (name, application) in &declared.applications {
            for source in application.spec.all_sources() {
                let user = format!("Application {name}");
                match place_of(source, &declared.repositories) {
                    Ok(place) => found.add(place, user, Some(source)),
                    Err(problem) => found.problems.push(format!("{user}: repoURL: {problem}")),
                }
            }
        }
        for (name, repository) in &declared.repositories {
            let Some(url) = repository.spec.url.as_deref().filter(|url| !url.is_empty()) else { continue };
            let user = format!("Repository {name}");
            match place_of_type(type_of(repository.spec.type_, url), url, None) {
                Ok(place) => found.add(place, user, None),
                Err(problem) => found.problems.push(format!("{user}: spec.url: {problem}")),
            }
        }
        for (name, proxy) in &declared.proxies {
            match ProxyUrl::parse(&proxy.spec.url) {
                Ok(url) => {
                    found.add(Place::Proxy { name: name.clone(), url }, format!("EgressProxy {name}"), None);
                }
                Err(error) => found.problems.push(format!("EgressProxy {name}: spec.url: {error}")),
            }
        }
    }
    (found.places.into_values().collect(), found.problems)
}

#[derive(Default)]
struct Found {
    places: BTreeMap<(Kind, String), Wanted>,
    problems: Vec<String>,
}

impl Found {
    fn add(&mut self, place: Place, user: String, source: Option<&ApplicationSource>) {
        let wanted = self.places.entry((place.kind(), place.shown())).or_insert_with(|| Wanted {
            place,
            used_by: BTreeSet::new(),
            targets: BTreeSet::new(),
            versions: BTreeSet::new(),
        });
        wanted.used_by.insert(user);
        let Some(source) = source else { return };
        let revision = source.target_revision.as_deref().unwrap_or_default();
        match wanted.place {
            Place::Git(_) => {
                let prefix = source.tag_prefix.as_deref().unwrap_or_default();
                wanted.targets.insert(Target::parse_with_prefix(revision, prefix));
            }
            Place::Http { .. } => {
                wanted.versions.insert(revision.trim().to_owned());
            }
            Place::Proxy { .. } | Place::Address { .. } => {}
        }
    }
}

/// What a source is, by its Repository's `type`, its URL and whether it names a chart.
fn place_of(source: &ApplicationSource, repositories: &[(String, Arc<Repository>)]) -> Result<Place, String> {
    let url = source.repo_url.trim();
    let chart = source.chart.as_deref().filter(|chart| !chart.is_empty());
    if url.starts_with("oci://") || (chart.is_some() && !url.contains("://")) {
        return place_of_type(RepositoryType::Oci, url, chart);
    }
    if chart.is_some() {
        return place_of_type(RepositoryType::Helm, url, chart);
    }
    let declared = RepositoryUrl::parse(url).ok().and_then(|wanted| {
        let location = SourceLocation::Git(wanted);
        let covering = repositories.iter().filter_map(|(_, one)| Some((location.coverage(&one.spec)?, one.spec.type_)));
        covering.max_by_key(|(weight, _)| *weight).and_then(|(_, declared)| declared)
    });
    place_of_type(type_of(declared, url), url, chart)
}

fn type_of(declared: Option<RepositoryType>, url: &str) -> RepositoryType {
    match declared {
        Some(declared) => declared,
        None if url.starts_with("oci://") => RepositoryType::Oci,
        None => RepositoryType::Git,
    }
}

fn place_of_type(type_: RepositoryType, url: &str, chart: Option<&str>) -> Result<Place, String> {
    let unreadable = || "it can't be read as a URL; write `https://HOST/PATH` or `oci://HOST/NAME`".to_owned();
    match type_ {
        RepositoryType::Git => RepositoryUrl::parse(url).map(Place::Git).map_err(|error| error.to_string()),
        RepositoryType::Helm => http(Kind::Helm, url, chart).ok_or_else(unreadable),
        RepositoryType::Oci => http(Kind::Oci, url, chart).ok_or_else(unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ApplicationSpec, EgressProxySpec, RepositorySpec};

    fn application(url: &str, revision: &str, chart: Option<&str>) -> Arc<Application> {
        let source = ApplicationSource {
            repo_url: url.to_owned(),
            target_revision: Some(revision.to_owned()),
            chart: chart.map(str::to_owned),
            ..ApplicationSource::default()
        };
        let spec = ApplicationSpec { source: Some(source), ..ApplicationSpec::default() };
        Arc::new(Application { spec, ..Application::default() })
    }

    fn repository(url: &str, type_: Option<RepositoryType>) -> Arc<Repository> {
        let spec = RepositorySpec { url: Some(url.to_owned()), type_, ..RepositorySpec::default() };
        Arc::new(Repository::new("any", spec))
    }

    fn declared() -> Declared {
        let proxy = EgressProxySpec { url: "http://10.0.0.1:3128".to_owned(), ..EgressProxySpec::default() };
        let broken = EgressProxySpec { url: "10.0.0.1".to_owned(), ..EgressProxySpec::default() };
        Declared {
            applications: vec![
                ("cart".to_owned(), application("https://git.corp.test/team/shop.git", "main", None)),
                ("chart".to_owned(), application("https://charts.corp.test", "1.x", Some("web"))),
                ("image".to_owned(), application("registry.corp.test/charts", "1.2.3", Some("web"))),
                ("shop".to_owned(), application("HTTPS://git.corp.test:443/team/shop", "v1", None)),
                ("typo".to_owned(), application("https://user:canary@git.corp.test/x", "main", None)),
            ],
            repositories: vec![
                ("alone".to_owned(), repository("https://git.corp.test/alone", None)),
                ("helm".to_owned(), repository("https://charts.corp.test", Some(RepositoryType::Helm))),
                ("oci".to_owned(), repository("oci://registry.corp.test/charts", None)),
            ],
            proxies: vec![
                ("broken".to_owned(), Arc::new(EgressProxy::new("broken", broken))),
                ("corporate".to_owned(), Arc::new(EgressProxy::new("corporate", proxy))),
            ],
        }
    }

    fn told(found: &[Wanted]) -> Vec<String> {
        found
            .iter()
            .map(|wanted| {
                let users: Vec<&str> = wanted.used_by.iter().map(String::as_str).collect();
                let targets = wanted.targets.iter().map(ToString::to_string);
                let targets: Vec<String> = targets.chain(wanted.versions.iter().cloned()).collect();
                format!("{} {} {users:?} {targets:?}", wanted.place.kind().as_str(), wanted.place.shown())
            })
            .collect()
    }

    #[test]
    fn each_destination_is_there_once_with_all_that_want_it() {
        let (found, problems) = wanted(&declared(), &[], false);
        assert_eq!(
            told(&found),
            [
                "proxy http://10.0.0.1:3128 [\"EgressProxy corporate\"] []",
                "git https://git.corp.test/alone [\"Repository alone\"] []",
                "git https://git.corp.test/team/shop [\"Application cart\", \"Application shop\"] [\"main\", \"v1\"]",
                "Helm repository https://charts.corp.test [\"Application chart\", \"Repository helm\"] [\"1.x\"]",
                "OCI registry oci://registry.corp.test/charts [\"Repository oci\"] []",
                "OCI registry oci://registry.corp.test/charts/web [\"Application image\"] [\"1.2.3\"]",
            ]
        );
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("Application typo: repoURL: "), "{}", problems[0]);
        assert!(problems[1].starts_with("EgressProxy broken: spec.url: "), "{}", problems[1]);
        assert!(!problems.join("\n").contains("canary"));
    }

    #[test]
    fn arguments_come_beside_the_declared_or_in_their_place() {
        let arguments: Vec<Argument> =
            ["https://git.corp.test/alone", "db.corp.test:5432"].iter().map(|text| text.parse().unwrap()).collect();
        let (found, problems) = wanted(&declared(), &arguments, true);
        assert_eq!(
            told(&found),
            ["git https://git.corp.test/alone [\"argument\"] []", "address db.corp.test:5432 [\"argument\"] []"]
        );
        assert_eq!(problems, Vec::<String>::new());
        let (found, _) = wanted(&declared(), &arguments, false);
        let alone = "git https://git.corp.test/alone [\"Repository alone\", \"argument\"] []";
        assert!(told(&found).contains(&alone.to_owned()));
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn arguments_are_read_by_their_form_and_refused_without_repeating_them() {
        let kind = |text: &str| {
            let argument: Argument = text.parse().unwrap();
            (argument.place.kind(), argument.place.shown())
        };
        assert_eq!(kind("https://h/team/app.git"), (Kind::Git, "https://h/team/app".to_owned()));
        assert_eq!(kind("https://h"), (Kind::Address, "https://h:443".to_owned()));
        assert_eq!(kind("oci://h:5000/a/b"), (Kind::Oci, "oci://h:5000/a/b".to_owned()));
        assert_eq!(kind("h:22"), (Kind::Address, "h:22".to_owned()));
        assert_eq!(kind("[fd00::1]:22"), (Kind::Address, "[fd00::1]:22".to_owned()));
        for (text, expected) in [
            ("h", ArgumentError::Unreadable),
            ("h:0", ArgumentError::Unreadable),
            ("h:99999", ArgumentError::Unreadable),
            ("", ArgumentError::Unreadable),
            ("ftp://h/x", ArgumentError::Unreadable),
            ("https://user:canary@h/x", ArgumentError::HoldsCredentials),
            ("canary@h:22", ArgumentError::HoldsCredentials),
        ] {
            let error = text.parse::<Argument>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn what_is_asked_of_charts_and_registries_is_what_every_one_of_them_has() {
        let asked = |kind, text| match http(kind, text, None) {
            Some(Place::Http { ask, .. }) => ask.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(Kind::Helm, "https://h/stable/"), "https://h/stable/index.yaml");
        assert_eq!(asked(Kind::Helm, "http://h"), "http://h/index.yaml");
        assert_eq!(asked(Kind::Oci, "oci://h:5000/a/b"), "https://h:5000/v2/");
    }
}
