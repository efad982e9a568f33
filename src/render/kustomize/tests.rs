use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use super::super::kustomization::edit;
use crate::api::KustomizeSource;
use crate::model::Reason;
use crate::render::fixture::{render, summary, tools};
use crate::render::memory::MemoryFiles;
use crate::render::yaml::{DuplicateKeys, YamlLimits, decode};
use crate::render::{RenderError, Tool};

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  \
    selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
    spec: {containers: [{name: c, image: \"web:1\"}]}\n";

fn tree() -> MemoryFiles {
    MemoryFiles::new()
        .file("base/kustomization.yaml", "resources: [web.yaml, ../plain]\n")
        .file("base/web.yaml", DEPLOYMENT)
        .file("plain/kustomization.yml", "resources:\n- sa.yaml\n")
        .file("plain/sa.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n")
        .file(
            "prod/kustomization.yaml",
            "resources: [../base]\ncomponents: [../tls]\nnamePrefix: prod-\npatches:\n- path: patch.yaml\n\
             configMapGenerator:\n- name: conf\n  files: [app.conf, key=sub/other.conf]\n  literals: [a=../../x]\n\
             secretGenerator:\n- name: creds\n  envs: [creds.env]\n",
        )
        .file(
            "prod/patch.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {minReadySeconds: 3}\n",
        )
        .file("prod/app.conf", "x=1")
        .file("prod/sub/other.conf", "y=2")
        .file("prod/creds.env", "password=canary-in-env\n")
        .file(
            "tls/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [c.yaml]\n",
        )
        .file("tls/c.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: tls}\nstringData: {k: canary-in-secret}\n")
        .file("unrelated/big.bin", "zzz")
}

fn failure(files: &MemoryFiles, source: &Value) -> RenderError {
    render(files, source).unwrap_err()
}

#[test]
fn an_overlay_renders_with_everything_it_refers_to() {
    let rendered = render(&tree(), &json!({"path": "prod"})).unwrap();
    assert_eq!(rendered.tool, Tool::Kustomize);
    let kinds: BTreeMap<String, Value> = rendered
        .manifests
        .iter()
        .map(|manifest| (format!("{} {}", manifest.gvk().kind, manifest.name()), manifest.object.clone()))
        .collect();
    let names: Vec<&str> =
        kinds.keys().map(|name| name.rsplit_once('-').map_or(name.as_str(), |_| name.as_str())).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(kinds["Deployment prod-web"]["spec"]["minReadySeconds"], json!(3));
    let (_, config) = kinds.iter().find(|(name, _)| name.starts_with("ConfigMap prod-conf-")).unwrap();
    assert_eq!(config["data"], json!({"app.conf": "x=1", "key": "y=2", "a": "../../x"}));
    assert!(summary(&rendered).iter().all(|line| line.starts_with("prod/kustomization.yaml ")));
}

#[test]
fn only_what_an_overlay_refers_to_makes_it_stale() {
    let rendered = render(&tree(), &json!({"path": "prod"})).unwrap();
    assert!(rendered.inputs.unchanged(&tree()));
    assert!(rendered.inputs.unchanged(&tree().file("unrelated/big.bin", "new").file("base/unused.yaml", "x")));
    for changed in ["base/web.yaml", "plain/sa.yaml", "prod/sub/other.conf", "prod/creds.env", "tls/c.yaml"] {
        assert!(!rendered.inputs.unchanged(&tree().file(changed, "changed: 1")), "{changed}");
    }
    assert!(!rendered.inputs.unchanged(&tree().file("base/kustomization.yml", "")), "a second kustomization");
}

#[test]
fn options_of_the_application_are_applied_to_its_private_copy() {
    let options = json!({
        "namePrefix": "eu-", "nameSuffix": "-1", "namespace": "shop", "images": ["web=registry.local/web:2"],
        "replicas": [{"name": "web", "count": 4}], "commonLabels": {"team": "a"}, "commonAnnotations": {"note": "b"},
        "patches": [{"path": "patch.yaml"}], "components": ["../tls", "../none"], "ignoreMissingComponents": true,
    });
    let files = tree().file(
        "base/patch.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {paused: true}\n",
    );
    let rendered = render(&files, &json!({"path": "base", "kustomize": options})).unwrap();
    let deployment = rendered.manifests.iter().find(|manifest| manifest.gvk().kind == "Deployment").unwrap();
    let object = &deployment.object;
    assert_eq!((deployment.name(), deployment.namespace()), ("eu-web-1", "shop"));
    assert_eq!(object["spec"]["replicas"], json!(4));
    assert_eq!(object["spec"]["paused"], json!(true));
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], json!("registry.local/web:2"));
    assert_eq!(object["spec"]["selector"]["matchLabels"], json!({"app": "web", "team": "a"}));
    assert_eq!(deployment.annotation("note"), Some("b"));
    assert!(rendered.manifests.iter().any(|manifest| manifest.gvk().kind == "Secret"));
}

#[test]
fn edits_are_those_of_kustomize_edit() {
    let before = json!({"resources": ["web.yaml"], "namePrefix": "old-", "commonLabels": {"a": "1"},
        "images": [{"name": "x", "newName": "y", "newTag": "1"}, {"name": "z", "newTag": "0"}],
        "replicas": [{"name": "web", "count": 1}]});
    for (arguments, options) in [
        (&["set", "nameprefix", "--", "new-"][..], json!({"namePrefix": "new-"})),
        (&["set", "namesuffix", "--", "-s"], json!({"nameSuffix": "-s"})),
        (&["set", "namespace", "ns"], json!({"namespace": "ns"})),
        (&["set", "image", "x=*:2"], json!({"images": ["x=*:2"]})),
        (&["set", "image", "x:3"], json!({"images": ["x:3"]})),
        (&["set", "image", "x=host:5000/a/b"], json!({"images": ["x=host:5000/a/b"]})),
        (&["set", "image", "z=q:1@sha256:0123"], json!({"images": ["z=q:1@sha256:0123"]})),
        (&["set", "image", "n=m@sha256:0123"], json!({"images": ["n=m@sha256:0123"]})),
        (&["set", "replicas", "web=3"], json!({"replicas": [{"name": "web", "count": 3}]})),
        (&["add", "label", "b:2"], json!({"commonLabels": {"b": "2"}})),
        (&["add", "label", "--force", "a:2"], json!({"commonLabels": {"a": "2"}, "forceCommonLabels": true})),
        (&["add", "annotation", "c:d"], json!({"commonAnnotations": {"c": "d"}})),
    ] {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("web.yaml"), DEPLOYMENT).unwrap();
        std::fs::write(place.path().join("kustomization.yaml"), before.to_string()).unwrap();
        let ran =
            Command::new(tools().kustomize).arg("edit").args(arguments).current_dir(place.path()).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        let text = std::fs::read(place.path().join("kustomization.yaml")).unwrap();
        let decoded = decode(&text, &YamlLimits::default(), DuplicateKeys::Refuse).unwrap();
        let mut expected = decoded.documents[0].value.as_object().unwrap().clone();
        let options: KustomizeSource = serde_json::from_value(options).unwrap();
        let mut found = edit(before.as_object().unwrap().clone(), &options).unwrap();
        for side in [&mut expected, &mut found] {
            side.remove("apiVersion");
            side.remove("kind");
            if let Some(Value::Array(images)) = side.get_mut("images") {
                images.sort_by_key(|image| image["name"].to_string());
            }
        }
        assert_eq!(Value::Object(found), Value::Object(expected), "{arguments:?}");
    }
}

