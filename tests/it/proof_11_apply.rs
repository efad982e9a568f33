//! How objects are written: validation, replacement, force, takeover of what other tools wrote, trials before the first write.

use serde_json::{Value, json};
use tidelock::apply::{
    ApplyOptions, DeleteProof, Deleted, FieldsRemoved, Mode, NamespaceMetadata, Outcome, Propagation, Trial,
    Validation, predecessors,
};
use tidelock::model::Reason;
use tidelock::preflight::Change;

use crate::support::cluster::{CONFIG_MAP, DEPLOYMENT, Kind, NAMESPACE, SECRET, uid_of};
use crate::support::direct::{Direct, managers, own_fields};
use crate::support::waiting::{PATIENCE, wait_until};

const REPLICA_SET: Kind = Kind("apps/v1", "ReplicaSet");
const DEFINITION: Kind = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition");

fn config(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment(app: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": {"app": app}},
                "spec": {"containers": [{"name": "app", "image": "tidelock.local/demo:1", "args": ["serve"]}]},
            },
        },
    })
}

fn definition(plural: &str, kind: &str, watts: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.direct.test")},
        "spec": {
            "group": "direct.test", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "required": ["watts"], "properties": {"watts": watts}}},
            }}}],
        },
    })
}

fn taking_over() -> ApplyOptions {
    ApplyOptions { take_over: predecessors([]), ..ApplyOptions::default() }
}

#[tokio::test]
async fn what_cannot_be_changed_is_made_anew_only_by_force_and_only_when_the_new_would_be_taken() {
    let direct = Direct::start("force").await;
    let first = direct.apply(deployment("one", 0), &ApplyOptions::default()).await;
    assert_eq!((first.outcome, first.recreated), (Outcome::Created, false));

    let refused = direct.try_apply(deployment("two", 0), &ApplyOptions::default()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ImmutableField, "{refused}");

    let forced = ApplyOptions { force: direct.force(), ..taking_over() };
    let invalid = direct.try_apply(deployment("two", -1), &forced).await.unwrap_err();
    assert!(invalid.message.contains("nothing was deleted"), "{invalid}");
    let kept = direct.cluster.must_get(DEPLOYMENT, &direct.namespace, "web").await;
    assert_eq!(uid_of(&kept), first.uid);

    let trial = direct.apply(deployment("two", 0), &ApplyOptions { mode: Mode::DryRun, ..forced.clone() }).await;
    assert_eq!((trial.recreated, trial.uid.as_str()), (true, first.uid.as_str()));

    let again = direct.apply(deployment("two", 0), &forced).await;
    assert_eq!((again.outcome, again.recreated), (Outcome::Configured, true));
    let live = direct.cluster.must_get(DEPLOYMENT, &direct.namespace, "web").await;
    assert_eq!(live["spec"]["selector"]["matchLabels"]["app"], json!("two"));
    assert_eq!(uid_of(&live), again.uid);
    assert_ne!(again.uid, first.uid);
    direct.finish().await;
}

#[tokio::test]
async fn force_never_deletes_what_belongs_to_another_application_nor_a_volume_claim() {
    let direct = Direct::start("never").await;
    let other = Direct::start("never-other").await;
    let mut theirs = deployment("one", 0);
    theirs["metadata"]["namespace"] = json!(direct.namespace);
    let made = other.apply(theirs, &ApplyOptions::default()).await;
    let forced = ApplyOptions { force: direct.force(), ..ApplyOptions::default() };
    let refused = direct.try_apply(deployment("two", 0), &forced).await.unwrap_err();
    assert!(refused.message.contains("it belongs to it/never-other"), "{refused}");
    let kept = direct.cluster.must_get(DEPLOYMENT, &direct.namespace, "web").await;
    assert_eq!(uid_of(&kept), made.uid);

    let claim = |class: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
               "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                        "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let made = direct.apply(claim("a"), &ApplyOptions::default()).await;
    let refused = direct.try_apply(claim("b"), &forced).await.unwrap_err();
    assert!(refused.message.contains("a PersistentVolumeClaim is never deleted to be made anew"), "{refused}");
    let kept = direct.cluster.must_get(Kind("v1", "PersistentVolumeClaim"), &direct.namespace, "data").await;
    assert_eq!(uid_of(&kept), made.uid);
    other.finish().await;
    direct.finish().await;
}

