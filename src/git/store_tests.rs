use std::fs;

use super::*;
use crate::git::testing::{Fixture, GitServer, TestStore};
use crate::git::{FetchLimits, Remote};
use crate::model::{Entry, EntryKind, Files as _};

async fn fetch(remote: &Remote, store: &Store, revision: &Revision) {
    remote.fetch(store, std::slice::from_ref(revision), FetchLimits::default()).await.unwrap();
}

fn reopen(test: &TestStore) -> Store {
    Store::open(&test.path(), StoreLimits::default()).unwrap()
}

async fn blocking<T: Send + 'static>(store: &Store, work: impl FnOnce(Store) -> T + Send + 'static) -> T {
    let store = store.clone();
    tokio::task::spawn_blocking(move || work(store)).await.unwrap()
}

#[tokio::test]
async fn many_packs_become_one_that_holds_named_tips_and_what_snapshots_read() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let store = &test.store;
    let mut all = Vec::new();
    for number in 0..22 {
        let revision =
            fixture.commit(&[("counter", &number.to_string()), ("app/deployment.yaml", &format!("n: {number}\n"))]);
        fetch(&remote, store, &revision).await;
        store.record_tip("refs/heads/main", &revision).unwrap();
        all.push(revision);
    }
    assert_eq!(store.pack_count().unwrap(), 22);
    let read = store.snapshot(&all[3], SnapshotLimits::default()).unwrap();
    let last = all[21].clone();
    assert!(blocking(store, |store| store.compact().unwrap()).await);
    assert_eq!(store.pack_count().unwrap(), 1);
    assert_eq!(store.tips().unwrap(), BTreeMap::from([("refs/heads/main".to_owned(), last.clone())]));
    for (revision, held) in [(&last, true), (&all[3], true), (&all[4], false), (&all[20], false)] {
        assert_eq!(store.has(revision).unwrap(), held, "{revision}");
        assert_eq!(reopen(&test).has(revision).unwrap(), held, "{revision}");
    }
    assert_eq!(read.read("counter").unwrap().as_deref(), Some(b"3".as_slice()));
    assert!(!blocking(store, |store| store.compact().unwrap()).await);

    // The next fetch knows what is held.
    let next = fixture.commit(&[("counter", "x")]);
    let stats = remote.fetch(store, std::slice::from_ref(&next), FetchLimits::default()).await.unwrap();
    assert_eq!(stats.objects, 3);

    // Without the snapshot, the next compaction drops what only it read.
    drop(read);
    blocking(store, |store| store.repack().unwrap()).await;
    assert!(!store.has(&all[3]).unwrap());
    assert!(store.has(&next).unwrap(), "fetched, not named yet");
}

#[tokio::test]
async fn a_compaction_killed_between_any_two_deletions_leaves_a_whole_store() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let first = fixture.revision("light");
    let tip = fixture.revision("main");
    fetch(&remote, &test.store, &first).await;
    fetch(&remote, &test.store, &tip).await;
    test.store.record_tip("main", &tip).unwrap();
    // As after a kill: the repacked pack is there, of an old one the index is gone, a new one is half written.
    blocking(&test.store, |store| {
        let old = layout::packs(store.dir()).unwrap();
        let copies: Vec<(PathBuf, Vec<u8>)> = old
            .iter()
            .flat_map(|pack| [pack.clone(), pack.with_extension("idx")])
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        store.repack().unwrap();
        for (path, content) in copies.into_iter().filter(|(path, _)| *path != old[0].with_extension("idx")) {
            fs::write(path, content).unwrap();
        }
        fs::write(store.dir().join("objects/pack/pack_git2_x1Y2z3"), b"PACK").unwrap();
    })
    .await;
    let store = reopen(&test);
    assert!(store.has(&tip).unwrap());
    assert_eq!(store.tips().unwrap(), BTreeMap::from([("main".to_owned(), tip.clone())]));
    assert_eq!(store.pack_count().unwrap(), 2);
    assert_eq!(test.object_files().len(), 4, "{:?}", test.object_files());
}

