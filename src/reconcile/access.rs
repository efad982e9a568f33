//! Our objects → how to reach a repository: which Repository covers a URL, which way out it takes, with which
//! credentials and trust. Fails closed: a proxy object that can't be read stops connections instead of letting them
//! leave past it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::objects::Objects;
use super::secrets::{SecretValues, Secrets};
use crate::api::{EgressProxy, EgressProxySpec, LocalReference, Repository, RepositorySpec, RepositoryTimeouts};
use crate::egress::{
    Authorization, BasicCredentials, CaBundle, ClientIdentity, Egress, EgressRules, HostPattern, Override, ProxyAccess, ProxyRule, ProxyUrl,
    SystemRoots, Timeouts,
};
use crate::git::{FetchLimits, RepositoryUrl, StoreLimits, UrlPrefix};
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
    /// Authorities that the Repository trusts besides the system's.
    pub ca: Option<CaBundle>,
    /// Timers.
    pub timeouts: Timeouts,
    /// What one fetch may bring.
    pub limits: FetchLimits,
    /// What may be kept.
    pub store_limits: StoreLimits,
    /// Name of the Repository object that covers the URL.
    pub repository: Option<String>,
    /// Name of the EgressProxy that the route takes.
    pub proxy: Option<String>,
    /// Secrets that went into it: to be read again when credentials are refused.
    pub secrets: Vec<String>,
    /// Changes when anything above changes.
    pub fingerprint: Hash64,
}

/// Builds accesses from our objects.
pub struct AccessBuilder {
    repositories: Arc<Objects<Repository>>,
    proxies: Arc<Objects<EgressProxy>>,
    secrets: Secrets,
    system: SystemRoots,
    cluster_api_hosts: Vec<String>,
}

impl AccessBuilder {
    /// A builder over the stores. `cluster_api_hosts` always go direct.
    pub fn new(
        repositories: Arc<Objects<Repository>>,
        proxies: Arc<Objects<EgressProxy>>,
        secrets: Secrets,
        cluster_api_hosts: Vec<String>,
    ) -> Self {
        Self { repositories, proxies, secrets, system: SystemRoots::new(), cluster_api_hosts }
    }

    /// Reads these Secrets again next time.
    pub fn forget_secrets(&self, names: &[String]) {
        for name in names {
            self.secrets.forget(name);
        }
    }

    /// Reads every Secret again next time.
    pub fn forget_all_secrets(&self) {
        self.secrets.forget_all();
    }

    /// How to reach a URL.
    pub async fn access(&self, url: &RepositoryUrl) -> Result<Access, Failure> {
        let covering = covering(url, self.repositories.all())?;
        let rules = self.rules()?;
        let spec = covering.as_ref().map(|(_, repository)| &repository.spec);
        let route = override_of(spec);
        let decision = rules.decide(url.base(), &route).map_err(|error| Failure {
            reason: Reason::EgressDenied,
            message: format!("no way out for {url}: {error}"),
        })?;
        let proxy = decision.route.proxy().map(str::to_owned);

        let mut fingerprint = format!("{url}\n{route:?}\n{rules:?}\n{:?}\n", spec.map(|spec| &spec.timeouts));
        let mut secrets = Vec::new();
        let mut access = BTreeMap::new();
        for (name, object) in self.proxies.all() {
            match self.proxy_access(&name, &object.spec, &mut secrets, &mut fingerprint).await {
                Ok(one) => {
                    access.insert(name, one);
                }
                Err(failure) if proxy.as_deref() == Some(&name) => return Err(failure),
                // Another proxy's mistake is reported where that proxy is used.
                Err(_) => {}
            }
        }
        let timeouts = timeouts(spec);
        let (mut credentials, mut ca) = (None, None);
        if let Some((name, repository)) = &covering {
            let referrer = format!("Repository `{name}`");
            credentials = self
                .credentials(&referrer, repository.spec.credentials_secret_ref.as_ref(), &mut secrets, &mut fingerprint)
                .await?;
            ca = self.ca(&referrer, repository.spec.ca_secret_ref.as_ref(), &mut secrets, &mut fingerprint).await?;
        }
        Ok(Access {
            egress: Egress::new(rules, access, self.system.clone()),
            route,
            authorization: credentials.map(Authorization::from),
            identity: None,
            ca,
            timeouts,
            limits: fetch_limits(spec),
            store_limits: store_limits(spec),
            repository: covering.map(|(name, _)| name),
            proxy,
            secrets,
            fingerprint: Hash64::of_bytes(fingerprint.as_bytes()),
        })
    }

    fn rules(&self) -> Result<EgressRules, Failure> {
        let mut proxies = Vec::new();
        for (name, object) in self.proxies.all_or_broken() {
            let rule = object.and_then(|object| proxy_rule(&name, &object.spec));
            proxies.push(rule.map_err(|problem| Failure {
                reason: Reason::EgressDenied,
                message: format!(
                    "EgressProxy `{name}` is not valid: {problem}; nothing leaves until it is corrected or deleted, since \
                     it may be what should carry this connection"
                ),
            })?);
        }
        Ok(EgressRules { proxies, cluster_api_hosts: self.cluster_api_hosts.clone() })
    }

