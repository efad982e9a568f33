//! Takes the steps to a destination, one after the other.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::destinations::{Place, Wanted};
use super::report::{Certificate, Examined, Kind, Outcome, Step, StepName};
use crate::artifacts::{
    ArtifactError, DEFAULT_LIMIT, Registry, RegistryConfig, RegistryReference, is_range, tag_of_version,
};
use crate::egress::{
    CaBundle, ClientIdentity, Destination, Egress, HttpClient, HttpConfig, Override, Peer, Phase, ProbeDetails,
    ProbeStep, ProxyScheme, Timeouts,
};
use crate::git::{GitError, Remote, RemoteRef, RepositoryUrl, Target, ref_prefixes, resolve};
use crate::model::Reason;
use crate::reconcile::{Access, AccessBuilder, Outward, SourceLocation};
use crate::status::{Failure, rfc3339};

/// What a step says that was not taken because an earlier one failed.
const NOT_REACHED: &str = "not come to";

/// Examines one destination until `deadline`. Steps that were taken until then are told.
pub(super) async fn examine(
    wanted: Wanted,
    access: &AccessBuilder,
    ways_out: &Result<Outward, Failure>,
    deadline: Instant,
) -> Examined {
    let Wanted { place, used_by, targets, versions } = wanted;
    let (shown, kind) = (place.shown(), place.kind());
    let mut steps = Vec::new();
    let work = async {
        match &place {
            Place::Git(url) => git(url, &targets, access, &mut steps).await,
            Place::Http { location: Some(SourceLocation::Registry { reference, .. }), .. } => {
                registry(reference, &versions, access, &mut steps).await;
            }
            Place::Http { kind, ask, location, .. } => {
                http(*kind, ask, location.as_ref(), access, ways_out, &mut steps).await;
            }
            Place::Proxy { name, url } => {
                let protocol_is_tls = url.scheme == ProxyScheme::Https;
                proxy(name, &url.host, url.port, protocol_is_tls, ways_out, &mut steps).await;
            }
            Place::Address { destination, .. } => match ways_out {
                Ok(out) => {
                    let (route, timers) = (Override::None, Timeouts::default());
                    probe(&out.egress, destination, &route, None, None, &timers, &mut steps).await;
                }
                Err(failure) => steps.push(failed(StepName::Route, failure)),
            },
        }
    };
    if tokio::time::timeout_at(deadline, work).await.is_err() {
        steps.push(out_of_time(kind));
    }
    Examined::new(shown, kind, used_by.into_iter().collect(), steps)
}

fn out_of_time(kind: Kind) -> Step {
    let step = match kind {
        Kind::Git => StepName::LsRefs,
        Kind::Helm => StepName::Index,
        Kind::Oci | Kind::ApiServer | Kind::Proxy | Kind::Address => StepName::Answer,
    };
    let detail = "the time that was given with --timeout is over; the step after the last one above did not end";
    Step::failed(step, None, Reason::ServerSilent, detail)
}

fn failed(step: StepName, failure: &Failure) -> Step {
    Step::failed(step, None, failure.reason, failure.message.clone())
}

/// Opens a connection step by step. True when it was opened.
pub(super) async fn probe(
    egress: &Egress,
    destination: &Destination,
    route: &Override,
    ca: Option<CaBundle>,
    identity: Option<ClientIdentity>,
    timeouts: &Timeouts,
    steps: &mut Vec<Step>,
) -> bool {
    let taken = egress.probe(destination, route, ca, identity, timeouts).await;
    let well = taken.iter().all(|step| step.outcome.is_ok());
    steps.extend(taken.into_iter().map(step_of));
    well
}

