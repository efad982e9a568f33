//! Neither git nor the proxy answers when the operator starts: it is ready all the same, and enforces what it last
//! verified. What lies on its volume counts only with its seal.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::application::{Application, condition, ready_message, ready_reason, revision, sync_state};
use crate::support::audit::lines;
use crate::support::cluster::{CONFIG_MAP, REPOSITORY, SECRET};
use crate::support::git::{GitRepository, file};
use crate::support::installation::{CORP, Installation, PROXY, egress_proxy};
use crate::support::manifests::config_map;
use crate::support::testbed::Testbed;

/// Name of the Secret with the key of the seals.
const STORE_KEY: &str = "tidelock-store-key";

struct Scene {
    installation: Installation,
    target: String,
    repository: GitRepository,
    commit: String,
}

impl Scene {
    /// An Application that is synced, and an operator that was killed then.
    async fn begin(name: &str) -> Self {
        let mut installation = Installation::start(name).await;
        let target = installation.target("t").await;
        let repository = installation.repository(name);
        let commit = repository.commit([
            ("app/one.yaml", file(config_map("one", "wanted"))),
            ("app/two.yaml", file(config_map("two", "wanted"))),
        ]);
        installation.declare(Application::named("app", &repository.url, "app", &target).retrying_soon()).await;
        installation.synced("app", &commit).await;
        let index = installation.operator.state().join("git");
        installation
            .wait("what was verified is on the volume", async || {
                let found = indexes(&index);
                if found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
            })
            .await;
        installation.operator.kill9();
        Self { installation, target, repository, commit }
    }

    /// From now on nothing listens where the proxy was.
    async fn darken(&self) {
        self.installation.apply(egress_proxy(PROXY, &Testbed::shared().proxy_closed_url)).await;
    }

    async fn light(&self) {
        self.installation.apply(egress_proxy(PROXY, &Testbed::shared().proxy_url)).await;
    }

    /// Somebody changes one object and deletes the other.
    async fn drift(&self) {
        let change = json!({"data": {"value": "drifted"}});
        self.installation.cluster.merge(CONFIG_MAP, &self.target, "one", change).await;
        self.installation.cluster.delete(CONFIG_MAP, &self.target, "two").await;
    }

    async fn value(&self, name: &str) -> Option<String> {
        let object = self.installation.cluster.get(CONFIG_MAP, &self.target, name).await?;
        object["data"]["value"].as_str().map(str::to_owned)
    }

    async fn healed(&self) {
        self.installation
            .wait("drift is healed", async || {
                let found = (self.value("one").await, self.value("two").await);
                let wanted = Some("wanted".to_owned());
                if found == (wanted.clone(), wanted) { Ok(()) } else { Err(format!("{found:?}")) }
            })
            .await;
    }

    /// Where the record of what was verified lies.
    fn index(&self) -> PathBuf {
        indexes(&self.installation.operator.state().join("git")).remove(0)
    }

    async fn repository_reason(&self) -> String {
        let object = self.installation.cluster.must_get(REPOSITORY, &self.installation.namespace, CORP).await;
        ready_reason(&object).to_owned()
    }

    /// Waits until nothing of the volume counts, and sees that nothing was done by it. Then the source answers again.
    async fn seal_is_broken(self, says: &str) {
        let installation = &self.installation;
        let object = installation
            .wait_application("app", "says that the seal is broken", |object| ready_reason(object) == "SealBroken")
            .await;
        let message = ready_message(&object);
        assert!(message.contains(says), "{message}");
        assert!(message.contains(&Testbed::shared().proxy_closed_url.replace("http://", "")), "{message}");
        installation
            .wait("the Repository says so too", async || match self.repository_reason().await.as_str() {
                "SealBroken" => Ok(()),
                other => Err(other.to_owned()),
            })
            .await;
        assert_eq!(self.value("one").await.as_deref(), Some("drifted"));
        assert_eq!(self.value("two").await, None);

        self.light().await;
        self.healed().await;
        installation.synced("app", &self.commit).await;
        self.installation.finish().await;
    }
}

fn indexes(below: &PathBuf) -> Vec<PathBuf> {
    let stores = fs::read_dir(below).into_iter().flatten().flatten();
    stores.map(|store| store.path().join("verified.json")).filter(|path| path.exists()).collect()
}

#[tokio::test]
async fn airgap_51_with_git_dark_at_start_the_operator_is_ready_and_enforces_what_it_last_verified() {
    let mut scene = Scene::begin("dark").await;
    scene.darken().await;
    scene.drift().await;
    let audit = scene.installation.audit();
    // Waits for `/readyz`.
    scene.installation.operator.start().await;
    scene.healed().await;

    let object = scene
        .installation
        .wait_application("app", "says that the source can't be reached", |object| {
            ready_reason(object) == "ProxyUnreachable"
        })
        .await;
    assert!(ready_message(&object).contains("stays in force"), "{}", ready_message(&object));
    assert_eq!((sync_state(&object), revision(&object)), ("Synced", scene.commit.as_str()));
    assert_eq!(condition(&object, "Ready").unwrap()["status"], "False");
    assert_eq!(scene.repository_reason().await, "ProxyUnreachable");
    let deleted: Vec<Value> = audit.deletions().into_iter().map(|deletion| json!(deletion.name)).collect();
    assert_eq!(deleted, Vec::<Value>::new());

    // A second start in the dark is no different, and the next commit is followed when there is light.
    scene.installation.operator.kill9();
    scene.drift().await;
    scene.installation.operator.start().await;
    scene.healed().await;
    scene.light().await;
    let next = scene.repository.commit([("app/one.yaml", file(config_map("one", "next")))]);
    scene.installation.follow("app", &next).await;
    assert_eq!(scene.value("one").await.as_deref(), Some("next"));
    scene.installation.finish().await;
}

#[tokio::test]
async fn airgap_51_a_record_that_was_changed_counts_for_nothing_until_git_answers() {
    let mut scene = Scene::begin("forged").await;
    // A commit that the store does not have, nor anybody.
    let forged = fs::read_to_string(scene.index()).expect("an index").replace(&scene.commit, &"b".repeat(40));
    fs::write(scene.index(), forged).expect("the index can be written");
    scene.darken().await;
    scene.drift().await;
    scene.installation.operator.start().await;
    scene.seal_is_broken("its seal does not match").await;
}

#[tokio::test]
async fn airgap_51_a_record_that_was_taken_away_counts_for_nothing_until_git_answers() {
    let mut scene = Scene::begin("taken").await;
    fs::remove_file(scene.index()).expect("the index can be removed");
    scene.darken().await;
    scene.drift().await;
    scene.installation.operator.start().await;
    scene.seal_is_broken("missing although the store holds content").await;
}

#[tokio::test]
async fn airgap_51_a_lost_key_is_named_and_replaced() {
    let mut scene = Scene::begin("key").await;
    scene.installation.cluster.delete(SECRET, &scene.installation.namespace, STORE_KEY).await;
    scene.darken().await;
    scene.drift().await;
    let audit = scene.installation.audit();
    scene.installation.operator.start().await;
    scene
        .installation
        .wait("a new key is made", async || {
            let made = scene.installation.cluster.get(SECRET, &scene.installation.namespace, STORE_KEY).await;
            made.ok_or_else(|| "there is none".to_owned())
        })
        .await;
    assert_eq!(lines(&audit.writes_in(&scene.target)), Vec::<String>::new());
    scene.seal_is_broken("the Secret with the key was deleted or replaced").await;
}
