//! Killed at any moment, the operator converges at its next start, and deletes nothing that it should not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::audit::{Audit, lines};
use crate::support::cluster::{APPLICATION, CONFIG_MAP, name_of, uid_of};
use crate::support::git::{Change, GitRepository, file};
use crate::support::installation::Installation;
use crate::support::manifests::config_map_in_wave;
use crate::support::waiting::wait_until;

const SEED: u64 = 0x71de_10c4;
const KILLS: usize = 30;
const OBJECTS: usize = 30;

/// Objects of one Application as git wants them: name → value. An object's wave follows from its name.
type Wanted = BTreeMap<String, String>;

fn manifest(name: &str, value: &str) -> Change {
    let number: i32 = name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    file(config_map_in_wave(name, value, number % 3))
}

struct Scene {
    installation: Installation,
    target: String,
    repository: GitRepository,
    random: fastrand::Rng,
    kills: usize,
    round: usize,
    /// Rounds in which the kill came after the first write to an object and before the last.
    cut_short: usize,
}

#[tokio::test]
async fn killed_thirty_times_during_sync_prune_and_deletion_it_always_converges_and_deletes_nothing_else() {
    let installation = Installation::start("kill").await;
    let target = installation.target("t").await;
    let repository = installation.repository("kill");
    let mut lasting = Wanted::new();
    let mut passing = Wanted::new();
    for index in 0..OBJECTS {
        lasting.insert(format!("lasting-{index}"), "0".to_owned());
        passing.insert(format!("passing-{index}"), "0".to_owned());
    }
    let all = lasting.iter().map(|(name, value)| (format!("lasting/{name}.yaml"), manifest(name, value)));
    let all = all.chain(passing.iter().map(|(name, value)| (format!("passing/{name}.yaml"), manifest(name, value))));
    let mut commit = repository.commit(all);
    let mut scene = Scene {
        installation,
        target,
        repository,
        random: fastrand::Rng::with_seed(SEED),
        kills: 0,
        round: 0,
        cut_short: 0,
    };
    scene.declare("lasting").await;
    scene.declare("passing").await;
    scene.installation.synced("lasting", &commit).await;
    scene.installation.synced("passing", &commit).await;
    let bystanders = scene.make_bystanders().await;

    while scene.kills < KILLS {
        scene.round += 1;
        let before = scene.uids().await;
        let audit = scene.installation.audit();
        let (expected, written): (BTreeSet<String>, usize) = if scene.round.is_multiple_of(3) {
            scene.installation.cluster.delete(APPLICATION, &scene.installation.namespace, "passing").await;
            let written = scene.kill_at_random(&audit).await;
            scene.gone("passing").await;
            (passing.keys().cloned().collect(), written)
        } else {
            let (removed, tip) = scene.change(&mut lasting);
            commit = tip;
            scene.installation.ask_refresh(APPLICATION, "lasting").await;
            let written = scene.kill_at_random(&audit).await;
            scene.installation.synced("lasting", &commit).await;
            (removed, written)
        };
        if (1..audit.writes_in(&scene.target).len()).contains(&written) {
            scene.cut_short += 1;
        }

        let deleted: BTreeSet<String> = audit.deletions().into_iter().map(|deletion| deletion.name).collect();
        assert!(deleted.is_subset(&expected), "deleted and not expected: {:?}", deleted.difference(&expected));
        let after = scene.uids().await;
        for name in &expected {
            assert!(!after.contains_key(name), "round {}: {name} should be gone", scene.round);
        }
        for (name, uid) in before.iter().filter(|(name, _)| !expected.contains(*name)) {
            assert_eq!(after.get(name), Some(uid), "round {}: {name} was deleted or made again", scene.round);
        }
        if scene.round.is_multiple_of(3) {
            scene.declare("passing").await;
            scene.installation.synced("passing", &commit).await;
        }
        scene.assert_content(lasting.iter().chain(&passing), &bystanders).await;
    }
    // Otherwise the test proves nothing. Half of the rounds aim at the middle of the writes.
    assert!(scene.cut_short >= 3, "only {} of {} rounds were killed in mid-work", scene.cut_short, scene.round);
    scene.installation.finish().await;
}

#[tokio::test]
async fn a_restart_with_an_empty_disk_writes_no_object_that_is_in_sync() {
    let mut installation = Installation::start("disk").await;
    let target = installation.target("t").await;
    let repository = installation.repository("disk");
    let files = (0..OBJECTS).map(|index| format!("cm-{index}")).collect::<Vec<_>>();
    let commit = repository.commit(files.iter().map(|name| (format!("app/{name}.yaml"), manifest(name, "1"))));
    installation.declare(Application::named("app", &repository.url, "app", &target).with_finalizer()).await;
    installation.synced("app", &commit).await;

    let audit = installation.audit();
    installation.operator.stop().await;
    installation.operator.lose_state();
    installation.operator.start().await;
    installation.refresh("app").await;
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());

    // What it owns is known to it all the same.
    installation.operator.kill9();
    installation.operator.start().await;
    let second = repository.commit([("app/cm-7.yaml", Change::Gone)]);
    installation.follow("app", &second).await;
    assert_eq!(lines(&audit.writes_in(&target)), [format!("delete configmaps {target}/cm-7")]);
    installation.finish().await;
}

