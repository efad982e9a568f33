//! Proxies and servers that misbehave: each way has its reason, names the phase, and ends in time.

use std::time::Duration;

use http::HeaderMap;
use url::Url;

use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy, serve};
use crate::egress::{Egress, EgressError, HttpClient, HttpConfig, Phase, SystemRoots, Timeouts};
use crate::model::Reason;

const NOWHERE: std::net::SocketAddr = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

const TUNNELLED: &str = "https://git.corp.test/";
const FORWARDED: &str = "http://git.corp.test/";

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

async fn get(egress: Egress, timeouts: Timeouts, url: &str) -> Result<(u16, Vec<u8>), EgressError> {
    let client = HttpClient::new(egress, HttpConfig { timeouts, ..HttpConfig::default() });
    let mut answer = client.get(&Url::parse(url).unwrap(), &HeaderMap::new()).await?;
    let body = answer.read_all(1 << 20).await?.unwrap();
    Ok((answer.status.as_u16(), body))
}

/// What comes of a request through a proxy that says this and closes.
async fn through(answer: &str, url: &str) -> (Result<(u16, Vec<u8>), EgressError>, Vec<String>) {
    let behaviour = ProxyBehaviour { answer: Some(answer.to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(NOWHERE, behaviour).await;
    let result = get(proxy.egress(Some(("user", "canary")), None), Timeouts::default(), url).await;
    (result, proxy.seen())
}

#[tokio::test]
async fn airgap_22_each_refusal_of_a_tunnel_has_its_reason_and_words_and_is_not_repeated() {
    let table = [
        (
            "407 No\r\nProxy-Authenticate: Basic realm=x",
            Reason::ProxyAuthRequired,
            "the proxy refused the user name or password (407, it offers Basic)",
        ),
        ("407 No", Reason::ProxyAuthRequired, "it offers no scheme"),
        (
            "407 No\r\nProxy-Authenticate: Basic realm=x\r\nProxy-Authenticate: basic realm=y, Negotiate",
            Reason::ProxyAuthRequired,
            "it offers Basic, Negotiate",
        ),
        ("403 Forbidden", Reason::ProxyForbidden, "refuses this destination: 403 Forbidden"),
        ("400 Bad Request", Reason::ProxyForbidden, "does not accept the request for a tunnel"),
        ("404 Not Found", Reason::ProxyForbidden, "404 Not Found to CONNECT"),
        ("405 Method Not Allowed", Reason::ProxyForbidden, "opens no tunnels"),
        ("501 Not Implemented", Reason::ProxyForbidden, "opens no tunnels"),
        (
            "302 Found\r\nLocation: http://login.corp.test/?token=canary",
            Reason::ProxyForbidden,
            "redirects to login.corp.test",
        ),
        ("429 Too Many Requests", Reason::ProxyUnavailable, "has no time for this connection now"),
        ("500 Internal Server Error", Reason::ProxyFailed, "failed within itself"),
        ("502 Bad Gateway", Reason::ProxyUpstreamFailed, "got no connection, or no sensible answer"),
        ("503 Service Unavailable", Reason::ProxyUnavailable, "takes no connection to this destination now"),
        (
            "503 Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0",
            Reason::ProxyUpstreamFailed,
            "can't resolve or reach the destination",
        ),
        ("504 Gateway Timeout", Reason::ProxyUpstreamFailed, "did not answer the proxy in time"),
    ];
    for (head, reason, words) in table {
        let answer =
            format!("HTTP/1.1 {head}\r\nRetry-After: 7\r\nContent-Length: 30\r\n\r\n<h1>Not on\nthe list</h1>");
        let (result, seen) = through(&answer, TUNNELLED).await;
        let error = result.unwrap_err();
        assert_eq!((error.reason, error.phase), (reason, Phase::Connect), "{head}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("\"Not on the list\""), "{head}: {text}");
        assert_eq!(error.route_label(), "proxy:corporate");
        assert!(text.contains("git.corp.test:443") && text.contains("rule: proxy corporate serves"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(seen, ["CONNECT git.corp.test:443"]);
    }
}

#[tokio::test]
async fn airgap_11_a_proxy_that_offers_only_what_we_cannot_do_is_asked_once_and_its_schemes_are_listed() {
    let challenges = "Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate";
    for (url, phase) in [(TUNNELLED, Phase::Connect), (FORWARDED, Phase::FirstByte)] {
        let (result, seen) =
            through(&format!("HTTP/1.1 407 No\r\n{challenges}\r\nContent-Length: 0\r\n\r\n"), url).await;
        let error = result.unwrap_err();
        assert_eq!((error.reason, error.phase), (Reason::ProxyAuthRequired, phase));
        assert!(error.message.contains("offers only NTLM, Negotiate (407)"), "{error}");
        assert_eq!(seen.len(), 1);
    }
}

#[tokio::test]
async fn airgap_22_a_retry_after_with_a_date_counts_from_the_answers_own_date() {
    let date = "Date: Fri, 31 Dec 1999 23:59:19 GMT\r\n";
    let until = "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n";
    for url in [TUNNELLED, FORWARDED] {
        let page = "Content-Type: text/html\r\nContent-Length: 4\r\n\r\nbusy";
        let (result, _) = through(&format!("HTTP/1.1 503 Busy\r\n{until}{date}{page}"), url).await;
        assert_eq!(result.unwrap_err().retry_after, Some(Duration::from_secs(40)), "{url}");
        let (result, _) = through(&format!("HTTP/1.1 503 Busy\r\n{until}{page}"), url).await;
        assert_eq!(result.unwrap_err().retry_after, None, "{url}");
    }
}

#[tokio::test]
async fn airgap_22_forwarded_requests_that_the_proxy_refuses_itself_have_the_same_reasons() {
    let table = [
        ("407 No\r\nProxy-Authenticate: Basic realm=x", Reason::ProxyAuthRequired),
        ("403 Forbidden\r\nContent-Type: text/html", Reason::ProxyForbidden),
        ("500 Oops\r\nX-Squid-Error: ERR_CANNOT_FORWARD 0", Reason::ProxyUpstreamFailed),
        ("502 Bad Gateway\r\nContent-Type: text/html", Reason::ProxyUpstreamFailed),
        ("500 Oops\r\nX-Squid-Error: ERR_OUT_OF_FDS 0", Reason::ProxyFailed),
        ("503 Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0", Reason::ProxyUpstreamFailed),
        ("503 Unavailable\r\nContent-Type: text/html", Reason::ProxyUnavailable),
        ("504 Timeout\r\nVia: 1.1 proxy\r\nContent-Type: text/html", Reason::ProxyUpstreamFailed),
    ];
    for (head, reason) in table {
        let (result, seen) = through(&format!("HTTP/1.1 {head}\r\nContent-Length: 5\r\n\r\nsorry"), FORWARDED).await;
        let error = result.unwrap_err();
        assert_eq!((error.reason, error.phase), (reason, Phase::FirstByte), "{head}");
        assert_eq!(seen, ["GET http://git.corp.test/"]);
    }
}

#[tokio::test]
async fn any_2xx_opens_a_tunnel_after_any_interim_answers() {
    let authority = Authority::new("Test CA");
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    // The rest of the connection is a TLS server's: only the proxy's own words are scripted.
    for head in [
        "HTTP/1.0 200\n\n",
        "HTTP/1.1 299 Fine\r\nContent-Length: 100\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 Yes\r\n\r\n",
    ] {
        let acceptor = authority.acceptor("git.corp.test");
        let address = serve(None, move |mut stream| {
            let acceptor = acceptor.clone();
            async move {
                use tokio::io::AsyncWriteExt as _;
                let _ = crate::egress::testing::read_head(&mut stream).await;
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut inner: crate::egress::Stream = Box::new(acceptor.accept(stream).await.unwrap());
                let _ = crate::egress::testing::read_head(&mut inner).await;
                inner.write_all(ok.as_bytes()).await.unwrap();
                let _ = inner.shutdown().await;
            }
        })
        .await;
        let proxy = TestProxy { address, log: std::sync::Arc::default() };
        let egress = proxy.egress(None, Some(authority.bundle()));
        assert_eq!(get(egress, Timeouts::default(), TUNNELLED).await.unwrap(), (200, b"ok".to_vec()), "{head:?}");
    }
}

#[tokio::test]
async fn what_is_no_answer_to_connect_is_told_for_what_it_is() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(20_000));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let table = [
        ("\x05\x00 socks\r\n", "not an HTTP proxy; check scheme and port in url of the EgressProxy `corporate`"),
        ("HTTP/2 200\r\n\r\n", "not an HTTP proxy"),
        ("HTTP/1.1 abc\r\n\r\n", "not an HTTP proxy"),
        ("HTTP/1.1 +20 x\r\n\r\n", "not an HTTP proxy"),
        ("HTTP/1.1 0200 x\r\n\r\n", "not an HTTP proxy"),
        ("HTTP/1.1\r\n\r\n", "not an HTTP proxy"),
        ("\r\n\r\n", "not an HTTP proxy"),
        ("<html>", "not an HTTP proxy"),
        ("", "before it answered CONNECT"),
        ("HTTP", "in the middle of its answer to CONNECT, after 4 bytes"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "in the middle of its answer to CONNECT, after 25 bytes"),
        (long.as_str(), "more than 16384 bytes of headers"),
        (interim.as_str(), "more than 16384 bytes of headers"),
    ];
    for (answer, words) in table {
        let (result, _) = through(answer, TUNNELLED).await;
        let error = result.unwrap_err();
        assert_eq!((error.reason, error.phase), (Reason::ProxyUnreachable, Phase::Connect), "{answer:.30?}");
        assert!(error.message.contains(words), "{answer:.30?}: {error}");
    }
}

#[tokio::test]
async fn airgap_18_an_answer_that_stops_at_any_byte_is_told_and_ends_in_time() {
    let tunnel = "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let head = answer.len() - 5;
    let mut cases = Vec::new();
    for silent in [true, false] {
        for at in 0..=tunnel.len() {
            let expected = match (at == tunnel.len(), silent) {
                (true, _) => (Reason::TlsFailed, Phase::Tls),
                (false, _) => (Reason::ProxyUnreachable, Phase::Connect),
            };
            cases.push((TUNNELLED, &tunnel[..at], silent, expected));
        }
        for at in 0..answer.len() {
            let expected = match (at < head, silent) {
                (true, true) => (Reason::ServerSilent, Phase::FirstByte),
                (true, false) => (Reason::ProxyUnreachable, Phase::FirstByte),
                (false, true) => (Reason::Stalled, Phase::Transfer),
                (false, false) => (Reason::ConnectionCut, Phase::Transfer),
            };
            cases.push((FORWARDED, &answer[..at], silent, expected));
        }
    }
    let run = cases.into_iter().map(|(url, part, silent, expected)| async move {
        let behaviour = ProxyBehaviour { answer: Some(part.to_owned()), silent, ..ProxyBehaviour::default() };
        let proxy = TestProxy::start(NOWHERE, behaviour).await;
        let error = get(proxy.egress(None, None), quick(), url).await.unwrap_err();
        assert_eq!((error.reason, error.phase), expected, "{url} {part:?} silent: {silent}: {error}");
    });
    futures::future::join_all(run).await;
}

#[tokio::test]
async fn answers_that_contradict_themselves_neither_hang_nor_are_believed() {
    let many = (0..300).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let long = format!("X: {}\r\n", "a".repeat(1 << 20));
    let table = [
        ("Content-Length: abc\r\n\r\n", ""),
        ("Content-Length: -1\r\n\r\n", ""),
        ("Content-Length: 99999999999999999999999\r\n\r\n", ""),
        ("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", ""),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", ""),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nab", ""),
        ("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nab", ""),
        ("bad header\r\n\r\n", ""),
        (long.as_str(), "\r\n"),
        (many.as_str(), "\r\n"),
    ];
    for (head, rest) in table {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}{rest}");
        let (result, _) = through(&answer, FORWARDED).await;
        let error = result.expect_err(&head[..head.len().min(40)]);
        let expected = [Reason::ProtocolError, Reason::ConnectionCut, Reason::ProxyUnreachable];
        assert!(expected.contains(&error.reason), "{head:.40}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_whose_body_never_ends_is_quoted_as_far_as_it_came() {
    for url in [TUNNELLED, FORWARDED] {
        let page = "Content-Type: text/html\r\nContent-Length: 1000000\r\n\r\nBlocked by policy 7";
        let behaviour = ProxyBehaviour {
            answer: Some(format!("HTTP/1.1 403 Forbidden\r\n{page}")),
            silent: true,
            ..ProxyBehaviour::default()
        };
        let proxy = TestProxy::start(NOWHERE, behaviour).await;
        let error = get(proxy.egress(None, None), Timeouts::default(), url).await.unwrap_err();
        assert_eq!(error.reason, Reason::ProxyForbidden);
        assert!(error.message.contains("\"Blocked by policy 7\""), "{error}");
    }
}

#[tokio::test]
async fn a_tls_proxy_that_is_none_is_told_with_the_likely_mistake() {
    let plain = TestProxy::start(NOWHERE, ProxyBehaviour::default()).await;
    let mut url = crate::egress::ProxyUrl::parse("https://127.0.0.1").unwrap();
    url.port = plain.address.port();
    let error = get(plain.egress_at(url, None, None), quick(), TUNNELLED).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ProxyUnreachable, Phase::Tls));
    assert!(error.message.contains("does the proxy's url really begin with https://?"), "{error}");

    let authority = Authority::new("Test CA");
    let behaviour = ProxyBehaviour::default();
    let tls = TestProxy::start_with(Some(authority.acceptor("localhost")), NOWHERE, behaviour).await;
    let error = get(tls.egress(None, None), quick(), TUNNELLED).await.unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::ProxyUnreachable, Phase::Connect));
}

#[tokio::test]
async fn a_direct_route_says_what_is_closed() {
    let error = get(Egress::direct(SystemRoots::none()), quick(), &format!("https://{NOWHERE}/")).await.unwrap_err();
    assert_eq!(
        (error.reason, error.phase, error.route_label().as_str()),
        (Reason::ConnectFailed, Phase::Dial, "direct")
    );
}
