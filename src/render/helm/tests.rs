use serde_json::{Value, json};

use crate::model::Reason;
use crate::render::fixture::{render, render_with_charts, summary};
use crate::render::memory::MemoryFiles;
use crate::render::yaml::{DuplicateKeys, YamlLimits, decode};
use crate::render::{ChartArchive, ChartArchives, ChartDependency, RenderError, Tool};

fn chart() -> MemoryFiles {
    MemoryFiles::new()
        .file("apps/pay/Chart.yaml", "apiVersion: v2\nname: pay\nversion: 1.0.0\n")
        .file("apps/pay/values.yaml", "replicas: 1\ntag: v1\nlist: []\nnote: ''\npassword: canary-in-values\n")
        .file("apps/pay/values-prod.yaml", "replicas: 5\n")
        .file("shared/values.yaml", "tag: shared\n")
        .file("apps/pay/crds/w.yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: w}\n")
        .file(
            "apps/pay/templates/cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-cm\n  namespace: {{ .Release.Namespace }}\n\
             data:\n  replicas: {{ .Values.replicas | quote }}\n  tag: {{ .Values.tag | quote }}\n  \
             list: {{ join \"+\" .Values.list | quote }}\n  note: {{ .Values.note | quote }}\n  \
             kube: {{ .Capabilities.KubeVersion.Version }}\n  \
             widget: {{ .Capabilities.APIVersions.Has \"example.com/v1/Widget\" | quote }}\n",
        )
        .file(
            "apps/pay/templates/hook.yaml",
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {helm.sh/hook: pre-install}\n",
        )
        .file(
            "apps/pay/templates/tests/t.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: probe\n  annotations: {helm.sh/hook: test}\n",
        )
}

fn data(files: &MemoryFiles, helm: &Value) -> Value {
    let rendered = render(files, &json!({"path": "apps/pay", "helm": helm})).unwrap();
    let config = rendered.manifests.iter().find(|manifest| manifest.gvk().kind == "ConfigMap").unwrap();
    config.object["data"].clone()
}

fn failure(files: &MemoryFiles, helm: &Value) -> RenderError {
    render(files, &json!({"path": "apps/pay", "helm": helm})).unwrap_err()
}

#[test]
fn a_chart_renders_with_its_hooks_and_definitions_and_every_object_knows_its_template() {
    let rendered = render(&chart(), &json!({"path": "apps/pay"})).unwrap();
    assert_eq!(rendered.tool, Tool::Helm);
    let expected = [
        "apps/pay/crds/w.yaml CustomResourceDefinition w",
        "apps/pay/templates/cm.yaml ConfigMap payments-cm",
        "apps/pay/templates/tests/t.yaml Pod probe",
        "apps/pay/templates/hook.yaml Job migrate",
    ];
    assert_eq!(summary(&rendered), expected);
    let config = &rendered.manifests[1].object;
    assert_eq!(config["metadata"]["namespace"], json!("pay"));
    let data = json!({"replicas": "1", "tag": "v1", "list": "", "note": "", "kube": "v1.35.2", "widget": "true"});
    assert_eq!(config["data"], data);
    assert_eq!(rendered.manifests[3].annotation("helm.sh/hook"), Some("pre-install"));
}

#[test]
fn definitions_tests_and_names_follow_the_options() {
    let options = json!({"skipCrds": true, "skipTests": true, "releaseName": "other", "namespace": "elsewhere",
        "kubeVersion": "v1.30.0", "apiVersions": ["a/v1"]});
    let rendered = render(&chart(), &json!({"path": "apps/pay", "helm": options})).unwrap();
    let names = ["apps/pay/templates/cm.yaml ConfigMap other-cm", "apps/pay/templates/hook.yaml Job migrate"];
    assert_eq!(summary(&rendered), names);
    let config = &rendered.manifests[0].object;
    assert_eq!(config["metadata"]["namespace"], json!("elsewhere"));
    assert_eq!(config["data"]["kube"], json!("v1.30.0"));
    assert_eq!(config["data"]["widget"], json!("false"));
}