fn step_of(taken: ProbeStep) -> Step {
    let ProbeStep { phase, peer, outcome, took, certificates } = taken;
    let name = match (phase, peer) {
        (Phase::Route, _) => StepName::Route,
        (Phase::Dns, _) => StepName::Dns,
        (Phase::Dial, _) => StepName::Tcp,
        (Phase::Connect, _) => StepName::Connect,
        (Phase::Tls, Peer::Proxy) => StepName::ProxyTls,
        (Phase::Tls, Peer::Server) => StepName::Tls,
        (Phase::FirstByte | Phase::Transfer, _) => StepName::Answer,
    };
    let milliseconds = Some(milliseconds(took));
    let step = match outcome {
        Ok(ProbeDetails::Addresses { host, addresses }) if addresses.iter().all(|one| one.to_string() == host) => {
            Step::ok(name, milliseconds, format!("{host} is an address"))
        }
        Ok(details) => Step::ok(name, milliseconds, details.to_string()),
        Err(error) => Step::failed(name, milliseconds, error.reason, error.message),
    };
    let certificates = certificates
        .into_iter()
        .map(|shown| Certificate {
            subject: shown.subject,
            issuer: shown.issuer,
            sha256: shown.fingerprint,
            not_after: shown.not_after.map(rfc3339),
        })
        .collect();
    Step { certificates, ..step }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn skip(names: &[StepName], steps: &mut Vec<Step>) {
    steps.extend(names.iter().map(|name| Step::skipped(*name, NOT_REACHED)));
}

/// How the credentials of an access are called: never by their values.
fn login_of(access: &Access) -> String {
    let mut ways = Vec::new();
    if access.authorization.is_some() {
        ways.push("credentials");
    }
    if access.identity.is_some() {
        ways.push("client certificate");
    }
    match (&access.repository, ways.is_empty()) {
        (Some(repository), false) => format!("the {} of Repository {repository}", ways.join(" and ")),
        (Some(repository), true) => format!("no credentials (Repository {repository} names none)"),
        (None, _) => "no credentials (no Repository covers this URL)".to_owned(),
    }
}

/// What follows on an open connection to a git server.
const GIT_STEPS: [StepName; 2] = [StepName::Auth, StepName::LsRefs];

async fn git(url: &RepositoryUrl, targets: &BTreeSet<Target>, access: &AccessBuilder, steps: &mut Vec<Step>) {
    match access.access(url).await {
        Ok(access) => git_by(url, targets, access, steps).await,
        Err(failure) => {
            steps.push(failed(StepName::Route, &failure));
            skip(&GIT_STEPS, steps);
        }
    }
}

async fn git_by(url: &RepositoryUrl, targets: &BTreeSet<Target>, access: Access, steps: &mut Vec<Step>) {
    let (ca, identity) = (access.ca.clone(), access.identity.clone());
    if !probe(&access.egress, url.destination(), &access.route, ca, identity, &access.timeouts, steps).await {
        return skip(&GIT_STEPS, steps);
    }
    let login = login_of(&access);
    let remote = Remote::new(access.remote(url));
    let mut prefixes = ref_prefixes(targets);
    if prefixes.is_empty() {
        prefixes.push("HEAD".to_owned());
    }
    let since = Instant::now();
    let listed = remote.ls_refs(&prefixes).await;
    steps.extend(refs_steps(url, targets, listed, &login, milliseconds(since.elapsed())));
}

/// What the list of refs, or its failure, says.
fn refs_steps(
    url: &RepositoryUrl,
    targets: &BTreeSet<Target>,
    listed: Result<Vec<RemoteRef>, GitError>,
    login: &str,
    took: u64,
) -> [Step; 2] {
    let refs = match listed {
        Ok(refs) => refs,
        Err(error) if error.reason == Reason::AuthFailed => {
            return [
                Step::failed(StepName::Auth, Some(took), error.reason, format!("{}; sent: {login}", error.message)),
                Step::skipped(StepName::LsRefs, NOT_REACHED),
            ];
        }
        Err(error) => {
            return [
                Step::skipped(StepName::Auth, format!("not told by the answer; sent: {login}")),
                Step::failed(StepName::LsRefs, Some(took), error.reason, error.message),
            ];
        }
    };
    let auth = Step::ok(StepName::Auth, None, format!("accepted: {login}"));
    if targets.is_empty() {
        let detail = match refs.iter().find(|found| found.name == "HEAD") {
            Some(head) => format!("HEAD is at {}", head.id.short()),
            None => "the server lists its refs; HEAD points to no commit".to_owned(),
        };
        return [auth, Step::ok(StepName::LsRefs, Some(took), detail)];
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for target in targets {
        match (target, resolve(target, &refs, url)) {
            (Target::Commit(commit), _) => good.push(format!("{} is asked for by its id", commit.short())),
            (_, Ok(found)) => good.push(format!("{target} is at {}", found.revision.short())),
            (_, Err(error)) => bad.push(error.message),
        }
    }
    let refs = if bad.is_empty() {
        Step::ok(StepName::LsRefs, Some(took), good.join(", "))
    } else {
        Step::failed(StepName::LsRefs, Some(took), Reason::RefNotFound, bad.join("; "))
    };
    [auth, refs]
}

/// A Helm repository or a registry: whether it answers to what every one of its kind has.
async fn http(
    kind: Kind,
    ask: &Url,
    location: Option<&SourceLocation>,
    access: &AccessBuilder,
    ways_out: &Result<Outward, Failure>,
    steps: &mut Vec<Step>,
) {
    let last = if kind == Kind::Helm { StepName::Index } else { StepName::Answer };
    let access = match location {
        Some(location) => access.access(location).await.map(Some),
        None => Ok(None),
    };
    let (egress, config, login) = match (access, ways_out) {
        (Err(failure), _) => {
            steps.push(failed(StepName::Route, &failure));
            return skip(&[StepName::Auth, last], steps);
        }
        (Ok(None), Err(failure)) => {
            steps.push(failed(StepName::Route, failure));
            return skip(&[StepName::Auth, last], steps);
        }
        (Ok(Some(access)), _) => {
            let login = login_of(&access);
            let Access { egress, route, authorization, identity, ca, timeouts, .. } = access;
            (egress, HttpConfig { route, authorization, identity, ca, timeouts, user_agent: None }, login)
        }
        (Ok(None), Ok(out)) => {
            (out.egress.clone(), HttpConfig::default(), "no credentials (no Repository covers this URL)".to_owned())
        }
    };
    let destination = match Destination::of_url(ask) {
        Ok(destination) => destination,
        Err(error) => {
            steps.push(Step::failed(StepName::Route, None, Reason::InvalidSpec, error.to_string()));
            return skip(&[StepName::Auth, last], steps);
        }
    };
    let (ca, identity) = (config.ca.clone(), config.identity.clone());
    if !probe(&egress, &destination, &config.route, ca, identity, &config.timeouts, steps).await {
        return skip(&[StepName::Auth, last], steps);
    }
    let client = HttpClient::new(egress, config);
    let since = Instant::now();
    let answer = client.get(ask, &HeaderMap::new()).await;
    let took = Some(milliseconds(since.elapsed()));
    match answer {
        Err(error) => {
            steps.push(Step::skipped(StepName::Auth, NOT_REACHED));
            steps.push(Step::failed(last, took, error.reason, error.message));
        }
        Ok(mut answer) => {
            let quote = if answer.status.is_success() { String::new() } else { answer.quote().await };
            let shown = Shown { status: answer.status, is_html: answer.is_html(), quote, path: ask.path().to_owned() };
            steps.extend(answer_steps(kind, last, &shown, &login, took));
        }
    }
}

/// An artifact in a registry: whether what is tracked of it is there. The login is made as a pull makes it.
async fn registry(
    reference: &RegistryReference,
    versions: &BTreeSet<String>,
    access: &AccessBuilder,
    steps: &mut Vec<Step>,
) {
    const REST: [StepName; 2] = [StepName::Auth, StepName::Manifest];
    let location = SourceLocation::registry(reference.clone());
    let access = match access.access(&location).await {
        Ok(access) => access,
        Err(failure) => {
            steps.push(failed(StepName::Route, &failure));
            return skip(&REST, steps);
        }
    };
    let destination = match location.destination(access.plain_http) {
        Ok(destination) => destination,
        Err(error) => {
            steps.push(Step::failed(StepName::Route, None, Reason::InvalidSpec, error.to_string()));
            return skip(&REST, steps);
        }
    };
    let (ca, identity) = (access.ca.clone(), access.identity.clone());
    if !probe(&access.egress, &destination, &access.route, ca, identity, &access.timeouts, steps).await {
        return skip(&REST, steps);
    }
    let login = login_of(&access);
    let registry = Registry::new(RegistryConfig {
        reference: reference.clone(),
        plain_http: access.plain_http,
        egress: access.egress,
        route: access.route,
        authorization: access.authorization,
        identity: access.identity,
        ca: access.ca,
        timeouts: access.timeouts,
        limit: DEFAULT_LIMIT,
    });
    let since = Instant::now();
    let asked = match &registry {
        Ok(registry) => tracked(registry, versions).await,
        Err(error) => Err(error.clone()),
    };
    steps.extend(artifact_steps(asked, &login, milliseconds(since.elapsed())));
}

/// Asks for each tag that is tracked; for the list of tags where a range or nothing is.
async fn tracked(registry: &Registry, versions: &BTreeSet<String>) -> Result<String, ArtifactError> {
    let is_tag = |version: &&String| !version.is_empty() && !version.contains(':') && !is_range(version);
    let mut found = Vec::new();
    for version in versions.iter().filter(is_tag) {
        let digest = registry.digest_of(&tag_of_version(version)).await?;
        found.push(format!("{version} is {}", digest.as_str()));
    }
    if found.is_empty() {
        let tags = registry.tags().await?;
        found.push(format!("{} tags", tags.len()));
    }
    Ok(found.join(", "))
}

fn artifact_steps(asked: Result<String, ArtifactError>, login: &str, took: u64) -> [Step; 2] {
    match asked {
        Ok(detail) => [
            Step::ok(StepName::Auth, None, format!("accepted: {login}")),
            Step::ok(StepName::Manifest, Some(took), detail),
        ],
        Err(error) if error.reason == Reason::AuthFailed => [
            Step::failed(StepName::Auth, Some(took), error.reason, format!("{}; sent: {login}", error.message)),
            Step::skipped(StepName::Manifest, NOT_REACHED),
        ],
        Err(error) => [
            Step::skipped(StepName::Auth, format!("not told by the answer; sent: {login}")),
            Step::failed(StepName::Manifest, Some(took), error.reason, error.message),
        ],
    }
}

/// What is looked at of an answer.
struct Shown {
    status: StatusCode,
    is_html: bool,
    quote: String,
    path: String,
}

fn answer_steps(kind: Kind, last: StepName, answer: &Shown, login: &str, took: Option<u64>) -> [Step; 2] {
    let Shown { status, is_html, quote, path } = answer;
    let said = || if quote.is_empty() { format!("{path}: {status}") } else { format!("{path}: {status}: {quote}") };
    let auth = |step: Step| [step, Step::skipped(last, NOT_REACHED)];
    match status.as_u16() {
        200..=299 if *is_html => [
            Step::skipped(StepName::Auth, format!("not told by the answer; sent: {login}")),
            Step::failed(last, took, Reason::BlockedByProxy, format!("{path}: a page for people came back")),
        ],
        200..=299 => [
            Step::ok(StepName::Auth, None, format!("accepted: {login}")),
            Step::ok(last, took, format!("{path}: {status}")),
        ],
        // A registry asks for a login at its root even where it lets everybody read.
        401 if kind == Kind::Oci => [
            Step::skipped(StepName::Auth, "the registry asks for a login; it is made by the pull itself"),
            Step::ok(last, took, format!("{path}: the registry answers")),
        ],
        401 | 403 => auth(Step::failed(StepName::Auth, took, Reason::AuthFailed, format!("{}; sent: {login}", said()))),
        404 if kind == Kind::Helm => [
            Step::skipped(StepName::Auth, format!("not told by the answer; sent: {login}")),
            Step::failed(
                last,
                took,
                Reason::RepositoryNotFound,
                format!("{path}: {status}: there is no Helm repository at this URL"),
            ),
        ],
        404 => [
            Step::skipped(StepName::Auth, NOT_REACHED),
            Step::failed(last, took, Reason::ProtocolError, format!("{path}: {status}: this is no OCI registry")),
        ],
        _ => [
            Step::skipped(StepName::Auth, format!("not told by the answer; sent: {login}")),
            Step::failed(last, took, Reason::ServerError, said()),
        ],
    }
}

/// A proxy by itself: whether it can be dialled, and who vouches for it when it speaks TLS. What it says to CONNECT is
/// told with each destination behind it.
async fn proxy(
    name: &str,
    host: &str,
    port: u16,
    speaks_tls: bool,
    ways_out: &Result<Outward, Failure>,
    steps: &mut Vec<Step>,
) {
    let out = match ways_out {
        Ok(out) => out,
        Err(failure) => return steps.push(failed(StepName::Route, failure)),
    };
    let access = match out.proxies.get(name) {
        Some(Ok(access)) => access.clone(),
        Some(Err(failure)) => return steps.push(failed(StepName::Route, failure)),
        None => return steps.push(Step::skipped(StepName::Route, "the object is gone")),
    };
    let mut destination = Destination::tcp(host, port);
    if speaks_tls {
        destination.protocol = crate::egress::Protocol::Https;
    }
    let timers = Timeouts::default();
    let mut taken = Vec::new();
    probe(&out.egress, &destination, &Override::Direct, access.ca, access.identity, &timers, &mut taken).await;
    // The same failures have other names, and other remedies, at a proxy.
    for step in taken {
        steps.push(match (step.outcome, step.reason) {
            (Outcome::Failed, Some(reason)) => {
                let name = if step.step == StepName::Tls { StepName::ProxyTls } else { step.step };
                let reason = reason_at_proxy(reason);
                Step { certificates: step.certificates, ..Step::failed(name, step.milliseconds, reason, step.detail) }
            }
            _ if step.step == StepName::Tls => Step { step: StepName::ProxyTls, ..step },
            _ => step,
        });
    }
}

fn reason_at_proxy(reason: Reason) -> Reason {
    match reason {
        Reason::TlsUntrusted => Reason::ProxyTlsUntrusted,
        Reason::DnsFailed | Reason::ConnectTimeout | Reason::ConnectFailed | Reason::TlsFailed => {
            Reason::ProxyUnreachable
        }
        other => other,
    }
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
