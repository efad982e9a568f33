use super::*;
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy, be_silent, serve};
use crate::egress::{ProxyScheme, ProxyUrl, SystemRoots};
use crate::model::Reason;

/// The steps in a few words, without what differs from run to run.
fn told(steps: &[ProbeStep]) -> Vec<String> {
    let tell = |step: &ProbeStep| {
        let outcome = match &step.outcome {
            Ok(ProbeDetails::Connected { address: Some(address) }) => format!("connected to {}", address.ip()),
            Ok(ProbeDetails::Tls { version, .. }) => version.clone(),
            Ok(details) => details.to_string(),
            Err(error) => format!("{} in {}", error.reason, error.phase),
        };
        let chain: Vec<&str> = step.certificates.iter().map(|certificate| certificate.subject.as_str()).collect();
        format!("{} {}: {outcome} {chain:?}", step.phase, step.peer.as_str())
    };
    steps.iter().map(tell).collect()
}

fn https(host: &str) -> Destination {
    Destination::of_url(&url::Url::parse(&format!("https://{host}")).unwrap()).unwrap()
}

#[tokio::test]
async fn airgap_59_a_probe_tells_every_step_through_a_proxy_with_both_chains() {
    let (inner, outer) = (Authority::new("Inner CA"), Authority::new("Outer CA"));
    let server = serve(Some(inner.acceptor("git.corp.test")), be_silent).await;
    let proxy = TestProxy::start_with(Some(outer.acceptor("localhost")), server, ProxyBehaviour::default()).await;
    let port = proxy.address.port();
    let at = ProxyUrl { scheme: ProxyScheme::Https, host: "localhost".to_owned(), port };
    let egress = proxy.egress_at(at, None, Some(outer.bundle()));
    let target = https("git.corp.test");
    let timeouts = Timeouts::default();

    let good = egress.probe(&target, &Override::None, Some(inner.bundle()), None, &timeouts).await;
    assert_eq!(
        told(&good),
        [
            format!(
                "route the server: proxy corporate (localhost:{port}) [rule: proxy corporate serves *.corp.test] []"
            ),
            good[1].outcome.as_ref().map(|found| format!("dns the proxy: {found} []")).unwrap(),
            "dial the proxy: connected to 127.0.0.1 []".to_owned(),
            "tls the proxy: TLSv1_3 [\"CN=localhost\"]".to_owned(),
            "connect the proxy: 201 Connection established []".to_owned(),
            "tls the server: TLSv1_3 [\"CN=git.corp.test\"]".to_owned(),
        ]
    );
    let leaf = &good[5].certificates[0];
    assert_eq!((leaf.issuer.as_str(), leaf.names.as_slice()), ("CN=Inner CA", ["git.corp.test".to_owned()].as_slice()));
    assert_eq!((leaf.fingerprint.len(), leaf.not_after.is_some()), (95, true));
    assert_eq!(proxy.seen(), ["CONNECT git.corp.test:443"]);

    let untrusted = egress.probe(&target, &Override::None, None, None, &timeouts).await;
    assert_eq!(told(&untrusted)[5], "tls the server: TlsUntrusted in tls [\"CN=git.corp.test\"]");
    assert_eq!(untrusted[5].certificates, good[5].certificates);
}

#[tokio::test]
async fn a_probe_ends_with_the_step_that_failed() {
    let egress = Egress::direct(SystemRoots::none());
    let timeouts = Timeouts::default();
    let steps = egress.probe(&https("127.0.0.1:1"), &Override::None, None, None, &timeouts).await;
    assert_eq!(
        told(&steps),
        [
            "route the server: direct [rule: built-in: loopback goes direct] []",
            "dns the server: 127.0.0.1 is 127.0.0.1 []",
            "dial the server: ConnectFailed in dial []",
        ]
    );
    let missing = Override::Proxy("gone".to_owned());
    let steps = egress.probe(&https("git.corp.test"), &missing, None, None, &timeouts).await;
    let [ProbeStep { outcome: Err(error), .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((error.reason, error.rule.as_str()), (Reason::ReferenceNotFound, "the object names proxy gone"));
}
