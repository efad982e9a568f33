//! Transfers over ways that cut, stall and trickle; servers of every protocol version; what it costs.

use std::time::Duration;

use super::testing::{Fault, Fixture, GitServer, Harm, Relay, TestStore};
use super::{FetchLimits, GitError, Remote, SnapshotLimits, Store, Target, ref_prefixes, resolve};
use crate::egress::Timeouts;
use crate::model::{Files as _, Reason, Revision};

fn text(store: &Store, revision: &Revision, path: &str) -> Option<String> {
    let snapshot = store.snapshot(revision, SnapshotLimits::default()).unwrap();
    snapshot.read(path).unwrap().map(|content| String::from_utf8(content.to_vec()).unwrap())
}

async fn resolved(remote: &Remote, name: &str) -> Result<(Revision, Option<String>), GitError> {
    let target = Target::parse(name);
    let refs = remote.ls_refs(&ref_prefixes([&target])).await?;
    resolve(&target, &refs, remote.url()).map(|resolved| (resolved.revision, resolved.reference))
}

async fn fetched(remote: &Remote, store: &Store, revision: &Revision) -> Result<u32, GitError> {
    remote.fetch(store, std::slice::from_ref(revision), FetchLimits::default()).await.map(|stats| stats.objects)
}

#[tokio::test]
async fn servers_of_old_protocol_versions_are_read_with_as_few_requests() {
    for told in ["", "version=1"] {
        let fixture = Fixture::new();
        let server = GitServer::start(&fixture).await;
        server.break_with(Fault::OldProtocol(told));
        let (remote, test) = (server.remote(), TestStore::new());
        let store = &test.store;
        let (first, second) = (fixture.revision("light"), fixture.revision("main"));
        let main = Some("refs/heads/main".to_owned());
        assert_eq!(resolved(&remote, "").await.unwrap(), (second.clone(), main.clone()));
        let get = "GET /work/.git/info/refs?service=git-upload-pack";
        assert_eq!(server.take_log(), [get], "the advertisement is the answer");
        assert_eq!(resolved(&remote, "v1.0").await.unwrap(), (first.clone(), Some("refs/tags/v1.0".to_owned())));
        assert_eq!(resolved(&remote, "missing").await.unwrap_err().reason, Reason::RefNotFound);
        server.take_log();

        // One commit, two trees, two files; the next one: one commit, the root, one file.
        assert_eq!(fetched(&remote, store, &second).await.unwrap(), 5);
        assert_eq!(server.take_log(), ["POST /work/.git/git-upload-pack"]);
        store.record_tip("refs/heads/main", &second).unwrap();
        let third = fixture.commit(&[("README", "three\n")]);
        assert_eq!(fetched(&remote, store, &third).await.unwrap(), 3);
        assert_eq!(text(store, &third, "README").as_deref(), Some("three\n"));
        assert_eq!(text(store, &third, "app/deployment.yaml").as_deref(), Some("kind: Deployment\n"));
        assert_eq!(server.take_log(), ["POST /work/.git/git-upload-pack"]);

        // A commit that no ref leads to.
        fixture.git(&["commit", "-q", "--amend", "-m", "another"]);
        let missing = Revision::parse(&"ab".repeat(20)).unwrap();
        let error = fetched(&remote, store, &missing).await.unwrap_err();
        assert_eq!(error.reason, Reason::RefNotFound, "{error}");
        assert!(error.message.contains("old version of the git protocol"), "{error}");

        // Its place is taken by a newer one: the same remote follows.
        server.break_with(Fault::None);
        server.take_log();
        let tip = fixture.revision("main");
        assert_eq!(resolved(&remote, "main").await.unwrap(), (tip.clone(), main));
        assert_eq!(server.take_log(), [get, "POST /work/.git/git-upload-pack command=ls-refs"]);
        fetched(&remote, store, &tip).await.unwrap();
        // And back.
        server.break_with(Fault::OldProtocol(told));
        assert_eq!(resolved(&remote, "main").await.unwrap().0, tip);
    }
}

#[tokio::test]
async fn an_empty_repository_has_no_ref_in_any_protocol_version() {
    let fixture = Fixture::new();
    fixture.git(&["init", "-q", "--bare", "../empty"]);
    let server = GitServer::start(&fixture).await;
    for fault in [Fault::None, Fault::OldProtocol(""), Fault::OldProtocol("version=1")] {
        server.break_with(fault.clone());
        let url = super::RepositoryUrl::parse(&format!("http://{}/empty", server.address)).unwrap();
        let remote = Remote::new(super::RemoteConfig { url, ..server.config() });
        assert_eq!(remote.ls_refs(&[]).await.unwrap(), [], "{fault:?}");
        assert_eq!(resolved(&remote, "").await.unwrap_err().reason, Reason::RefNotFound);
    }
}

