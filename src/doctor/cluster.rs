//! Reads the objects as the controller does, and examines all destinations that follow from them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use kube::Client;
use kube::config::Config;
use thiserror::Error;
use tokio::time::Instant;

use super::destinations::{Argument, Declared, wanted};
use super::examine::{examine, probe};
use super::report::{Examined, Kind, Report, Step, StepName};
use crate::clock::Clock;
use crate::egress::{CaBundle, Destination, Egress, EnvironmentProxies, Override, Protocol, SystemRoots, Timeouts};
use crate::live::client::{self, ClientError};
use crate::model::Reason;
use crate::reconcile::{Objects, Survey, SurveyError};
use crate::settings::ProxyEnvironment;

/// Destinations that are looked at at the same time: a proxy may count connections.
const AT_ONCE: usize = 8;
/// How long the API server may take for a list.
const LIST_LIMIT: Duration = Duration::from_secs(15);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Kubeconfig; `None` is the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Whose objects are read.
    pub namespace: String,
    /// Destinations besides the declared.
    pub arguments: Vec<Argument>,
    /// Whether the arguments are all that is looked at.
    pub only_arguments: bool,
    /// How long all of it may take.
    pub timeout: Duration,
    /// The proxy variables of this process, which are those of the controller in its pod.
    pub proxies: ProxyEnvironment,
}

/// Nothing could be examined.
#[derive(Debug, Error)]
pub enum DoctorError {
    /// There is no way to an API server.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Examines every destination.
///
/// # Errors
/// When no client for the API server can be made. Everything else that goes wrong is part of the report.
pub async fn diagnose(request: Request, clock: Clock) -> Result<Report, DoctorError> {
    let deadline = Instant::now() + request.timeout;
    let configuration = client::configuration(request.kubeconfig.as_deref()).await?;
    let api_hosts: Vec<String> = configuration.cluster_url.host().map(str::to_owned).into_iter().collect();
    let api_server = ApiServer::of(&configuration);
    let client = client::build(configuration)?;

    let limit = LIST_LIMIT.min(request.timeout);
    let environment = EnvironmentProxies::read(&request.proxies.variables);
    let warnings = environment.warnings.clone();
    let read = Box::pin(Survey::read(&client, &request.namespace, api_hosts, environment, clock, limit)).await;
    let mut examined = Vec::new();
    if !request.only_arguments || read.is_err() {
        examined.push(api_server.examine(&client, read.as_ref().err(), deadline).await);
    }
    let ways = match read {
        Ok(ways) => ways,
        Err(error) => {
            let problem = format!("{error}; no way out is decided without them, so nothing else was examined");
            return Ok(Report::new(&request.namespace, vec![problem], warnings, examined));
        }
    };
    let mut problems = Vec::new();
    let declared = Declared {
        applications: readable("Application", &ways.applications, &mut problems),
        repositories: readable("Repository", &ways.repositories, &mut problems),
        proxies: readable("EgressProxy", &ways.proxies, &mut problems),
    };
    let (found, more) = wanted(&declared, &request.arguments, request.only_arguments);
    problems.extend(more);
    let out = ways.access.outward().await;
    let (access, out) = (&ways.access, &out);
    let others = futures::stream::iter(found)
        .map(|wanted| async move { Box::pin(examine(wanted, access, out, deadline)).await })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<Examined>>()
        .await;
    examined.extend(others);
    Ok(Report::new(&request.namespace, problems, warnings, examined))
}

/// The objects that this version can read; the others are problems.
fn readable<K>(kind: &str, objects: &Objects<K>, problems: &mut Vec<String>) -> Vec<(String, Arc<K>)> {
    let mut readable = Vec::new();
    for (name, object) in objects.all_or_broken() {
        match object {
            Ok(object) => readable.push((name, object)),
            Err(error) => problems.push(format!("{kind} {name} can't be read by this version: {error}")),
        }
    }
    readable
}

fn reason_of(error: &SurveyError) -> Reason {
    match error {
        SurveyError::Refused { code: 401 | 403, .. } => Reason::Forbidden,
        SurveyError::Refused { .. } | SurveyError::List { .. } | SurveyError::Slow { .. } => Reason::ClusterUnreachable,
    }
}

/// Where the API server is and what its certificate is judged by.
struct ApiServer {
    shown: String,
    destination: Option<Destination>,
    ca: Option<CaBundle>,
    judges_certificate: bool,
}

impl ApiServer {
    fn of(configuration: &Config) -> Self {
        let url = &configuration.cluster_url;
        let is_plain = url.scheme_str() == Some("http");
        let port = url.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let destination = url.host().map(|host| Destination {
            protocol: if is_plain { Protocol::Http } else { Protocol::Https },
            ..Destination::tcp(host.trim_start_matches('[').trim_end_matches(']'), port)
        });
        let pem: String = configuration
            .root_cert
            .iter()
            .flatten()
            .map(|certificate| {
                format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
            })
            .collect();
        Self {
            shown: url.to_string().trim_end_matches('/').to_owned(),
            destination,
            ca: CaBundle::parse(pem.as_bytes()).ok(),
            judges_certificate: !configuration.accept_invalid_certs && configuration.tls_server_name.is_none(),
        }
    }

    async fn examine(&self, client: &Client, listing: Option<&SurveyError>, deadline: Instant) -> Examined {
        let mut steps = Vec::new();
        let work = async {
            if let Some(destination) = &self.destination {
                let mut destination = destination.clone();
                if !self.judges_certificate {
                    destination.protocol = Protocol::Tcp;
                    let why = "the kubeconfig says not to judge the certificate, or by another name; see the answer";
                    steps.push(Step::skipped(StepName::Tls, why));
                }
                let (egress, timers) = (Egress::direct(SystemRoots::new()), Timeouts::default());
                let opened =
                    probe(&egress, &destination, &Override::Direct, self.ca.clone(), None, &timers, &mut steps).await;
                if !opened {
                    return;
                }
            }
            let since = Instant::now();
            let answer = client.apiserver_version().await;
            let took = u64::try_from(since.elapsed().as_millis()).ok();
            steps.push(match &answer {
                Ok(version) => Step::ok(StepName::Answer, took, format!("Kubernetes {}", version.git_version)),
                Err(error) => Step::failed(
                    StepName::Answer,
                    took,
                    Reason::ClusterUnreachable,
                    format!("/version is not answered: {error}"),
                ),
            });
            steps.push(match listing {
                None => Step::ok(StepName::Auth, None, "Applications, Repositories and EgressProxies can be listed"),
                Some(error) => Step::failed(StepName::Auth, None, reason_of(error), error.to_string()),
            });
        };
        if tokio::time::timeout_at(deadline, work).await.is_err() {
            let detail = "the time that was given with --timeout is over";
            steps.push(Step::failed(StepName::Answer, None, Reason::ClusterUnreachable, detail));
        }
        Examined::new(self.shown.clone(), Kind::ApiServer, Vec::new(), steps)
    }
}