#[test]
fn values_win_in_the_order_of_argo_cd() {
    let files = chart().file("apps/pay/note.txt", "a,b\nc");
    let tag = |helm: Value| data(&files, &helm)["tag"].clone();
    assert_eq!(data(&files, &json!({"valueFiles": ["values-prod.yaml"]}))["replicas"], json!("5"));
    assert_eq!(tag(json!({"valueFiles": ["/shared/values.yaml"]})), json!("shared"));
    assert_eq!(tag(json!({"valueFiles": ["../../shared/values.yaml"], "values": "tag: inline"})), json!("inline"));
    assert_eq!(tag(json!({"values": "tag: inline", "valuesObject": {"tag": "object"}})), json!("object"));
    let all = json!({"valuesObject": {"tag": "object"}, "parameters": [
        {"name": "tag", "value": "1e3", "forceString": true}, {"name": "list", "value": "{x,y}"},
        {"name": "replicas", "value": "7"}], "fileParameters": [{"name": "note", "path": "note.txt"}]});
    let found = data(&files, &all);
    assert_eq!(found["tag"], json!("1e3"));
    assert_eq!(found["list"], json!("x+y"));
    assert_eq!(found["replicas"], json!("7"));
    assert_eq!(found["note"], json!("a,b\nc"));
    assert_eq!(tag(json!({"parameters": [{"name": "tag", "value": "a,b"}]})), json!("a,b"));
    assert_eq!(tag(json!({"valueFiles": ["no.yaml"], "ignoreMissingValueFiles": true})), json!("v1"));
}

#[test]
fn values_files_must_exist_and_stay_in_the_repository() {
    for (name, reason, part) in [
        ("no.yaml", Reason::PathNotFound, "helm.ignoreMissingValueFiles"),
        ("../../../etc/passwd", Reason::PathEscape, "leaves the repository"),
        ("/../x", Reason::PathEscape, "leaves the repository"),
        ("https://example.com/v.yaml", Reason::RenderUnsupported, "is a URL"),
        ("$values/v.yaml", Reason::InvalidSpec, "no source of this Application has a ref"),
    ] {
        let error =
            failure(&chart(), &json!({"valueFiles": [name], "ignoreMissingValueFiles": name.starts_with("https")}));
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.message.contains(part), "{error}");
    }
    let error = failure(&chart().link("apps/pay/out.yaml", "/etc/passwd"), &json!({}));
    assert_eq!((error.reason, error.file.as_str()), (Reason::PathEscape, "apps/pay/out.yaml"));
}

#[test]
fn dependencies_are_vendored_or_of_the_same_repository_and_never_fetched() {
    let depends = |repository: &str| {
        chart().file(
            "apps/pay/Chart.yaml",
            format!(
                "apiVersion: v2\nname: pay\nversion: 1.0.0\ndependencies:\n\
                 - {{name: lib, version: 1.x.x, repository: \"{repository}\"}}\n"
            ),
        )
    };
    let lib = |files: MemoryFiles, folder: &str| {
        files
            .file(&format!("{folder}/Chart.yaml"), "apiVersion: v2\nname: lib\nversion: 1.2.0\n")
            .file(&format!("{folder}/templates/s.yaml"), "apiVersion: v1\nkind: Service\nmetadata: {name: lib}\n")
    };
    let error = failure(&depends("https://charts.example.com"), &json!({}));
    assert_eq!((error.reason, error.file.as_str()), (Reason::HelmFailed, "apps/pay/Chart.yaml"));
    assert!(error.message.contains("run `helm dependency update`"), "{error}");
    for files in [
        lib(depends("https://charts.example.com"), "apps/pay/charts/lib"),
        lib(depends("https://charts.example.com"), "apps/pay/charts/renamed"),
        lib(depends("file://../lib"), "apps/lib"),
    ] {
        let rendered = render(&files, &json!({"path": "apps/pay"})).unwrap();
        assert!(rendered.manifests.iter().any(|manifest| manifest.gvk().kind == "Service"), "{:?}", summary(&rendered));
    }
    let circle = depends("file://../lib").file(
        "apps/lib/Chart.yaml",
        "apiVersion: v2\nname: lib\nversion: 1.2.0\ndependencies:\n- {name: lib, version: 1.x.x, repository: \"file://.\"}\n",
    );
    assert_eq!(failure(&circle, &json!({})).reason, Reason::HelmFailed);
}

