use std::time::Duration;

use super::*;
use crate::egress::Timeouts;
use crate::git::testing::{Fault, Fixture, GitServer, Harm, Relay, TestStore};
use crate::git::{SnapshotLimits, StoreLimits};
use crate::model::Files as _;

/// 40 files of 8 KiB in 4 directories, from a server that knows filters.
async fn served() -> (Fixture, Revision, GitServer, Relay) {
    let fixture = Fixture::new();
    fixture.git(&["config", "uploadpack.allowFilter", "true"]);
    let names: Vec<String> = (0..40).map(|index| format!("dir{}/file{index}", index % 4)).collect();
    let tip = fixture.noise(&names.iter().map(|name| (name.as_str(), 8 << 10)).collect::<Vec<_>>());
    let server = GitServer::start(&fixture).await;
    let relay = Relay::start(server.address).await;
    (fixture, tip, server, relay)
}

fn all_files_can_be_read(store: &Store, tip: &Revision) {
    let snapshot = store.snapshot(tip, SnapshotLimits::default()).unwrap();
    for index in 0..40 {
        let path = format!("dir{}/file{index}", index % 4);
        assert_eq!(snapshot.read(&path).unwrap().unwrap().len(), 8 << 10, "{path}");
    }
    assert_eq!(&*snapshot.read("README").unwrap().unwrap(), b"two\n");
}

#[tokio::test]
async fn airgap_21_behind_a_proxy_that_cuts_every_connection_a_commit_comes_in_pieces_and_the_remote_says_so() {
    let (fixture, tip, server, relay) = served().await;
    let (remote, test) = (relay.remote(&server, Timeouts::default()), TestStore::new());
    let wants = std::slice::from_ref(&tip);
    relay.harm(Harm::Close(50_000));
    for attempt in 1..3 {
        let error = remote.fetch(&test.store, wants, FetchLimits::default()).await.unwrap_err();
        assert_eq!(error.reason, Reason::ConnectionCut, "{attempt}: {error}");
        assert_eq!((test.store.has(&tip).unwrap(), remote.pieced()), (false, None));
    }
    let stats = remote.fetch(&test.store, wants, FetchLimits::default()).await.unwrap();
    assert!(stats.pieces.is_some_and(|pieces| pieces >= 8), "{stats:?}");
    // The commit, its root, four directories, `app`, 42 files.
    assert_eq!(stats.objects, 49);
    assert!(test.store.has(&tip).unwrap());
    all_files_can_be_read(&test.store, &tip);
    assert!(remote.pieced().is_some_and(|said| said.starts_with("3 transfers in a row were cut")));

    // What lies between has been mended: a commit comes whole again.
    relay.harm(Harm::None);
    test.store.record_tip("refs/heads/main", &tip).unwrap();
    let next = fixture.commit(&[("README", "three\n")]);
    let stats = remote.fetch(&test.store, std::slice::from_ref(&next), FetchLimits::default()).await.unwrap();
    assert_eq!((stats.objects, stats.pieces, remote.pieced()), (3, None, None));
    // Compaction takes the pieces together.
    test.store.record_tip("refs/heads/main", &next).unwrap();
    test.store.repack().unwrap();
    assert_eq!(test.store.pack_count().unwrap(), 1);
    all_files_can_be_read_but_the_readme(&test.store, &next);
}

fn all_files_can_be_read_but_the_readme(store: &Store, tip: &Revision) {
    let snapshot = store.snapshot(tip, SnapshotLimits::default()).unwrap();
    assert_eq!(snapshot.read("dir3/file39").unwrap().unwrap().len(), 8 << 10);
    assert_eq!(&*snapshot.read("README").unwrap().unwrap(), b"three\n");
}

#[tokio::test]
async fn pieces_are_kept_over_failures_and_restarts_and_the_commit_counts_only_when_it_is_whole() {
    let (_fixture, tip, server, relay) = served().await;
    let test = TestStore::new();
    let wants = std::slice::from_ref(&tip);
    {
        let remote = relay.remote(&server, Timeouts::default());
        relay.harm(Harm::Close(50_000));
        for _ in 0..2 {
            remote.fetch(&test.store, wants, FetchLimits::default()).await.unwrap_err();
        }
        // Some pieces come, then no more than a few hundred bytes do.
        let fetch = remote.fetch(&test.store, wants, FetchLimits::default());
        let spoil = async {
            while test.store.pack_count().unwrap() < 3 {
                tokio::task::yield_now().await;
            }
            relay.harm(Harm::Close(900));
        };
        let (done, ()) = tokio::join!(fetch, spoil);
        let error = done.unwrap_err();
        assert_eq!(error.reason, Reason::ConnectionCut);
        assert!(error.message.contains("alone does not come through") && error.message.contains("is kept"), "{error}");
        assert!(error.message.contains("`dir"), "{error}");
    }
    assert!(!test.store.has(&tip).unwrap());
    let packs = test.store.pack_count().unwrap();
    assert!(packs >= 3);
    test.store.repack().unwrap();
    assert_eq!(test.store.pack_count().unwrap(), packs, "what came is not dropped before it is used");

    let again = Store::open(&test.path(), StoreLimits::default()).unwrap();
    assert!(!again.has(&tip).unwrap(), "a restart makes nothing whole");
    let lack = lacking(&again, &BTreeSet::from([tip.clone()])).unwrap();
    assert!(lack.commits.is_empty() && !lack.objects.is_empty() && lack.objects.len() < 40, "{}", lack.objects.len());
    relay.harm(Harm::None);
    let remote = relay.remote(&server, Timeouts::default());
    remote.fetch(&again, wants, FetchLimits::default()).await.unwrap();
    assert!(again.has(&tip).unwrap());
    all_files_can_be_read(&again, &tip);
}

