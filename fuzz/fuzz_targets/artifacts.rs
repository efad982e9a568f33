//! Manifests of registries and indexes of Helm repositories may be refused; they never panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelock::artifacts::{Document, parse_index, parse_manifest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Document::Manifest(manifest)) = parse_manifest(bytes) {
        let _ = (manifest.content(), manifest.created().map(str::to_owned));
    }
    let _ = parse_index(bytes, &["fuzz".to_owned()].into_iter().collect());
});