#[tokio::test]
async fn a_corrupt_store_is_made_anew() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, tip) = (server.remote(), fixture.revision("main"));
    let damages: [fn(&Path); 4] = [
        |dir| fs::remove_file(dir.join("HEAD")).unwrap(),
        |dir| fs::write(dir.join("config"), "[[[").unwrap(),
        |dir| fs::remove_dir_all(dir.join("objects/pack")).unwrap(),
        |dir| {
            for pack in layout::packs(dir).unwrap() {
                let damaged = pack.with_extension("idx");
                fs::remove_file(&damaged).unwrap();
                fs::write(damaged, b"garbage").unwrap();
            }
        },
    ];
    for damage in damages {
        let test = TestStore::new();
        fetch(&remote, &test.store, &tip).await;
        damage(&test.path());
        let store = reopen(&test);
        assert!(!store.has(&tip).unwrap());
        fetch(&remote, &store, &tip).await;
        assert!(store.has(&tip).unwrap());
    }
}

#[test]
fn a_directory_of_someone_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("precious"), "x").unwrap();
    let error = Store::open(dir.path(), StoreLimits::default()).err().unwrap();
    assert_eq!(error.reason, Reason::StoreFailed);
    assert!(dir.path().join("precious").exists());
}

#[tokio::test]
async fn tips_move_and_are_forgotten() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let (first, second) = (fixture.revision("light"), fixture.revision("main"));
    fetch(&remote, &test.store, &first).await;
    fetch(&remote, &test.store, &second).await;
    assert_eq!(test.store.held().unwrap().haves, BTreeSet::from([first.clone(), second.clone()]));
    test.store.record_tip("a", &first).unwrap();
    test.store.record_tip("a/b", &first).unwrap();
    test.store.record_tip("a", &second).unwrap();
    let expected = BTreeMap::from([("a".to_owned(), second.clone()), ("a/b".to_owned(), first.clone())]);
    assert_eq!(test.store.tips().unwrap(), expected);
    assert_eq!(reopen(&test).tips().unwrap(), expected);
    test.store.forget_tip("a/b").unwrap();
    test.store.forget_tip("never").unwrap();
    assert_eq!(test.store.held().unwrap().haves, BTreeSet::from([second]));
    let missing = Revision::parse(&"ab".repeat(20)).unwrap();
    assert!(test.store.record_tip("x", &missing).is_err());
    assert_eq!(test.store.snapshot(&missing, SnapshotLimits::default()).err().unwrap().reason, Reason::StoreFailed);
}

