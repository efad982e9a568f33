//! Repositories with submodules and LFS files, made by git, fetched by the client.

use super::*;
use crate::git::testing::{Fixture, GitServer, TestStore};
use crate::git::{FetchLimits, GITMODULES, Remote, RemoteConfig, RepositoryUrl, SnapshotLimits, Submodules};

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
                       oid sha256:28f551d5cbc34447aedc312770d5307e30ad1d48da48a798ad63ff86b110b83b\nsize 3\n";

/// `work` with a submodule `vendor/lib`, whose repository has one itself, `deep`.
struct Nested {
    fixture: Fixture,
    server: GitServer,
    stores: Vec<TestStore>,
}

impl Nested {
    async fn new() -> Self {
        let fixture = Fixture::new();
        fixture.commit(&[("app/values.lfs.yaml", POINTER)]);
        let allow = ["-c", "protocol.file.allow=always"];
        for (name, file) in [("leaf", "leaf.yaml"), ("lib", "base/cm.yaml")] {
            fixture.git(&["init", "-q", "-b", "main", &format!("../{name}")]);
            let at = format!("../{name}");
            std::fs::create_dir_all(fixture.dir.path().join(name).join(file).parent().unwrap()).unwrap();
            std::fs::write(fixture.dir.path().join(name).join(file), format!("from: {name}\n")).unwrap();
            std::fs::write(fixture.dir.path().join(name).join("big.yaml"), POINTER).unwrap();
            if name == "lib" {
                let arguments = ["-C", &at, allow[0], allow[1], "submodule", "--quiet", "add", "../leaf/.git", "deep"];
                fixture.git(&arguments);
                // The server's URLs end in `/.git`, which is a name like any other to whoever goes up from there.
                fixture.git(&["-C", &at, "config", "-f", ".gitmodules", "submodule.deep.url", "../../leaf/.git"]);
            }
            fixture.git(&["-C", &at, "add", "-A"]);
            fixture.git(&["-C", &at, "commit", "-q", "-m", "x"]);
        }
        fixture.git(&[allow[0], allow[1], "submodule", "--quiet", "add", "../lib/.git", "vendor/lib"]);
        fixture.git(&["config", "-f", ".gitmodules", "submodule.vendor/lib.url", "../../lib/.git"]);
        fixture.git(&["add", "-A"]);
        fixture.git(&["commit", "-q", "-m", "with a submodule"]);
        let server = GitServer::start(&fixture).await;
        Self { fixture, server, stores: Vec::new() }
    }

    async fn fetch(&mut self, url: &RepositoryUrl, revision: &Revision) -> Arc<Snapshot> {
        let store = TestStore::new();
        let remote = Remote::new(RemoteConfig { url: url.clone(), ..self.server.config() });
        remote.fetch(&store.store, std::slice::from_ref(revision), FetchLimits::default()).await.unwrap();
        let snapshot = store.store.snapshot(revision, SnapshotLimits::default()).unwrap();
        self.stores.push(store);
        Arc::new(snapshot)
    }

    async fn root(&mut self) -> Mount {
        let (url, revision) = (self.server.url(), self.fixture.revision("HEAD"));
        Mount { snapshot: self.fetch(&url, &revision).await, lfs: LfsMode::Off }
    }
}

fn entry(files: &Mounted, path: &str) -> Option<(String, EntryKind)> {
    files.entry(path).unwrap().map(|entry| (entry.name, entry.kind))
}

fn names(files: &Mounted, path: &str) -> Option<Vec<(String, EntryKind)>> {
    let entries = files.list(path).unwrap()?;
    Some(entries.into_iter().map(|entry| (entry.name, entry.kind)).collect())
}

fn text(files: &Mounted, path: &str) -> Option<String> {
    files.read(path).unwrap().map(|content| String::from_utf8(content.to_vec()).unwrap())
}

fn named(name: &str, kind: EntryKind) -> (String, EntryKind) {
    (name.to_owned(), kind)
}

#[tokio::test]
async fn airgap_30_submodules_and_lfs_are_off_by_default_and_nothing_is_made_up_for_them() {
    let mut nested = Nested::new().await;
    let files = Mounted::plain(nested.root().await);
    assert_eq!(entry(&files, "vendor/lib"), Some(named("lib", EntryKind::Submodule)));
    assert_eq!(entry(&files, "vendor/lib/base"), None);
    assert_eq!(names(&files, "vendor/lib"), None);
    assert_eq!(text(&files, "vendor/lib/base/cm.yaml"), None);
    assert_eq!(files.refused_pointers(), BTreeSet::new());
    let error = files.read("app/values.lfs.yaml").unwrap_err();
    assert_eq!(error.path, "app/values.lfs.yaml");
    assert!(error.problem.contains("git LFS pointer") && error.problem.contains("lfs.enabled: true"), "{error}");
    assert_eq!(files.refused_pointers(), BTreeSet::from(["app/values.lfs.yaml".to_owned()]));
    assert_eq!(files.lacking(), BTreeSet::new());
    // Nor does the commit alone give a pointer for a file.
    let snapshot = nested.root().await.snapshot;
    assert!(snapshot.read("app/values.lfs.yaml").unwrap_err().problem.contains("git LFS pointer"));
    assert_eq!(snapshot.read("README").unwrap().as_deref(), Some(&b"two\n"[..]));
}

