use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::egress::testing::{
    Authority, SocksBehaviour, TestProxy, be_silent, egress_through, mirror, read_head, serve, socks_proxy,
};
use crate::egress::{
    BasicCredentials, Destination, Egress, EgressError, HttpClient, HttpConfig, Override, Phase, ProxyAccess,
    ProxyScheme, ProxyUrl, Timeouts,
};
use crate::model::Reason;

fn egress(at: SocketAddr, credentials: Option<(&str, &str)>) -> Egress {
    let url = ProxyUrl { scheme: ProxyScheme::Socks5h, host: at.ip().to_string(), port: at.port() };
    let credentials = credentials.map(|(user, password)| BasicCredentials::new(user.into(), password.into()).unwrap());
    egress_through(url, ProxyAccess { credentials, ..ProxyAccess::default() })
}

async fn get(egress: Egress, config: HttpConfig, url: &str) -> Result<String, EgressError> {
    let client = HttpClient::new(egress, config);
    let mut answer = client.get(&url::Url::parse(url).unwrap(), &http::HeaderMap::new()).await?;
    let body = answer.read_all(1 << 20).await?.unwrap();
    Ok(String::from_utf8(body).unwrap())
}

async fn failure(at: SocketAddr, credentials: Option<(&str, &str)>) -> EgressError {
    let timeouts = Timeouts { connect: Duration::from_millis(300), ..Timeouts::default() };
    let opened = egress(at, credentials).open(&Destination::tcp("git.corp.test", 22), &Override::None, &timeouts).await;
    opened.err().unwrap()
}

#[tokio::test]
async fn airgap_16_socks5h_carries_https_http_and_other_protocols_and_resolves_their_names() {
    let authority = Authority::new("Test CA");
    let tls = serve(Some(authority.acceptor("git.corp.test")), mirror).await;
    let plain = serve(None, mirror).await;
    let shell = serve(None, |mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_9\r\n").await.unwrap();
        be_silent(stream).await;
    })
    .await;
    let ca = HttpConfig { ca: Some(authority.bundle()), ..HttpConfig::default() };

    for wanted in [None, Some(("me", "s3cr@t:/#%é"))] {
        let behaviour = SocksBehaviour {
            credentials: wanted.map(|(user, password)| (user.to_owned(), password.to_owned())),
            ..SocksBehaviour::default()
        };
        let proxy = socks_proxy(tls, behaviour.clone()).await;
        let seen = get(egress(proxy.address, wanted), ca.clone(), "https://git.corp.test/x").await.unwrap();
        assert_eq!((seen.as_str(), proxy.seen()), ("/x git.corp.test []", vec!["git.corp.test 443".to_owned()]));

        // Through a SOCKS5 proxy a plain request has no absolute form.
        let proxy = socks_proxy(plain, behaviour.clone()).await;
        let seen = get(egress(proxy.address, wanted), HttpConfig::default(), "http://git.corp.test:8080/x").await;
        assert_eq!(
            (seen.unwrap().as_str(), proxy.seen()),
            ("/x git.corp.test:8080 []", vec!["git.corp.test 8080".to_owned()])
        );

        // The server speaks first: not one of its bytes may be lost.
        let proxy = socks_proxy(shell, behaviour).await;
        let target = Destination::tcp("git.corp.test", 22);
        let opened = egress(proxy.address, wanted).open(&target, &Override::None, &Timeouts::default()).await;
        let mut banner = [0; 19];
        opened.unwrap().read_exact(&mut banner).await.unwrap();
        assert_eq!((&banner, proxy.seen()), (b"SSH-2.0-OpenSSH_9\r\n", vec!["git.corp.test 22".to_owned()]));
    }
}

#[tokio::test]
async fn addresses_are_given_to_a_socks_proxy_as_addresses() {
    let server = serve(None, mirror).await;
    let proxy = socks_proxy(server, SocksBehaviour::default()).await;
    let chosen = HttpConfig { route: Override::Proxy("corporate".to_owned()), ..HttpConfig::default() };
    for url in ["http://192.0.2.7/", "http://[2001:db8::7]:81/"] {
        get(egress(proxy.address, None), chosen.clone(), url).await.unwrap();
    }
    assert_eq!(proxy.seen(), ["192.0.2.7 80", "2001:db8::7 81"]);
}

