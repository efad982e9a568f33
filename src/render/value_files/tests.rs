use serde_json::{Value, json};

use crate::model::Reason;
use crate::render::fixture::{render_with_references, summary};
use crate::render::memory::MemoryFiles;
use crate::render::{RenderLimits, Rendered};

/// Prints the values that each test looks at.
fn chart() -> MemoryFiles {
    MemoryFiles::new()
        .file("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n")
        .file("chart/values.yaml", "order: none\nimage: none\nfile: none\nadminPassword: none\n")
        .file(
            "chart/templates/cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: values}\ndata:\n  order: {{ .Values.order | quote }}\n  \
             image: {{ .Values.image | quote }}\n  file: {{ .Values.file | quote }}\n",
        )
        .file("chart/base.yaml", "order: base\nimage: base\n")
        .file("chart/env/b.yaml", "order: b\n")
        .file("chart/env/a.yaml", "order: a\n")
        .file("chart/env/deep/c.yaml", "order: c\n")
        .file("chart/env/notes.txt", "no values\n")
        .file("shared/payments.yaml", "order: shared\n")
}

fn lent() -> MemoryFiles {
    MemoryFiles::new()
        .file("envs/prod.yaml", "order: lent\nadminPassword: canary-lent\n")
        .file("envs/x/1.yaml", "order: one\n")
        .file("envs/x/2.yaml", "order: two\n")
        .file("envs/broken.yaml", "adminPassword: canary-lent\norder: [\n")
        .file("motd.txt", "hello, world")
        .link("envs/out.yaml", "../../etc/passwd")
        .link("envs/link.yaml", "x/1.yaml")
}

fn rendered(helm: &Value) -> Result<Rendered, (Reason, String)> {
    rendered_at(helm, "0123456789abcdef0123456789abcdef01234567")
}

fn rendered_at(helm: &Value, revision: &str) -> Result<Rendered, (Reason, String)> {
    let source = json!({"path": "chart", "helm": helm});
    render_with_references(&chart(), &source, RenderLimits::default(), &[("vals", &lent())], revision)
        .map_err(|error| (error.reason, error.to_string()))
}

#[track_caller]
fn order(names: &Value) -> String {
    let rendered = rendered(&json!({ "valueFiles": names })).unwrap();
    assert_eq!(summary(&rendered), ["chart/templates/cm.yaml ConfigMap values"]);
    rendered.manifests[0].object["data"]["order"].as_str().unwrap().to_owned()
}

#[test]
fn a_glob_stands_for_its_files_by_name_and_what_is_named_by_itself_keeps_its_place() {
    // The last file wins.
    assert_eq!(order(&json!(["env/*.yaml"])), "b");
    assert_eq!(order(&json!(["env/**/*.yaml"])), "c", "`**` reaches all folders below");
    assert_eq!(order(&json!(["env/*.yaml", "base.yaml"])), "base");
    assert_eq!(order(&json!(["env/b.yaml", "env/*.yaml"])), "a", "b keeps the place that it has by itself");
    assert_eq!(order(&json!(["env/*.yaml", "env/a.yaml"])), "a");
    assert_eq!(order(&json!(["env/[ab].yaml", "e*/a.yaml"])), "b", "no file is given twice");
    assert_eq!(order(&json!(["env/{b,a}.yaml"])), "b");
    assert_eq!(order(&json!(["/shared/*.yaml"])), "shared");
    assert_eq!(order(&json!(["../shared/*.yaml"])), "shared");
}

#[test]
fn a_glob_without_a_match_is_an_error_unless_missing_files_are_ignored() {
    let (reason, message) = rendered(&json!({"valueFiles": ["nothing/*.yaml"]})).unwrap_err();
    assert_eq!(reason, Reason::PathNotFound);
    assert!(message.starts_with("the values file `nothing/*.yaml` matches no file at this revision"), "{message}");
    let ignoring = json!({"valueFiles": ["nothing/*.yaml", "$vals/none/*.yaml"], "ignoreMissingValueFiles": true});
    assert_eq!(rendered(&ignoring).unwrap().manifests[0].object["data"]["order"], "none");
    let (reason, message) = rendered(&json!({"valueFiles": ["env/[.yaml"]})).unwrap_err();
    assert_eq!((reason, message.contains("is not a valid glob")), (Reason::InvalidSpec, true), "{message}");
}