#[tokio::test]
async fn a_sha256_repository_is_named_as_what_can_not_be_read() {
    let fixture = Fixture::with_format("sha256");
    let server = GitServer::start(&fixture).await;
    for fault in [Fault::None, Fault::OldProtocol(""), Fault::OldProtocol("version=1")] {
        server.break_with(fault.clone());
        let error = server.remote().ls_refs(&["HEAD".to_owned()]).await.unwrap_err();
        assert_eq!(error.reason, Reason::ObjectFormatUnsupported, "{fault:?} {error}");
        assert!(error.message.contains("names its objects by sha256"), "{error}");
        assert!(error.message.contains("--object-format=sha1"), "{error}");
        assert!(error.reason.is_terminal());
    }
}

#[tokio::test]
async fn airgap_19_a_transfer_that_ends_or_stalls_anywhere_moves_no_ref_and_leaves_no_file() {
    let fixture = Fixture::new();
    let before_tip = fixture.revision("main");
    let tip = fixture.noise(&[("a", 60_000), ("b/c", 60_000), ("b/d", 40_000)]);
    let server = GitServer::start(&fixture).await;
    let relay = Relay::start(server.address).await;
    let remote = relay.remote(&server, Timeouts::default());
    let test = TestStore::new();
    fetched(&remote, &test.store, &before_tip).await.unwrap();
    test.store.record_tip("refs/heads/main", &before_tip).unwrap();
    relay.take();
    let probe = TestStore::new();
    fetched(&relay.remote(&server, Timeouts::default()), &probe.store, &tip).await.unwrap();
    let whole = relay.take().0;
    let (files, tips) = (test.object_files(), test.store.tips().unwrap());
    for eighth in 1..8 {
        let bytes = whole * eighth / 8;
        for harm in [Harm::Close(bytes), Harm::Reset(bytes), Harm::Hold(bytes)] {
            let (expected, idle) = match harm {
                Harm::Hold(_) => (Reason::Stalled, Duration::from_millis(200)),
                _ => (Reason::ConnectionCut, Duration::from_secs(60)),
            };
            let remote = relay.remote(&server, Timeouts { idle, ..Timeouts::default() });
            relay.harm(harm);
            let error = fetched(&remote, &test.store, &tip).await.unwrap_err();
            assert_eq!(error.reason, expected, "{harm:?} {error}");
            assert!(!error.reason.is_terminal(), "it is tried again");
            assert_eq!(test.object_files(), files, "{harm:?}");
            assert_eq!(test.store.tips().unwrap(), tips, "{harm:?}");
            assert!(!test.store.has(&tip).unwrap());
        }
    }
    relay.harm(Harm::None);
    let remote = relay.remote(&server, Timeouts::default());
    fetched(&remote, &test.store, &tip).await.unwrap();
    assert!(test.store.has(&tip).unwrap());
}

#[tokio::test]
async fn airgap_20_a_trickle_that_never_pauses_for_the_idle_time_succeeds() {
    let fixture = Fixture::new();
    let tip = fixture.noise(&[("a", 60_000)]);
    let server = GitServer::start(&fixture).await;
    let relay = Relay::start(server.address).await;
    // 300 single bytes, as 5 B/s are in a minute, with pauses that together are longer than the idle time.
    let timeouts = Timeouts { idle: Duration::from_secs(2), ..Timeouts::default() };
    let remote = relay.remote(&server, timeouts);
    let test = TestStore::new();
    remote.ls_refs(&["HEAD".to_owned()]).await.unwrap();
    let (listed, _) = relay.take();
    relay.harm(Harm::Trickle { from: listed + 3_000, to: listed + 3_300, pause: 10 });
    fetched(&remote, &test.store, &tip).await.unwrap();
    assert!(relay.take().0 > 60_000);
    assert!(test.store.has(&tip).unwrap());
}

