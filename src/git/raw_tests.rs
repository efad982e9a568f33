use super::*;
use crate::git::testing::{Fixture, GitServer, TestStore};
use crate::git::{FetchLimits, Target, ref_prefixes, resolve};

fn raw(fixture: &Fixture, kind: &str, name: &str) -> Vec<u8> {
    let output =
        std::process::Command::new("git").args(["cat-file", kind, name]).current_dir(fixture.work()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn an_annotated_tag_comes_with_its_commit_and_outlives_a_compaction() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let target = Target::parse("v1.0");
    let refs = remote.ls_refs(&ref_prefixes([&target])).await.unwrap();
    let found = resolve(&target, &refs, remote.url()).unwrap();
    let (commit, tag) = (fixture.revision("v1.0^{commit}"), fixture.revision("v1.0"));
    assert_eq!((&found.revision, found.tag.as_ref()), (&commit, Some(&tag)));

    let wants = std::slice::from_ref(&commit);
    let tags = std::slice::from_ref(&tag);
    remote.fetch_with_tags(&test.store, wants, tags, FetchLimits::default()).await.unwrap();
    let expected = (Some(raw(&fixture, "commit", commit.as_str())), vec![raw(&fixture, "tag", tag.as_str())]);
    let held = |store: &Store| (store.raw_commit(&commit).unwrap(), store.raw_tags(&commit).unwrap());
    assert_eq!(held(&test.store), expected);
    test.store.record_tip("v1.0", &commit).unwrap();
    test.store.repack().unwrap();
    assert_eq!(held(&test.store), expected);
    assert_eq!(test.store.raw_tags(&fixture.revision("main")).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(test.store.raw_commit(&fixture.revision("main")).unwrap(), None);

    // What is held is not asked for again.
    server.take_log();
    remote.fetch_with_tags(&test.store, wants, tags, FetchLimits::default()).await.unwrap();
    assert_eq!(server.take_log(), Vec::<String>::new());
}

#[tokio::test]
async fn a_tag_that_is_made_later_comes_alone() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let commit = fixture.revision("main");
    remote.fetch(&test.store, std::slice::from_ref(&commit), FetchLimits::default()).await.unwrap();
    test.store.record_tip("main", &commit).unwrap();
    fixture.git(&["tag", "-a", "-m", "later", "v2"]);
    let tag = fixture.revision("v2");
    assert!(!test.store.has_tag(&tag));
    let stats =
        remote.fetch_with_tags(&test.store, &[], std::slice::from_ref(&tag), FetchLimits::default()).await.unwrap();
    assert_eq!(stats.objects, 1);
    assert_eq!(test.store.raw_tags(&commit).unwrap(), [raw(&fixture, "tag", "v2")]);
}

#[tokio::test]
async fn a_tag_that_is_too_large_harms_nothing_else_and_is_not_fetched_again() {
    let fixture = Fixture::new();
    let server = GitServer::start(&fixture).await;
    let (remote, test) = (server.remote(), TestStore::new());
    let message = fixture.work().join("message");
    std::fs::write(&message, "a line of many\n".repeat(MOST_BYTES / 10)).unwrap();
    fixture.git(&["tag", "-a", "-F", message.to_str().unwrap(), "huge"]);
    let (commit, tag) = (fixture.revision("huge^{commit}"), fixture.revision("huge"));
    let (wants, tags) = (std::slice::from_ref(&commit), std::slice::from_ref(&tag));
    remote.fetch_with_tags(&test.store, wants, tags, FetchLimits::default()).await.unwrap();
    assert!(test.store.has(&commit).unwrap() && test.store.has_tag(&tag));
    assert_eq!(test.store.raw_tags(&commit).unwrap(), Vec::<Vec<u8>>::new());
}
