//! Real servers on loopback for tests: TLS with an authority made on the spot, and a proxy that misbehaves on demand.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, clippy::disallowed_methods, missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stream::Stream;
use super::{
    BasicCredentials, CaBundle, ClientIdentity, Egress, EgressRules, HostPattern, ProxyAccess, ProxyRule, ProxyScheme,
    ProxyUrl, SystemRoots,
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
        self.acceptor_for(&[host], None)
    }

    /// TLS for a server of this name that wants a client certificate of an authority.
    pub fn acceptor_wanting(&self, host: &str, clients: &Self) -> TlsAcceptor {
        self.acceptor_for(&[host], Some(clients))
    }

    /// TLS for a server of these names, which lets only clients of an authority in if one is given.
    pub fn acceptor_for(&self, hosts: &[&str], clients: Option<&Self>) -> TlsAcceptor {
        let (leaf, key) = self.sign(hosts);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![leaf.der().clone()], key).unwrap()))
    }

    /// A client certificate of this authority.
    pub fn identity(&self, name: &str) -> ClientIdentity {
        let (leaf, key) = self.sign(&[name]);
        ClientIdentity::parse(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn sign(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (leaf, key)
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

/// Answers every request with what it saw: target, host and credentials.
pub async fn mirror(mut stream: Stream) {
    while let Some(head) = read_head(&mut stream).await {
        let body = format!("{} {} [{}]", head.target, head.header("host"), head.header("authorization"));
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
    }
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
    /// Says nothing (more) and holds the connection open.
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
        let credentials =
            credentials.map(|(user, password)| BasicCredentials::new(user.into(), password.into()).unwrap());
        egress_through(url, ProxyAccess { credentials, ca, identity: None })
    }
}

/// An egress in which this proxy, named `corporate`, serves `*.corp.test`.
pub fn egress_through(url: ProxyUrl, access: ProxyAccess) -> Egress {
    let hosts = vec![HostPattern::parse("*.corp.test").unwrap()];
    let rule = ProxyRule { name: "corporate".to_owned(), url, hosts, direct: Vec::new(), default: false };
    let rules = EgressRules { proxies: vec![rule], ..EgressRules::default() };
    Egress::new(rules, BTreeMap::from([("corporate".to_owned(), access)]), SystemRoots::none())
}

async fn pass(mut stream: Stream, destination: SocketAddr, behaviour: ProxyBehaviour, log: Arc<Mutex<Vec<String>>>) {
    let Some(head) = read_head(&mut stream).await else { return };
    log.lock().unwrap().push(format!("{} {}", head.method, head.target));
    if let Some(answer) = &behaviour.answer {
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
    }
    if behaviour.silent {
        return be_silent(stream).await;
    }
    if behaviour.answer.is_some() {
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

/// What a SOCKS5 proxy does.
#[derive(Clone, Default)]
pub struct SocksBehaviour {
    /// User name and password that it wants.
    pub credentials: Option<(String, String)>,
    /// Its reply to the request, in place of a connection.
    pub reply: Option<u8>,
}

/// A SOCKS5 proxy that leads every destination to one loopback address, and a log of the destinations it was asked for.
pub async fn socks_proxy(destination: SocketAddr, behaviour: SocksBehaviour) -> TestProxy {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&log);
    let address = serve(None, move |stream| {
        let (behaviour, seen) = (behaviour.clone(), Arc::clone(&seen));
        async move {
            let _ = pass_socks(stream, destination, behaviour, seen).await;
        }
    })
    .await;
    TestProxy { address, log }
}

async fn pass_socks(
    mut stream: Stream,
    destination: SocketAddr,
    behaviour: SocksBehaviour,
    log: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await?;
    let methods = read_bytes(&mut stream, greeting[1]).await?;
    match &behaviour.credentials {
        None => stream.write_all(&[5, 0]).await?,
        Some(_) if !methods.contains(&2) => return stream.write_all(&[5, 0xff]).await,
        Some((user, password)) => {
            stream.write_all(&[5, 2]).await?;
            assert_eq!(stream.read_u8().await?, 1);
            let length = stream.read_u8().await?;
            let given_user = text(read_bytes(&mut stream, length).await?);
            let length = stream.read_u8().await?;
            let given_password = text(read_bytes(&mut stream, length).await?);
            let right = (&given_user, &given_password) == (user, password);
            stream.write_all(&[1, u8::from(!right)]).await?;
            if !right {
                return Ok(());
            }
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => {
            let bytes: [u8; 4] = read_bytes(&mut stream, 4).await?.try_into().unwrap();
            std::net::IpAddr::from(bytes).to_string()
        }
        4 => {
            let bytes: [u8; 16] = read_bytes(&mut stream, 16).await?.try_into().unwrap();
            std::net::IpAddr::from(bytes).to_string()
        }
        _ => {
            let length = stream.read_u8().await?;
            text(read_bytes(&mut stream, length).await?)
        }
    };
    let port = stream.read_u16().await?;
    log.lock().unwrap().push(format!("{host} {port}"));
    if let Some(reply) = behaviour.reply {
        return stream.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    }
    let mut onward = TcpStream::connect(destination).await?;
    // Answers with a name, the longest form.
    stream.write_all(&[5, 0, 0, 3, 3, b'a', b'.', b'b', 0, 80]).await?;
    copy_bidirectional(&mut stream, &mut onward).await.map(drop)
}

async fn read_bytes(stream: &mut Stream, length: u8) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
