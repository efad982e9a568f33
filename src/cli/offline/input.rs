//! Objects from a file or stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::OfflineError;
use crate::model::{Manifest, Origin};
use crate::render::manifests;
use crate::render::yaml::{DuplicateKeys, YamlLimits, decode};

/// A dump of a large cluster is far larger than what git holds; this is what a workstation can take.
const LIMITS: YamlLimits = YamlLimits {
    bytes: 1024 * 1024 * 1024,
    documents: 1_000_000,
    depth: 100,
    nodes: 100_000_000,
    copied_bytes: 64 * 1024 * 1024,
};

/// Reads every object of a YAML or JSON file, lists unwrapped; `-` is stdin.
pub(super) fn objects(file: &Path) -> Result<Vec<Manifest>, OfflineError> {
    let mut text = Vec::new();
    let is_stdin = file == Path::new("-");
    let name = if is_stdin { "stdin".to_owned() } else { file.display().to_string() };
    let read = if is_stdin {
        io::stdin().lock().read_to_end(&mut text)
    } else {
        File::open(file).and_then(|mut file| file.read_to_end(&mut text))
    };
    if let Err(source) = read {
        return Err(OfflineError::Read { name, source });
    }
    match decode(&text, &LIMITS, DuplicateKeys::Refuse) {
        Ok(decoded) => manifests(decoded.documents, |document| Origin { file: name.clone(), line: document.line })
            .map_err(OfflineError::Object),
        Err(source) => Err(OfflineError::Decode { name, source }),
    }
}