impl Scene {
    async fn declare(&self, name: &str) {
        self.installation
            .declare(
                Application::named(name, &self.repository.url, name, &self.target).with_finalizer().retrying_soon(),
            )
            .await;
    }

    /// Objects that look more or less like ours.
    async fn make_bystanders(&self) -> BTreeMap<String, Value> {
        let ours = self.installation.cluster.must_get(CONFIG_MAP, &self.target, "lasting-0").await;
        let mut made = BTreeMap::new();
        for (name, labels, annotations) in [
            ("bystander-plain", json!({}), json!({})),
            ("bystander-label", ours["metadata"]["labels"].clone(), json!({})),
            ("bystander-marks", ours["metadata"]["labels"].clone(), ours["metadata"]["annotations"].clone()),
        ] {
            let object = self
                .installation
                .cluster
                .apply(json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": name, "namespace": self.target, "labels": labels, "annotations": annotations},
                    "data": {"value": "precious"},
                }))
                .await;
            made.insert(name.to_owned(), object);
        }
        made
    }

    /// Changes about a third of the objects, removes some and brings others back; what was removed, and the commit.
    fn change(&mut self, wanted: &mut Wanted) -> (BTreeSet<String>, String) {
        let mut changes = Vec::new();
        let mut removed = BTreeSet::new();
        for index in 0..OBJECTS {
            let name = format!("lasting-{index}");
            match self.random.u8(..6) {
                0 | 1 => {
                    let value = format!("{}", self.round);
                    changes.push((format!("lasting/{name}.yaml"), manifest(&name, &value)));
                    wanted.insert(name, value);
                }
                // One object stays for ever, so that the source never renders nothing.
                2 if index > 0 && wanted.remove(&name).is_some() => {
                    changes.push((format!("lasting/{name}.yaml"), Change::Gone));
                    removed.insert(name);
                }
                _ => {}
            }
        }
        changes.push(("lasting/lasting-0.yaml".to_owned(), manifest("lasting-0", &self.round.to_string())));
        wanted.insert("lasting-0".to_owned(), self.round.to_string());
        (removed, self.repository.commit(changes))
    }

    /// Kills the operator at a random moment of what it was just asked to do, sometimes again while it starts, and
    /// starts it for good. Returns how many writes to objects the first kill came after.
    async fn kill_at_random(&mut self, audit: &Audit) -> usize {
        if self.random.bool() {
            // In the middle of the writes, for certain.
            let target = self.target.clone();
            let _ = wait_until(Duration::from_secs(20), async || {
                if audit.writes_in(&target).is_empty() { Err(String::new()) } else { Ok(()) }
            })
            .await;
            tokio::time::sleep(Duration::from_millis(self.random.u64(..40))).await;
        } else {
            tokio::time::sleep(Duration::from_millis(self.random.u64(..400))).await;
        }
        self.installation.operator.kill9();
        self.kills += 1;
        let written = audit.writes_in(&self.target).len();
        while self.kills < KILLS && self.random.u8(..3) == 0 {
            self.installation.operator.spawn();
            tokio::time::sleep(Duration::from_millis(self.random.u64(..1000))).await;
            self.installation.operator.kill9();
            self.kills += 1;
        }
        self.installation.operator.start().await;
        written
    }

    async fn gone(&self, name: &str) {
        self.installation
            .wait(&format!("Application {name} has deleted what it owned and is gone"), async || {
                match self.installation.cluster.get(APPLICATION, &self.installation.namespace, name).await {
                    None => Ok(()),
                    Some(object) => Err(format!("{:#}", object["status"])),
                }
            })
            .await;
    }

    async fn uids(&self) -> BTreeMap<String, String> {
        let objects = self.installation.cluster.list(CONFIG_MAP, &self.target).await;
        objects.iter().map(|object| (name_of(object).to_owned(), uid_of(object).to_owned())).collect()
    }

    async fn assert_content<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a String, &'a String)>,
        bystanders: &BTreeMap<String, Value>,
    ) {
        let mut expected: BTreeMap<String, String> =
            wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
        expected.extend(bystanders.keys().map(|name| (name.clone(), "precious".to_owned())));
        let objects = self.installation.cluster.list(CONFIG_MAP, &self.target).await;
        let found: BTreeMap<String, String> = objects
            .iter()
            .filter(|object| name_of(object) != "kube-root-ca.crt")
            .map(|object| (name_of(object).to_owned(), object["data"]["value"].as_str().unwrap_or_default().to_owned()))
            .collect();
        assert_eq!(found, expected, "round {} after {} kills", self.round, self.kills);
        for (name, made) in bystanders {
            let now = self.installation.cluster.must_get(CONFIG_MAP, &self.target, name).await;
            assert_eq!(now["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"], "{name} was touched");
        }
    }
}