#[tokio::test]
async fn a_secret_is_made_anew_and_taken_over_without_a_word_of_what_it_holds() {
    let direct = Direct::start("force-secret").await;
    let secret = |value: &str, kind: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "immutable": true, "type": kind,
               "stringData": {"token": value}})
    };
    direct.kubectl_apply(secret("first-value", "Opaque"));
    let before = direct.cluster.must_get(SECRET, &direct.namespace, "login").await;
    let refused = direct.try_apply(secret("second-value", "Opaque"), &taking_over()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ImmutableField, "{refused}");
    let forced = ApplyOptions { force: direct.force(), ..taking_over() };
    let invalid = direct.try_apply(secret("second-value", "kubernetes.io/tls"), &forced).await.unwrap_err();
    assert!(invalid.message.contains("nothing was deleted"), "{invalid}");
    for error in [refused, invalid] {
        assert!(!error.message.contains("-value") && !error.message.contains("LXZhbHVl"), "{error}");
    }
    let made = direct.apply(secret("second-value", "Opaque"), &forced).await;
    assert!(made.recreated && made.uid != uid_of(&before), "{made:?}");
    assert_eq!(made.response.get("data"), None, "only metadata of a Secret is ever read");
    let live = direct.cluster.must_get(SECRET, &direct.namespace, "login").await;
    assert_eq!(live["data"]["token"], json!("c2Vjb25kLXZhbHVl"));
    assert_eq!(live["metadata"]["annotations"].get("kubectl.kubernetes.io/last-applied-configuration"), None);
    direct.finish().await;
}

#[tokio::test]
async fn a_replacement_removes_what_others_added_and_leaves_the_record_by_which_drift_is_seen() {
    let direct = Direct::start("replace").await;
    let replace = ApplyOptions { replace: true, ..taking_over() };
    let first = direct.apply(config("a", json!({"one": "1", "two": "2"})), &replace).await;
    assert_eq!(first.outcome, Outcome::Created);
    let plain = own_fields(&first.response);
    let patch = json!({"data": {"extra": "x"}, "metadata": {"finalizers": ["direct.test/hold"]}});
    direct.cluster.merge(CONFIG_MAP, &direct.namespace, "a", patch).await;

    let second = direct.apply(config("a", json!({"one": "1", "two": "3"})), &replace).await;
    assert_eq!((second.outcome, second.uid.as_str()), (Outcome::Configured, first.uid.as_str()));
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["data"], json!({"one": "1", "two": "3"}));
    assert_eq!(live["metadata"]["finalizers"], json!(["direct.test/hold"]));
    assert_eq!(own_fields(&live), plain, "the record is the one of an apply");
    assert_eq!(managers(&live), ["a-person/Update", "tidelock/Apply"]);

    let third = direct.apply(config("a", json!({"one": "1", "two": "3"})), &replace).await;
    assert_eq!(third.outcome, Outcome::Unchanged);

    direct.apply(config("a", json!({"one": "1"})), &ApplyOptions::default()).await;
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["data"], json!({"one": "1"}), "a field that git drops later goes");
    direct.cluster.merge(CONFIG_MAP, &direct.namespace, "a", json!({"metadata": {"finalizers": null}})).await;
    direct.finish().await;
}

