//! By which way the Kubernetes client reaches its server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy, read_head, serve};
use crate::egress::{BasicCredentials, HostPattern, ProxyAccess, ProxyRule, ProxyUrl};

/// A server of this name that answers every request with its path and `Authorization`, compressed if asked to; and how many
/// connections it got.
async fn server(host: &str, authority: &Authority) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let address = serve(Some(authority.acceptor(host)), move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let text = format!("{} [{}] {}", head.target, head.header("authorization"), head.header("user-agent"));
                let (mut body, mut encoding) = (text.into_bytes(), "");
                if head.header("accept-encoding").contains("gzip") {
                    use std::io::Write as _;
                    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    packer.write_all(&body).unwrap();
                    body = packer.finish().unwrap();
                    encoding = "Content-Encoding: gzip\r\n";
                }
                let head = format!("HTTP/1.1 200 OK\r\n{encoding}Content-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.into_bytes(), body].concat()).await.unwrap();
            }
        }
    })
    .await;
    (address, connections)
}

fn config(url: &str, authority: &Authority) -> Config {
    let mut config = Config::new(url.parse().unwrap());
    let pem = pem_of(authority);
    config.root_cert = Some(vec![pem]);
    config.auth_info.token = Some("t0ken".into());
    // What a kubeconfig or the environment could say is passed over.
    config.proxy_url = Some("http://127.0.0.1:1".parse().unwrap());
    config
}

pub(super) fn pem_of(authority: &Authority) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap().to_vec()
}

async fn ask(client: &Client, path: &str) -> Result<String, NoAnswer> {
    let request = request(Method::GET, path, &[], ACCEPT_JSON, Bytes::new())?;
    let answer = request_with_deadline(client, request, DEFAULT_DEADLINE).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

const AGENT: &str = concat!("tidelock/", env!("CARGO_PKG_VERSION"));

#[tokio::test]
async fn the_own_cluster_is_dialled_directly_and_its_connection_is_kept() {
    let authority = Authority::new("Cluster CA");
    let (address, connections) = server("localhost", &authority).await;
    let client = build(config(&format!("https://localhost:{}/", address.port()), &authority)).unwrap();
    for number in 0..20 {
        let path = format!("/api/v1/{number}");
        assert_eq!(ask(&client, &path).await.unwrap(), format!("{path} [Bearer t0ken] {AGENT}"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_cluster_is_reached_by_the_rules_of_the_egress_layer() {
    let authority = Authority::new("Cluster CA");
    let (address, connections) = server("api.corp.test", &authority).await;
    let behaviour = ProxyBehaviour { credentials: Some("me:pw".to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(address, behaviour).await;
    let egress = proxy.egress(Some(("me", "pw")), None);
    let config = || config("https://api.corp.test:6443/", &authority);
    let client = build_through(config(), egress.clone(), Override::None).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&client, "/version").await.unwrap(), format!("/version [Bearer t0ken] {AGENT}"));
    }
    assert_eq!(proxy.seen(), ["CONNECT api.corp.test:6443"]);
    assert_eq!(connections.load(Ordering::SeqCst), 1);

    let refused = build_through(config(), proxy.egress(Some(("me", "canary")), None), Override::None).unwrap();
    let error = ask(&refused, "/version").await.unwrap_err().message;
    for part in ["api.corp.test:6443", "proxy corporate (", "refused the user name or password"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains("canary"), "{error}");

    let missing = build_through(config(), egress, Override::Proxy("gone".to_owned())).unwrap();
    let error = ask(&missing, "/version").await.unwrap_err().message;
    assert!(error.contains("the EgressProxy `gone` does not exist"), "{error}");
}

#[tokio::test]
async fn the_own_cluster_goes_direct_although_a_proxy_serves_everything() {
    let authority = Authority::new("Cluster CA");
    let (address, _) = server("localhost", &authority).await;
    let url = format!("https://localhost:{}/", address.port());
    let rule = ProxyRule {
        name: "corporate".to_owned(),
        url: ProxyUrl::parse("http://127.0.0.1:1").unwrap(),
        hosts: vec![HostPattern::parse("*").unwrap()],
        direct: Vec::new(),
        default: true,
    };
    let rules =
        EgressRules { proxies: vec![rule], cluster_api_hosts: vec!["localhost".to_owned()], ..EgressRules::default() };
    let credentials = Some(BasicCredentials::new("me".into(), "pw".into()).unwrap());
    let access = BTreeMap::from([("corporate".to_owned(), ProxyAccess { credentials, ..ProxyAccess::default() })]);
    let egress = Egress::new(rules, access, SystemRoots::none());
    let client = build_through(config(&url, &authority), egress, Override::None).unwrap();
    assert_eq!(ask(&client, "/version").await.unwrap(), format!("/version [Bearer t0ken] {AGENT}"));
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_says_how_it_was_tried() {
    let authority = Authority::new("Cluster CA");
    let client = build(config("https://127.0.0.1:1/", &authority)).unwrap();
    let error = ask(&client, "/version").await.unwrap_err().message;
    for part in ["the API server can't be reached", "127.0.0.1:1", "route direct", "refused"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}
