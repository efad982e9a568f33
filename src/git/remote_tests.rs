use std::time::Duration;

use super::*;
use crate::egress::BasicCredentials;
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy};
use crate::git::testing::{Fault, Fixture, GitServer, TestStore};
use crate::git::{FetchLimits, FetchStats, SnapshotLimits, Store, StoreLimits, Target, ref_prefixes, resolve};
use crate::model::{Files as _, Revision};

fn text(store: &Store, revision: &Revision, path: &str) -> Option<String> {
    let snapshot = store.snapshot(revision, SnapshotLimits::default()).unwrap();
    snapshot.read(path).unwrap().map(|content| String::from_utf8(content.to_vec()).unwrap())
}

#[expect(clippy::unnecessary_wraps, reason = "the form that a configuration wants it in")]
fn credentials(user: &str, password: &str) -> Option<Authorization> {
    Some(BasicCredentials::new(user.into(), password.into()).unwrap().into())
}

#[tokio::test]
async fn every_form_of_target_is_resolved_by_one_request_and_a_poll_is_one_more() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let remote = server.remote();
    let names = ["", "main", "other", "light", "v1.0", "refs/heads/other"];
    let targets: Vec<Target> = names.iter().map(|name| Target::parse(name)).collect();
    let prefixes = ref_prefixes(&targets);
    let refs = remote.ls_refs(&prefixes).await.unwrap();
    let (first, second) = (fixture.revision("light"), fixture.revision("main"));
    let found: Vec<Revision> =
        targets.iter().map(|target| resolve(target, &refs, remote.url()).unwrap().revision).collect();
    assert_eq!(found, [&second, &second, &first, &first, &first, &first].map(Clone::clone));
    let head = resolve(&targets[0], &refs, remote.url()).unwrap();
    assert_eq!(head.reference.as_deref(), Some("refs/heads/main"));
    assert_eq!(
        server.take_log(),
        ["GET /work/.git/info/refs?service=git-upload-pack", "POST /work/.git/git-upload-pack command=ls-refs"]
    );
    remote.ls_refs(&prefixes).await.unwrap();
    assert_eq!(server.take_log(), ["POST /work/.git/git-upload-pack command=ls-refs"]);

    let missing = Target::parse("mai");
    let refs = remote.ls_refs(&ref_prefixes([&missing])).await.unwrap();
    let error = resolve(&missing, &refs, remote.url()).unwrap_err();
    assert_eq!(error.reason, Reason::RefNotFound);
    assert!(error.message.contains("similar: refs/heads/main"), "{error}");
}

#[tokio::test]
async fn a_commit_comes_with_its_files_and_without_history_and_the_next_one_brings_only_what_is_new() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let store = &test.store;
    let first = fixture.revision("main");
    let stats = remote.fetch(store, std::slice::from_ref(&first), FetchLimits::default()).await.unwrap();
    // One commit, two trees, two files.
    assert_eq!(stats.objects, 5);
    assert!(stats.bytes > 100);
    assert_eq!(text(store, &first, "README").as_deref(), Some("two\n"));
    assert_eq!(text(store, &first, "app/deployment.yaml").as_deref(), Some("kind: Deployment\n"));
    assert!(!store.has(&fixture.revision("light")).unwrap());
    server.take_log();

    // What is held is not asked for again.
    let again = remote.fetch(store, std::slice::from_ref(&first), FetchLimits::default()).await.unwrap();
    assert_eq!(again, FetchStats::default());
    assert_eq!(server.take_log(), Vec::<String>::new());

    store.record_tip("refs/heads/main", &first).unwrap();
    let second = fixture.commit(&[("README", "three\n")]);
    let stats = remote.fetch(store, std::slice::from_ref(&second), FetchLimits::default()).await.unwrap();
    // One commit, the root, one file: `app` is held.
    assert_eq!(stats.objects, 3);
    assert_eq!(text(store, &second, "README").as_deref(), Some("three\n"));
    assert_eq!(text(store, &second, "app/deployment.yaml").as_deref(), Some("kind: Deployment\n"));

    // An older commit by its id, and the commit of an annotated tag.
    let tagged = fixture.revision("v1.0^{commit}");
    remote.fetch(store, std::slice::from_ref(&tagged), FetchLimits::default()).await.unwrap();
    assert_eq!(text(store, &tagged, "README").as_deref(), Some("one\n"));
    assert_eq!(fixture_check(&test), "");
}