#[test]
fn nothing_is_downloaded_and_nothing_else_is_run() {
    for remote in [
        "https://github.com/a/b//base?ref=v1",
        "github.com/a/b",
        "git@github.com:a/b.git",
        "git::https://x/y",
        "https://raw.example.com/x.yaml",
        "git.example.com/a//b",
    ] {
        let files = tree().file("prod/kustomization.yaml", format!("resources: ['{remote}']\n"));
        let error = failure(&files, &json!({"path": "prod"}));
        assert_eq!(
            (error.reason, error.file.as_str()),
            (Reason::RenderUnsupported, "prod/kustomization.yaml"),
            "{error}"
        );
        assert!(error.message.contains("copy it into this repository"), "{error}");
    }
    let password = tree().file("prod/kustomization.yaml", "resources: ['https://u:canary@x.example/y']\n");
    assert!(!failure(&password, &json!({"path": "prod"})).to_string().contains("canary"));
    let charts = tree().file("prod/kustomization.yaml", "helmCharts: [{name: x}]\n");
    assert_eq!(failure(&charts, &json!({"path": "prod"})).reason, Reason::RenderUnsupported);
    let function = tree().file("prod/kustomization.yaml", "transformers: [f.yaml]\nresources: [../base]\n").file(
        "prod/f.yaml",
        "apiVersion: x/v1\nkind: F\nmetadata:\n  name: f\n  annotations:\n    \
         config.kubernetes.io/function: |\n      exec: {path: ./run}\n",
    );
    let error = failure(&function, &json!({"path": "prod"}));
    assert_eq!(error.reason, Reason::KustomizeFailed, "{error}");
}

#[test]
fn paths_must_exist_and_stay_in_the_repository() {
    for (resource, reason) in [
        ("../none", Reason::KustomizeFailed),
        ("../../etc", Reason::PathEscape),
        ("/etc/passwd", Reason::PathEscape),
        ("link", Reason::PathEscape),
    ] {
        let files = tree()
            .file("prod/kustomization.yaml", format!("resources: ['{resource}']\n"))
            .link("prod/link", "../../outside");
        let error = failure(&files, &json!({"path": "prod"}));
        assert_eq!(error.reason, reason, "{resource}: {error}");
    }
    let through_a_link = tree().link("prod/linked", "../base").file("prod/kustomization.yaml", "resources: [linked]\n");
    assert_eq!(render(&through_a_link, &json!({"path": "prod"})).unwrap().manifests.len(), 2);
}

#[test]
fn failures_show_no_secret_and_no_private_path() {
    let patch = "patches:\n- patch: |-\n    apiVersion: v1\n    kind: Secret\n    metadata: {name: missing}\n    \
                 stringData: {k: canary-in-patch}\nresources: [../base, ../tls-plain]\n";
    let files = tree().file("tls-plain/x.yaml", "kind: Secret\nmetadata: {name: x}\nstringData: {k: canary-x}\n");
    let error = failure(&files.file("prod/kustomization.yaml", patch), &json!({"path": "prod"}));
    assert_eq!(error.reason, Reason::KustomizeFailed);
    assert!(!error.message.contains("canary") && !error.message.contains("tidelock-render"), "{error}");
    let broken = tree().file("prod/patch.yaml", "kind: Secret\nstringData: {k: canary-in-patch}\n");
    let error = failure(&broken, &json!({"path": "prod"}));
    assert_eq!(error.reason, Reason::KustomizeFailed);
    assert!(!error.message.contains("canary"), "{error}");
    let malformed = tree().file("prod/kustomization.yaml", "resources: [../base\nx: canary\n");
    let error = failure(&malformed, &json!({"path": "prod"}));
    assert_eq!((error.reason, error.file.as_str(), error.line), (Reason::InvalidYaml, "prod/kustomization.yaml", 2));
    assert!(!error.to_string().contains("canary"));
}
