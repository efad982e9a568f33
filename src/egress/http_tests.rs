use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::egress::stream::Stream;
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy, be_silent, mirror, read_head, serve};
use crate::egress::{EgressRules, EnvironmentProxies, Phase, SystemRoots};
use crate::egress::{ProxyScheme, ProxyUrl};

fn quick() -> Timeouts {
    let brief = Duration::from_millis(300);
    let patient = Duration::from_secs(20);
    Timeouts {
        dns: patient,
        dial: patient,
        connect: brief,
        tls: brief,
        first_byte: brief,
        idle: brief,
        ..Timeouts::default()
    }
}

fn config(timeouts: Timeouts) -> HttpConfig {
    HttpConfig { timeouts, ..HttpConfig::default() }
}

fn direct(timeouts: Timeouts) -> HttpClient {
    HttpClient::new(Egress::direct(SystemRoots::none()), config(timeouts))
}

fn url(text: impl AsRef<str>) -> Url {
    Url::parse(text.as_ref()).unwrap()
}

async fn get(client: &HttpClient, at: &Url) -> Result<String, EgressError> {
    let mut answer = client.get(at, &HeaderMap::new()).await?;
    let body = answer.read_all(1 << 20).await?.unwrap();
    Ok(format!("{} {}", answer.status.as_u16(), String::from_utf8(body).unwrap()))
}