#[tokio::test]
async fn a_definition_is_replaced_in_place_and_its_objects_live_on() {
    let direct = Direct::start("replace-crd").await;
    let replace = ApplyOptions { replace: true, force: direct.force(), ..ApplyOptions::default() };
    let first = direct.apply(definition("lamps", "Lamp", json!({"type": "integer"})), &replace).await;
    let lamp = json!({"apiVersion": "direct.test/v1", "kind": "Lamp",
                      "metadata": {"name": "desk", "namespace": direct.namespace}, "spec": {"watts": 3}});
    let made = wait_until(PATIENCE, async || {
        direct.cluster.try_apply_as("test", lamp.clone()).await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    let wider = definition("lamps", "Lamp", json!({"type": "integer", "maximum": 100}));
    let second = direct.apply(wider, &replace).await;
    assert_eq!((second.uid.as_str(), second.recreated), (first.uid.as_str(), false));
    let live = direct.cluster.must_get(Kind("direct.test/v1", "Lamp"), &direct.namespace, "desk").await;
    assert_eq!(uid_of(&live), uid_of(&made));
    direct.cluster.delete(DEFINITION, "", "lamps.direct.test").await;
    direct.finish().await;
}

#[tokio::test]
async fn a_namespace_is_replaced_in_place() {
    let direct = Direct::start("replace-ns").await;
    let name = format!("{}-replaced", direct.namespace);
    let namespace = |team: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}});
    let replace = ApplyOptions { replace: true, force: direct.force(), ..ApplyOptions::default() };
    let first = direct.apply(namespace("a"), &replace).await;
    let second = direct.apply(namespace("b"), &replace).await;
    assert_eq!((second.uid.as_str(), second.outcome), (first.uid.as_str(), Outcome::Configured));
    let live = direct.cluster.must_get(NAMESPACE, "", &name).await;
    assert_eq!((&live["metadata"]["labels"]["team"], &live["status"]["phase"]), (&json!("b"), &json!("Active")));
    assert_eq!(live["spec"]["finalizers"], json!(["kubernetes"]));
    direct.cluster.delete(NAMESPACE, "", &name).await;
    direct.finish().await;
}

#[tokio::test]
async fn fields_of_another_manager_are_taken_over_where_git_sets_them_and_left_where_it_does_not() {
    let direct = Direct::start("conflict").await;
    let mut theirs = config("a", json!({"shared": "theirs", "own": "theirs"}));
    theirs["metadata"]["namespace"] = json!(direct.namespace);
    direct.cluster.apply_as("somebody", theirs).await;
    let before = direct.requests();
    direct.apply(config("a", json!({"shared": "ours"})), &taking_over()).await;
    assert_eq!(direct.requests() - before, 1, "nothing more is asked where there is nothing to take over");
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["data"], json!({"shared": "ours", "own": "theirs"}));
    direct.finish().await;
}

#[tokio::test]
async fn what_kubectl_applied_and_git_does_not_have_goes_with_the_adoption_or_later() {
    let direct = Direct::start("kubectl").await;
    direct.kubectl_apply(config("a", json!({"one": "1", "two": "2", "old": "x"})));
    direct.apply(config("a", json!({"one": "1", "two": "2"})), &taking_over()).await;
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["data"], json!({"one": "1", "two": "2"}));
    assert_eq!(managers(&live), ["tidelock/Apply"]);
    assert_eq!(live["metadata"]["annotations"].get("kubectl.kubernetes.io/last-applied-configuration"), None);
    let before = direct.requests();
    direct.apply(config("a", json!({"one": "1"})), &taking_over()).await;
    assert_eq!(direct.requests() - before, 1);
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["data"], json!({"one": "1"}));
    direct.finish().await;
}

