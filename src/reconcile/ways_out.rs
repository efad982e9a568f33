//! EgressPolicy, EgressProxies and proxy variables → the rules by which connections leave. Fails closed: an object that
//! can't be read stops connections instead of letting them leave past it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::objects::Objects;
use super::reading::Reading;
use crate::api::{EGRESS_POLICY_NAME, EgressPolicy, EgressProxy, EgressProxySpec};
use crate::egress::{EgressRules, EnvironmentReading, HostPattern, Policy, ProxyAccess, ProxyRule, ProxyUrl};
use crate::model::Reason;
use crate::status::Failure;

/// What the rules are made from.
pub struct WaysOut {
    /// The proxies.
    pub proxies: Arc<Objects<EgressProxy>>,
    /// The policies; one name counts.
    pub policies: Arc<Objects<EgressPolicy>>,
    /// The proxy variables.
    pub environment: EnvironmentReading,
    /// Hosts of the cluster's own API server: always direct.
    pub cluster_api_hosts: Vec<String>,
}

impl WaysOut {
    /// The rules as they are now.
    pub(super) fn rules(&self) -> Result<EgressRules, Failure> {
        let mut proxies = Vec::new();
        for (name, object) in self.proxies.all_or_broken() {
            let rule = object.and_then(|object| proxy_rule(&name, &object.spec));
            proxies.push(rule.map_err(|problem| not_valid("EgressProxy", &name, &problem))?);
        }
        let policy = self.policies.get(EGRESS_POLICY_NAME);
        let refused = |problem: String| not_valid("EgressPolicy", EGRESS_POLICY_NAME, &problem);
        let policy = policy.transpose().map_err(refused)?;
        let heeds_environment = policy.as_ref().is_none_or(|policy| policy.spec.environment.unwrap_or(true));
        let read = policy.map(|policy| Policy::read(&policy.spec)).transpose();
        Ok(EgressRules {
            proxies,
            cluster_api_hosts: self.cluster_api_hosts.clone(),
            policy: read.map_err(|error| refused(error.to_string()))?.unwrap_or_default(),
            environment: heeds_environment.then(|| self.environment.proxies.clone()),
        })
    }

    /// What each proxy needs. A mistake at the proxy that is `needed` fails; another's is reported where that one is used.
    pub(super) async fn access(
        &self,
        reading: &mut Reading<'_>,
        needed: Option<&str>,
    ) -> Result<BTreeMap<String, ProxyAccess>, Failure> {
        let mut access = BTreeMap::new();
        for (name, one) in self.access_or_failure(reading).await {
            match one {
                Ok(one) => {
                    access.insert(name, one);
                }
                Err(failure) if needed == Some(&name) => return Err(failure),
                Err(_) => {}
            }
        }
        Ok(access)
    }

    /// What each proxy needs, or why that can't be had.
    pub(super) async fn access_or_failure(
        &self,
        reading: &mut Reading<'_>,
    ) -> BTreeMap<String, Result<ProxyAccess, Failure>> {
        let environment = self.environment.access.iter();
        let mut access: BTreeMap<_, _> = environment.map(|(name, one)| (name.clone(), Ok(one.clone()))).collect();
        for (name, object) in self.proxies.all() {
            let one = proxy_access(&name, &object.spec, reading).await;
            access.insert(name, one);
        }
        access
    }
}

fn not_valid(kind: &str, name: &str, problem: &str) -> Failure {
    Failure {
        reason: Reason::EgressDenied,
        message: format!(
            "{kind} `{name}` is not valid: {problem}; nothing leaves until it is corrected or deleted, since it may be what \
             should carry this connection"
        ),
    }
}

async fn proxy_access(name: &str, spec: &EgressProxySpec, reading: &mut Reading<'_>) -> Result<ProxyAccess, Failure> {
    let referrer = format!("EgressProxy `{name}`");
    let (mut credentials, mut identity) = (None, None);
    if let Some(reference) = &spec.credentials_secret_ref {
        credentials = Some(reading.basic(&referrer, reference).await?);
    }
    if let Some(reference) = &spec.client_certificate_secret_ref {
        identity = Some(reading.identity(&referrer, reference).await?);
    }
    let ca = match &spec.ca_secret_ref {
        Some(reference) => Some(reading.ca(&referrer, reference).await?),
        None => None,
    };
    Ok(ProxyAccess { credentials, ca, identity })
}

pub(super) fn proxy_rule(name: &str, spec: &EgressProxySpec) -> Result<ProxyRule, String> {
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
