//! Real servers on loopback for tests: TLS with an authority made on the spot, and a proxy that misbehaves on demand.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stream::Stream;
use super::{
    BasicCredentials, CaBundle, Egress, EgressRules, HostPattern, ProxyAccess, ProxyRule, ProxyScheme, ProxyUrl,
    SystemRoots,
};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn bundle(&self) -> CaBundle {
        CaBundle::parse(self.pem.as_bytes()).unwrap()
    }

    /// TLS for a server of this name.
    pub fn acceptor(&self, host: &str) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Serves connections, each by one run of the handler.
pub async fn serve<H, F>(tls: Option<TlsAcceptor>, handler: H) -> SocketAddr
where
    H: Fn(Stream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, handler) = (tls.clone(), Arc::clone(&handler));
            tokio::spawn(async move {
                let stream: Stream = match tls {
                    None => Box::new(stream),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                };
                handler(stream).await;
            });
        }
    });
    address
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
}

impl Head {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Reads the head of the next request, `None` at the end of the connection.
pub async fn read_head(stream: &mut Stream) -> Option<Head> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Some(Head { method, target, headers })
}

/// Never answers; ends when the other side closes.
pub async fn be_silent(mut stream: Stream) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// What a proxy does to requests.
#[derive(Clone, Default)]
pub struct ProxyBehaviour {
    /// `user:password` that it wants.
    pub credentials: Option<String>,
    /// Said in place of everything else.
    pub answer: Option<String>,
    /// Answers nothing.
    pub silent: bool,
}

/// A proxy that leads every destination to one loopback address.
#[derive(Clone)]
pub struct TestProxy {
    pub address: SocketAddr,
    /// The request lines it saw.
    pub log: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    pub async fn start(destination: SocketAddr, behaviour: ProxyBehaviour) -> Self {
        Self::start_with(None, destination, behaviour).await
    }

    pub async fn start_with(tls: Option<TlsAcceptor>, destination: SocketAddr, behaviour: ProxyBehaviour) -> Self {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&log);
        let address = serve(tls, move |stream| pass(stream, destination, behaviour.clone(), Arc::clone(&seen))).await;
        Self { address, log }
    }

    pub fn seen(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// An egress in which this is the default proxy, named `corporate`.
    pub fn egress(&self, credentials: Option<(&str, &str)>, ca: Option<CaBundle>) -> Egress {
        self.egress_at(
            ProxyUrl { scheme: ProxyScheme::Http, host: self.address.ip().to_string(), port: self.address.port() },
            credentials,
            ca,
        )
    }

    pub fn egress_at(&self, url: ProxyUrl, credentials: Option<(&str, &str)>, ca: Option<CaBundle>) -> Egress {
        let hosts = vec![HostPattern::parse("*.corp.test").unwrap()];
        let rule = ProxyRule { name: "corporate".to_owned(), url, hosts, direct: Vec::new(), default: false };
        let rules = EgressRules { proxies: vec![rule], ..EgressRules::default() };
        let credentials =
            credentials.map(|(user, password)| BasicCredentials::new(user.into(), password.into()).unwrap());
        let access = BTreeMap::from([("corporate".to_owned(), ProxyAccess { credentials, ca, identity: None })]);
        Egress::new(rules, access, SystemRoots::none())
    }
}

async fn pass(mut stream: Stream, destination: SocketAddr, behaviour: ProxyBehaviour, log: Arc<Mutex<Vec<String>>>) {
    let Some(head) = read_head(&mut stream).await else { return };
    log.lock().unwrap().push(format!("{} {}", head.method, head.target));
    if behaviour.silent {
        return be_silent(stream).await;
    }
    if let Some(answer) = &behaviour.answer {
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        return;
    }
    if let Some(wanted) = &behaviour.credentials {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(wanted);
        if head.header("proxy-authorization") != format!("Basic {encoded}") {
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate, Basic realm=\"a, b\"\r\n\
                Content-Length: 4\r\n\r\nauth";
            let _ = stream.write_all(refusal.as_bytes()).await;
            return;
        }
    }
    let mut onward = TcpStream::connect(destination).await.unwrap();
    if head.method == "CONNECT" {
        // Any 2xx opens a tunnel, and body headers mean nothing.
        let established = "HTTP/1.1 201 Connection established\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(established.as_bytes()).await.unwrap();
    } else {
        let mut text = format!("{} {} HTTP/1.1\r\n", head.method, head.target);
        for (name, value) in head.headers.iter().filter(|(name, _)| *name != "proxy-authorization") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        onward.write_all(text.as_bytes()).await.unwrap();
    }
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}
