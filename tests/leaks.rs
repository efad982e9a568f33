//! Connections that fail leave nothing behind. In a process of its own, since it counts what the whole process holds.

#![expect(clippy::unwrap_used, reason = "what can't be counted fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tidelock::egress::{
    BasicCredentials, Destination, Egress, EgressError, EgressRules, HostPattern, HttpClient, HttpConfig, Override,
    Phase, ProxyAccess, ProxyRule, ProxyUrl, SystemRoots, Timeouts,
};
use tidelock::model::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const TIMES: usize = 100;

/// What a server does with a connection.
type Handler = Arc<dyn Fn(TcpStream) -> BoxFuture<'static, ()> + Send + Sync>;

async fn serve(handler: Handler) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handler(stream));
        }
    });
    address
}

async fn until_blank_line(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return,
        }
    }
}

/// Reads a request, says this, and closes or (when `silent`) waits for the other side to do so.
fn says(text: &'static str, silent: bool) -> Handler {
    Arc::new(move |mut stream| {
        Box::pin(async move {
            until_blank_line(&mut stream).await;
            let _ = stream.write_all(text.as_bytes()).await;
            if silent {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
    })
}

/// Begins an answer, and resets the connection.
fn resets() -> Handler {
    Arc::new(|mut stream| {
        Box::pin(async move {
            until_blank_line(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc").await;
            let _ = stream.set_zero_linger();
        })
    })
}

/// Opens every tunnel and speaks TLS in it with a certificate of an authority that nobody knows.
fn intercepts() -> Handler {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Interceptor");
    let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["git.corp.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Arc::new(move |mut stream| {
        let acceptor = acceptor.clone();
        Box::pin(async move {
            until_blank_line(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let _ = acceptor.accept(stream).await;
        })
    })
}

/// A SOCKS5 proxy that gives this reply; `None` never answers the request.
fn socks(reply: Option<u8>) -> Handler {
    Arc::new(move |mut stream| {
        Box::pin(async move {
            let mut greeting = [0; 4];
            let _ = stream.read_exact(&mut greeting).await;
            let _ = stream.write_all(&[5, 0]).await;
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await;
            match reply {
                Some(reply) => {
                    let _ = stream.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await;
                }
                None => {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        })
    })
}

fn timeouts() -> Timeouts {
    let brief = Duration::from_millis(50);
    let patient = Duration::from_secs(20);
    Timeouts {
        dns: patient,
        dial: patient,
        connect: patient,
        tls: patient,
        first_byte: brief,
        idle: brief,
        ..Timeouts::default()
    }
}

/// An egress whose one proxy serves `*.corp.test`.
fn through(scheme: &str, proxy: SocketAddr) -> Egress {
    let rule = ProxyRule {
        name: "corporate".to_owned(),
        url: ProxyUrl::parse(&format!("{scheme}://{proxy}")).unwrap(),
        hosts: vec![HostPattern::parse("*.corp.test").unwrap()],
        direct: Vec::new(),
        default: false,
    };
    let rules = EgressRules { proxies: vec![rule], ..EgressRules::default() };
    let credentials = Some(BasicCredentials::new("me".into(), "pw".into()).unwrap());
    let access = BTreeMap::from([("corporate".to_owned(), ProxyAccess { credentials, ..ProxyAccess::default() })]);
    Egress::new(rules, access, SystemRoots::none())
}

async fn get(egress: Egress, url: &str, timeouts: Timeouts) -> Result<(), EgressError> {
    let client = HttpClient::new(egress, HttpConfig { timeouts, ..HttpConfig::default() });
    let mut answer = client.get(&url::Url::parse(url).unwrap(), &http::HeaderMap::new()).await?;
    answer.read_all(1 << 20).await?;
    Ok(())
}

/// One kind of failure: how it is brought about, and what it is called.
struct Kind {
    name: &'static str,
    egress: Egress,
    url: String,
    timeouts: Timeouts,
    expected: (Reason, Phase),
}

async fn kinds() -> Vec<Kind> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let direct = Egress::direct(SystemRoots::none());
    let mut kinds = Vec::new();
    let mut add = |name, egress: Egress, url: &str, reason, phase| {
        kinds.push(Kind { name, egress, url: url.to_owned(), timeouts: timeouts(), expected: (reason, phase) });
    };
    let (tunnelled, forwarded) = ("https://git.corp.test/", "http://git.corp.test/");

    add("dial refused", direct.clone(), &format!("http://{nowhere}/"), Reason::ConnectFailed, Phase::Dial);
    add("proxy refused", through("http", nowhere), tunnelled, Reason::ProxyUnreachable, Phase::Dial);
    for (name, answer, reason) in [
        ("CONNECT 403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\npage", Reason::ProxyForbidden),
        ("CONNECT 407", "HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM\r\n\r\n", Reason::ProxyAuthRequired),
        ("CONNECT 502", "HTTP/1.1 502 Bad Gateway\r\n\r\n", Reason::ProxyUpstreamFailed),
        ("half header", "HTTP/1.1 200 OK\r\nVia", Reason::ProxyUnreachable),
        ("no answer to CONNECT", "", Reason::ProxyUnreachable),
    ] {
        let proxy = serve(says(answer, false)).await;
        add(name, through("http", proxy), tunnelled, reason, Phase::Connect);
    }
    let proxy = serve(intercepts()).await;
    add("interception by a stranger", through("http", proxy), tunnelled, Reason::TlsUntrusted, Phase::Tls);
    let proxy = serve(says("HTTP/1.1 200 OK\r\n\r\n", false)).await;
    add("closed in the handshake", through("http", proxy), tunnelled, Reason::TlsFailed, Phase::Tls);
    let proxy = serve(says("HTTP/1.1 200 OK\r\nContent-Le", true)).await;
    add("silent in the header", through("http", proxy), forwarded, Reason::ServerSilent, Phase::FirstByte);
    let proxy = serve(says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc", true)).await;
    add("stalled in the body", through("http", proxy), forwarded, Reason::Stalled, Phase::Transfer);
    let proxy = serve(resets()).await;
    add("reset in the body", through("http", proxy), forwarded, Reason::ConnectionCut, Phase::Transfer);
    for (name, reply, reason) in
        [("socks forbids", 2, Reason::ProxyForbidden), ("socks can't reach", 4, Reason::ProxyUpstreamFailed)]
    {
        let proxy = serve(socks(Some(reply))).await;
        add(name, through("socks5h", proxy), tunnelled, reason, Phase::Connect);
    }

    // These wait for the proxy's answer itself, or for a handshake.
    let brief = Duration::from_millis(50);
    let mut add_stalling = |name, egress: Egress, reason, phase| {
        let timeouts = Timeouts { connect: brief, tls: brief, ..timeouts() };
        kinds.push(Kind { name, egress, url: tunnelled.to_owned(), timeouts, expected: (reason, phase) });
    };
    let silent = serve(says("", true)).await;
    add_stalling("CONNECT stalled", through("http", silent), Reason::ProxyUnreachable, Phase::Connect);
    add_stalling("TLS to the proxy stalled", through("https", silent), Reason::ProxyUnreachable, Phase::Tls);
    let proxy = serve(says("HTTP/1.1 200 OK\r\n\r\n", true)).await;
    add_stalling("TLS in the tunnel stalled", through("http", proxy), Reason::TlsFailed, Phase::Tls);
    let proxy = serve(socks(None)).await;
    add_stalling("socks stalled", through("socks5h", proxy), Reason::ProxyUnreachable, Phase::Connect);
    kinds
}

/// Threads, open descriptors, and those of them that are files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    descriptors: usize,
    files: usize,
}

fn held() -> Held {
    let targets: Vec<_> =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
    // The listing's own descriptor is a directory below /proc.
    let own = |target: &&std::path::PathBuf| !target.starts_with("/proc");
    Held {
        threads: fs::read_dir("/proc/self/task").unwrap().count(),
        descriptors: targets.iter().filter(own).count(),
        files: targets.iter().filter(own).filter(|target| target.is_absolute() && target.is_file()).count(),
    }
}

/// Waits until no more is held than before: servers and idle threads take a moment to end.
async fn settles_at(before: Held, after_what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = held();
        if now.threads <= before.threads && now.descriptors <= before.descriptors && now.files <= before.files {
            return;
        }
        assert!(Instant::now() < deadline, "after {TIMES} times {after_what}: {now:?}, and before: {before:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn airgap_13_a_hundred_failures_of_each_kind_leave_threads_and_descriptors_where_they_were() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_millis(50))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let kinds = kinds().await;
        let before = held();
        for Kind { name, egress, url, timeouts, expected } in &kinds {
            for _ in 0..TIMES / 10 {
                let ten = (0..10).map(|_| get(egress.clone(), url, timeouts.clone()));
                for result in futures::future::join_all(ten).await {
                    let error = result.unwrap_err();
                    assert_eq!((error.reason, error.phase), *expected, "{name}: {error}");
                }
            }
            settles_at(before, name).await;
        }
        // And given up in the middle by whoever asked.
        let silent = serve(says("", true)).await;
        let before = held();
        let egress = through("http", silent);
        for _ in 0..TIMES {
            let (target, route) = (Destination::tcp("git.corp.test", 22), Override::None);
            let patient = Timeouts::default();
            let opening = egress.open(&target, &route, &patient);
            assert!(tokio::time::timeout(Duration::from_millis(5), opening).await.is_err());
        }
        settles_at(before, "given up").await;
    });
}
