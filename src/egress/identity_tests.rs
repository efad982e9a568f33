use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy, egress_through, mirror, serve};
use crate::egress::{
    CaBundle, ClientIdentity, Egress, EgressError, HttpClient, HttpConfig, IdentityError, Phase, ProxyAccess,
    ProxyScheme, ProxyUrl, SystemRoots,
};
use crate::model::Reason;

async fn get(egress: Egress, config: HttpConfig, url: &str) -> Result<String, EgressError> {
    let client = HttpClient::new(egress, config);
    let mut answer = client.get(&url::Url::parse(url).unwrap(), &http::HeaderMap::new()).await?;
    let body = answer.read_all(1 << 20).await?.unwrap();
    Ok(String::from_utf8(body).unwrap())
}

fn config(ca: &CaBundle, identity: Option<ClientIdentity>) -> HttpConfig {
    HttpConfig { ca: Some(ca.clone()), identity, ..HttpConfig::default() }
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it_and_its_refusal_says_what_is_missing() {
    let (servers, clients, strangers) =
        (Authority::new("Servers"), Authority::new("Clients"), Authority::new("Strangers"));
    let server = serve(Some(servers.acceptor_wanting("localhost", &clients)), mirror).await;
    let url = format!("https://localhost:{}/x", server.port());
    let direct = || Egress::direct(SystemRoots::none());

    let good = get(direct(), config(&servers.bundle(), Some(clients.identity("operator"))), &url).await.unwrap();
    assert_eq!(good, format!("/x localhost:{} []", server.port()));

    let none = get(direct(), config(&servers.bundle(), None), &url).await.unwrap_err();
    assert_eq!((none.reason, none.phase), (Reason::AuthFailed, Phase::Tls));
    assert_eq!(
        none.message,
        "the server wants a client certificate and was shown none (TLS alert CertificateRequired); name a Secret with \
         tls.crt and tls.key in the Repository's clientCertificateSecretRef"
    );

    let wrong = get(direct(), config(&servers.bundle(), Some(strangers.identity("operator"))), &url).await.unwrap_err();
    assert_eq!((wrong.reason, wrong.phase), (Reason::AuthFailed, Phase::Tls));
    assert!(wrong.message.starts_with("the server refused the client certificate (TLS alert "), "{wrong}");
}

#[tokio::test]
async fn a_proxy_that_wants_a_client_certificate_gets_its_own_and_never_the_servers() {
    let (proxies, clients, inner) = (Authority::new("Proxies"), Authority::new("Clients"), Authority::new("Inner"));
    let server = serve(Some(inner.acceptor_wanting("git.corp.test", &inner)), mirror).await;
    let tls = Some(proxies.acceptor_wanting("localhost", &clients));
    let proxy = TestProxy::start_with(tls, server, ProxyBehaviour::default()).await;
    let egress = |identity: Option<ClientIdentity>| {
        let at = ProxyUrl { scheme: ProxyScheme::Https, host: "localhost".to_owned(), port: proxy.address.port() };
        egress_through(at, ProxyAccess { credentials: None, ca: Some(proxies.bundle()), identity })
    };
    let for_server = || config(&inner.bundle(), Some(inner.identity("reader")));

    let both = get(egress(Some(clients.identity("operator"))), for_server(), "https://git.corp.test/x").await;
    assert_eq!(both.unwrap(), "/x git.corp.test []");

    for url in ["https://git.corp.test/x", "http://git.corp.test/x"] {
        let none = get(egress(None), for_server(), url).await.unwrap_err();
        assert_eq!((none.reason, none.phase), (Reason::ProxyAuthRequired, Phase::Tls), "{none}");
        assert!(none.message.starts_with("the proxy wants a client certificate and was shown none"), "{none}");
        assert!(none.message.contains("the EgressProxy's clientCertificateSecretRef"), "{none}");

        // What the server would take is nothing to the proxy.
        let wrong = get(egress(Some(inner.identity("reader"))), for_server(), url).await.unwrap_err();
        assert_eq!((wrong.reason, wrong.phase), (Reason::ProxyAuthRequired, Phase::Tls), "{wrong}");
        assert!(wrong.message.starts_with("the proxy refused the client certificate"), "{wrong}");
    }
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_told_apart() {
    let authority = Authority::new("CA");
    let good = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let (certificate, key) = (good.cert.pem(), good.signing_key.serialize_pem());
    let parse = |certificate: &str, key: &str| ClientIdentity::parse(certificate.as_bytes(), key.as_bytes()).map(drop);
    assert_eq!(parse(&certificate, &key), Ok(()));
    assert_eq!(parse("", &key), Err(IdentityError::Certificate));
    assert_eq!(parse(&certificate, "canary"), Err(IdentityError::Key));
    assert_eq!(parse(&authority.pem, &key), Err(IdentityError::Mismatch));
}
