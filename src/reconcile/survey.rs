//! What the operator knows of sources and ways out, read once: for diagnosis, by the same code as the controller's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use thiserror::Error;

use super::access::AccessBuilder;
use super::objects::Objects;
use super::secrets::Secrets;
use super::ways_out::WaysOut;
use crate::api::{Application, EgressPolicy, EgressProxy, Repository};
use crate::clock::Clock;
use crate::egress::{Egress, EnvironmentReading, ProxyAccess};
use crate::model::Hash64;
use crate::status::Failure;

/// Our objects of one namespace at one moment, and accesses built from them.
pub struct Survey {
    /// The Applications.
    pub applications: Arc<Objects<Application>>,
    /// The Repositories.
    pub repositories: Arc<Objects<Repository>>,
    /// The EgressProxies.
    pub proxies: Arc<Objects<EgressProxy>>,
    /// How to reach what they name.
    pub access: AccessBuilder,
}

/// The ways out by themselves, for what no Repository covers.
pub struct Outward {
    /// The rules, with what each proxy needs.
    pub egress: Egress,
    /// What each proxy needs, or why that can't be had.
    pub proxies: BTreeMap<String, Result<ProxyAccess, Failure>>,
    /// Changes when the rules do, and when a credential of a proxy does.
    pub fingerprint: Hash64,
}

/// The objects can't be read.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// The API server refused.
    #[error("the {kind} objects of the namespace `{namespace}` can't be listed: {code}: {message}")]
    Refused {
        /// Which objects.
        kind: &'static str,
        /// Where.
        namespace: String,
        /// HTTP status of the answer.
        code: u16,
        /// What the API server says.
        message: String,
    },
    /// The API server did not answer.
    #[error("the {kind} objects of the namespace `{namespace}` can't be listed: {source}")]
    List {
        /// Which objects.
        kind: &'static str,
        /// Where.
        namespace: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("the {kind} objects of the namespace `{namespace}` could not be listed within {} s", limit.as_secs())]
    Slow {
        /// Which objects.
        kind: &'static str,
        /// Where.
        namespace: String,
        /// How long it had.
        limit: Duration,
    },
}

impl Survey {
    /// Reads the objects of a namespace. `cluster_api_hosts` always go direct.
    ///
    /// # Errors
    /// When one of the kinds can't be listed: nothing is decided from a part of the rules.
    pub async fn read(
        client: &Client,
        namespace: &str,
        cluster_api_hosts: Vec<String>,
        environment: EnvironmentReading,
        clock: Clock,
        limit: Duration,
    ) -> Result<Self, SurveyError> {
        let (applications, repositories, proxies, policies) = <(
            Arc<Objects<Application>>,
            Arc<Objects<Repository>>,
            Arc<Objects<EgressProxy>>,
            Arc<Objects<EgressPolicy>>,
        )>::default();
        let reading = async {
            tokio::try_join!(
                list("Application", namespace, limit, applications.fill(client, namespace)),
                list("Repository", namespace, limit, repositories.fill(client, namespace)),
                list("EgressProxy", namespace, limit, proxies.fill(client, namespace)),
                list("EgressPolicy", namespace, limit, policies.fill(client, namespace)),
            )
        };
        Box::pin(reading).await?;
        let ways_out = WaysOut { proxies: Arc::clone(&proxies), policies, environment, cluster_api_hosts };
        let secrets = Secrets::new(client.clone(), namespace);
        let access = AccessBuilder::new(Arc::clone(&repositories), ways_out, secrets, clock);
        Ok(Self { applications, repositories, proxies, access })
    }
}

async fn list(
    kind: &'static str,
    namespace: &str,
    limit: Duration,
    listing: impl Future<Output = Result<(), kube::Error>>,
) -> Result<(), SurveyError> {
    match tokio::time::timeout(limit, listing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(kube::Error::Api(status))) => Err(SurveyError::Refused {
            kind,
            namespace: namespace.to_owned(),
            code: status.code,
            message: status.message.clone(),
        }),
        Ok(Err(source)) => Err(SurveyError::List { kind, namespace: namespace.to_owned(), source: Box::new(source) }),
        Err(_) => Err(SurveyError::Slow { kind, namespace: namespace.to_owned(), limit }),
    }
}