/// Says the same to every request, and closes.
fn says(text: &'static str) -> impl Fn(Stream) -> futures::future::BoxFuture<'static, ()> + Send + Sync + 'static {
    move |mut stream| {
        Box::pin(async move {
            if read_head(&mut stream).await.is_some() {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        })
    }
}

const NOWHERE: std::net::SocketAddr = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

#[tokio::test]
async fn a_connection_is_reused_and_a_dead_one_is_replaced() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let address = serve(None, move |mut stream| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            // The first connection dies silently when its third request comes.
            for _ in 0..if first { 2 } else { 100 } {
                if read_head(&mut stream).await.is_none() {
                    return;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
            let _ = read_head(&mut stream).await;
        }
    })
    .await;
    let client = direct(Timeouts::default());
    let at = url(format!("http://{address}/x"));
    for _ in 0..2 {
        assert_eq!(get(&client, &at).await.unwrap(), "200 ok");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    for _ in 0..2 {
        assert_eq!(get(&client, &at).await.unwrap(), "200 ok");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn airgap_09_https_goes_through_a_tunnel_with_credentials_sent_at_once() {
    let authority = Authority::new("Test CA");
    let server = serve(Some(authority.acceptor("git.corp.test")), mirror).await;
    let behaviour = ProxyBehaviour { credentials: Some("me:s3cr@t:/#%é".to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(server, behaviour).await;
    let egress = proxy.egress(Some(("me", "s3cr@t:/#%é")), None);
    let client = HttpClient::new(egress, HttpConfig { ca: Some(authority.bundle()), ..HttpConfig::default() });
    let at = url("https://git.corp.test/x?y=z");
    assert_eq!(get(&client, &at).await.unwrap(), "200 /x?y=z git.corp.test []");
    assert_eq!(get(&client, &at).await.unwrap(), "200 /x?y=z git.corp.test []");
    assert_eq!(proxy.seen(), ["CONNECT git.corp.test:443"]);
    assert_eq!(client.route(&at), format!("proxy corporate ({})", proxy.address));
}

#[tokio::test]
async fn airgap_15_plain_http_goes_to_the_proxy_in_absolute_form() {
    let server = serve(None, mirror).await;
    let behaviour = ProxyBehaviour { credentials: Some("me:pw".to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(server, behaviour).await;
    let client = HttpClient::new(proxy.egress(Some(("me", "pw")), None), HttpConfig::default());
    let seen = get(&client, &url("http://git.corp.test:8080/x?y")).await.unwrap();
    assert_eq!(seen, "200 http://git.corp.test:8080/x?y git.corp.test:8080 []");
    assert_eq!(proxy.seen(), ["GET http://git.corp.test:8080/x?y"]);

    let stranger = HttpClient::new(proxy.egress(None, None), HttpConfig::default());
    let error = get(&stranger, &url("http://git.corp.test/")).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ProxyAuthRequired, Phase::FirstByte));
}

#[tokio::test]
async fn airgap_12_tls_can_be_spoken_to_the_proxy_by_its_own_authority() {
    let (inner, outer) = (Authority::new("Inner CA"), Authority::new("Outer CA"));
    let server = serve(Some(inner.acceptor("git.corp.test")), mirror).await;
    let proxy = TestProxy::start_with(Some(outer.acceptor("localhost")), server, ProxyBehaviour::default()).await;
    let at_proxy = ProxyUrl { scheme: ProxyScheme::Https, host: "localhost".to_owned(), port: proxy.address.port() };
    let ca = |bundle: &Authority| HttpConfig { ca: Some(bundle.bundle()), ..HttpConfig::default() };
    let at = url("https://git.corp.test/");

    let good = HttpClient::new(proxy.egress_at(at_proxy.clone(), None, Some(outer.bundle())), ca(&inner));
    assert_eq!(get(&good, &at).await.unwrap(), "200 / git.corp.test []");

    // The repository's bundle says nothing about the proxy.
    let bad = HttpClient::new(proxy.egress_at(at_proxy, None, None), ca(&outer));
    let error = get(&bad, &at).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ProxyTlsUntrusted, Phase::Tls));
}

#[tokio::test]
async fn airgap_13_an_unknown_authority_is_shown_with_issuer_and_fingerprint() {
    let (right, wrong) = (Authority::new("Right CA"), Authority::new("Interceptor CA"));
    let server = serve(Some(wrong.acceptor("git.corp.test")), mirror).await;
    let proxy = TestProxy::start(server, ProxyBehaviour::default()).await;
    let with_ca = |ca: Option<CaBundle>| HttpConfig { ca, ..HttpConfig::default() };
    let at = url("https://git.corp.test/");
    for ca in [Some(right.bundle()), None] {
        let error = get(&HttpClient::new(proxy.egress(None, None), with_ca(ca)), &at).await.unwrap_err();
        assert_eq!((error.reason, error.phase), (Reason::TlsUntrusted, Phase::Tls));
        let text = error.to_string();
        for part in
            ["CN=Interceptor CA", "CN=git.corp.test", "SHA-256 fingerprint ", "intercepts TLS", "proxy corporate ("]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
    // The proxy's own bundle covers what it intercepts.
    let trusting = HttpClient::new(proxy.egress(None, Some(wrong.bundle())), with_ca(Some(right.bundle())));
    assert_eq!(get(&trusting, &at).await.unwrap(), "200 / git.corp.test []");
    // A certificate for another name is not trusted, whoever issued it.
    let other = url("https://other.corp.test/");
    let error = get(&trusting, &other).await.unwrap_err();
    assert_eq!(error.reason, Reason::TlsUntrusted);
    assert!(error.message.contains("other.corp.test"), "{error}");
}

#[tokio::test]
async fn airgap_18_each_phase_times_out_alone_and_names_itself() {
    let silent = serve(None, be_silent).await;
    let stalls = serve(None, |mut stream| async move {
        let _ = read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
        be_silent(stream).await;
    })
    .await;
    let behaviour = ProxyBehaviour { silent: true, ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(NOWHERE, behaviour).await;
    let plain = direct(quick());
    let proxied = HttpClient::new(proxy.egress(None, None), config(quick()));
    let table = [
        (&plain, url(format!("https://{silent}/")), Reason::TlsFailed, Phase::Tls),
        (&plain, url(format!("http://{silent}/")), Reason::ServerSilent, Phase::FirstByte),
        (&plain, url(format!("http://{stalls}/")), Reason::Stalled, Phase::Transfer),
        (&proxied, url("https://git.corp.test/"), Reason::ProxyUnreachable, Phase::Connect),
        (&proxied, url("http://git.corp.test/"), Reason::ServerSilent, Phase::FirstByte),
    ];
    for (client, at, reason, phase) in table {
        let error = get(client, &at).await.unwrap_err();
        assert_eq!((error.reason, error.phase), (reason, phase), "{at}");
        assert!(error.message.contains("0.3 s"), "{error}");
    }
    let error = get(&plain, &url(format!("http://{stalls}/"))).await.unwrap_err();
    assert!(error.message.contains("after 3 bytes"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_reached_says_how_it_was_tried() {
    let client = direct(Timeouts::default());
    let error = get(&client, &url(format!("http://{NOWHERE}/"))).await.unwrap_err();
    assert_eq!((error.reason, error.phase, error.route.as_str()), (Reason::ConnectFailed, Phase::Dial, "direct"));
    assert_eq!(error.host, "127.0.0.1:1");

    let gone = TestProxy { address: NOWHERE, log: Arc::default() };
    let client = HttpClient::new(gone.egress(None, None), HttpConfig::default());
    let error = get(&client, &url("https://git.corp.test/")).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ProxyUnreachable, Phase::Dial));
    assert_eq!(error.route, "proxy corporate (127.0.0.1:1)");

    let missing = HttpConfig { route: Override::Proxy("gone".to_owned()), ..HttpConfig::default() };
    let client = HttpClient::new(Egress::direct(SystemRoots::none()), missing);
    let error = get(&client, &url("https://git.corp.test/")).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ReferenceNotFound, Phase::Route));
}

#[tokio::test]
async fn a_cut_answer_says_how_much_came() {
    let short = serve(None, says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")).await;
    let nothing = serve(None, says("")).await;
    let noise = serve(None, |mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9\r\n").await;
        be_silent(stream).await;
    })
    .await;
    let client = direct(Timeouts::default());
    let error = get(&client, &url(format!("http://{short}/"))).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ConnectionCut, Phase::Transfer));
    assert!(error.message.contains("after 3 bytes"), "{error}");
    let error = get(&client, &url(format!("http://{nothing}/"))).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ConnectionCut, Phase::FirstByte));
    let error = get(&client, &url(format!("http://{noise}/"))).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ProtocolError, Phase::FirstByte));
    let error = get(&client, &url(format!("https://{noise}/"))).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::TlsFailed, Phase::Tls));
}

