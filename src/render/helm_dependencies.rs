//! The charts that a chart depends on: all must lie in its `charts/` before Helm sees it.

use serde_json::Value;

use super::bench::Bench;
use super::chart_archives::{ChartArchives, ChartDependency};
use super::helm::{has_extension, read_chart};
use super::material::Material;
use super::tree::{join, locate};
use super::yaml::{self, DuplicateKeys};
use super::{RecordingFiles, RenderError};
use crate::model::{EntryKind, Files as _, Reason};

/// Charts nested in charts; real ones have three levels.
const DEEPEST_CHART: usize = 16;

/// A chart on the way to being complete.
struct Vendoring<'a, 'b> {
    files: &'a RecordingFiles<'a>,
    material: &'b mut Material<'a>,
    archives: Option<&'a ChartArchives>,
    /// Bytes of the archives that were added.
    bytes: u64,
    most_bytes: u64,
    /// What is to be brought before Helm can run.
    lacking: Vec<String>,
}

/// Makes sure that every dependency of the chart at `folder` lies in `charts/`. One that is a folder of the same repository
/// is put there, and so is one whose archive was brought. Nothing is ever fetched here.
pub(super) fn vendor<'a>(
    bench: &Bench<'a>,
    material: &mut Material<'a>,
    folder: &str,
    chart: &Value,
) -> Result<(), RenderError> {
    let mut vendoring = Vendoring {
        files: bench.files,
        material,
        archives: bench.request.references.charts(),
        bytes: 0,
        most_bytes: bench.request.limits.tree_bytes,
        lacking: Vec::new(),
    };
    vendoring.chart(folder, folder, chart, DEEPEST_CHART)?;
    if vendoring.lacking.is_empty() {
        return Ok(());
    }
    let message = format!("the charts that it depends on have to be fetched first: {}", vendoring.lacking.join(", "));
    Err(RenderError::in_file(Reason::HelmFailed, &join(folder, "Chart.yaml"), message))
}

/// One dependency as the chart states it.
struct Stated<'a> {
    name: &'a str,
    version: &'a str,
    repository: &'a str,
}

impl Vendoring<'_, '_> {
    /// Completes the chart at `folder`, which Helm will see at `under`.
    fn chart(&mut self, folder: &str, under: &str, chart: &Value, levels: usize) -> Result<(), RenderError> {
        let file = join(folder, "Chart.yaml");
        let Some(levels) = levels.checked_sub(1) else {
            let message = format!("charts depend on each other deeper than {DEEPEST_CHART} levels, or in a circle");
            return Err(RenderError::in_file(Reason::HelmFailed, &file, message));
        };
        // Before the first is added, or the second of one name would be taken for there.
        let missing: Vec<Stated<'_>> =
            stated(chart).filter(|dependency| !is_vendored(self.material, under, dependency.name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let lock = read_lock(self.files, folder)?;
        for dependency in missing {
            if let Some(path) = dependency.repository.strip_prefix("file://") {
                let found = locate(self.files, folder, path)?.filter(|found| found.entry.kind == EntryKind::Directory);
                let Some(local) = found else {
                    let message = format!(
                        "the dependency `{}` is not in charts/, and its repository `file://{path}` is no folder of this \
                         repository",
                        dependency.name
                    );
                    return Err(RenderError::in_file(Reason::HelmFailed, &file, message));
                };
                let place = join(&join(under, "charts"), dependency.name);
                self.material.graft(&local.path, &place)?;
                let inner = read_chart(self.files, &local.path)?;
                self.chart(&local.path, &place, &inner, levels)?;
            } else {
                self.archive(&file, under, &dependency, &lock)?;
            }
        }
        Ok(())
    }

    fn archive(&mut self, file: &str, under: &str, stated: &Stated<'_>, lock: &Value) -> Result<(), RenderError> {
        let Stated { name, repository, .. } = stated;
        let wrong = |message: String| Err(RenderError::in_file(Reason::HelmFailed, file, message));
        let remote = ["https://", "http://", "oci://"].iter().any(|scheme| repository.starts_with(scheme));
        if repository.starts_with('@') || repository.starts_with("alias:") {
            return wrong(format!(
                "the dependency `{name}` names its repository by the alias `{repository}`, which is known only where `helm repo \
                 add` was run: write the URL in its place"
            ));
        }
        let Some(archives) = self.archives.filter(|_| remote) else {
            return wrong(format!(
                "the dependency `{name}` is not in charts/, and {}: run `helm dependency update` and commit charts/",
                if remote { "charts are not downloaded here" } else { "no repository to download it from is named" }
            ));
        };
        let dependency = ChartDependency {
            repository: (*repository).to_owned(),
            name: (*name).to_owned(),
            version: locked(lock, stated).unwrap_or(stated.version).to_owned(),
            file: file.to_owned(),
        };
        let Some(archive) = archives.find(&dependency) else {
            self.lacking.push(format!("`{name}` {} of {repository}", dependency.version));
            return Ok(());
        };
        self.bytes = self.bytes.saturating_add(archive.bytes.len() as u64);
        if self.bytes > self.most_bytes {
            let message =
                format!("with `{name}` the charts that it depends on exceed the limit of {} bytes", self.most_bytes);
            return Err(RenderError::in_file(Reason::InputTooLarge, file, message));
        }
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '+');
        let version: String = archive.version.chars().filter(|letter| plain(*letter)).take(128).collect();
        let place = join(&join(under, "charts"), &format!("{name}-{version}.tgz"));
        self.material.replace(&place, archive.bytes.to_vec());
        Ok(())
    }
}

/// The dependencies that a chart states. Names that no file can have are left to Helm to complain about.
fn stated(chart: &Value) -> impl Iterator<Item = Stated<'_>> {
    let list = chart.get("dependencies").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|dependency| {
        let name = text(dependency, "name");
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        let usable = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
        usable.then(|| Stated {
            name,
            version: text(dependency, "version"),
            repository: text(dependency, "repository"),
        })
    })
}