#[tokio::test]
async fn every_reply_of_a_socks_proxy_has_its_reason_and_words() {
    let table = [
        (1, Reason::ProxyFailed, "failed within itself"),
        (
            2,
            Reason::ProxyForbidden,
            "rules refuse this destination (reply 2); ask its operators to allow git.corp.test:22",
        ),
        (3, Reason::ProxyUpstreamFailed, "no route to the destination"),
        (4, Reason::ProxyUpstreamFailed, "can't resolve or reach the destination"),
        (5, Reason::ProxyUpstreamFailed, "the destination refused"),
        (6, Reason::ProxyUpstreamFailed, "did not answer the SOCKS5 proxy in time"),
        (7, Reason::ProxyForbidden, "does not do connections of this kind"),
        (8, Reason::ProxyForbidden, "does not know this kind of address"),
        (9, Reason::ProxyFailed, "no standard knows (9)"),
        (255, Reason::ProxyFailed, "no standard knows (255)"),
    ];
    for (reply, reason, words) in table {
        let behaviour = SocksBehaviour { reply: Some(reply), ..SocksBehaviour::default() };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = failure(socks_proxy(nowhere, behaviour).await.address, None).await;
        assert_eq!((error.reason, error.phase), (reason, Phase::Connect), "{reply}");
        assert!(error.message.contains(words), "{reply}: {error}");
    }
}

#[tokio::test]
async fn a_login_that_fails_says_what_is_missing_and_shows_nothing() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let wants =
        SocksBehaviour { credentials: Some(("me".to_owned(), "right".to_owned())), ..SocksBehaviour::default() };
    let TestProxy { address, .. } = socks_proxy(nowhere, wants).await;
    let long = "x".repeat(256);
    let table = [
        (None, "wants authentication; put user name and password into"),
        (Some(("me", "canary")), "refused the user name or password; correct the Secret"),
        (Some(("me", long.as_str())), "1 to 255 bytes"),
        (Some(("me", "")), "1 to 255 bytes"),
    ];
    for (credentials, words) in table {
        let error = failure(address, credentials).await;
        assert_eq!((error.reason, error.phase), (Reason::ProxyAuthRequired, Phase::Connect));
        assert!(error.message.contains(words) && !error.to_string().contains("canary"), "{error}");
    }
}

/// A proxy that reads one message before each of its own, and closes after the last.
async fn scripted(answers: &'static [&'static [u8]], silent: bool) -> SocketAddr {
    serve(None, move |mut stream| async move {
        for answer in answers {
            let mut message = [0; 300];
            if stream.read(&mut message).await.unwrap_or(0) == 0 {
                return;
            }
            stream.write_all(answer).await.unwrap();
        }
        if silent {
            be_silent(stream).await;
        } else {
            let _ = stream.shutdown().await;
        }
    })
    .await
}

#[tokio::test]
async fn what_is_no_socks_proxy_or_stops_at_any_byte_is_told_and_ends_in_time() {
    let closed = "closed the connection after";
    let table: &[(&[&[u8]], &str)] = &[
        (
            &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
            "no SOCKS5 proxy but an HTTP server; check scheme and port in url of the EgressProxy",
        ),
        (&[b"\x00\x5b"], "SOCKS4"),
        (&[b"SSH-2.0\r\n"], "no SOCKS5 proxy but something else"),
        (&[b"\x05\x01"], "was not offered (1)"),
        (&[b""], "the greeting"),
        (&[b"\x05"], "the greeting"),
        (&[b"\x05\x00"], closed),
        (&[b"\x05\x00", b"\x05\x00"], "after the request"),
        (&[b"\x05\x00", b"\x05\x00\x00\x07\x00"], "unknown kind (7)"),
        (&[b"\x05\x00", b"\x05\x00\x00\x03"], "after its answer"),
        (&[b"\x05\x00", b"\x05\x00\x00\x03\xff"], "after its answer"),
        (&[b"\x05\x00", b"\x05\x00\x00\x01\x00\x00\x00\x00\x00"], "after its answer"),
        (&[b"\x05\x00", b"\x04\x00\x00\x01"], "SOCKS4"),
    ];
    for (answers, words) in table {
        let error = failure(scripted(answers, false).await, None).await;
        assert_eq!((error.reason, error.phase), (Reason::ProxyUnreachable, Phase::Connect), "{answers:?}");
        assert!(error.message.contains(words), "{answers:?}: {error}");
    }
    let stalls: [&'static [&'static [u8]]; 4] =
        [&[], &[b"\x05"], &[b"\x05\x00"], &[b"\x05\x00", b"\x05\x00\x00\x01\x00\x00"]];
    for answers in stalls {
        let error = failure(scripted(answers, true).await, None).await;
        assert_eq!((error.reason, error.phase), (Reason::ProxyUnreachable, Phase::Connect), "{answers:?}");
        assert!(error.message.contains("did not finish its part within 0.3 s"), "{error}");
    }
}

#[tokio::test]
async fn an_http_proxy_in_place_of_a_socks_proxy_is_recognised() {
    let http = serve(None, |mut stream| async move {
        // An HTTP proxy waits for a line that never comes, or answers what it can't read.
        let mut greeting = [0; 3];
        let _ = stream.read_exact(&mut greeting).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = read_head(&mut stream).await;
    })
    .await;
    let error = failure(http, None).await;
    assert!(error.message.contains("an HTTP server"), "{error}");
}