#[tokio::test]
async fn airgap_25_redirects_are_followed_without_credentials_for_others() {
    let other = serve(None, mirror).await;
    let server = serve(None, move |mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let location = match head.target.as_str() {
                "/elsewhere" => format!("http://thief:x@{other}/there"),
                "/here" => "/same".to_owned(),
                "/same" => {
                    let body = format!("[{}]", head.header("authorization"));
                    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(text.as_bytes()).await.unwrap();
                    continue;
                }
                "/ssh" => "ssh://x/y".to_owned(),
                _ => "/again".to_owned(),
            };
            let text = format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    })
    .await;
    let credentials = BasicCredentials::new("me".into(), "pw".into()).unwrap();
    let settings = HttpConfig { authorization: Some(credentials.into()), ..HttpConfig::default() };
    let client = HttpClient::new(Egress::direct(SystemRoots::none()), settings);
    let at = |path: &str| url(format!("http://{server}{path}"));
    assert_eq!(get(&client, &at("/here")).await.unwrap(), "200 [Basic bWU6cHc=]");
    assert_eq!(get(&client, &at("/elsewhere")).await.unwrap(), format!("200 /there {other} []"));
    for path in ["/again", "/ssh"] {
        assert_eq!(get(&client, &at(path)).await.unwrap_err().reason, Reason::RedirectRefused);
    }
}

#[tokio::test]
async fn airgap_25_a_redirect_from_https_to_http_is_refused() {
    let authority = Authority::new("Test CA");
    let down = says("HTTP/1.1 302 Found\r\nLocation: http://localhost/\r\nContent-Length: 0\r\n\r\n");
    let server = serve(Some(authority.acceptor("localhost")), down).await;
    let settings = HttpConfig { ca: Some(authority.bundle()), ..HttpConfig::default() };
    let client = HttpClient::new(Egress::direct(SystemRoots::none()), settings);
    let error = get(&client, &url(format!("https://localhost:{}/", server.port()))).await.unwrap_err();
    assert_eq!(error.reason, Reason::RedirectRefused);
}

