use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy, read_head, serve};
use crate::egress::{Authorization, BasicCredentials, EgressRules, ProxyAccess, ProxyRule, ProxyUrl, SystemRoots};
use crate::git::{FetchLimits, StoreLimits};
use crate::model::Hash64;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A packet of git's wire format.
fn packet(line: &str) -> String {
    format!("{:04x}{line}\n", line.len() + 5)
}

/// A git server over TLS that has one branch and wants this login.
async fn git_server(authority: &Authority, login: &'static str) -> SocketAddr {
    use base64::Engine as _;
    let wanted = format!("Basic {}", STANDARD.encode(login));
    serve(Some(authority.acceptor("git.corp.test")), move |mut stream| {
        let wanted = wanted.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let length: usize = head.header("content-length").parse().unwrap_or(0);
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let (status, kind, body) = if head.header("authorization") != wanted {
                    ("401 Unauthorized", "text/plain", "who are you?".to_owned())
                } else if head.method == "GET" {
                    let capabilities = ["version 2", "ls-refs=unborn", "fetch=shallow", "object-format=sha1"];
                    let lines: String = capabilities.iter().map(|line| packet(line)).collect();
                    let start = format!("{}0000", packet("# service=git-upload-pack"));
                    ("200 OK", "application/x-git-upload-pack-advertisement", format!("{start}{lines}0000"))
                } else {
                    let refs =
                        [format!("{COMMIT} HEAD symref-target:refs/heads/main"), format!("{COMMIT} refs/heads/main")];
                    let lines: String = refs.iter().map(|line| packet(line)).collect();
                    ("200 OK", "application/x-git-upload-pack-result", format!("{lines}0000"))
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

use base64::engine::general_purpose::STANDARD;

fn access(egress: Egress, login: &str, ca: Option<CaBundle>) -> Access {
    let (user, password) = login.split_once(':').unwrap();
    let credentials = BasicCredentials::new(user.into(), password.into()).unwrap();
    Access {
        egress,
        route: Override::None,
        authorization: Some(Authorization::from(credentials)),
        identity: None,
        ssh: None,
        ca,
        timeouts: Timeouts::default(),
        limits: FetchLimits::default(),
        store_limits: StoreLimits::default(),
        plain_http: false,
        transfer_limit: None,
        max_age: None,
        repository: Some("corp".to_owned()),
        proxy: Some("corporate".to_owned()),
        secrets: Vec::new(),
        fingerprint: Hash64(0),
    }
}

fn url() -> RepositoryUrl {
    RepositoryUrl::parse("https://git.corp.test/team/app").unwrap()
}

/// Name and outcome of each step; of one that failed, its reason.
fn told(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match (step.outcome, step.reason) {
            (Outcome::Ok, _) => format!("{} ok", step.step.as_str()),
            (Outcome::Skipped, _) => format!("{} -", step.step.as_str()),
            (Outcome::Failed, reason) => format!("{} {}", step.step.as_str(), reason.unwrap()),
        })
        .collect()
}

fn shown(steps: Vec<Step>) -> String {
    let report = super::super::report::Report::new(
        "n",
        Vec::new(),
        Vec::new(),
        vec![Examined::new("d".to_owned(), Kind::Git, Vec::new(), steps)],
    );
    report.text() + &report.json().unwrap()
}

#[tokio::test]
async fn every_step_to_a_git_server_behind_a_proxy_is_told_and_no_credential() {
    let authority = Authority::new("Corp CA");
    let server = git_server(&authority, "ann:canary-git").await;
    let behaviour = ProxyBehaviour { credentials: Some("op:canary-proxy".to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(server, behaviour).await;
    let egress = proxy.egress(Some(("op", "canary-proxy")), None);

    let mut steps = Vec::new();
    let targets = BTreeSet::from([Target::parse("main")]);
    let good = access(egress.clone(), "ann:canary-git", Some(authority.bundle()));
    git_by(&url(), &targets, good, &mut steps).await;
    let expected = ["route ok", "dns ok", "tcp ok", "connect ok", "tls ok", "auth ok", "ls-refs ok"];
    assert_eq!(told(&steps), expected, "{steps:#?}");
    assert_eq!(steps[6].detail, "main is at 0123456");
    assert!(steps[4].certificates[0].issuer.contains("Corp CA"), "{:?}", steps[4]);
    assert_eq!(steps[4].certificates[0].sha256.len(), 95);
    let text = shown(steps);
    assert!(!text.contains("canary"), "{text}");

    let mut steps = Vec::new();
    let wrong = access(egress.clone(), "ann:canary-wrong", Some(authority.bundle()));
    git_by(&url(), &targets, wrong, &mut steps).await;
    assert_eq!(told(&steps)[4..], ["tls ok", "auth AuthFailed", "ls-refs -"]);
    assert!(!shown(steps).contains("canary"));

    let mut steps = Vec::new();
    let missing = BTreeSet::from([Target::parse("main"), Target::parse("gone")]);
    let good = access(egress.clone(), "ann:canary-git", Some(authority.bundle()));
    git_by(&url(), &missing, good, &mut steps).await;
    assert_eq!(told(&steps)[5..], ["auth ok", "ls-refs RefNotFound"]);

    // Nobody that is trusted vouches for it: who does is told.
    let mut steps = Vec::new();
    git_by(&url(), &targets, access(egress, "ann:canary-git", None), &mut steps).await;
    assert_eq!(told(&steps)[4..], ["tls TlsUntrusted", "auth -", "ls-refs -"]);
    assert!(steps[4].certificates[0].issuer.contains("Corp CA"), "{:?}", steps[4]);
    assert!(steps[4].advice.is_some());
}

#[tokio::test]
async fn the_first_hop_that_fails_is_the_last_that_is_tried() {
    let authority = Authority::new("Corp CA");
    let server = git_server(&authority, "ann:pw").await;
    let behaviour = ProxyBehaviour { credentials: Some("op:pw".to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(server, behaviour).await;
    let mut steps = Vec::new();
    let refused = access(proxy.egress(Some(("op", "wrong")), None), "ann:pw", Some(authority.bundle()));
    git_by(&url(), &BTreeSet::new(), refused, &mut steps).await;
    assert_eq!(told(&steps), ["route ok", "dns ok", "tcp ok", "connect ProxyAuthRequired", "auth -", "ls-refs -"]);
    assert_eq!(proxy.seen().len(), 1, "one attempt with a login that is refused");

    let forbids = ProxyBehaviour {
        answer: Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ..ProxyBehaviour::default()
    };
    let proxy = TestProxy::start(server, forbids).await;
    let mut steps = Vec::new();
    git_by(&url(), &BTreeSet::new(), access(proxy.egress(None, None), "ann:pw", None), &mut steps).await;
    assert_eq!(told(&steps)[3..], ["connect ProxyForbidden", "auth -", "ls-refs -"]);

    // Nothing listens where the proxy should be.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let at = ProxyUrl { scheme: ProxyScheme::Http, host: closed.ip().to_string(), port: closed.port() };
    let mut steps = Vec::new();
    git_by(&url(), &BTreeSet::new(), access(proxy.egress_at(at, None, None), "ann:pw", None), &mut steps).await;
    assert_eq!(told(&steps), ["route ok", "dns ok", "tcp ProxyUnreachable", "auth -", "ls-refs -"]);
}

#[tokio::test]
async fn a_silent_destination_is_told_when_the_time_is_over() {
    let proxy =
        TestProxy::start("127.0.0.1:1".parse().unwrap(), ProxyBehaviour { silent: true, ..ProxyBehaviour::default() })
            .await;
    let out = Outward { egress: proxy.egress(None, None), proxies: BTreeMap::new(), fingerprint: Hash64(0) };
    let mut steps = Vec::new();
    let work = async {
        let destination = Destination::tcp("db.corp.test", 5432);
        let timers = Timeouts::default();
        probe(&out.egress, &destination, &Override::None, None, None, &timers, &mut steps).await;
    };
    let deadline = Instant::now() + Duration::from_millis(300);
    assert!(tokio::time::timeout_at(deadline, work).await.is_err());
    steps.push(out_of_time(Kind::Address));
    assert_eq!(told(&steps).last().unwrap(), "answer ServerSilent");
}

#[tokio::test]
async fn a_proxy_that_speaks_tls_is_judged_by_its_own_authority() {
    let authority = Authority::new("Proxy CA");
    let address = serve(Some(authority.acceptor("127.0.0.1")), crate::egress::testing::be_silent).await;
    let at = ProxyUrl { scheme: ProxyScheme::Https, host: "127.0.0.1".to_owned(), port: address.port() };
    let rule =
        ProxyRule { name: "corporate".to_owned(), url: at, hosts: Vec::new(), direct: Vec::new(), default: false };
    let rules = EgressRules { proxies: vec![rule], ..EgressRules::default() };
    let out = |ca: Option<CaBundle>| {
        let access = ProxyAccess { ca, ..ProxyAccess::default() };
        let egress =
            Egress::new(rules.clone(), BTreeMap::from([("corporate".to_owned(), access.clone())]), SystemRoots::none());
        Ok(Outward { egress, proxies: BTreeMap::from([("corporate".to_owned(), Ok(access))]), fingerprint: Hash64(0) })
    };
    let mut steps = Vec::new();
    proxy("corporate", "127.0.0.1", address.port(), true, &out(Some(authority.bundle())), &mut steps).await;
    assert_eq!(told(&steps).last().unwrap(), "proxy-tls ok", "{steps:#?}");
    let mut steps = Vec::new();
    proxy("corporate", "127.0.0.1", address.port(), true, &out(None), &mut steps).await;
    assert_eq!(told(&steps).last().unwrap(), "proxy-tls ProxyTlsUntrusted", "{steps:#?}");
    assert!(steps.last().unwrap().certificates[0].issuer.contains("Proxy CA"));
}

#[test]
fn answers_of_chart_repositories_and_registries_are_told_apart() {
    let steps = |kind: Kind, status: u16, is_html: bool| {
        let last = if kind == Kind::Helm { StepName::Index } else { StepName::Answer };
        let answer = Shown {
            status: StatusCode::from_u16(status).unwrap(),
            is_html,
            quote: "go away".to_owned(),
            path: "/x".to_owned(),
        };
        told(&answer_steps(kind, last, &answer, "no credentials", Some(1)))
    };
    assert_eq!(steps(Kind::Helm, 200, false), ["auth ok", "index ok"]);
    assert_eq!(steps(Kind::Helm, 200, true), ["auth -", "index BlockedByProxy"]);
    assert_eq!(steps(Kind::Helm, 401, false), ["auth AuthFailed", "index -"]);
    assert_eq!(steps(Kind::Helm, 403, true), ["auth AuthFailed", "index -"]);
    assert_eq!(steps(Kind::Helm, 404, false), ["auth -", "index RepositoryNotFound"]);
    assert_eq!(steps(Kind::Oci, 200, false), ["auth ok", "answer ok"]);
    assert_eq!(steps(Kind::Oci, 401, false), ["auth -", "answer ok"]);
    assert_eq!(steps(Kind::Oci, 404, false), ["auth -", "answer ProtocolError"]);
    assert_eq!(steps(Kind::Oci, 502, false), ["auth -", "answer ServerError"]);
}
