//! Our objects → how to reach a repository: which Repository covers a URL, which way out it takes, with which
//! credentials and trust.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::credentials::Login;
use super::location::SourceLocation;
use super::objects::Objects;
use super::reading::Reading;
use super::secrets::Secrets;
use super::survey::Outward;
use super::tree_options::TreeOptions;
use super::ways_out::WaysOut;
use crate::api::{Repository, RepositorySpec, RepositoryTimeouts};
use crate::artifacts::RegistryReference;
use crate::clock::Clock;
use crate::egress::{
    Authorization, CaBundle, ClientIdentity, Egress, EgressRules, HttpClient, HttpConfig, Observer, Override,
    ProxyAccess, SystemRoots, Timeouts,
};
use crate::git::{FetchLimits, GitHubApp, RemoteConfig, RepositoryUrl, SshConfig, StoreLimits};
use crate::metrics::Metrics;
use crate::model::{Hash64, Reason, parse_duration};
use crate::status::Failure;

/// How long an operation may take as a whole unless the Repository says otherwise.
const TOTAL: Duration = Duration::from_mins(30);

/// How to reach one repository.
pub struct Access {
    /// The ways out.
    pub egress: Egress,
    /// What the Repository says about its route.
    pub route: Override,
    /// Credentials of the Repository.
    pub authorization: Option<Authorization>,
    /// Client certificate of the Repository.
    pub identity: Option<ClientIdentity>,
    /// Key and known hosts, where SSH is spoken.
    pub ssh: Option<SshConfig>,
    /// Authorities that the Repository trusts besides the system's.
    pub ca: Option<CaBundle>,
    /// Timers.
    pub timeouts: Timeouts,
    /// What one fetch may bring.
    pub limits: FetchLimits,
    /// What may be kept.
    pub store_limits: StoreLimits,
    /// Whether a registry speaks plain HTTP.
    pub plain_http: bool,
    /// Bytes of one transfer, where the Repository says so.
    pub transfer_limit: Option<u64>,
    /// How old the tip may be.
    pub max_age: Option<Duration>,
    /// Name of the Repository object that covers the URL.
    pub repository: Option<String>,
    /// Name of the EgressProxy that the route takes.
    pub proxy: Option<String>,
    /// Secrets that went into it: to be read again when credentials are refused.
    pub secrets: Vec<String>,
    /// Changes when anything above changes.
    pub fingerprint: Hash64,
}

impl Access {
    /// What a git client needs to reach a repository that this is about.
    pub fn remote(&self, url: &RepositoryUrl) -> RemoteConfig {
        RemoteConfig {
            url: url.clone(),
            egress: self.egress.clone(),
            route: self.route.clone(),
            authorization: self.authorization.clone(),
            identity: self.identity.clone(),
            ssh: self.ssh.clone(),
            ca: self.ca.clone(),
            timeouts: self.timeouts.clone(),
        }
    }
}

/// Builds accesses from our objects.
pub struct AccessBuilder {
    repositories: Arc<Objects<Repository>>,
    ways_out: WaysOut,
    secrets: Secrets,
    system: SystemRoots,
    clock: Clock,
    /// Told of every connection.
    observer: Option<Observer>,
    /// By Secret: what it said, and the app that keeps a token.
    apps: Mutex<BTreeMap<String, (Hash64, Arc<GitHubApp>)>>,
}

impl AccessBuilder {
    /// A builder over the stores.
    pub fn new(repositories: Arc<Objects<Repository>>, ways_out: WaysOut, secrets: Secrets, clock: Clock) -> Self {
        Self {
            repositories,
            ways_out,
            secrets,
            system: SystemRoots::new(),
            clock,
            observer: None,
            apps: Mutex::default(),
        }
    }

    /// The same, with every connection counted.
    #[must_use]
    pub fn counted_by(mut self, metrics: &Arc<Metrics>) -> Self {
        let metrics = Arc::clone(metrics);
        self.observer = Some(Arc::new(move |route, failure| metrics.egress_connected(route, failure)));
        self
    }

    /// The egress layer of these rules.
    fn egress(&self, rules: EgressRules, access: BTreeMap<String, ProxyAccess>) -> Egress {
        let egress = Egress::new(rules, access, self.system.clone());
        match &self.observer {
            Some(observer) => egress.observed(Arc::clone(observer)),
            None => egress,
        }
    }