    async fn proxy_access(
        &self,
        name: &str,
        spec: &EgressProxySpec,
        secrets: &mut Vec<String>,
        fingerprint: &mut String,
    ) -> Result<ProxyAccess, Failure> {
        let referrer = format!("EgressProxy `{name}`");
        Ok(ProxyAccess {
            credentials: self
                .credentials(&referrer, spec.credentials_secret_ref.as_ref(), secrets, fingerprint)
                .await?,
            ca: self.ca(&referrer, spec.ca_secret_ref.as_ref(), secrets, fingerprint).await?,
            identity: None,
        })
    }

    async fn secret(
        &self,
        referrer: &str,
        reference: &LocalReference,
        secrets: &mut Vec<String>,
        fingerprint: &mut String,
    ) -> Result<Arc<SecretValues>, Failure> {
        let values = self.secrets.get(&reference.name, referrer).await?;
        secrets.push(reference.name.clone());
        // Writing to a String can't fail.
        let _ = writeln!(fingerprint, "{referrer} {} {}", reference.name, values.fingerprint);
        Ok(values)
    }

    async fn credentials(
        &self,
        referrer: &str,
        reference: Option<&LocalReference>,
        secrets: &mut Vec<String>,
        fingerprint: &mut String,
    ) -> Result<Option<BasicCredentials>, Failure> {
        let Some(reference) = reference else { return Ok(None) };
        let values = self.secret(referrer, reference, secrets, fingerprint).await?;
        let text = |key: &str| {
            values.text(key).map(|text| SecretString::from(text.to_owned())).ok_or_else(|| Failure {
                reason: Reason::SecretNotFound,
                message: format!("the Secret `{}` that {referrer} names has no key `{key}` with text", reference.name),
            })
        };
        let credentials = BasicCredentials::new(text("username")?, text("password")?).map_err(|error| Failure {
            reason: Reason::InvalidSpec,
            message: format!("the Secret `{}` that {referrer} names can't be used: {error}", reference.name),
        })?;
        Ok(Some(credentials))
    }

    async fn ca(
        &self,
        referrer: &str,
        reference: Option<&LocalReference>,
        secrets: &mut Vec<String>,
        fingerprint: &mut String,
    ) -> Result<Option<CaBundle>, Failure> {
        let Some(reference) = reference else { return Ok(None) };
        let values = self.secret(referrer, reference, secrets, fingerprint).await?;
        let pem = values.bytes("ca.crt").ok_or_else(|| Failure {
            reason: Reason::SecretNotFound,
            message: format!("the Secret `{}` that {referrer} names has no key `ca.crt`", reference.name),
        })?;
        let bundle = CaBundle::parse(pem).map_err(|error| Failure {
            reason: Reason::InvalidSpec,
            message: format!("`ca.crt` of the Secret `{}` that {referrer} names: {error}", reference.name),
        })?;
        Ok(Some(bundle))
    }
}

fn proxy_rule(name: &str, spec: &EgressProxySpec) -> Result<ProxyRule, String> {
    let patterns = |field: &str, list: &[String]| {
        list.iter()
            .map(|text| HostPattern::parse(text).map_err(|error| format!("spec.{field}: {error}")))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(ProxyRule {
        name: name.to_owned(),
        url: ProxyUrl::parse(&spec.url).map_err(|error| format!("spec.url: {error}"))?,
        hosts: patterns("hosts", &spec.hosts)?,
        direct: patterns("direct", &spec.direct)?,
        default: spec.default,
    })
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
    url: &RepositoryUrl,
    repositories: Vec<(String, Arc<Repository>)>,
) -> Result<Option<(String, Arc<Repository>)>, Failure> {
    let mut best: Option<(usize, String, Arc<Repository>)> = None;
    for (name, repository) in repositories {
        let exact = repository.spec.url.as_deref().and_then(|text| RepositoryUrl::parse(text).ok());
        let prefix = repository.spec.url_prefix.as_deref().and_then(|text| UrlPrefix::parse(text).ok());
        let weight = match (exact, prefix) {
            (Some(exact), _) if exact == *url => usize::MAX,
            (_, Some(prefix)) if prefix.covers(url) => prefix.as_str().len(),
            _ => continue,
        };
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
    Ok(best.map(|(_, name, repository)| (name, repository)))
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
        let list = repositories.iter().map(|(name, one)| ((*name).to_owned(), Arc::clone(one))).collect();
        covering(&RepositoryUrl::parse(url).unwrap(), list)
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
        assert_eq!(
            fetch_limits(Some(&spec)),
            FetchLimits { bytes: 2 << 20, objects: 7, ..FetchLimits::default() }
        );
        assert_eq!(store_limits(Some(&spec)), StoreLimits::default());
        let kept = RepositoryLimits { store_mebibytes: Some(3), ..RepositoryLimits::default() };
        let spec = RepositorySpec { limits: Some(kept), ..RepositorySpec::default() };
        assert_eq!(fetch_limits(Some(&spec)), FetchLimits::default());
        assert_eq!(store_limits(Some(&spec)), StoreLimits { bytes: 3 << 20 });
        assert_eq!((fetch_limits(None), store_limits(None)), (FetchLimits::default(), StoreLimits::default()));
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