/// `Chart.lock`, or nothing where there is none.
fn read_lock(files: &RecordingFiles<'_>, folder: &str) -> Result<Value, RenderError> {
    let found = locate(files, folder, "Chart.lock")?.filter(|found| found.entry.kind == EntryKind::File);
    let Some(found) = found else { return Ok(Value::Null) };
    let content = files.read(&found.path)?.unwrap_or_default();
    let decoded = yaml::decode(&content, &yaml::YamlLimits::default(), DuplicateKeys::Warn)
        .map_err(|error| RenderError::yaml(&found.path, error))?;
    Ok(decoded.documents.into_iter().next().map_or(Value::Null, |document| document.value))
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The version that the lock gives to a dependency. One that is locked from elsewhere is not this one.
fn locked<'a>(lock: &'a Value, wanted: &Stated<'_>) -> Option<&'a str> {
    let list = lock.get("dependencies")?.as_array()?;
    let same = |entry: &&Value| {
        text(entry, "name") == wanted.name
            && text(entry, "repository").trim_end_matches('/') == wanted.repository.trim_end_matches('/')
    };
    let all: Vec<&Value> = list.iter().filter(same).collect();
    // Of several of one name the one that is stated so is meant.
    let one = all.iter().find(|entry| text(entry, "version") == wanted.version).or(match all.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    one.map(|entry| text(entry, "version")).filter(|version| !version.is_empty())
}

/// A vendored chart is a folder of its name or an archive whose name starts with it.
fn is_vendored(material: &Material<'_>, under: &str, name: &str) -> bool {
    let charts = join(under, "charts");
    let folder = format!("{charts}/{name}/Chart.yaml");
    let archive = format!("{charts}/{name}-");
    material.source_of(&folder).is_some()
        || material.paths().any(|(path, _)| path.starts_with(&archive) && has_extension(path, "tgz"))
        || vendored_under_another_name(material, &charts, name)
}

/// The folder's name does not matter to Helm, only the name in its Chart.yaml.
fn vendored_under_another_name(material: &Material<'_>, charts: &str, name: &str) -> bool {
    material.paths().any(|(path, source)| {
        let is_chart = path
            .strip_prefix(charts)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.strip_suffix("/Chart.yaml"))
            .is_some_and(|folder| !folder.contains('/'));
        is_chart && material.names_chart(source, name)
    })
}