#[test]
fn files_of_another_source_are_named_by_its_ref() {
    assert_eq!(order(&json!(["$vals/envs/prod.yaml"])), "lent");
    assert_eq!(order(&json!(["$vals/envs/prod.yaml", "base.yaml"])), "base");
    assert_eq!(order(&json!(["$vals/envs/x/*.yaml"])), "two");
    assert_eq!(order(&json!(["$vals/envs/link.yaml"])), "one");
    let helm = json!({"fileParameters": [{"name": "file", "path": "$vals/motd.txt"}]});
    let done = rendered(&helm).unwrap();
    assert_eq!(done.manifests[0].object["data"]["file"], "hello, world");
}

#[test]
fn what_is_read_of_another_source_is_part_of_what_the_result_holds_for() {
    let done = rendered(&json!({"valueFiles": ["$vals/envs/prod.yaml"]})).unwrap();
    let inputs = &done.lent["vals"];
    assert!(inputs.unchanged(&lent().file("motd.txt", "changed")));
    assert!(!inputs.unchanged(&lent().file("envs/prod.yaml", "order: changed\n")));
    let none = rendered(&json!({})).unwrap();
    assert!(none.lent.is_empty(), "nothing was read of it");
}

#[test]
fn a_wrong_name_says_which_sources_there_are_and_no_path_leaves_its_repository() {
    for (name, reason, part) in [
        (
            "$other/a.yaml",
            Reason::InvalidSpec,
            "names neither a source by its ref nor a build variable: this Application has $vals",
        ),
        ("$vals/envs/none.yaml", Reason::PathNotFound, "`$vals/envs/none.yaml` does not exist"),
        ("$vals/../chart/base.yaml", Reason::PathEscape, "leaves the repository"),
        ("$vals/envs/out.yaml", Reason::PathEscape, "outside of the repository"),
        ("$vals/$NOPE.yaml", Reason::InvalidSpec, "names neither"),
        ("https://example.com/values.yaml", Reason::RenderUnsupported, "is a URL"),
    ] {
        let (found, message) = rendered(&json!({"valueFiles": [name]})).unwrap_err();
        assert_eq!((found, message.contains(part)), (reason, true), "{name}: {message}");
    }
    let (_, message) = rendered(&json!({"valueFiles": ["$vals/envs/broken.yaml"]})).unwrap_err();
    assert!(message.contains("$vals/envs/broken.yaml") && !message.contains("canary"), "{message}");
}

#[test]
fn build_variables_are_replaced_in_parameters_and_in_the_paths_of_files() {
    let image = |value: &str| {
        let done = rendered(&json!({"parameters": [{"name": "image", "value": value}]})).unwrap();
        (done.manifests[0].object["data"]["image"].as_str().unwrap().to_owned(), done.uses_revision, done.warnings)
    };
    let plain = |value: &str, expected: &str, uses_revision: bool| {
        assert_eq!(image(value), (expected.to_owned(), uses_revision, Vec::new()), "{value}");
    };
    plain("reg/$ARGOCD_APP_NAME:${ARGOCD_APP_REVISION_SHORT}", "reg/payments:0123456", true);
    plain("$ARGOCD_APP_PROJECT_NAME-$KUBE_VERSION", "bank-1.35.2", false);
    plain("$$ARGOCD_APP_NAME", "$ARGOCD_APP_NAME", false);
    let (value, _, warnings) = image("a${NOPE}b");
    assert_eq!((value.as_str(), warnings.len()), ("ab", 1));
    assert!(warnings[0].starts_with("helm.parameters `image`: it names a build variable that does not exist"));
    assert_eq!(order(&json!(["/shared/$ARGOCD_APP_NAME.yaml"])), "shared");
}

#[test]
fn values_stay_as_they_are_written() {
    let done = rendered(&json!({"values": "image: $ARGOCD_APP_NAME\n"})).unwrap();
    assert_eq!(done.manifests[0].object["data"]["image"], "$ARGOCD_APP_NAME");
}