/// What git itself says about the store.
fn fixture_check(test: &TestStore) -> String {
    let output = std::process::Command::new("git")
        .args(["fsck", "--no-dangling", "--no-progress"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_DIR", test.path())
        .output()
        .unwrap();
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    // HEAD of a store points to nothing on purpose.
    lines.lines().filter(|line| !line.starts_with("notice: HEAD points to an unborn branch")).collect()
}

#[tokio::test]
async fn several_commits_come_in_one_request() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let wants = [fixture.revision("main"), fixture.revision("light")];
    remote.fetch(&test.store, &wants, FetchLimits::default()).await.unwrap();
    assert_eq!(server.take_log().len(), 2);
    assert_eq!(text(&test.store, &wants[0], "README").as_deref(), Some("two\n"));
    assert_eq!(text(&test.store, &wants[1], "README").as_deref(), Some("one\n"));
    assert_eq!(test.store.pack_count().unwrap(), 1);
}

#[tokio::test]
async fn a_pack_over_a_limit_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let before = test.object_files();
    let wants = [fixture.revision("main")];
    for (limits, part) in [
        (FetchLimits { objects: 4, ..FetchLimits::default() }, "5 objects, the limit is 4"),
        (FetchLimits { bytes: 100, ..FetchLimits::default() }, "more than the 100 bytes"),
    ] {
        let error = remote.fetch(&test.store, &wants, limits).await.unwrap_err();
        assert_eq!(error.reason, Reason::PackTooLarge);
        assert!(error.message.contains(part) && error.message.starts_with(remote.url().as_str()), "{error}");
        assert_eq!((test.object_files(), test.store.has(&wants[0]).unwrap()), (before.clone(), false));
    }
    let small = Store::open(&test.dir.path().join("small"), StoreLimits { bytes: 50 }).unwrap();
    let error = remote.fetch(&small, &wants, FetchLimits::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::PackTooLarge);
    assert!(error.message.contains("does not fit into the object store"), "{error}");
}

#[tokio::test]
async fn a_half_transfer_leaves_no_trace_and_a_later_one_succeeds() {
    let fixture = Fixture::new();
    // Incompressible, so that the pack is larger than a packet.
    let noise: String = (0_u32..60_000).map(|i| format!("{:x}", i.wrapping_mul(2_654_435_761))).collect();
    let tip = fixture.commit(&[("noise", &noise)]);
    let server = GitServer::start(&fixture).await;
    let timeouts = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
    let remote = Remote::new(RemoteConfig { timeouts, ..server.config() });
    let test = TestStore::new();
    let before = test.object_files();
    let wants = [tip];
    for (fault, reason) in [
        (Fault::Cut(50), Reason::ConnectionCut),
        (Fault::Cut(150_000), Reason::ConnectionCut),
        (Fault::Stall(150_000), Reason::Stalled),
    ] {
        // Learning the capabilities is not to fail.
        remote.ls_refs(&["HEAD".to_owned()]).await.unwrap();
        server.break_with(fault.clone());
        let error = remote.fetch(&test.store, &wants, FetchLimits::default()).await.unwrap_err();
        server.break_with(Fault::None);
        assert_eq!(error.reason, reason, "{fault:?} {error}");
        let (Fault::Cut(bytes) | Fault::Stall(bytes)) = fault else { unreachable!() };
        assert!(error.message.contains(&format!("after {bytes} bytes")), "{error}");
        assert_eq!(test.object_files(), before);
        assert_eq!((test.store.has(&wants[0]).unwrap(), test.store.tips().unwrap().len()), (false, 0));
    }
    remote.fetch(&test.store, &wants, FetchLimits::default()).await.unwrap();
    assert_eq!(text(&test.store, &wants[0], "noise").as_deref(), Some(noise.as_str()));
}