#[tokio::test]
async fn directories_too_come_in_pieces_when_all_of_them_together_are_cut() {
    let fixture = Fixture::new();
    fixture.git(&["config", "uploadpack.allowFilter", "true"]);
    let names: Vec<String> = (0..60).map(|index| format!("a{}/b{}/c{index}/file", index % 3, index % 7)).collect();
    let tip = fixture.noise(&names.iter().map(|name| (name.as_str(), 10)).collect::<Vec<_>>());
    let server = GitServer::start(&fixture).await;
    let relay = Relay::start(server.address).await;
    let (remote, test) = (relay.remote(&server, Timeouts::default()), TestStore::new());
    relay.harm(Harm::Close(2_000));
    for _ in 0..2 {
        remote.fetch(&test.store, std::slice::from_ref(&tip), FetchLimits::default()).await.unwrap_err();
    }
    let stats = remote.fetch(&test.store, std::slice::from_ref(&tip), FetchLimits::default()).await.unwrap();
    assert!(stats.pieces.is_some_and(|pieces| pieces > 4), "{stats:?}");
    let snapshot = test.store.snapshot(&tip, SnapshotLimits::default()).unwrap();
    for name in names {
        assert_eq!(snapshot.read(&name).unwrap().unwrap().len(), 10, "{name}");
    }
}

#[tokio::test]
async fn stalls_count_as_cuts_and_a_server_without_filters_is_named_as_what_is_in_the_way() {
    let (fixture, tip, server, relay) = served().await;
    fixture.git(&["config", "uploadpack.allowFilter", "false"]);
    let timeouts = Timeouts { idle: Duration::from_millis(150), ..Timeouts::default() };
    let (remote, test) = (relay.remote(&server, timeouts), TestStore::new());
    let before = test.object_files();
    relay.harm(Harm::Hold(50_000));
    for attempt in 1..=4 {
        let error = remote.fetch(&test.store, std::slice::from_ref(&tip), FetchLimits::default()).await.unwrap_err();
        assert_eq!(error.reason, Reason::Stalled, "{error}");
        assert_eq!(error.message.contains("uploadpack.allowFilter"), attempt >= 3, "{error}");
    }
    assert_eq!((test.object_files(), remote.pieced()), (before, None));
}

#[tokio::test]
async fn pieces_together_are_bounded_as_one_transfer_is() {
    let (_fixture, tip, server, relay) = served().await;
    let (remote, test) = (relay.remote(&server, Timeouts::default()), TestStore::new());
    relay.harm(Harm::Close(50_000));
    let limits = FetchLimits { bytes: 200_000, ..FetchLimits::default() };
    for _ in 0..2 {
        let error = remote.fetch(&test.store, std::slice::from_ref(&tip), limits).await.unwrap_err();
        assert_eq!(error.reason, Reason::ConnectionCut);
    }
    let error = remote.fetch(&test.store, std::slice::from_ref(&tip), limits).await.unwrap_err();
    assert_eq!(error.reason, Reason::PackTooLarge, "{error}");
}

#[tokio::test]
async fn a_server_that_answers_with_empty_packs_is_asked_once_and_not_for_ever() {
    let (_fixture, tip, server, _relay) = served().await;
    let (remote, test) = (server.remote(), TestStore::new());
    server.break_with(Fault::EmptyPieces);
    let wants = BTreeSet::from([tip.clone()]);
    let error = remote.fetch_in_pieces(&test.store, &wants, FetchLimits::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::ProtocolError, "{error}");
    assert!(error.message.contains("left out `") && error.message.contains("although it was asked for it"), "{error}");
    assert!(!test.store.has(&tip).unwrap());
    let fetches = server.take_log().iter().filter(|line| line.ends_with("command=fetch")).count();
    assert_eq!(fetches, 2, "the commit with its directories, and one batch of files");
}