#[test]
fn a_dependency_that_lies_elsewhere_is_asked_for_by_its_locked_version_and_rendered_when_it_was_brought() {
    let stated = "apiVersion: v2\nname: pay\nversion: 1.0.0\ndependencies:\n\
        - {name: lib, version: 1.x.x, repository: \"https://charts.example.com\"}\n\
        - {name: web, version: ^2, repository: \"oci://reg.example.com/charts\"}\n";
    let locked = "dependencies:\n- {name: lib, version: 1.2.0, repository: \"https://charts.example.com/\"}\n";
    let files = chart().file("apps/pay/Chart.yaml", stated).file("apps/pay/Chart.lock", locked);
    let dependency = |repository: &str, name: &str, version: &str| ChartDependency {
        repository: repository.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        file: "apps/pay/Chart.yaml".to_owned(),
    };
    let lib = dependency("https://charts.example.com", "lib", "1.2.0");
    let web = dependency("oci://reg.example.com/charts", "web", "^2");
    let mut archives = ChartArchives::default();
    let error = render_with_charts(&files, &json!({"path": "apps/pay"}), &archives).unwrap_err();
    assert!(
        error.message.contains("have to be fetched first: `lib` 1.2.0 of https://charts.example.com, `web` ^2"),
        "{error}"
    );
    assert_eq!(archives.take_lacking().into_iter().collect::<Vec<_>>(), [lib.clone(), web.clone()]);
    for (wanted, name, version) in [(lib, "lib", "1.2.0"), (web, "web", "2.1.0")] {
        let bytes = crate::artifacts::testing::chart(name, version).into();
        archives.insert(wanted, ChartArchive { version: version.to_owned(), bytes });
    }
    let rendered = render_with_charts(&files, &json!({"path": "apps/pay"}), &archives).unwrap();
    let names: Vec<&str> = rendered.manifests.iter().map(crate::model::Manifest::name).collect();
    assert!(names.contains(&"payments-1.2.0") && names.contains(&"payments-2.1.0"), "{names:?}");
    assert!(archives.take_lacking().is_empty());
    let alias = chart().file(
        "apps/pay/Chart.yaml",
        "apiVersion: v2\nname: pay\nversion: 1.0.0\ndependencies:\n- {name: lib, version: 1.x.x, repository: \"@corp\"}\n",
    );
    let error = render_with_charts(&alias, &json!({"path": "apps/pay"}), &archives).unwrap_err();
    assert!(error.message.contains("write the URL in its place"), "{error}");
}

#[test]
fn failures_name_the_template_and_show_no_secret_and_no_private_path() {
    let broken = chart().file("apps/pay/templates/bad.yaml", "a: {{ required \"tag.name is needed\" .Values.none }}\n");
    let error = failure(&broken, &json!({}));
    assert_eq!(error.reason, Reason::HelmFailed);
    assert!(error.message.contains("pay/templates/bad.yaml:1:6"), "{error}");
    assert!(error.message.contains("tag.name is needed"), "{error}");
    assert!(!error.message.contains("tidelock-render"), "{error}");
    let leaking =
        chart().file("apps/pay/templates/bad.yaml", "{{ fail (printf \"%s %s\" .Values.password .Values.tag) }}");
    let error = failure(&leaking, &json!({"parameters": [{"name": "password", "value": "canary-in-parameter"}]}));
    assert!(!error.message.contains("canary"), "{error}");
    assert!(error.message.contains("… v1"), "{error}");
    let error = failure(&leaking, &json!({}));
    assert!(!error.message.contains("canary"), "{error}");
    let no_object = chart().file("apps/pay/templates/bad.yaml", "kind: A\n");
    let error = failure(&no_object, &json!({}));
    assert_eq!((error.reason, error.file.as_str()), (Reason::InvalidManifest, "apps/pay/templates/bad.yaml"));
}

#[test]
fn duplicate_keys_in_a_chart_are_a_warning() {
    let files = chart()
        .file("apps/pay/templates/dup.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: dup}\ntype: a\ntype: b\n");
    let rendered = render(&files, &json!({"path": "apps/pay"})).unwrap();
    let secret = rendered.manifests.iter().find(|manifest| manifest.name() == "dup").unwrap();
    assert_eq!(secret.object["type"], json!("b"));
    assert_eq!(rendered.warnings.len(), 1);
    assert!(rendered.warnings[0].contains("the key `type` appears twice"), "{:?}", rendered.warnings);
}

#[test]
fn what_a_chart_did_not_read_does_not_make_its_render_stale() {
    let files = chart();
    let source = json!({"path": "apps/pay", "helm": {"valueFiles": ["/shared/values.yaml"]}});
    let rendered = render(&files, &source).unwrap();
    assert!(rendered.inputs.unchanged(&chart().file("other/x", "y").file("shared/other.yaml", "z: 1")));
    assert!(!rendered.inputs.unchanged(&chart().file("shared/values.yaml", "tag: new")));
    assert!(!rendered.inputs.unchanged(&chart().file("apps/pay/templates/new.yaml", "")));
}

#[test]
fn inline_values_are_checked_before_helm_sees_them() {
    let error = failure(&chart(), &json!({"values": "a: [canary"}));
    assert_eq!(error.reason, Reason::InvalidSpec);
    assert!(
        error.message.starts_with("helm.values is not valid YAML: line 2") && !error.message.contains("canary"),
        "{error}"
    );
    assert_eq!(failure(&chart(), &json!({"values": "text"})).reason, Reason::InvalidSpec);
    // What YAML says and what JSON says must stay the same thing on the way to Helm.
    let decoded = decode(b"a: 0644", &YamlLimits::default(), DuplicateKeys::Refuse).unwrap();
    assert_eq!(decoded.documents[0].value, json!({"a": 420}));
}
