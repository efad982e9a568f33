use serde_json::json;

use super::*;
use crate::render::fixture::{render, render_with, renderer, summary};
use crate::render::memory::MemoryFiles;

fn object(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn tree() -> MemoryFiles {
    MemoryFiles::new()
        .file("plain/a.yaml", object("a"))
        .file("kust/kustomization.yml", "resources: [a.yaml]\n")
        .file("kust/a.yaml", object("k"))
        .file("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n")
        .file("chart/templates/a.yaml", object("h"))
        .link("current", "plain")
}

#[test]
fn the_files_choose_the_tool_unless_a_block_does() {
    let tool = |source: serde_json::Value| render(&tree(), &source).map(|rendered| (rendered.tool, summary(&rendered)));
    let one = |tool: Tool, line: &str| Ok((tool, vec![line.to_owned()]));
    assert_eq!(tool(json!({"path": "plain"})), one(Tool::Directory, "plain/a.yaml:1 ConfigMap a"));
    assert_eq!(tool(json!({"path": "./plain/"})), one(Tool::Directory, "plain/a.yaml:1 ConfigMap a"));
    assert_eq!(tool(json!({"path": "current"})), one(Tool::Directory, "plain/a.yaml:1 ConfigMap a"));
    assert_eq!(tool(json!({"path": "kust"})), one(Tool::Kustomize, "kust/kustomization.yml ConfigMap k"));
    assert_eq!(tool(json!({"path": "chart"})), one(Tool::Helm, "chart/templates/a.yaml ConfigMap h"));
    let forced = json!({"path": "kust", "directory": {"exclude": "kust*"}});
    assert_eq!(tool(forced), one(Tool::Directory, "kust/a.yaml:1 ConfigMap k"));
    assert_eq!(tool(json!({"ref": "values"})), Ok((Tool::Directory, Vec::new())));
}

#[test]
fn what_can_not_be_rendered_says_why() {
    let files = tree();
    for (source, reason, part) in [
        (json!({"path": "none"}), Reason::PathNotFound, "the folder `none` does not exist at this revision"),
        (json!({"path": "plain/a.yaml"}), Reason::PathNotFound, "is a file, path must name a folder (try `plain`)"),
        (json!({"path": "../x"}), Reason::PathEscape, "without `..`"),
        (json!({"path": "/plain"}), Reason::PathEscape, "relative to the root"),
        (json!({"chart": "x"}), Reason::HelmFailed, "is no Helm chart"),
        (json!({"path": "plain", "plugin": {}}), Reason::RenderUnsupported, "plugins are not supported"),
        (json!({"path": "plain", "kustomize": {}}), Reason::KustomizeFailed, "`plain` has none of kustomization.yaml"),
        (json!({"path": "plain", "helm": {}}), Reason::HelmFailed, "`plain` is no Helm chart"),
        (json!({"path": "plain", "helm": {}, "directory": {}}), Reason::InvalidSpec, "more than one of"),
        (
            json!({"path": "plain", "directory": {"jsonnet": {"libs": ["x"]}}}),
            Reason::RenderUnsupported,
            "Jsonnet is not supported",
        ),
    ] {
        let error = render(&files, &source).unwrap_err();
        assert_eq!(error.reason, reason, "{source}: {error}");
        assert!(error.message.contains(part), "{source}: {error}");
    }
    let escape = render(&files.link("away", "../elsewhere"), &json!({"path": "away"})).unwrap_err();
    assert_eq!((escape.reason, escape.file.as_str()), (Reason::PathEscape, "away"));
}

#[test]
fn files_of_an_image_updater_override_parameters_but_not_the_place() {
    let files = tree()
        .file(
            "kust/.argocd-source.yaml",
            "repoURL: https://evil.example\nkustomize:\n  namePrefix: a-\n  nameSuffix: -z\n",
        )
        .file("kust/.argocd-source-payments.yaml", "kustomize: {namePrefix: b-, nameSuffix: null}\n");
    let rendered = render(&files, &json!({"path": "kust"})).unwrap();
    assert_eq!(summary(&rendered), ["kust/kustomization.yml ConfigMap b-k"]);
    assert_eq!(rendered.warnings, ["kust/.argocd-source.yaml: `repoURL` can't be overridden and is ignored"]);
    assert!(!rendered.inputs.unchanged(&tree()));
    let wrong = tree().file("kust/.argocd-source.yaml", "kustomize: {images: canary}\n");
    let error = render(&wrong, &json!({"path": "kust"})).unwrap_err();
    assert_eq!((error.reason, error.file.as_str()), (Reason::InvalidSpec, "kust/.argocd-source.yaml"));
    assert!(!error.to_string().contains("canary"));
}

#[test]
fn a_tool_that_takes_too_long_or_says_too_much_is_stopped() {
    let slow = "{{ range until 1000 }}{{ range until 1000 }}{{ range until 1000 }}{{ end }}{{ end }}{{ end }}";
    let limits = RenderLimits { timeout: Duration::from_millis(300), ..RenderLimits::default() };
    let files = tree().file("chart/templates/slow.yaml", slow);
    let error = render_with(&files, &json!({"path": "chart"}), limits).unwrap_err();
    assert_eq!(
        (error.reason, error.message.starts_with("`helm template`: it did not finish")),
        (Reason::RenderTimeout, true)
    );
    let long = format!("{}data: {{x: {{{{ repeat 100000 \"0123456789\" }}}}}}\n", object("long"));
    let limits = RenderLimits { output_bytes: 100_000, ..RenderLimits::default() };
    let error =
        render_with(&tree().file("chart/templates/long.yaml", long), &json!({"path": "chart"}), limits).unwrap_err();
    assert_eq!(error.reason, Reason::RenderLimit, "{error}");
}

#[test]
fn parameters_are_part_of_the_key_and_the_place_of_the_files_is_not() {
    let source = |value: serde_json::Value| -> ApplicationSource { serde_json::from_value(value).unwrap() };
    let key = |source: &ApplicationSource, namespace: &str| {
        let request = RenderRequest {
            source,
            application_name: "a",
            destination_namespace: namespace,
            project: "default",
            revision: "",
            references: References::default(),
            kube_version: String::new(),
            api_versions: Vec::new(),
            limits: RenderLimits::default(),
        };
        request.parameters()
    };
    let first = source(json!({"repoURL": "https://a", "path": "p", "targetRevision": "main"}));
    let moved = source(json!({"repoURL": "https://b", "path": "p", "targetRevision": "v1"}));
    let other = source(json!({"repoURL": "https://a", "path": "p", "directory": {"recurse": true}}));
    assert_eq!(key(&first, "n"), key(&moved, "n"));
    assert_ne!(key(&first, "n"), key(&other, "n"));
    assert_ne!(key(&first, "n"), key(&first, "m"));
}

#[test]
fn this_place_reports_its_walls() {
    let renderer = renderer();
    assert!(renderer.isolation().is_sufficient(), "{}", renderer.isolation());
    assert_eq!(renderer.warnings(), [] as [String; 0]);
}
