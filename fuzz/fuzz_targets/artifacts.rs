//! Manifests of registries and indexes of Helm repositories may be refused; they never panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelock::artifacts::{parse_index, parse_manifest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = parse_manifest(bytes) {
        let _ = (document.content(), document.created().map(str::to_owned));
    }
    let _ = parse_index(bytes, &["fuzz".to_owned()].into_iter().collect());
});