    /// Reads these Secrets again next time, and asks anew for the tokens that they stand for.
    pub async fn forget_secrets(&self, names: &[String]) {
        for name in names {
            self.secrets.forget(name);
            let app = self.apps().get(name).map(|(_, app)| Arc::clone(app));
            if let Some(app) = app {
                app.forget(self.clock.now()).await;
            }
        }
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<String, (Hash64, Arc<GitHubApp>)>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads every Secret again next time.
    pub fn forget_all_secrets(&self) {
        self.secrets.forget_all();
    }

    /// Whether a Repository says that a host is a registry.
    pub fn knows_registry(&self, reference: &RegistryReference) -> bool {
        let location = SourceLocation::registry(reference.clone());
        self.repositories.all().iter().any(|(_, repository)| location.coverage(&repository.spec).is_some())
    }

    /// Name of the Repository that covers a source, for what is to be told on it although it can't be used.
    pub(super) fn repository_of(&self, url: &SourceLocation) -> Option<String> {
        covering(url, self.repositories.all_or_broken()).ok().flatten().map(|(name, _)| name)
    }

    /// What the trees of a repository are made of besides its commits.
    pub(super) fn tree_options(&self, url: &RepositoryUrl) -> Result<TreeOptions, Failure> {
        let covering = covering(&url.into(), self.repositories.all_or_broken())?;
        covering.map_or(Ok(TreeOptions::default()), |(name, repository)| TreeOptions::new(&name, &repository.spec))
    }

    /// How to reach a source.
    pub async fn access(&self, url: impl Into<SourceLocation>) -> Result<Access, Failure> {
        let url = &url.into();
        let covering = covering(url, self.repositories.all_or_broken())?;
        let rules = self.ways_out.rules()?;
        let spec = covering.as_ref().map(|(_, repository)| &repository.spec);
        let route = override_of(spec);
        let plain_http = spec.is_some_and(|spec| spec.plain_http);
        let destination = url
            .destination(plain_http)
            .map_err(|error| Failure { reason: Reason::InvalidSpec, message: format!("{url}: {error}") })?;
        let decision = rules.decide_destination(&destination, &route).map_err(|error| Failure {
            reason: Reason::EgressDenied,
            message: format!("no way out for {url}: {error}"),
        })?;
        let proxy = decision.route.proxy().map(str::to_owned);
        let transfer_limit = spec
            .and_then(|spec| spec.limits.as_ref()?.transfer_mebibytes)
            .map(|mebibytes| mebibytes.saturating_mul(1 << 20));
        let timeouts = timeouts(spec);
        let about = format!("{url}\n{route:?}\n{rules:?}\n{timeouts:?}\n{plain_http} {transfer_limit:?}\n");
        let mut reading = Reading::new(&self.secrets, about);
        let egress = self.egress(rules, self.ways_out.access(&mut reading, proxy.as_deref()).await?);
        let (mut login, mut ca, mut ssh) = (Login::default(), None, None);
        if let Some((name, repository)) = &covering {
            let referrer = format!("Repository `{name}`");
            if let Some(reference) = &repository.spec.ca_secret_ref {
                ca = Some(reading.ca(&referrer, reference).await?);
            }
            if let Some(reference) = &repository.spec.credentials_secret_ref {
                if url.is_ssh() {
                    ssh = Some(reading.ssh(&referrer, reference, &repository.spec.known_hosts).await?);
                } else {
                    login = reading.login(&referrer, reference).await?;
                }
                if let Some(keys) = login.app.take() {
                    let config = HttpConfig {
                        route: route.clone(),
                        ca: ca.clone(),
                        timeouts: timeouts.clone(),
                        ..HttpConfig::default()
                    };
                    let client = HttpClient::new(egress.clone(), config).of(destination.clone());
                    login.authorization = Some(self.token(&reference.name, keys, &client, &mut reading).await?);
                }
            }
        }
        if url.is_ssh() && ssh.is_none() {
            return Err(Failure {
                reason: Reason::SecretNotFound,
                message: match &covering {
                    Some((name, _)) => format!(
                        "{url} is read over SSH, which needs a key: let credentialsSecretRef of the Repository `{name}` name a Secret \
                         with `sshPrivateKey`"
                    ),
                    None => format!(
                        "{url} is read over SSH, which needs a key, and no Repository covers it: create one whose \
                         credentialsSecretRef names a Secret with `sshPrivateKey`"
                    ),
                },
            });
        }
        let (secrets, fingerprint) = reading.end();
        Ok(Access {
            egress,
            route,
            authorization: login.authorization,
            identity: login.identity,
            ssh,
            ca,
            timeouts,
            limits: fetch_limits(spec),
            store_limits: store_limits(spec),
            plain_http,
            transfer_limit,
            max_age: spec.and_then(|spec| spec.max_age.as_deref()).and_then(parse_duration),
            repository: covering.map(|(name, _)| name),
            proxy,
            secrets,
            fingerprint,
        })
    }

    /// The ways out by themselves, for what no Repository covers.
    ///
    /// # Errors
    /// When an object that says ways out is not valid: then nothing leaves.
    pub async fn outward(&self) -> Result<Outward, Failure> {
        let rules = self.ways_out.rules()?;
        let mut reading = Reading::new(&self.secrets, format!("{rules:?}\n"));
        let proxies = self.ways_out.access_or_failure(&mut reading).await;
        let usable = |(name, one): (&String, &Result<_, _>)| Some((name.clone(), one.as_ref().ok().cloned()?));
        let egress = self.egress(rules, proxies.iter().filter_map(usable).collect());
        let (_, fingerprint) = reading.end();
        Ok(Outward { egress, proxies, fingerprint })
    }

    /// The token of a GitHub App, from the app that holds one where its Secret says what it did before.
    async fn token(
        &self,
        secret: &str,
        (keys, said): (GitHubApp, Hash64),
        client: &HttpClient,
        reading: &mut Reading<'_>,
    ) -> Result<Authorization, Failure> {
        let app = {
            let mut apps = self.apps();
            match apps.get(secret) {
                Some((before, app)) if *before == said => Arc::clone(app),
                _ => {
                    let app = Arc::new(keys);
                    apps.insert(secret.to_owned(), (said, Arc::clone(&app)));
                    app
                }
            }
        };
        let token = app.authorization(client, self.clock.now()).await;
        let token = token.map_err(|error| Failure { reason: error.reason, message: error.message })?;
        // Another token makes another client: one keeps what it was made with.
        reading.note(&format!("token {}", app.tokens().await));
        Ok(token)
    }
}

fn override_of(spec: Option<&RepositorySpec>) -> Override {
    match spec.and_then(|spec| spec.egress.as_ref()) {
        Some(egress) if egress.direct => Override::Direct,
        Some(egress) => {
            egress.proxy_ref.as_ref().map_or(Override::None, |reference| Override::Proxy(reference.name.clone()))
        }
        None => Override::None,
    }
}

fn timeouts(spec: Option<&RepositorySpec>) -> Timeouts {
    let mut timeouts = Timeouts { total: Some(TOTAL), ..Timeouts::default() };
    let Some(RepositoryTimeouts { dns, dial, connect, tls, first_byte, idle, total }) =
        spec.and_then(|spec| spec.timeouts.as_ref())
    else {
        return timeouts;
    };
    let set = |field: &mut Duration, text: &Option<String>| {
        if let Some(duration) = text.as_deref().and_then(parse_duration) {
            *field = duration;
        }
    };
    set(&mut timeouts.dns, dns);
    set(&mut timeouts.dial, dial);
    set(&mut timeouts.connect, connect);
    set(&mut timeouts.tls, tls);
    set(&mut timeouts.first_byte, first_byte);
    set(&mut timeouts.idle, idle);
    timeouts.total = Some(total.as_deref().and_then(parse_duration).unwrap_or(TOTAL));
    timeouts
}

fn fetch_limits(spec: Option<&RepositorySpec>) -> FetchLimits {
    let limits = spec.and_then(|spec| spec.limits.as_ref());
    let default = FetchLimits::default();
    FetchLimits {
        bytes: limits.and_then(|limits| limits.transfer_mebibytes).map_or(default.bytes, mebibytes),
        objects: limits.and_then(|limits| limits.objects).unwrap_or(default.objects),
        ..default
    }
}

fn store_limits(spec: Option<&RepositorySpec>) -> StoreLimits {
    let kept = spec.and_then(|spec| spec.limits.as_ref()).and_then(|limits| limits.store_mebibytes);
    kept.map_or_else(StoreLimits::default, |kept| StoreLimits { bytes: mebibytes(kept) })
}

fn mebibytes(count: u64) -> u64 {
    count.saturating_mul(1 << 20)
}

/// The Repository that covers a URL: one with this very `url`, else the longest `urlPrefix`. None is no mistake: the URL
/// is then read without credentials, by the EgressProxies' rules.
fn covering(
    url: &SourceLocation,
    repositories: Vec<(String, Result<Arc<Repository>, String>)>,
) -> Result<Option<(String, Arc<Repository>)>, Failure> {
    let mut best: Option<(usize, String, Arc<Repository>)> = None;
    let mut broken = None;
    for (name, repository) in repositories {
        let repository = match repository {
            Ok(repository) => repository,
            Err(problem) => {
                broken = broken.or(Some((name, problem)));
                continue;
            }
        };
        let Some(weight) = url.coverage(&repository.spec) else { continue };
        match &best {
            Some((other, rival, _)) if *other == weight => {
                return Err(Failure {
                    reason: Reason::RepositoryUnknown,
                    message: format!(
                        "the Repositories `{rival}` and `{name}` cover {url} equally well; delete one of them"
                    ),
                });
            }
            Some((other, _, _)) if *other > weight => {}
            _ => best = Some((weight, name, repository)),
        }
    }
    match (&best, broken) {
        // Nothing is closer than the URL itself.
        (Some((usize::MAX, ..)), _) | (_, None) => Ok(best.map(|(_, name, repository)| (name, repository))),
        (_, Some((name, problem))) => Err(Failure {
            reason: Reason::InvalidSpec,
            message: format!(
                "Repository `{name}` can't be read by this version: {problem}; it may be what says how {url} is reached, so nothing is \
                 asked there until it is corrected or deleted"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RepositoryLimits;

    fn repository(url: Option<&str>, prefix: Option<&str>) -> Arc<Repository> {
        let spec = RepositorySpec {
            url: url.map(str::to_owned),
            url_prefix: prefix.map(str::to_owned),
            ..RepositorySpec::default()
        };
        Arc::new(Repository::new("any", spec))
    }

    fn chosen(url: &str, repositories: &[(&str, Arc<Repository>)]) -> Result<Option<String>, Reason> {
        let list = repositories.iter().map(|(name, one)| ((*name).to_owned(), Ok(Arc::clone(one)))).collect();
        covering(&RepositoryUrl::parse(url).unwrap().into(), list)
            .map(|found| found.map(|(name, _)| name))
            .map_err(|f| f.reason)
    }

    #[test]
    fn exact_url_wins_over_prefixes_and_the_longest_prefix_over_others() {
        let all = [
            ("host", repository(None, Some("https://git.corp.test"))),
            ("team", repository(None, Some("https://git.corp.test/team/"))),
            ("one", repository(Some("https://GIT.corp.test:443/team/app"), None)),
        ];
        assert_eq!(chosen("https://git.corp.test/team/app.git", &all), Ok(Some("one".into())));
        assert_eq!(chosen("https://git.corp.test/team/other.git", &all), Ok(Some("team".into())));
        assert_eq!(chosen("https://git.corp.test/teams/other.git", &all), Ok(Some("host".into())));
        assert_eq!(chosen("https://elsewhere.test/team/app.git", &all), Ok(None));
        assert_eq!(chosen("http://git.corp.test/team/app.git", &all), Ok(None));
    }

    #[test]
    fn limits_are_taken_from_the_spec_where_it_sets_them() {
        let limits = RepositoryLimits { transfer_mebibytes: Some(2), objects: Some(7), store_mebibytes: None };
        let spec = RepositorySpec { limits: Some(limits), ..RepositorySpec::default() };
        assert_eq!(fetch_limits(Some(&spec)), FetchLimits { bytes: 2 << 20, objects: 7, ..FetchLimits::default() });
        assert_eq!(store_limits(Some(&spec)), StoreLimits::default());
        let kept = RepositoryLimits { store_mebibytes: Some(3), ..RepositoryLimits::default() };
        let spec = RepositorySpec { limits: Some(kept), ..RepositorySpec::default() };
        assert_eq!(fetch_limits(Some(&spec)), FetchLimits::default());
        assert_eq!(store_limits(Some(&spec)), StoreLimits { bytes: 3 << 20 });
        assert_eq!((fetch_limits(None), store_limits(None)), (FetchLimits::default(), StoreLimits::default()));
    }

    #[test]
    fn one_that_can_not_be_read_stops_what_it_may_be_about() {
        let broken = || ("broken".to_owned(), Err("unknown field".to_owned()));
        let exact = || ("one".to_owned(), Ok(repository(Some("https://g.test/x"), None)));
        let prefix = || ("all".to_owned(), Ok(repository(None, Some("https://g.test"))));
        let url = SourceLocation::from(&RepositoryUrl::parse("https://g.test/x").unwrap());
        assert!(covering(&url, vec![broken(), exact()]).is_ok(), "the URL itself is closer than anything else");
        for list in [vec![broken()], vec![prefix(), broken()]] {
            assert_eq!(covering(&url, list).map(|_| ()).unwrap_err().reason, Reason::InvalidSpec);
        }
    }

    #[test]
    fn two_that_cover_equally_well_are_an_error() {
        let all = [
            ("a", repository(None, Some("https://git.corp.test/team"))),
            ("b", repository(None, Some("https://git.corp.test/team/"))),
        ];
        assert_eq!(chosen("https://git.corp.test/team/app", &all[..1]), Ok(Some("a".into())));
        let same =
            [("a", repository(Some("https://g.test/x"), None)), ("b", repository(Some("https://g.test/x.git"), None))];
        assert_eq!(chosen("https://g.test/x", &same), Err(Reason::RepositoryUnknown));
    }
}