#[tokio::test]
async fn a_page_that_a_proxy_gives_in_place_of_the_server_is_known_for_it() {
    let table = [
        ("http", "403 Forbidden", "Content-Type: text/html", Reason::ProxyForbidden),
        ("http", "503 Unavailable", "X-Squid-Error: ERR_DNS_FAIL 0", Reason::ProxyUpstreamFailed),
        ("https", "403 Forbidden", "X-Squid-Error: ERR_ACCESS_DENIED 0", Reason::BlockedByProxy),
        ("https", "503 Unavailable", "X-Squid-Error: ERR_CONNECT_FAIL 111", Reason::ProxyUpstreamFailed),
    ];
    let authority = Authority::new("Test CA");
    for (scheme, status, header, reason) in table {
        let page: &'static str = Box::leak(
            format!("HTTP/1.1 {status}\r\n{header}\r\nContent-Length: 11\r\n\r\n<p>sorry</p").into_boxed_str(),
        );
        let tls = (scheme == "https").then(|| authority.acceptor("git.corp.test"));
        let server = serve(tls, says(page)).await;
        let proxy = TestProxy::start(server, ProxyBehaviour::default()).await;
        let settings = HttpConfig { ca: Some(authority.bundle()), ..HttpConfig::default() };
        let client = HttpClient::new(proxy.egress(None, None), settings);
        let error = get(&client, &url(format!("{scheme}://git.corp.test/"))).await.unwrap_err();
        assert_eq!(error.reason, reason, "{scheme} {status}");
        assert!(error.message.contains("\"sorry"), "{error}");
    }
}

#[tokio::test]
async fn airgap_14_an_authority_given_for_one_repository_is_not_trusted_for_another() {
    let (one, two) = (Authority::new("One"), Authority::new("Two"));
    let server = serve(Some(one.acceptor("localhost")), mirror).await;
    let at = url(format!("https://localhost:{}/", server.port()));
    let egress = Egress::direct(SystemRoots::none());
    let client = |authority: &Authority| {
        let settings = HttpConfig { ca: Some(authority.bundle()), ..HttpConfig::default() };
        HttpClient::new(egress.clone(), settings)
    };
    // Both clients share the egress layer, before and after the first has succeeded.
    for _ in 0..2 {
        assert_eq!(get(&client(&two), &at).await.unwrap_err().reason, Reason::TlsUntrusted);
        assert!(get(&client(&one), &at).await.is_ok());
    }
}

