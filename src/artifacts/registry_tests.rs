//! Registries on real servers: plain, with TLS of a private authority, with client certificates, directly and by a proxy.

use super::*;
use crate::artifacts::testing::{Depot, chart};
use crate::artifacts::{Layout, UnpackLimits, import};
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy};
use crate::egress::{BasicCredentials, SystemRoots};
use crate::git::{ImportNote, SnapshotLimits, Store, StoreLimits};
use crate::model::Files as _;

fn config(reference: &str, egress: Egress) -> RegistryConfig {
    RegistryConfig {
        reference: RegistryReference::parse(reference, None).unwrap(),
        plain_http: true,
        egress,
        route: Override::None,
        authorization: None,
        identity: None,
        ca: None,
        timeouts: Timeouts::default(),
        limit: 1 << 20,
    }
}

fn direct(depot: &Depot) -> RegistryConfig {
    config(&format!("oci://{}/team/shop", depot.address), Egress::direct(SystemRoots::none()))
}

#[expect(clippy::unnecessary_wraps, reason = "the form that a configuration wants it in")]
fn login(pair: (&str, &str)) -> Option<Authorization> {
    Some(BasicCredentials::new(pair.0.into(), pair.1.into()).unwrap().into())
}

#[tokio::test]
async fn airgap_47_oci_plain_http_private_ca_mtls_and_proxy_in_every_combination() {
    let (authority, clients) = (Authority::new("registry"), Authority::new("clients"));
    let stranger = Authority::new("stranger");
    for secure in ["plain", "tls", "mtls"] {
        for proxied in [false, true] {
            for logged_in in ["open", "basic", "token"] {
                let case = format!("{secure}, proxied {proxied}, {logged_in}");
                let hosts = ["127.0.0.1", "reg.corp.test", "auth.corp.test"];
                let tls = match secure {
                    "plain" => None,
                    "tls" => Some(authority.acceptor_for(&hosts, None)),
                    _ => Some(authority.acceptor_for(&hosts, Some(&clients))),
                };
                let scheme = if secure == "plain" { "http" } else { "https" };
                let depot = Depot::start(tls).await;
                let digest = depot.push_chart("shop", "1.2.3");
                let proxy = TestProxy::start(depot.address, ProxyBehaviour::default()).await;
                let (egress, host, auth) = if proxied {
                    // The client certificate is for the registry's own host: a token service that wants it has to be there.
                    let auth = if secure == "mtls" { "reg.corp.test" } else { "auth.corp.test" };
                    (proxy.egress(None, None), "reg.corp.test".to_owned(), auth.to_owned())
                } else {
                    let address = depot.address.to_string();
                    (Egress::direct(SystemRoots::none()), address.clone(), address)
                };
                depot.with(|shelf| match logged_in {
                    "basic" => shelf.basic = Some("ann:s3cret".into()),
                    "token" => shelf.token = Some(("ann:s3cret".into(), format!("{scheme}://{auth}/token"))),
                    _ => {}
                });
                let usual = RegistryConfig {
                    plain_http: secure == "plain",
                    authorization: login(("ann", "s3cret")),
                    ca: (secure != "plain").then(|| authority.bundle()),
                    identity: (secure == "mtls").then(|| clients.identity("operator")),
                    ..config(&format!("oci://{host}/team/shop"), egress)
                };
                let registry = Registry::new(usual.clone()).unwrap();
                assert_eq!(registry.digest_of("1.2.3").await, Ok(digest.clone()), "{case}");
                let artifact = registry.artifact("1.2.3").await.unwrap();
                assert_eq!((artifact.digest, artifact.content.is_chart), (digest, true), "{case}");
                assert_eq!(registry.blob(&artifact.content.layer).await, Ok(chart("shop", "1.2.3")), "{case}");
                if proxied {
                    let through =
                        if secure == "plain" { "http://reg.corp.test/v2/" } else { "CONNECT reg.corp.test:443" };
                    assert!(proxy.seen().iter().any(|line| line.contains(through)), "{case}: {:?}", proxy.seen());
                } else {
                    assert_eq!(proxy.seen(), Vec::<String>::new(), "{case}");
                }
                if secure != "plain" {
                    let other = RegistryConfig { ca: Some(stranger.bundle()), ..usual.clone() };
                    let error = Registry::new(other).unwrap().digest_of("1.2.3").await.unwrap_err();
                    assert_eq!(error.reason, Reason::TlsUntrusted, "{case}: {error}");
                }
                if secure == "mtls" {
                    let bare = Registry::new(RegistryConfig { identity: None, ..usual }).unwrap();
                    assert!(bare.digest_of("1.2.3").await.is_err(), "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_poll_after_the_first_is_one_request_whatever_the_login() {
    for logged_in in ["open", "basic", "token"] {
        let depot = Depot::start(None).await;
        depot.push_chart("shop", "1.2.3");
        depot.with(|shelf| match logged_in {
            "basic" => shelf.basic = Some("ann:s3cret".into()),
            "token" => shelf.token = Some(("ann:s3cret".into(), format!("http://{}/token", depot.address))),
            _ => {}
        });
        let registry =
            Registry::new(RegistryConfig { authorization: login(("ann", "s3cret")), ..direct(&depot) }).unwrap();
        registry.digest_of("1.2.3").await.unwrap();
        let first = depot.take_log();
        registry.digest_of("1.2.3").await.unwrap();
        let second = depot.take_log();
        let kind = match logged_in {
            "basic" => "Basic",
            "token" => "Bearer",
            _ => "-",
        };
        assert_eq!(second, [format!("HEAD 127.0.0.1/v2/team/shop/manifests/1.2.3 {kind}")], "{logged_in}");
        if logged_in == "token" {
            let expected = [
                "HEAD 127.0.0.1/v2/team/shop/manifests/1.2.3 -",
                "GET 127.0.0.1/token?service=depot&scope=repository%3Ateam%2Fshop%3Apull Basic",
                "HEAD 127.0.0.1/v2/team/shop/manifests/1.2.3 Bearer",
            ];
            assert_eq!(first, expected);
            // A token that is taken back is fetched anew.
            depot.with(|shelf| shelf.tokens += 1);
            registry.digest_of("1.2.3").await.unwrap();
            assert_eq!(depot.take_log().len(), 3);
        }
    }
}

#[tokio::test]
async fn airgap_31_a_wrong_password_is_tried_once() {
    for logged_in in ["basic", "token"] {
        let depot = Depot::start(None).await;
        depot.push_chart("shop", "1.2.3");
        depot.with(|shelf| match logged_in {
            "basic" => shelf.basic = Some("ann:s3cret".into()),
            _ => shelf.token = Some(("ann:s3cret".into(), format!("http://{}/token", depot.address))),
        });
        let wrong = RegistryConfig { authorization: login(("ann", "canary")), ..direct(&depot) };
        let error = Registry::new(wrong).unwrap().digest_of("1.2.3").await.unwrap_err();
        assert_eq!(error.reason, Reason::AuthFailed, "{error}");
        assert!(error.message.contains("user name or password") && !error.message.contains("canary"), "{error}");
        let sent = depot.take_log().into_iter().filter(|line| line.ends_with(" Basic")).count();
        assert_eq!(sent, 1, "{logged_in}");
        let nobody = Registry::new(direct(&depot)).unwrap().digest_of("1.2.3").await.unwrap_err();
        assert_eq!(nobody.reason, Reason::AuthFailed);
        assert!(nobody.message.contains("credentialsSecretRef"), "{nobody}");
    }
}

/// What ECR does: the layer lies in S3, which is reached by its own rule, without the login.
#[tokio::test]
async fn airgap_33_a_blob_that_lies_on_another_host_is_fetched_by_that_hosts_rule_without_the_login() {
    let (registry_side, storage) = (Depot::start(None).await, Depot::start(None).await);
    registry_side.push_chart("shop", "1.2.3");
    let blobs = registry_side.with(|shelf| shelf.blobs.clone());
    storage.with(|shelf| shelf.blobs = blobs);
    registry_side.with(|shelf| {
        shelf.basic = Some("ann:s3cret".into());
        shelf.blobs_at = Some(format!("http://{}", storage.address));
    });
    // The registry is behind the proxy, the storage is direct: loopback always is.
    let proxy = TestProxy::start(registry_side.address, ProxyBehaviour::default()).await;
    let usual = RegistryConfig {
        authorization: login(("ann", "s3cret")),
        ..config("oci://reg.corp.test/team/shop", proxy.egress(None, None))
    };
    let registry = Registry::new(usual).unwrap();
    let artifact = registry.artifact("1.2.3").await.unwrap();
    assert_eq!(registry.blob(&artifact.content.layer).await, Ok(chart("shop", "1.2.3")));
    let digest = &artifact.content.layer.digest;
    assert_eq!(storage.take_log(), [format!("GET 127.0.0.1/storage/{digest}?X-Signature=canary -")]);
    assert!(proxy.seen().iter().all(|line| !line.contains("storage")), "{:?}", proxy.seen());
    storage.with(|shelf| shelf.blobs.clear());
    let error = registry.blob(&artifact.content.layer).await.unwrap_err();
    assert_eq!(error.reason, Reason::ArtifactInvalid);
    assert!(!error.message.contains("canary"), "a signed URL is a credential: {error}");
}

#[tokio::test]
async fn airgap_33_that_a_registry_goes_direct_says_nothing_about_its_token_service_and_storage() {
    let (registry_side, elsewhere) = (Depot::start(None).await, Depot::start(None).await);
    let proxy = TestProxy::start(elsewhere.address, ProxyBehaviour::default()).await;
    registry_side.push_chart("shop", "1.2.3");
    elsewhere.with(|shelf| shelf.blobs = registry_side.with(|shelf| shelf.blobs.clone()));
    let digest = Digest::of(&chart("shop", "1.2.3"));
    registry_side.with(|shelf| shelf.blobs_at = Some("http://bucket.corp.test".into()));
    let registry = Registry::new(RegistryConfig {
        route: Override::Direct,
        egress: proxy.egress(None, None),
        ..direct(&registry_side)
    })
    .unwrap();
    let artifact = registry.artifact("1.2.3").await.unwrap();
    assert_eq!(artifact.content.layer.digest, digest);
    assert_eq!(registry.blob(&artifact.content.layer).await, Ok(chart("shop", "1.2.3")));
    assert_eq!(proxy.seen(), [format!("GET http://bucket.corp.test/storage/{digest}?X-Signature=canary")]);
    elsewhere.with(|shelf| shelf.token = Some(("ann:s3cret".into(), String::new())));
    registry_side.with(|shelf| {
        shelf.token = Some(("ann:s3cret".into(), "http://token.corp.test/token".into()));
        shelf.tokens = 1;
    });
    let registry = Registry::new(RegistryConfig {
        route: Override::Direct,
        egress: proxy.egress(None, None),
        authorization: login(("ann", "s3cret")),
        ..direct(&registry_side)
    })
    .unwrap();
    registry.digest_of("1.2.3").await.unwrap();
    assert!(proxy.seen()[1].starts_with("GET http://token.corp.test/token?"), "{:?}", proxy.seen());
}

#[tokio::test]
async fn tags_come_page_by_page_and_every_byte_is_verified() {
    let depot = Depot::start(None).await;
    for version in ["1.0.0", "1.1.0", "1.1.1+b", "2.0.0-rc.1", "nightly"] {
        depot.push_chart("shop", version);
    }
    depot.with(|shelf| shelf.page = 2);
    let registry = Registry::new(direct(&depot)).unwrap();
    assert_eq!(registry.tags().await.unwrap(), ["1.0.0", "1.1.0", "1.1.1_b", "2.0.0-rc.1", "nightly"]);
    assert_eq!(depot.take_log().len(), 3);

    let artifact = registry.artifact("1.0.0").await.unwrap();
    depot.with(|shelf| shelf.blobs.values_mut().for_each(|blob| blob[20] ^= 1));
    let error = registry.blob(&artifact.content.layer).await.unwrap_err();
    assert_eq!(error.reason, Reason::ArtifactInvalid, "{error}");
    depot.with(|shelf| {
        if let Some((_, text)) = shelf.manifests.get_mut(artifact.digest.as_str()) {
            text.push(b' ');
        }
    });
    let error = registry.artifact(artifact.digest.as_str()).await.unwrap_err();
    assert_eq!(error.reason, Reason::ArtifactInvalid, "{error}");
    let small = Registry::new(RegistryConfig { limit: 10, ..direct(&depot) }).unwrap();
    let error = small.blob(&artifact.content.layer).await.unwrap_err();
    assert_eq!(error.reason, Reason::PackTooLarge, "{error}");
    let error = registry.digest_of("9.9.9").await.unwrap_err();
    assert_eq!(error.reason, Reason::ArtifactNotFound);
    assert!(error.message.contains("there is no tag `9.9.9` in oci://"), "{error}");
    assert_eq!(registry.digest_of("../../token").await.unwrap_err().reason, Reason::InvalidSpec);
    assert_eq!(registry.digest_of("a?b").await.unwrap_err().reason, Reason::InvalidSpec);
}

#[tokio::test]
async fn an_index_leads_to_its_artifact_and_plain_manifests_are_unpacked_from_any_tar() {
    let depot = Depot::start(None).await;
    let tar = crate::artifacts::testing::Tar::new().file("app/map.yaml", "kind: ConfigMap\n").done();
    let zipped = crate::artifacts::testing::gzip(&tar);
    let flux = "application/vnd.cncf.flux.content.v1.tar+gzip";
    for (tag, layer_type, layer) in [
        ("flux", flux, &zipped),
        ("oras", "application/vnd.oci.image.layer.v1.tar", &tar),
        ("argo", "application/vnd.oci.image.layer.v1.tar+gzip", &zipped),
    ] {
        let digest = depot.push(tag, "application/vnd.oci.empty.v1+json", layer_type, layer);
        let size = depot.with(|shelf| shelf.manifests[tag].1.len());
        let index = serde_json::json!({
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.as_str(), "size": size}],
        });
        let index_digest = depot.push_manifest("latest", index.to_string().as_bytes());
        let registry = Registry::new(direct(&depot)).unwrap();
        let artifact = registry.artifact("latest").await.unwrap();
        assert_eq!((&artifact.digest, artifact.created.as_deref()), (&index_digest, Some("2026-01-02T03:04:05Z")));
        let bytes = registry.blob(&artifact.content.layer).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), StoreLimits::default()).unwrap();
        let note = ImportNote { name: artifact.digest.to_string(), origin: tag.to_owned(), made: 0 };
        let content = tokio::task::spawn_blocking(move || {
            let revision = import(&store, &bytes, Layout::Plain, UnpackLimits::default(), &note).unwrap();
            store.snapshot(&revision, SnapshotLimits::default()).unwrap().read("app/map.yaml").unwrap()
        });
        assert_eq!(content.await.unwrap().as_deref(), Some(&b"kind: ConfigMap\n"[..]), "{tag}");
    }
}

#[tokio::test]
async fn signatures_beside_an_artifact_are_fetched_and_none_is_no_error() {
    let depot = Depot::start(None).await;
    let digest = depot.push_chart("shop", "1.2.3");
    let registry = Registry::new(direct(&depot)).unwrap();
    assert_eq!(registry.cosign_signatures(&digest).await, Ok(Vec::new()));
    let payload = format!(r#"{{"critical":{{"image":{{"docker-manifest-digest":"{digest}"}}}}}}"#).into_bytes();
    let (unsigned, signed) = (Digest::of(b"x"), Digest::of(&payload));
    depot.with(|shelf| shelf.blobs.insert(signed.to_string(), payload.clone()));
    let media_type = "application/vnd.dev.cosign.simplesigning.v1+json";
    let manifest = serde_json::json!({"layers": [
        {"mediaType": media_type, "digest": unsigned.as_str(), "size": 1},
        {"mediaType": media_type, "digest": signed.as_str(), "size": payload.len(), "annotations": {COSIGN_SIGNATURE: "c2ln"}},
    ]});
    depot.push_manifest(&format!("sha256-{}.sig", digest.hex()), manifest.to_string().as_bytes());
    let expected = vec![CosignSignature { payload, signature: "c2ln".to_owned() }];
    assert_eq!(registry.cosign_signatures(&digest).await, Ok(expected));
}

#[tokio::test]
async fn a_busy_registry_says_when_to_come_again() {
    let depot = Depot::start(None).await;
    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n";
    depot.with(|shelf| shelf.answer = Some(busy.to_owned()));
    let error = Registry::new(direct(&depot)).unwrap().artifact("1.0.0").await.unwrap_err();
    assert_eq!((error.reason, error.retry_after), (Reason::ServerError, Some(Duration::from_secs(30))));
    assert!(error.message.starts_with("oci://127.0.0.1:"), "{error}");
}

#[test]
fn only_the_next_page_is_followed() {
    assert_eq!(next_page(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#), Some("/v2/a/tags/list?last=b&n=2".to_owned()));
    assert_eq!(next_page("<x>; rel=prev, <y>; title=z; rel=next"), Some("y".to_owned()));
    assert_eq!(next_page("<x>; rel=prev"), None);
    assert_eq!(next_page("garbage"), None);
}

#[tokio::test]
async fn a_list_of_tags_without_an_end_is_given_up_and_what_is_no_tag_is_left_out() {
    let depot = Depot::start(None).await;
    depot.with(|shelf| shelf.tags = vec!["1.0.0".to_owned(), "x".repeat(LONGEST_TAG + 1), "y".repeat(LONGEST_TAG)]);
    let registry = Registry::new(direct(&depot)).unwrap();
    assert_eq!(registry.tags().await, Ok(vec!["1.0.0".to_owned(), "y".repeat(LONGEST_TAG)]));
    depot.take_log();
    depot.with(|shelf| (shelf.endless, shelf.tags) = (true, Vec::new()));
    let error = registry.tags().await.unwrap_err();
    assert_eq!(error.reason, Reason::ArtifactInvalid, "{error}");
    assert!(error.message.contains("does not end after 200 pages"), "{error}");
    assert_eq!(depot.take_log().len(), MOST_TAG_PAGES);
}