#[tokio::test]
async fn what_is_lacking_is_noted_and_is_there_once_it_is_mounted() {
    let mut nested = Nested::new().await;
    let root = nested.root().await;
    let lib: Revision = Revision::parse(&nested.fixture.git(&["-C", "../lib", "rev-parse", "HEAD"])).unwrap();
    let leaf: Revision = Revision::parse(&nested.fixture.git(&["-C", "../leaf", "rev-parse", "HEAD"])).unwrap();

    let files = Mounted::with_submodules(root.clone(), BTreeMap::new());
    assert_eq!(names(&files, "vendor"), Some(vec![named("lib", EntryKind::Directory)]));
    assert_eq!(entry(&files, "vendor/lib"), Some(named("lib", EntryKind::Directory)));
    let id = files.entry("vendor/lib").unwrap().unwrap().id;
    assert_eq!(id, lib.as_str(), "equal commits are equal content");
    assert_eq!(entry(&files, "vendor/none"), None);
    assert_eq!(entry(&files, "README/none"), None);
    assert_eq!(files.lacking(), BTreeSet::new(), "only its files are lacking, not itself");
    let lacks_lib = Lacking::Submodule { path: "vendor/lib".into(), within: String::new(), revision: lib.clone() };
    for ask in [
        |files: &Mounted| drop(files.list("vendor/lib").unwrap()),
        |files: &Mounted| drop(files.entry("vendor/lib/base").unwrap()),
        |files: &Mounted| drop(files.read("vendor/lib/base/cm.yaml").unwrap()),
    ] {
        let files = Mounted::with_submodules(root.clone(), BTreeMap::new());
        ask(&files);
        assert_eq!(files.lacking(), BTreeSet::from([lacks_lib.clone()]));
    }

    let parse = |snapshot: &Snapshot| Submodules::parse(&snapshot.read(GITMODULES).unwrap().unwrap()).unwrap();
    let lib_url = parse(&root.snapshot).url("vendor/lib", &nested.server.url()).unwrap();
    let lib_snapshot = nested.fetch(&lib_url, &lib).await;
    let mut mounts =
        BTreeMap::from([("vendor/lib".to_owned(), Mount { snapshot: Arc::clone(&lib_snapshot), lfs: LfsMode::Off })]);
    let files = Mounted::with_submodules(root.clone(), mounts.clone());
    assert_eq!(text(&files, "vendor/lib/base/cm.yaml").as_deref(), Some("from: lib\n"));
    assert_eq!(files.entry("vendor/lib").unwrap().unwrap().id, id);
    assert_eq!(entry(&files, "vendor/lib/deep"), Some(named("deep", EntryKind::Directory)));
    assert_eq!(files.lacking(), BTreeSet::new());
    assert_eq!(names(&files, "vendor/lib/deep"), Some(Vec::new()));
    let lacks_leaf = Lacking::Submodule {
        path: "vendor/lib/deep".to_owned(),
        within: "vendor/lib".to_owned(),
        revision: leaf.clone(),
    };
    assert_eq!(files.lacking(), BTreeSet::from([lacks_leaf]));

    let leaf_url = parse(&lib_snapshot).url("deep", &lib_url).unwrap();
    let leaf_snapshot = nested.fetch(&leaf_url, &leaf).await;
    let store = LfsStore::new(nested.stores[0].dir.path().join("lfs"), 1 << 20);
    let leaf_mount = Mount { snapshot: leaf_snapshot, lfs: LfsMode::On(store.clone()) };
    mounts.insert("vendor/lib/deep".to_owned(), leaf_mount);
    let files = Mounted::with_submodules(root, mounts);
    assert_eq!(text(&files, "vendor/lib/deep/leaf.yaml").as_deref(), Some("from: leaf\n"));
    assert_eq!(entry(&files, "vendor/lib/deep"), Some(named("deep", EntryKind::Directory)));
    assert_eq!(
        names(&files, "vendor/lib/deep"),
        Some(vec![named("big.yaml", EntryKind::File), named("leaf.yaml", EntryKind::File)])
    );
    assert_eq!(files.lacking(), BTreeSet::new());

    // LFS is each repository's own matter.
    let pointer = LfsPointer::parse(POINTER.as_bytes()).unwrap();
    assert_eq!(files.size("vendor/lib/deep/big.yaml").unwrap(), Some(3));
    assert_eq!(text(&files, "vendor/lib/deep/big.yaml").as_deref(), Some(""));
    let lacks = Lacking::Content {
        path: "vendor/lib/deep/big.yaml".to_owned(),
        within: "vendor/lib/deep".to_owned(),
        pointer: pointer.clone(),
    };
    assert_eq!(files.lacking(), BTreeSet::from([lacks]));
    let refused = files.read("vendor/lib/big.yaml").unwrap_err();
    assert_eq!(refused.path, "vendor/lib/big.yaml");
    std::fs::create_dir_all(nested.stores[0].dir.path().join("lfs")).unwrap();
    std::fs::write(nested.stores[0].dir.path().join("lfs").join(pointer.oid()), "a: ").unwrap();
    assert_eq!(files.read("vendor/lib/deep/big.yaml").unwrap().as_deref(), Some(&b"a: "[..]));
}