#[tokio::test]
async fn airgap_25_rules_are_asked_again_at_each_hop() {
    let authority = Authority::new("Test CA");
    let inside =
        serve(Some(authority.acceptor("git.corp.test")), says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).await;
    let proxy = TestProxy::start(inside, ProxyBehaviour::default()).await;
    // A direct server leads to a host that only the proxy reaches, and on to one that no rule lets out.
    let server = serve(None, |mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let to = if head.target == "/in" { "https://git.corp.test/x" } else { "https://blocked.test/" };
            let text = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut rules = proxy.egress(None, None).rules().clone();
    rules.policy.otherwise = crate::egress::Otherwise::Deny;
    let egress = Egress::new(rules, std::collections::BTreeMap::new(), SystemRoots::none());
    let client = HttpClient::new(egress, HttpConfig { ca: Some(authority.bundle()), ..HttpConfig::default() });
    assert_eq!(get(&client, &url(format!("http://{server}/in"))).await.unwrap(), "200 ok");
    assert_eq!(proxy.seen(), ["CONNECT git.corp.test:443"]);
    let error = get(&client, &url(format!("http://{server}/out"))).await.unwrap_err();
    assert_eq!(
        (error.reason, error.phase, error.host.as_str()),
        (Reason::EgressDenied, Phase::Route, "blocked.test:443")
    );
    assert!(error.message.contains("the EgressPolicy's default is Deny"), "{error}");
}

#[tokio::test]
async fn airgap_08_a_malformed_proxy_value_stops_the_connection_before_dns_and_dial() {
    let variables = [("https_proxy".to_owned(), "http://u:canary@b@127.0.0.1:1".into())].into();
    let rules =
        EgressRules { environment: Some(EnvironmentProxies::read(&variables).proxies), ..EgressRules::default() };
    let egress = Egress::new(rules, std::collections::BTreeMap::new(), SystemRoots::none());
    let client = HttpClient::new(egress.clone(), HttpConfig::default());
    let at = url("https://git.corp.test/");
    let error = get(&client, &at).await.unwrap_err();
    assert_eq!((error.reason, error.phase, error.route.as_str()), (Reason::EgressDenied, Phase::Route, "none"));
    assert!(error.message.contains("https_proxy") && !error.to_string().contains("canary"), "{error}");
    // No step comes after the route: no name is resolved, nothing is dialled.
    let target = Destination::of_url(&at).unwrap();
    let steps = egress.probe(&target, &Override::None, None, None, &Timeouts::default()).await;
    assert_eq!(steps.iter().map(|step| step.phase).collect::<Vec<_>>(), [Phase::Route]);
    // Objects that say how they leave do not need the variable.
    let steps = egress.probe(&target, &Override::Direct, None, None, &quick()).await;
    assert!(steps[0].outcome.is_ok());
}

#[tokio::test]
async fn airgap_07_new_credentials_of_a_proxy_count_at_once() {
    let server = serve(None, mirror).await;
    let behaviour = ProxyBehaviour { credentials: Some("me:new".to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(server, behaviour).await;
    let with = |password: &str| HttpClient::new(proxy.egress(Some(("me", password)), None), HttpConfig::default());
    let at = url("http://git.corp.test/");
    assert_eq!(get(&with("old"), &at).await.unwrap_err().reason, Reason::ProxyAuthRequired);
    assert!(get(&with("new"), &at).await.is_ok());
}

#[tokio::test]
async fn every_connection_is_told_to_the_observer_by_route_and_outcome() {
    let server = serve(None, mirror).await;
    let proxy = TestProxy::start(server, ProxyBehaviour::default()).await;
    let told: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&told);
    let egress = proxy.egress(None, None).observed(Arc::new(move |route, failure| {
        let outcome = failure.map_or("ok", Reason::as_str);
        sink.lock().unwrap().push(format!("{route} {outcome}"));
    }));
    let client = HttpClient::new(egress.clone(), HttpConfig::default());
    let at = url("http://git.corp.test/");
    // Two requests on one connection count once.
    for _ in 0..2 {
        let answer = client.get(&at, &HeaderMap::new()).await.unwrap();
        assert_eq!(answer.route_label(), "proxy:corporate");
        let mut answer = answer;
        answer.read_all(1 << 20).await.unwrap();
    }
    assert!(get(&client, &url(format!("http://{NOWHERE}/"))).await.is_err());
    let missing = Override::Proxy("gone".to_owned());
    assert!(egress.open(&Destination::tcp("x.test", 22), &missing, &quick()).await.is_err());
    assert_eq!(*told.lock().unwrap(), ["proxy:corporate ok", "direct ConnectFailed", "none ReferenceNotFound"]);
}

/// Redirects every request to one place.
#[expect(clippy::needless_pass_by_value, reason = "what is returned may not borrow")]
fn leads_to(location: String) -> impl Fn(Stream) -> futures::future::BoxFuture<'static, ()> + Send + Sync + 'static {
    says(Box::leak(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_boxed_str()))
}

#[tokio::test]
async fn airgap_25_the_objects_own_way_out_counts_for_its_own_origin_only() {
    let target = serve(None, mirror).await;
    let proxy = TestProxy::start(target, ProxyBehaviour::default()).await;
    let server = serve(None, leads_to("http://bucket.corp.test/blob".to_owned())).await;
    let at = url(format!("http://{server}/"));
    let settings = || HttpConfig { route: Override::Direct, ..HttpConfig::default() };
    // Direct is what the object says, and the rules send the host that it is led to through the proxy.
    let client = HttpClient::new(proxy.egress(None, None), settings());
    assert_eq!(get(&client, &at).await.unwrap(), "200 http://bucket.corp.test/blob bucket.corp.test []");
    // So it is for a request that begins elsewhere.
    let credentials = BasicCredentials::new("me".into(), "pw".into()).unwrap();
    let settings = HttpConfig { authorization: Some(credentials.into()), ..settings() };
    let client = HttpClient::new(proxy.egress(None, None), settings).of(Destination::of_url(&at).unwrap());
    let realm = url("http://realm.corp.test/");
    assert_eq!(get(&client, &realm).await.unwrap(), "200 http://realm.corp.test/ realm.corp.test []");
    let mut answer = client.post(&realm, &HeaderMap::new(), Bytes::new(), true).await.unwrap();
    assert_eq!(answer.read_all(99).await.unwrap().unwrap(), b"http://realm.corp.test/ realm.corp.test []");
    assert_eq!((client.route(&at).as_str(), client.route(&realm).contains("corporate")), ("direct", true));
    assert_eq!(
        proxy.seen(),
        [
            "GET http://bucket.corp.test/blob",
            "GET http://realm.corp.test/",
            // The connection was kept.
        ]
    );
    // Where the default is Deny, direct opens no way for others.
    let mut rules = EgressRules::default();
    rules.policy.otherwise = crate::egress::Otherwise::Deny;
    let closed = Egress::new(rules, std::collections::BTreeMap::new(), SystemRoots::none());
    let client = HttpClient::new(closed, HttpConfig { route: Override::Direct, ..HttpConfig::default() });
    let error = get(&client, &at).await.unwrap_err();
    assert_eq!((error.reason, error.host.as_str()), (Reason::EgressDenied, "bucket.corp.test:80"));
}

#[tokio::test]
async fn airgap_25_sensitive_headers_stay_with_the_host_that_they_were_made_for() {
    let other = serve(None, |mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        let names: Vec<&str> = head.headers.keys().map(String::as_str).collect();
        let body = names.join(" ");
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
    })
    .await;
    let server = serve(None, leads_to(format!("http://{other}/"))).await;
    let mut headers = HeaderMap::new();
    let mut secret = HeaderValue::from_static("canary");
    secret.set_sensitive(true);
    headers.insert("private-token", secret);
    headers.insert("cookie", HeaderValue::from_static("canary"));
    headers.insert("authorization", HeaderValue::from_static("canary"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    let client = direct(Timeouts::default());
    let mut answer = client.get(&url(format!("http://{server}/")), &headers).await.unwrap();
    assert_eq!(answer.read_all(999).await.unwrap().unwrap(), b"accept host user-agent");
    let mut answer = client.get(&url(format!("http://{other}/")), &headers).await.unwrap();
    let all = b"accept authorization cookie host private-token user-agent";
    assert_eq!(answer.read_all(999).await.unwrap().unwrap(), all);
}

#[tokio::test]
async fn airgap_25_the_client_certificate_is_shown_to_the_own_origin_only() {
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Clients"));
    let other = serve(Some(authority.acceptor_wanting("localhost", &clients)), mirror).await;
    let elsewhere = format!("https://localhost:{}/there", other.port());
    let server = serve(Some(authority.acceptor_wanting("localhost", &clients)), leads_to(elsewhere.clone())).await;
    let settings =
        || HttpConfig { ca: Some(authority.bundle()), identity: Some(clients.identity("me")), ..HttpConfig::default() };
    let client = HttpClient::new(Egress::direct(SystemRoots::none()), settings());
    let error = get(&client, &url(format!("https://localhost:{}/", server.port()))).await.unwrap_err();
    assert_eq!(error.host, format!("localhost:{}", other.port()), "the first let the client in: {error}");
    // The same host may be one's own for another operation of the same client.
    assert!(get(&client, &url(&elsewhere)).await.is_ok());
    let home = Destination::of_url(&url(format!("https://localhost:{}/", server.port()))).unwrap();
    let client = HttpClient::new(Egress::direct(SystemRoots::none()), settings()).of(home);
    assert!(get(&client, &url(&elsewhere)).await.is_err());
}
