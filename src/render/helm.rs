//! `helm template` on a chart that lies in git.

use std::ffi::OsString;
use std::sync::Arc;

use serde_json::Value;

use super::bench::{Bench, Failure, Workplace, read_output};
use super::complaint::Canaries;
use super::helm_dependencies::vendor;
use super::material::Material;
use super::tree::{Located, join, locate};
use super::value_files::{Named, ValueFiles};
use super::yaml::{self, DuplicateKeys};
use super::{RecordingFiles, RenderError};
use crate::api::HelmSource;
use crate::model::{EntryKind, Files, Manifest, Origin, Reason};

const FAILURE: Failure = Failure { command: "helm template", reason: Reason::HelmFailed };
const SOURCE_COMMENT: &str = "# Source: ";

/// Renders the chart at a place of the tree.
pub(super) fn render(
    bench: &Bench<'_>,
    at: &Located,
    source: &HelmSource,
    warnings: &mut Vec<String>,
) -> Result<Vec<Manifest>, RenderError> {
    let request = bench.request;
    let mut material = Material::new(bench.files, &request.limits);
    material.add(at)?;
    let chart = read_chart(bench.files, &at.path)?;
    vendor(bench, &mut material, &at.path, &chart)?;
    let chart_name = chart.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();

    let mut canaries = Canaries::default();
    let named = ValueFiles { bench, chart: &at.path };
    let value_files = named.values(&source.value_files, source.ignore_missing_value_files)?;
    let mut file_parameters = Vec::new();
    for parameter in &source.file_parameters {
        file_parameters.push((&parameter.name, named.parameter(&parameter.path)?));
    }
    let mut lent = Lent { bench, bytes: 0 };
    for file in value_files.iter().chain(file_parameters.iter().map(|(_, file)| file)) {
        match &file.reference {
            None => material.add(&file.at)?,
            Some(reference) => lent.learn(reference, &file.at.path, &mut canaries)?,
        }
    }
    learn(bench.files, &material, &mut canaries)?;
    let inline = inline_values(source)?;
    let mut parameters = Vec::new();
    for parameter in &source.parameters {
        let value = bench.environment.expand(&parameter.value);
        canaries.learn_named(&parameter.name, &value.text);
        if value.unknown {
            warnings.push(format!(
                "helm.parameters `{}`: it names a build variable that does not exist, which is replaced by nothing; a \
                 dollar sign is written `$$`",
                parameter.name
            ));
        }
        parameters.push((parameter, value.text));
    }

    let workplace = Workplace::prepare(bench, &material)?;
    let mut arguments: Vec<OsString> = Vec::new();
    let mut push = |flag: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut argument = OsString::from(flag);
        argument.push(value);
        arguments.push(argument);
    };
    push("template", &"");
    let namespace = or(&source.namespace, request.destination_namespace);
    if !namespace.is_empty() {
        push("--namespace=", &namespace);
    }
    let kube_version = or(&source.kube_version, &request.kube_version);
    if !kube_version.is_empty() {
        push("--kube-version=", &kube_version);
    }
    let api_versions = if source.api_versions.is_empty() { &request.api_versions } else { &source.api_versions };
    for version in api_versions {
        push("--api-versions=", version);
    }
    push(if source.skip_crds { "--skip-crds" } else { "--include-crds" }, &"");
    if source.skip_tests {
        push("--skip-tests", &"");
    }
    if source.skip_schema_validation {
        push("--skip-schema-validation", &"");
    }
    let place_of = |file: &Named| match &file.reference {
        None => Ok(workplace.place(&file.at.path)),
        Some(reference) => workplace.lend(reference, &file.at.path, &lent.read(reference, &file.at.path)?),
    };
    for file in &value_files {
        push("--values=", &place_of(file)?);
    }
    if let Some(values) = inline {
        canaries.learn_values(&values);
        push("--values=", &workplace.generate("values.json", values.to_string().as_bytes())?);
    }
    for (parameter, value) in &parameters {
        let flag = if parameter.force_string { "--set-string=" } else { "--set=" };
        push(flag, &format!("{}={}", parameter.name, escape_commas(value)));
    }
    for (name, file) in &file_parameters {
        let place = place_of(file)?;
        push("--set-file=", &format!("{name}={}", escape_commas(&place.to_string_lossy())));
    }
    push("--", &"");
    push("", &or(&source.release_name, request.application_name));
    push("", &workplace.place(&at.path));

    let output = workplace.run(bench, &bench.tools.helm, arguments, FAILURE, &canaries)?;
    drop(workplace);
    let sources = sources(&output);
    read_output(&output, bench, FAILURE.command, warnings, |document| {
        let last = sources.iter().take_while(|(line, _)| *line <= document.line).last();
        let file = last.map_or_else(|| at.path.clone(), |(_, name)| template_path(&at.path, &chart_name, name));
        Origin { file, line: 0 }
    })
}

pub(super) fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