#[tokio::test]
async fn an_adoption_that_is_expected_changes_the_object_once() {
    let direct = Direct::start("look-first").await;
    let mut old = deployment("one", 0);
    old["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "OLD", "value": "x"}]);
    old["spec"]["template"]["spec"]["nodeSelector"] = json!({"old": "x"});
    direct.kubectl_apply(old);
    let mut new = deployment("one", 0);
    new["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "NEW", "value": "y"}]);
    let looking = ApplyOptions { look_first: true, ..taking_over() };
    let adopted = direct.apply(new, &looking).await;
    assert_eq!((adopted.outcome, adopted.generation), (Outcome::Configured, 2));
    let live = direct.cluster.must_get(DEPLOYMENT, &direct.namespace, "web").await;
    let pod = &live["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["env"], json!([{"name": "NEW", "value": "y"}]));
    assert_eq!(pod.get("nodeSelector"), None);
    assert_eq!(live["metadata"]["annotations"].get("kubectl.kubernetes.io/last-applied-configuration"), None);
    assert!(managers(&live).iter().all(|manager| !manager.starts_with("kubectl")), "{:?}", managers(&live));
    direct.finish().await;
}

#[tokio::test]
async fn without_the_takeover_what_kubectl_applied_stays() {
    let direct = Direct::start("no-takeover").await;
    direct.kubectl_apply(config("a", json!({"one": "1", "old": "x"})));
    direct.apply(config("a", json!({"one": "1"})), &ApplyOptions::default()).await;
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["data"], json!({"one": "1", "old": "x"}));
    direct.finish().await;
}

#[tokio::test]
async fn what_argo_cd_applied_becomes_ours_with_its_marks_gone() {
    let direct = Direct::start("argo").await;
    let mut theirs = config("a", json!({"one": "1", "old": "x"}));
    theirs["metadata"]["namespace"] = json!(direct.namespace);
    theirs["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:shop/a"});
    direct.cluster.apply_as("argocd-controller", theirs).await;
    direct.apply(config("a", json!({"one": "1"})), &taking_over()).await;
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["data"], json!({"one": "1"}));
    assert_eq!(live["metadata"]["annotations"].get("argocd.argoproj.io/tracking-id"), None);
    assert_eq!(managers(&live), ["tidelock/Apply"]);
    direct.finish().await;
}

#[tokio::test]
async fn undeclared_fields_are_refused_unless_validation_is_off() {
    let direct = Direct::start("validate").await;
    let mut typo = deployment("one", 0);
    typo["spec"]["replikas"] = json!(3);
    typo["spec"]["template"]["spec"]["containers"][0]["imgae"] = json!("x");
    let refused = direct.try_apply(typo.clone(), &ApplyOptions::default()).await.unwrap_err();
    assert!(refused.message.contains("replikas"), "{refused}");
    let lenient = ApplyOptions { validation: Validation::Ignore, ..ApplyOptions::default() };
    let made = direct.apply(typo, &lenient).await;
    assert_eq!(made.outcome, Outcome::Created);
    direct.finish().await;
}

#[tokio::test]
async fn an_orphaning_delete_leaves_the_dependents() {
    let direct = Direct::start("orphan").await;
    let desired = direct.desired(deployment("one", 0));
    let made = direct.apply(deployment("one", 0), &ApplyOptions::default()).await;
    let child = wait_until(PATIENCE, async || {
        direct.cluster.list(REPLICA_SET, &direct.namespace).await.into_iter().next().ok_or("no ReplicaSet".to_owned())
    })
    .await
    .unwrap();
    let proof = DeleteProof { owner: direct.owner.clone(), uid: made.uid.clone() };
    let deleted = direct.applier.delete(&desired.key, &proof, Propagation::Orphan).await.unwrap();
    assert_eq!(deleted, Deleted::Requested);
    wait_until(PATIENCE, async || match direct.cluster.get(DEPLOYMENT, &direct.namespace, "web").await {
        None => Ok(()),
        Some(_) => Err("the Deployment is still there".to_owned()),
    })
    .await
    .unwrap();
    let left = direct.cluster.list(REPLICA_SET, &direct.namespace).await;
    assert_eq!(left.iter().map(uid_of).collect::<Vec<_>>(), [uid_of(&child)]);
    assert_eq!(left[0]["metadata"].get("ownerReferences"), None);
    direct.finish().await;
}

#[tokio::test]
async fn a_namespace_gets_and_loses_what_is_wanted_of_it_and_is_not_written_without_need() {
    let direct = Direct::start("namespace").await;
    let name = format!("{}-made", direct.namespace);
    let metadata = |labels: &[(&str, &str)]| NamespaceMetadata {
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..NamespaceMetadata::default()
    };
    let ensure = async |labels: &[(&str, &str)]| {
        direct.applier.ensure_namespace(&name, &direct.owner, &metadata(labels)).await.unwrap()
    };
    assert_eq!(ensure(&[("team", "a"), ("tier", "1")]).await, Outcome::Created);
    assert_eq!(ensure(&[("team", "a"), ("tier", "1")]).await, Outcome::Unchanged);
    direct.cluster.merge(NAMESPACE, "", &name, json!({"metadata": {"labels": {"by-hand": "yes"}}})).await;
    assert_eq!(ensure(&[("team", "a")]).await, Outcome::Configured);
    let live = direct.cluster.must_get(NAMESPACE, "", &name).await;
    assert_eq!(live["metadata"]["labels"], json!({"team": "a", "by-hand": "yes", "kubernetes.io/metadata.name": name}));
    assert_eq!(ensure(&[]).await, Outcome::Configured);
    assert_eq!(ensure(&[]).await, Outcome::Unchanged);
    direct.cluster.delete(NAMESPACE, "", &name).await;
    direct.finish().await;
}

