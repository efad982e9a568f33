//! The real tools, for tests.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::memory::MemoryFiles;
use super::{ChartArchives, References, RenderError, RenderLimits, RenderRequest, Rendered, Renderer, Tools};
use crate::api::ApplicationSource;

/// The tools that the test run points to.
#[expect(clippy::disallowed_methods, reason = "how a test run says where the tools are")]
pub(super) fn tools() -> Tools {
    let Some(directory) = std::env::var_os("TIDELOCK_TOOLS").map(PathBuf::from) else {
        panic!("helm and kustomize are missing: run `make tools` and set TIDELOCK_TOOLS=$(e2e/tools/build.sh)");
    };
    let real = |name: &str| std::fs::canonicalize(directory.join(name)).expect("the tool must exist: run `make tools`");
    Tools { helm: real("helm"), kustomize: real("kustomize") }
}

pub(super) fn renderer() -> Renderer {
    let scratch = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    Renderer::new(tools(), &scratch).expect("a place for renders")
}

/// Renders `source` (an Application's source without its URL) with `limits`.
pub(super) fn render_with(files: &MemoryFiles, source: &Value, limits: RenderLimits) -> Result<Rendered, RenderError> {
    render_with_references(files, source, limits, &[], "")
}

/// Renders `source`, which may name the trees of `references`, at `revision`.
pub(super) fn render_with_references(
    files: &MemoryFiles,
    source: &Value,
    limits: RenderLimits,
    lent: &[(&str, &MemoryFiles)],
    revision: &str,
) -> Result<Rendered, RenderError> {
    let mut source = source.clone();
    source["repoURL"] = json!("https://git.example.com/team/app.git");
    let source: ApplicationSource = serde_json::from_value(source).expect("a source");
    let mut references = References::default();
    for (name, files) in lent {
        references.insert(*name, *files);
    }
    render_as(files, &source, limits, references, revision)
}

/// Renders `source` with archives of charts at hand.
pub(super) fn render_with_charts(
    files: &MemoryFiles,
    source: &Value,
    charts: &ChartArchives,
) -> Result<Rendered, RenderError> {
    let mut source = source.clone();
    source["repoURL"] = json!("https://git.example.com/team/app.git");
    let source: ApplicationSource = serde_json::from_value(source).expect("a source");
    let mut references = References::default();
    references.with_charts(charts);
    render_as(files, &source, RenderLimits::default(), references, "")
}

fn render_as(
    files: &MemoryFiles,
    source: &ApplicationSource,
    limits: RenderLimits,
    references: References<'_>,
    revision: &str,
) -> Result<Rendered, RenderError> {
    let request = RenderRequest {
        source,
        application_name: "payments",
        destination_namespace: "pay",
        project: "bank",
        revision,
        references,
        kube_version: "v1.35.2".to_owned(),
        api_versions: vec!["apps/v1".to_owned(), "example.com/v1/Widget".to_owned()],
        limits,
    };
    renderer().render(files, &request)
}

pub(super) fn render(files: &MemoryFiles, source: &Value) -> Result<Rendered, RenderError> {
    render_with(files, source, RenderLimits::default())
}

/// `file kind name` of each manifest, in order.
pub(super) fn summary(rendered: &Rendered) -> Vec<String> {
    let line =
        |manifest: &crate::model::Manifest| format!("{} {} {}", manifest.origin, manifest.gvk().kind, manifest.name());
    rendered.manifests.iter().map(line).collect()
}