#[tokio::test]
async fn a_snapshot_shows_files_links_and_directories() {
    let fixture = Fixture::new();
    std::os::unix::fs::symlink("app/deployment.yaml", fixture.work().join("link")).unwrap();
    let id = fixture.revision("light").to_string();
    fixture.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},module")]);
    fixture.git(&["commit", "-q", "-m", "module"]);
    let tip = fixture.commit(&[("app.yaml", "x: 1\n"), ("app/a/b/c.txt", "deep")]);
    fixture.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},module")]);
    fixture.git(&["commit", "-q", "--amend", "-m", "module"]);
    let tip = if fixture.revision("HEAD") == tip { tip } else { fixture.revision("HEAD") };
    let server = GitServer::start(&fixture).await;
    let test = TestStore::new();
    fetch(&server.remote(), &test.store, &tip).await;
    let limits = SnapshotLimits { file_bytes: 10, directory_entries: 5 };
    let files = test.store.snapshot(&tip, limits).unwrap();

    let names = |path: &str| -> Option<Vec<(String, EntryKind)>> {
        let list = files.list(path).unwrap()?;
        Some(list.into_iter().map(|Entry { name, kind, .. }| (name, kind)).collect())
    };
    let named =
        |list: &[(&str, EntryKind)]| Some(list.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect());
    let root = [
        ("README", EntryKind::File),
        ("app", EntryKind::Directory),
        ("app.yaml", EntryKind::File),
        ("link", EntryKind::Symlink),
        ("module", EntryKind::Submodule),
    ];
    assert_eq!(names(""), named(&root));
    assert_eq!(names("app"), named(&[("a", EntryKind::Directory), ("deployment.yaml", EntryKind::File)]));
    assert_eq!((names("README"), names("none"), names("link")), (None, None, None));

    let read = |path: &str| files.read(path).unwrap().map(|content| String::from_utf8(content.to_vec()).unwrap());
    assert_eq!(read("app/a/b/c.txt").as_deref(), Some("deep"));
    for path in ["app", "", "module", "none", "README/x", "app//a", "./README", "app/../README", "/README", "README/"] {
        assert_eq!(read(path), None, "{path}");
    }
    assert_eq!(files.size("link").unwrap(), Some(19));
    assert_eq!(files.size("app").unwrap(), None);
    let error = files.read("link").unwrap_err();
    assert_eq!((error.path.as_str(), error.problem.as_str()), ("link", "the file has 19 bytes, the limit is 10"));

    let entry = files.entry("app/a").unwrap().unwrap();
    assert_eq!(entry.id, fixture.git(&["rev-parse", "HEAD:app/a"]));
    let root = files.entry("").unwrap().unwrap();
    assert_eq!((root.kind, root.id), (EntryKind::Directory, files.tree_id()));
    assert_eq!(files.entry("nope/x").unwrap(), None);

    let narrow = test.store.snapshot(&tip, SnapshotLimits { directory_entries: 4, ..limits }).unwrap();
    assert!(narrow.list("").unwrap_err().problem.contains("more than 4 entries"));
}

#[tokio::test]
async fn after_a_compaction_a_server_is_told_that_history_is_gone() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test, tip) = (server.remote(), TestStore::new(), fixture.revision("main"));
    // All history, as from a server that cannot limit the depth.
    let store = test.path().to_string_lossy().into_owned();
    fixture.git(&["push", "-q", &store, "main:refs/tidelock/tips/main"]);
    assert!(test.store.has(&fixture.revision("light")).unwrap());
    assert_eq!(test.store.held().unwrap().shallow, BTreeSet::new());
    blocking(&test.store, |store| store.repack().unwrap()).await;
    let held = Held { haves: BTreeSet::from([tip.clone()]), shallow: BTreeSet::from([tip.clone()]) };
    assert_eq!(test.store.held().unwrap(), held);
    // The older commit is sent in full, for all that the newer one is held.
    let older = fixture.revision("light");
    fetch(&remote, &test.store, &older).await;
    let files = test.store.snapshot(&older, SnapshotLimits::default()).unwrap();
    assert_eq!(files.read("README").unwrap().as_deref(), Some(b"one\n".as_slice()));
}

#[tokio::test]
async fn a_store_is_the_same_for_all_as_long_as_a_writer_or_a_snapshot_works_on_it() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreLimits::default()).unwrap();
    let weak = store.downgrade();
    let tip = fixture.revision("main");
    fetch(&server.remote(), &store, &tip).await;

    let sink = crate::git::ingest::PackSink::open(&store, FetchLimits::default()).await;
    drop(store);
    let again = weak.upgrade().expect("the writer holds the store");
    let taken = again.writing().try_lock_owned();
    assert!(taken.is_err(), "whoever opens it now waits for that writer");
    drop(again);
    sink.abort().await;

    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while weak.is_open() {
        assert!(std::time::Instant::now() < deadline, "the writer has ended and holds the store");
        tokio::task::yield_now().await;
    }
    assert!(weak.upgrade().is_none());

    let store = Store::open(dir.path(), StoreLimits::default()).unwrap();
    let weak = store.downgrade();
    let snapshot = store.snapshot(&tip, SnapshotLimits::default()).unwrap();
    drop(store);
    assert!(weak.is_open(), "a compaction has to know of the snapshot");
    drop(snapshot);
    assert!(!weak.is_open());
}
