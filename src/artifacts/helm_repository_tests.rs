//! Helm repositories on real servers.

use std::time::Duration;

use super::*;
use crate::artifacts::Digest;
use crate::artifacts::testing::{Depot, chart};
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy};
use crate::egress::{BasicCredentials, SystemRoots};

fn config(url: &str, egress: Egress) -> HelmRepositoryConfig {
    HelmRepositoryConfig {
        url: HelmRepositoryUrl::parse(url).unwrap(),
        egress,
        route: Override::None,
        authorization: None,
        identity: None,
        ca: None,
        timeouts: Timeouts::default(),
        limit: download::DEFAULT_LIMIT,
    }
}

fn wanted(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn index_of(entries: &[(&str, &str, &str, &[u8])]) -> String {
    let mut text = "apiVersion: v1\nentries:\n".to_owned();
    for (name, version, url, archive) in entries {
        let digest = Digest::of(archive);
        text.push_str(&format!("  {name}:\n  - {{version: {version}, digest: {}, urls: ['{url}']}}\n", digest.hex()));
    }
    text
}

#[tokio::test]
async fn a_poll_of_an_unchanged_index_is_one_request_without_a_body_and_a_new_chart_asks_anew() {
    let depot = Depot::start(None).await;
    let archive = chart("shop", "1.0.0");
    depot.put_file(
        "/s/index.yaml",
        index_of(&[("shop", "1.0.0", "charts/shop.tgz", &archive), ("web", "2.0.0", "x", b"")]).as_bytes(),
    );
    depot.put_file("/s/charts/shop.tgz", &archive);
    let url = format!("http://{}/s", depot.address);
    let repository = HelmRepository::new(config(&url, Egress::direct(SystemRoots::none())));
    let first = repository.index(&wanted(&["shop"])).await.unwrap();
    let again = repository.index(&wanted(&["shop"])).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the index that is known was confirmed");
    let both = repository.index(&wanted(&["shop", "web"])).await.unwrap();
    assert_eq!(both.charts.keys().collect::<Vec<_>>(), ["shop", "web"]);
    let entry = choose(&both, &repository.url, "shop", "1.x").unwrap();
    let place = repository.place("shop", entry).unwrap();
    assert_eq!(repository.download(&place, entry).await.unwrap(), archive);
    depot.put_file("/s/charts/shop.tgz", b"other");
    let error = repository.download(&place, entry).await.unwrap_err();
    assert_eq!(error.reason, Reason::ArtifactInvalid);
    assert!(error.message.contains("was promised"), "{error}");
    assert_eq!(depot.take_log().len(), 5);
}

#[tokio::test]
async fn what_is_missing_is_said_with_what_there_is() {
    let depot = Depot::start(None).await;
    depot.put_file(
        "/index.yaml",
        index_of(&[("redis", "1.2.0-rc.1", "x", b""), ("nginx", "1.0.0", "x", b"")]).as_bytes(),
    );
    let url = format!("http://{}", depot.address);
    let repository = HelmRepository::new(config(&url, Egress::direct(SystemRoots::none())));
    let index = repository.index(&wanted(&["redis", "reddis"])).await.unwrap();
    let refused = |chart: &str, version: &str| {
        let error = choose(&index, &repository.url, chart, version).unwrap_err();
        assert_eq!(error.reason, Reason::ChartNotFound);
        error.message.strip_prefix(&url).unwrap().to_owned()
    };
    assert_eq!(refused("reddis", ""), ": there is no chart `reddis`; similar: redis");
    assert_eq!(refused("kafka", ""), ": there is no chart `kafka`; its index has 2 charts");
    assert_eq!(
        refused("redis", "^1"),
        ": none of the 1 versions of the chart `redis` lies in the range `^1`; the greatest is `1.2.0-rc.1` (pre-releases \
         count only where the range names one, as in `>=1.0.0-0`)"
    );
    assert!(refused("redis", "3.0.0").starts_with(": the chart `redis` has no version `3.0.0` among its 1"));

    for (answer, reason) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Reason::RepositoryNotFound),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Reason::AuthFailed),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Reason::ArtifactInvalid),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\nblocked", Reason::BlockedByProxy),
    ] {
        depot.with(|shelf| shelf.answer = Some(answer.to_owned()));
        let error = repository.index(&wanted(&["new"])).await.unwrap_err();
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.message.starts_with(&url), "{error}");
    }
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n";
    depot.with(|shelf| shelf.answer = Some(busy.to_owned()));
    let error = repository.index(&wanted(&["new"])).await.unwrap_err();
    assert_eq!((error.reason, error.retry_after), (Reason::ServerError, Some(Duration::from_secs(17))));
}