#[tokio::test]
async fn fields_are_removed_only_from_the_version_that_they_were_found_in() {
    let direct = Direct::start("remove").await;
    let desired = direct.desired(config("a", json!({"one": "1"})));
    direct.apply(config("a", json!({"one": "1"})), &ApplyOptions::default()).await;
    let edited = direct
        .cluster
        .merge(CONFIG_MAP, &direct.namespace, "a", json!({"metadata": {"annotations": {"x/y": "z"}}}))
        .await;
    let version: u64 = edited["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let fields = ["/metadata/annotations/x~1y".to_owned()];
    let remove = async |uid: &str, version| {
        direct.applier.remove_fields(&desired.key, &desired.gvk, uid, version, &fields).await.unwrap()
    };
    assert_eq!(remove(uid_of(&edited), version - 1).await, FieldsRemoved::Changed);
    assert_eq!(remove("another", version).await, FieldsRemoved::Changed);
    assert!(matches!(remove(uid_of(&edited), version).await, FieldsRemoved::Removed(_)));
    let live = direct.cluster.must_get(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(live["metadata"]["annotations"].get("x/y"), None);
    direct.cluster.delete(CONFIG_MAP, &direct.namespace, "a").await;
    assert_eq!(remove(uid_of(&edited), version).await, FieldsRemoved::Gone);
    direct.finish().await;
}

#[tokio::test]
async fn a_trial_judges_new_kinds_by_the_schema_that_comes_along_and_writes_nothing() {
    let direct = Direct::start("preflight").await;
    let bulb = |name: &str, watts: Value| json!({"apiVersion": "direct.test/v1", "kind": "Bulb", "metadata": {"name": name}, "spec": {"watts": watts}});
    let mut elsewhere = config("elsewhere", json!({}));
    elsewhere["metadata"]["namespace"] = json!("not-there-yet");
    let mut nowhere = config("nowhere", json!({}));
    nowhere["metadata"]["namespace"] = json!("never-there");
    let objects: Vec<_> = [
        definition("bulbs", "Bulb", json!({"type": "integer", "maximum": 100})),
        bulb("fits", json!(60)),
        bulb("too-bright", json!(1000)),
        config("fine", json!({"a": "b"})),
        config("wrong", json!({"a": ["b"]})),
        elsewhere,
        nowhere,
    ]
    .map(|object| direct.desired(object))
    .into();
    let change = Change::of(&objects, |_| true, Some("not-there-yet"));
    let trials = objects
        .iter()
        .map(|object| Trial {
            object: object.clone().into(),
            options: taking_over(),
            skips_missing: false,
            is_made_anew: false,
        })
        .collect();
    let report = direct.applier.preflight(trials, &change).await;
    assert_eq!(report.verified, 2, "{report:#?}");
    let unverified: Vec<&str> = report.unverified.iter().map(|found| found.key.name.as_str()).collect();
    assert_eq!(unverified, ["elsewhere", "fits"]);
    let refused: Vec<_> = report.refused.iter().map(|found| (found.key.name.as_str(), found.reason)).collect();
    assert_eq!(
        refused,
        [
            ("wrong", Reason::InvalidObject),
            ("nowhere", Reason::NamespaceNotFound),
            ("too-bright", Reason::InvalidObject),
        ]
    );
    assert!(report.refused[2].message.contains(".spec.watts: must be at most 100"), "{report:#?}");
    assert!(!report.passes());
    assert_eq!(direct.cluster.get(CONFIG_MAP, &direct.namespace, "fine").await, None);
    assert_eq!(direct.cluster.get(DEFINITION, "", "bulbs.direct.test").await, None);
    direct.finish().await;
}

#[tokio::test]
async fn a_trial_allows_a_field_that_the_same_change_adds_to_a_definition() {
    let direct = Direct::start("preflight-update").await;
    let old = definition("spots", "Spot", json!({"type": "integer"}));
    direct.apply(old.clone(), &ApplyOptions::default()).await;
    let mut new = old;
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    new.pointer_mut(properties).unwrap()["color"] = json!({"type": "string", "enum": ["red"]});
    let spot = |name: &str, color: &str| {
        json!({"apiVersion": "direct.test/v1", "kind": "Spot", "metadata": {"name": name},
               "spec": {"watts": 1, "color": color}})
    };
    wait_until(PATIENCE, async || {
        let there = direct.surface.refresh(std::time::Duration::ZERO).await.map_err(|error| error.to_string())?;
        let kind = tidelock::model::GroupKind::new("direct.test", "Spot");
        there.kinds.contains_key(&kind).then_some(()).ok_or("the kind is not served yet".to_owned())
    })
    .await
    .unwrap();
    let objects: Vec<_> = [new, spot("red", "red"), spot("blue", "blue")].map(|object| direct.desired(object)).into();
    let try_with = async |change: Change| {
        let trials = objects
            .iter()
            .skip(1)
            .map(|object| Trial {
                object: object.clone().into(),
                options: taking_over(),
                skips_missing: false,
                is_made_anew: false,
            })
            .collect();
        direct.applier.preflight(trials, &change).await
    };
    let report = try_with(Change::of(&objects, |_| true, None)).await;
    let names = |keys: Vec<&str>| keys.join(" ");
    assert_eq!(names(report.unverified.iter().map(|found| found.key.name.as_str()).collect()), "red", "{report:#?}");
    assert_eq!(names(report.refused.iter().map(|found| found.key.name.as_str()).collect()), "blue", "{report:#?}");
    let alone = try_with(Change::of(&objects, |key| key.kind == "Spot", None)).await;
    assert_eq!(alone.refused.len(), 2, "without the new definition the server's word counts: {alone:#?}");
    direct.cluster.delete(DEFINITION, "", "spots.direct.test").await;
    direct.finish().await;
}

#[tokio::test]
async fn what_the_old_object_holds_does_not_keep_the_new_one_from_being_made() {
    let direct = Direct::start("force-port").await;
    let service = |cluster_ip: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "type": "NodePort", "clusterIP": cluster_ip, "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "nodePort": 31_777}],
        }})
    };
    let network = {
        let made = direct.cluster.must_get(Kind("v1", "Service"), "default", "kubernetes").await;
        let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
        address.rsplit_once('.').unwrap().0.to_owned()
    };
    let first = direct.apply(service(&format!("{network}.201")), &ApplyOptions::default()).await;
    let forced = ApplyOptions { force: direct.force(), ..ApplyOptions::default() };
    let second = direct.apply(service(&format!("{network}.202")), &forced).await;
    assert!(second.recreated && second.uid != first.uid, "{second:?}");
    direct.cluster.delete(Kind("v1", "Service"), &direct.namespace, "web").await;
    direct.finish().await;
}

#[tokio::test]
async fn an_adopted_object_that_cannot_be_changed_is_replaced_by_force() {
    let direct = Direct::start("force-adopt").await;
    let job = |image: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "seed"}, "spec": {
            "suspend": true,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": image}]}},
        }})
    };
    direct.kubectl_apply(job("tidelock.local/demo:1"));
    let before = direct.cluster.must_get(Kind("batch/v1", "Job"), &direct.namespace, "seed").await;
    let forced = ApplyOptions { replace: true, force: direct.force(), ..taking_over() };
    let made = direct.apply(job("tidelock.local/demo:2"), &forced).await;
    assert_eq!((made.outcome, made.recreated), (Outcome::Configured, true));
    assert_ne!(made.uid, uid_of(&before));
    let live = direct.cluster.must_get(Kind("batch/v1", "Job"), &direct.namespace, "seed").await;
    assert_eq!(managers(&live), ["tidelock/Apply"]);
    direct.finish().await;
}
