//! What the offline verbs read: files or stdin, the objects in them, a ConfigMap of settings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use thiserror::Error;

use crate::customizations::CONFIG_MAP;
use crate::model::{Manifest, Origin};
use crate::render::yaml::{DuplicateKeys, YamlError, YamlLimits, decode};
use crate::render::{RenderError, manifests};

/// A dump of a large cluster is far larger than what git holds; this is what a workstation can take.
const LIMITS: YamlLimits = YamlLimits {
    bytes: 1024 * 1024 * 1024,
    documents: 1_000_000,
    depth: 100,
    nodes: 100_000_000,
    copied_bytes: 64 * 1024 * 1024,
};

/// Why a file is of no use.
#[derive(Debug, Error)]
pub enum InputError {
    /// It could not be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The file, or stdin.
        name: String,
        /// What went wrong.
        source: io::Error,
    },
    /// It is no YAML or JSON.
    #[error("{name}: {source}")]
    Decode {
        /// The file, or stdin.
        name: String,
        /// What is wrong with it.
        source: YamlError,
    },
    /// A document is no Kubernetes object.
    #[error(transparent)]
    Object(RenderError),
    /// It does not hold the one ConfigMap that is wanted.
    #[error("{name}: {problem}; one ConfigMap like {CONFIG_MAP} is wanted (apiVersion: v1, kind: ConfigMap, data: …)")]
    ConfigMap {
        /// The file, or stdin.
        name: String,
        /// What it holds instead.
        problem: String,
    },
}

/// How a file is called in messages; `-` is stdin.
pub(super) fn name(file: &Path) -> String {
    if is_stdin(file) { "stdin".to_owned() } else { file.display().to_string() }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Reads a file; `-` is stdin.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, InputError> {
    let mut text = Vec::new();
    let read = if is_stdin(file) {
        io::stdin().lock().read_to_end(&mut text)
    } else {
        File::open(file).and_then(|mut file| file.read_to_end(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(source) => Err(InputError::Read { name: name(file), source }),
    }
}

/// Reads every object of a YAML or JSON file, lists unwrapped; `-` is stdin.
pub(super) fn objects(file: &Path) -> Result<Vec<Manifest>, InputError> {
    objects_in(&name(file), &read(file)?)
}

/// Every object of a text, lists unwrapped.
pub(super) fn objects_in(name: &str, text: &[u8]) -> Result<Vec<Manifest>, InputError> {
    let decoded = decode(text, &LIMITS, DuplicateKeys::Refuse)
        .map_err(|source| InputError::Decode { name: name.to_owned(), source })?;
    manifests(decoded.documents, |document| Origin { file: name.to_owned(), line: document.line })
        .map_err(InputError::Object)
}

/// Reads the data of the ConfigMap in a file.
pub(super) fn config_map(file: &Path) -> Result<BTreeMap<String, String>, InputError> {
    let wrong = |problem: String| InputError::ConfigMap { name: name(file), problem };
    let mut objects = objects(file)?.into_iter();
    let (Some(object), None) = (objects.next(), objects.next()) else {
        return Err(wrong("it does not hold exactly one object".to_owned()));
    };
    let kind = object.gvk().kind;
    if kind != "ConfigMap" {
        return Err(wrong(format!("it holds a {kind}")));
    }
    let data = object.object.get("data").cloned().unwrap_or_default();
    let data: Option<BTreeMap<String, String>> =
        serde_json::from_value(data).map_err(|error| wrong(format!("its data can't be read: {error}")))?;
    Ok(data.unwrap_or_default())
}