#[tokio::test]
async fn airgap_25_credentials_of_a_helm_repository_stay_with_its_own_host() {
    let depot = Depot::start(None).await;
    let proxy = TestProxy::start(depot.address, ProxyBehaviour::default()).await;
    let archive = chart("shop", "1.0.0");
    let text = index_of(&[
        ("shop", "1.0.0", "http://files.corp.test/shop.tgz", &archive),
        ("own", "1.0.0", "own.tgz", &archive),
    ]);
    depot.put_file("/index.yaml", text.as_bytes());
    depot.put_file("/shop.tgz", &archive);
    depot.put_file("/own.tgz", &archive);
    let authorization: Authorization = BasicCredentials::new("ann".into(), "canary".into()).unwrap().into();
    let egress = proxy.egress(None, None);
    let own = HelmRepositoryConfig {
        authorization: Some(authorization),
        ..config("http://charts.corp.test", egress.clone())
    };
    let repository = HelmRepository::new(own);
    let index = repository.index(&wanted(&["shop", "own"])).await.unwrap();
    let near = repository.place("own", &index.charts["own"][0]).unwrap();
    let far = repository.place("shop", &index.charts["shop"][0]).unwrap();
    assert_eq!((near.own, far.own), (true, false));
    repository.download(&near, &index.charts["own"][0]).await.unwrap();
    let plain = HttpClient::new(egress, HttpConfig::default());
    let entry = &index.charts["shop"][0];
    assert_eq!(download::archive(&plain, &far.url, entry.digest.as_ref(), 1 << 20).await.unwrap(), archive);
    assert_eq!(
        depot.take_log(),
        [
            "GET charts.corp.test/index.yaml Basic",
            "GET charts.corp.test/own.tgz Basic",
            "GET files.corp.test/shop.tgz -"
        ]
    );
    let secure = HelmRepository::new(config("https://charts.corp.test", Egress::direct(SystemRoots::none())));
    let error = secure.place("shop", entry).unwrap_err();
    assert!(error.message.contains("from https to plain http"), "{error}");
}

#[tokio::test]
async fn airgap_25_a_passed_login_goes_over_https_only_by_the_rules_and_without_the_certificate() {
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Clients"));
    let archive = chart("shop", "1.0.0");
    let (own, plain) = (Depot::start(None).await, Depot::start(None).await);
    let secure = Depot::start(Some(authority.acceptor("files.corp.test"))).await;
    let strict = Depot::start(Some(authority.acceptor_wanting("localhost", &clients))).await;
    let proxy = TestProxy::start(secure.address, ProxyBehaviour::default()).await;
    own.put_file(
        "/index.yaml",
        index_of(&[
            ("secure", "1.0.0", "https://files.corp.test/shop.tgz", &archive),
            ("strict", "1.0.0", &format!("https://localhost:{}/shop.tgz", strict.address.port()), &archive),
            ("plain", "1.0.0", &format!("http://{}/shop.tgz", plain.address), &archive),
        ])
        .as_bytes(),
    );
    for depot in [&secure, &strict, &plain] {
        depot.put_file("/shop.tgz", &archive);
    }
    let repository = HelmRepository::new(HelmRepositoryConfig {
        route: Override::Direct,
        authorization: Some(BasicCredentials::new("ann".into(), "canary".into()).unwrap().into()),
        identity: Some(clients.identity("ann")),
        ca: Some(authority.bundle()),
        ..config(&format!("http://{}", own.address), proxy.egress(None, None))
    });
    let index = repository.index(&wanted(&["secure", "strict", "plain"])).await.unwrap();
    let download = async |name: &str| {
        let entry = &index.charts[name][0];
        repository.download(&repository.place(name, entry).unwrap(), entry).await
    };
    assert_eq!(download("secure").await.unwrap(), archive);
    assert_eq!(proxy.seen(), ["CONNECT files.corp.test:443"], "direct is said of the repository's own host");
    assert_eq!(secure.take_log(), ["GET files.corp.test/shop.tgz Basic"]);
    assert_eq!(download("plain").await.unwrap(), archive);
    assert_eq!(plain.take_log(), ["GET 127.0.0.1/shop.tgz -"]);
    assert!(download("strict").await.is_err());
    assert_eq!(strict.take_log(), Vec::<String>::new(), "nobody was let in");
}

#[tokio::test]
async fn messages_hold_no_secret_of_a_url_or_of_an_answer_that_repeats_it() {
    let depot = Depot::start(None).await;
    let port = depot.address.port();
    let with_login = format!("http://ann:canary@127.0.0.1:{port}/x.tgz#canary");
    depot.put_file(
        "/index.yaml",
        index_of(&[
            ("login", "1.0.0", &with_login, b""),
            ("signed", "1.0.0", "x.tgz?signature=canary", b""),
            ("bare", "1.0.0", "x.tgz", b""),
        ])
        .as_bytes(),
    );
    let url = format!("http://{}", depot.address);
    let repository = HelmRepository::new(config(&url, Egress::direct(SystemRoots::none())));
    let index = repository.index(&wanted(&["login", "signed", "bare"])).await.unwrap();
    let error = async |name: &str| {
        let entry = &index.charts[name][0];
        repository.download(&repository.place(name, entry).unwrap(), entry).await.unwrap_err().message
    };
    let place = repository.place("login", &index.charts["login"][0]).unwrap();
    assert_eq!(place.url.as_str(), format!("{url}/x.tgz"));
    let missing = error("login").await;
    assert!(missing.contains("/x.tgz (404 Not Found): \"no such file\"") && !missing.contains("canary"), "{missing}");
    for (status, name, quoted) in [
        ("403 Forbidden", "bare", false),
        ("401 Unauthorized", "bare", false),
        ("404 Not Found", "signed", false),
        ("500 Broken", "signed", false),
        ("500 Broken", "bare", true),
    ] {
        let said = "key-id";
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        depot.with(|shelf| shelf.answer = Some(answer));
        let error = error(name).await;
        assert_eq!(error.contains(said), quoted, "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
    let url = Url::parse("https://u:canary@host.test/x?s=canary#canary").unwrap();
    assert_eq!(download::shown(&url), "https://host.test/x?…");
}