#[tokio::test]
async fn a_fetch_that_is_dropped_leaves_no_trace() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    remote.ls_refs(&["HEAD".to_owned()]).await.unwrap();
    let before = test.object_files();
    server.break_with(Fault::Stall(200));
    let wants = [fixture.revision("main")];
    let fetch = remote.fetch(&test.store, &wants, FetchLimits::default());
    assert!(tokio::time::timeout(Duration::from_millis(300), fetch).await.is_err());
    // The next fetch waits for the writer of the dropped one.
    server.break_with(Fault::None);
    remote.fetch(&test.store, &wants, FetchLimits::default()).await.unwrap();
    let names = test.object_files();
    assert_eq!(names.len(), before.len() + 2, "one pack and its index: {names:?}");
}

#[tokio::test]
async fn the_total_time_limits_an_operation() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    server.break_with(Fault::Stall(10));
    let timeouts = Timeouts { total: Some(Duration::from_millis(400)), ..Timeouts::default() };
    let remote = Remote::new(RemoteConfig { timeouts, ..server.config() });
    let error = remote.ls_refs(&[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::Stalled);
    assert!(error.message.contains("total of 0.4 s"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_tried_once_and_right_ones_are_sent_at_once() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    server.want_credentials("ann:s3cr@t");
    let prefixes = ["HEAD".to_owned()];
    let with = |authorization| Remote::new(RemoteConfig { authorization, ..server.config() });
    for (given, part) in
        [(None, "wants credentials (401)"), (credentials("ann", "canary"), "refused the user name or password (401)")]
    {
        let error = with(given).ls_refs(&prefixes).await.unwrap_err();
        assert_eq!(error.reason, Reason::AuthFailed);
        assert!(error.message.contains(part) && !error.message.contains("canary"), "{error}");
        assert_eq!(server.take_log().len(), 1);
    }
    let remote = with(credentials("ann", "s3cr@t"));
    assert_eq!(remote.ls_refs(&prefixes).await.unwrap().len(), 1);
    assert_eq!(server.take_log().len(), 2);
    // Changed on the server while the conversation is remembered: still one attempt.
    server.want_credentials("ann:new");
    assert_eq!(remote.ls_refs(&prefixes).await.unwrap_err().reason, Reason::AuthFailed);
    assert_eq!(server.take_log().len(), 1);
}

#[tokio::test]
async fn answers_that_are_not_gits_get_their_reasons() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let page = |status: &str, headers: &str, body: &str| {
        Fault::Answer(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    let html = "Content-Type: text/html; charset=utf-8\r\n";
    for (fault, reason, part) in [
        (
            page("200 OK", html, "<h1>Access to this site is blocked</h1>"),
            Reason::BlockedByProxy,
            "\"Access to this site is blocked\"",
        ),
        (page("404 Not Found", html, "<p>no"), Reason::RepositoryNotFound, "no such repository"),
        (page("403 Forbidden", "", "nope"), Reason::AuthFailed, "\"nope\""),
        (page("503 Unavailable", "Retry-After: 9\r\n", "later"), Reason::ServerError, "503"),
        (page("429 Too Many Requests", "Retry-After: 9\r\n", ""), Reason::ServerError, "slow down"),
        (page("200 OK", "Content-Type: text/plain\r\n", "1234\tHEAD\n"), Reason::ProtocolError, "dumb"),
        (page("200 OK", "Content-Type: application/json\r\n", "{}"), Reason::ProtocolError, "application/json"),
        (
            page("200 OK", "Content-Type: application/x-git-upload-pack-advertisement\r\n", "<html>"),
            Reason::ProtocolError,
            "not the git protocol",
        ),
        (Fault::Redirect("ssh://elsewhere".to_owned()), Reason::RedirectRefused, "not http or https"),
    ] {
        server.break_with(fault.clone());
        let error = server.remote().ls_refs(&[]).await.unwrap_err();
        assert_eq!(error.reason, reason, "{fault:?} {error}");
        assert!(error.message.contains(part) && error.message.starts_with("http://127.0.0.1"), "{error}");
        let retry_after =
            matches!(&fault, Fault::Answer(text) if text.contains("Retry-After")).then(|| Duration::from_secs(9));
        assert_eq!(error.retry_after, retry_after);
    }
}

#[tokio::test]
async fn a_commit_that_does_not_exist_is_named() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let test = TestStore::new();
    let missing = Revision::parse(&"ab".repeat(20)).unwrap();
    let error =
        server.remote().fetch(&test.store, std::slice::from_ref(&missing), FetchLimits::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::RefNotFound);
    assert!(error.message.contains(missing.as_str()), "{error}");
    let error = server
        .remote()
        .fetch(&test.store, &[fixture.revision("HEAD^{tree}")], FetchLimits::default())
        .await
        .unwrap_err();
    assert!(matches!(error.reason, Reason::RefNotFound | Reason::ServerError), "{error}");
}

#[tokio::test]
async fn a_repository_that_moved_is_found_without_giving_credentials_away() {
    let fixture = Fixture::new();
    let (old, new) = (GitServer::start(&fixture).await, GitServer::start(&fixture).await);
    old.break_with(Fault::Redirect(format!("http://{}", new.address)));
    let remote = Remote::new(RemoteConfig { authorization: credentials("ann", "pw"), ..old.config() });
    assert_eq!(remote.ls_refs(&["HEAD".to_owned()]).await.unwrap().len(), 1);
    assert_eq!(new.take_log().len(), 2);
    new.want_credentials("ann:pw");
    let error = remote.ls_refs(&["HEAD".to_owned()]).await.unwrap_err();
    assert_eq!(error.reason, Reason::AuthFailed);
}

#[tokio::test]
async fn a_server_that_changed_its_place_is_asked_anew_once() {
    let fixture = Fixture::new();
    let (old, new) = (GitServer::start(&fixture).await, GitServer::start(&fixture).await);
    let remote = old.remote();
    remote.ls_refs(&["HEAD".to_owned()]).await.unwrap();
    old.take_log();
    old.break_with(Fault::Redirect(format!("http://{}", new.address)));
    assert_eq!(remote.ls_refs(&["HEAD".to_owned()]).await.unwrap().len(), 1);
    assert_eq!((old.take_log().len(), new.take_log().len()), (2, 2));
}

#[tokio::test]
async fn everything_works_through_a_proxy_over_tls_and_in_absolute_form() {
    let fixture = Fixture::new();
    let authority = Authority::new("Corp CA");
    let tls = GitServer::start_with(&fixture, Some(authority.acceptor("git.corp.test"))).await;
    let plain = GitServer::start(&fixture).await;
    for (scheme, server) in [("https", &tls), ("http", &plain)] {
        let behaviour = ProxyBehaviour { credentials: Some("out:p@:/#%".to_owned()), ..ProxyBehaviour::default() };
        let proxy = TestProxy::start(server.address, behaviour).await;
        server.want_credentials("ann:pw");
        let remote = Remote::new(RemoteConfig {
            url: RepositoryUrl::parse(&format!("{scheme}://git.corp.test/work/.git")).unwrap(),
            egress: proxy.egress(Some(("out", "p@:/#%")), None),
            authorization: credentials("ann", "pw"),
            ca: Some(authority.bundle()),
            ..server.config()
        });
        let refs = remote.ls_refs(&["refs/heads/main".to_owned()]).await.unwrap();
        let test = TestStore::new();
        remote.fetch(&test.store, std::slice::from_ref(&refs[0].id), FetchLimits::default()).await.unwrap();
        assert_eq!(text(&test.store, &refs[0].id, "README").as_deref(), Some("two\n"));
        assert_eq!(proxy.seen().len(), 1, "one connection serves all requests: {:?}", proxy.seen());
    }
}

#[tokio::test]
async fn operations_can_run_as_tasks() {
    fn is_send<T: Send>(_: &T) {}
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    is_send(&remote.ls_refs(&[]));
    is_send(&remote.fetch(&test.store, &[], FetchLimits::default()));
}