#[tokio::test]
async fn airgap_26_a_poll_of_20000_refs_receives_less_than_4_kib_in_one_round_trip() {
    let fixture = Fixture::new();
    let tip = fixture.revision("main");
    let packed: String = (0..20_000).map(|index| format!("{tip} refs/heads/feature/{index:05}\n")).collect();
    let header = "# pack-refs with: peeled fully-peeled sorted \n";
    std::fs::write(fixture.work().join(".git/packed-refs"), format!("{header}{packed}")).unwrap();
    let server = GitServer::start(&fixture).await;
    let relay = Relay::start(server.address).await;
    let remote = relay.remote(&server, Timeouts::default());
    assert_eq!(resolved(&remote, "main").await.unwrap().0, tip);
    assert_eq!(server.take_log().len(), 2);
    let (bytes, connections) = relay.take();
    assert!(bytes <= 4096, "the first poll received {bytes} bytes");
    assert_eq!(connections, 1);
    for _ in 0..3 {
        assert_eq!(resolved(&remote, "main").await.unwrap().0, tip);
        assert_eq!(server.take_log(), ["POST /work/.git/git-upload-pack command=ls-refs"]);
        let (bytes, connections) = relay.take();
        assert!(bytes <= 4096, "a poll received {bytes} bytes");
        assert_eq!(connections, 0, "the connection is kept");
    }

    // An old server can only send all of them; what is not asked for is not kept.
    server.break_with(Fault::OldProtocol(""));
    let remote = relay.remote(&server, Timeouts::default());
    let refs = remote.ls_refs(&["HEAD".to_owned(), "refs/heads/main".to_owned()]).await.unwrap();
    assert_eq!(refs.len(), 2);
    assert_eq!(server.take_log().len(), 1);
    let every = remote.ls_refs(&[]).await.unwrap();
    assert!(every.len() > 20_000);
    let error = remote.list(&[], 500_000).await.unwrap_err();
    assert_eq!(error.reason, Reason::PackTooLarge, "{error}");
    assert!(error.message.contains("more than 500000 bytes"), "{error}");
    server.break_with(Fault::None);
    let remote = relay.remote(&server, Timeouts::default());
    assert_eq!(remote.list(&[], 500_000).await.unwrap_err().reason, Reason::PackTooLarge);
}

#[tokio::test]
async fn refs_that_move_in_any_way_are_followed() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let store = &test.store;
    let first = fixture.revision("main");
    assert_eq!(resolved(&remote, "main").await.unwrap().0, first);
    fetched(&remote, store, &first).await.unwrap();
    store.record_tip("refs/heads/main", &first).unwrap();

    // A forced push replaces the commit by one of the same parent.
    std::fs::write(fixture.work().join("README"), "forced\n").unwrap();
    fixture.git(&["commit", "-q", "-a", "--amend", "-m", "forced"]);
    let forced = fixture.revision("main");
    assert_ne!(forced, first);
    assert_eq!(resolved(&remote, "main").await.unwrap().0, forced);
    fetched(&remote, store, &forced).await.unwrap();
    assert_eq!(text(store, &forced, "README").as_deref(), Some("forced\n"));
    // The old one is still held, so it can still be deployed.
    assert_eq!(text(store, &first, "README").as_deref(), Some("two\n"));

    // Back to an older commit.
    fixture.git(&["reset", "-q", "--hard", "light"]);
    let older = fixture.revision("light");
    assert_eq!(resolved(&remote, "main").await.unwrap().0, older);
    fetched(&remote, store, &older).await.unwrap();
    assert_eq!(text(store, &older, "README").as_deref(), Some("one\n"));

    // A tag moves, from an annotated one to a light one.
    let moved = fixture.commit(&[("README", "moved\n")]);
    assert_eq!(resolved(&remote, "v1.0").await.unwrap().0, older);
    fixture.git(&["tag", "-f", "v1.0"]);
    assert_eq!(resolved(&remote, "v1.0").await.unwrap(), (moved.clone(), Some("refs/tags/v1.0".to_owned())));
    fetched(&remote, store, &moved).await.unwrap();

    // The default branch changes.
    fixture.git(&["checkout", "-q", "other"]);
    let other = fixture.revision("other");
    assert_eq!(resolved(&remote, "HEAD").await.unwrap(), (other, Some("refs/heads/other".to_owned())));

    // A branch is deleted; what was fetched of it is kept.
    fixture.git(&["branch", "-q", "-D", "main"]);
    let error = resolved(&remote, "main").await.unwrap_err();
    assert_eq!(error.reason, Reason::RefNotFound);
    assert_eq!(store.tips().unwrap()["refs/heads/main"], first);
    assert!(store.has(&moved).unwrap());

    // It comes back as another line of history.
    fixture.git(&["checkout", "-q", "--orphan", "main"]);
    let orphan = fixture.commit(&[("README", "orphan\n")]);
    assert_eq!(resolved(&remote, "main").await.unwrap().0, orphan);
    fetched(&remote, store, &orphan).await.unwrap();
    assert_eq!(text(store, &orphan, "README").as_deref(), Some("orphan\n"));
}