/// Commas separate values on Helm's command line; a value in braces is Helm's form of a list.
fn escape_commas(value: &str) -> String {
    if value.starts_with('{') && value.ends_with('}') {
        return value.to_owned();
    }
    let mut escaped = String::with_capacity(value.len());
    let mut before = ' ';
    for character in value.chars() {
        if character == ',' && before != '\\' {
            escaped.push('\\');
        }
        escaped.push(character);
        before = character;
    }
    escaped
}

/// The line of each comment in which Helm names the template that the following document came from.
fn sources(output: &[u8]) -> Vec<(u32, String)> {
    let lines = output.split(|byte| *byte == b'\n').zip(1_u32..);
    lines
        .filter_map(|(line, number)| {
            let name = line.strip_prefix(SOURCE_COMMENT.as_bytes())?;
            Some((number, String::from_utf8_lossy(name).trim_end().to_owned()))
        })
        .collect()
}

/// Helm names templates `<chart>/templates/x.yaml`; the repository has them below the chart's folder.
fn template_path(folder: &str, chart: &str, name: &str) -> String {
    match name.strip_prefix(chart).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => join(folder, rest),
        None => name.to_owned(),
    }
}

/// Files of other sources that a render uses.
struct Lent<'a> {
    bench: &'a Bench<'a>,
    bytes: u64,
}

impl Lent<'_> {
    /// Counts a file and learns what in it is secret.
    fn learn(&mut self, reference: &str, path: &str, canaries: &mut Canaries) -> Result<(), RenderError> {
        let limit = self.bench.request.limits.tree_bytes;
        let size = match self.bench.references.get(reference) {
            Some(files) => files.size(path)?.unwrap_or_default(),
            None => 0,
        };
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > limit {
            let message = format!("with this file the values of other sources exceed the limit of {limit} bytes");
            return Err(RenderError::in_file(Reason::InputTooLarge, &format!("${reference}/{path}"), message));
        }
        let content = self.read(reference, path)?;
        if let Ok(decoded) = yaml::decode(&content, &yaml::YamlLimits::default(), DuplicateKeys::Warn) {
            decoded.documents.iter().for_each(|document| canaries.learn_values(&document.value));
        }
        Ok(())
    }

    fn read(&self, reference: &str, path: &str) -> Result<Arc<[u8]>, RenderError> {
        match self.bench.references.get(reference) {
            Some(files) => Ok(files.read(path)?.unwrap_or_default()),
            None => Ok(Arc::default()),
        }
    }
}

/// `valuesObject` takes the place of `values`, as in Argo CD.
fn inline_values(source: &HelmSource) -> Result<Option<Value>, RenderError> {
    if let Some(values) = source.values_object.as_ref().filter(|values| !values.is_null()) {
        return Ok(Some(values.clone()));
    }
    if source.values.trim().is_empty() {
        return Ok(None);
    }
    let decoded = yaml::decode(source.values.as_bytes(), &yaml::YamlLimits::default(), DuplicateKeys::Warn)
        .map_err(|error| RenderError::new(Reason::InvalidSpec, format!("helm.values is not valid YAML: {error}")))?;
    match decoded.documents.into_iter().next().map(|document| document.value) {
        None => Ok(None),
        Some(values @ Value::Object(_)) => Ok(Some(values)),
        Some(_) => Err(RenderError::new(Reason::InvalidSpec, "helm.values must be a mapping")),
    }
}

fn learn(files: &RecordingFiles<'_>, material: &Material<'_>, canaries: &mut Canaries) -> Result<(), RenderError> {
    for (_, path) in material.paths() {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_yaml = ["yaml", "yml", "json"].iter().any(|extension| has_extension(name, extension));
        if !is_yaml || path.contains("/templates/") {
            continue;
        }
        let content = files.read(path)?.unwrap_or_default();
        if let Ok(decoded) = yaml::decode(&content, &yaml::YamlLimits::default(), DuplicateKeys::Warn) {
            decoded.documents.iter().for_each(|document| canaries.learn_values(&document.value));
        }
    }
    Ok(())
}

pub(super) fn read_chart(files: &RecordingFiles<'_>, folder: &str) -> Result<Value, RenderError> {
    let found = locate(files, folder, "Chart.yaml")?.filter(|found| found.entry.kind == EntryKind::File);
    let Some(found) = found else {
        let message =
            format!("`{folder}` is no Helm chart: it has no Chart.yaml; correct path, or remove the helm block");
        return Err(RenderError::new(Reason::HelmFailed, message));
    };
    let content = files.read(&found.path)?.unwrap_or_default();
    let decoded = yaml::decode(&content, &yaml::YamlLimits::default(), DuplicateKeys::Warn)
        .map_err(|error| RenderError::yaml(&found.path, error))?;
    Ok(decoded.documents.into_iter().next().map_or(Value::Null, |document| document.value))
}

#[cfg(test)]
mod tests;
