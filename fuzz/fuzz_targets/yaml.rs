//! Any bytes may be refused, none may make the decoder panic, and what it accepts it reads again as the same value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelock::render::yaml::{DuplicateKeys, YamlLimits, decode};

fuzz_target!(|text: &[u8]| {
    let limits = YamlLimits { nodes: 100_000, copied_bytes: 1 << 20, ..YamlLimits::default() };
    let Ok(decoded) = decode(text, &limits, DuplicateKeys::Warn) else { return };
    for document in decoded.documents {
        let json = serde_json::to_vec(&document.value).expect("a value serialises");
        let again = decode(&json, &YamlLimits::default(), DuplicateKeys::Refuse).expect("JSON is YAML");
        assert_eq!(again.documents.first().map(|again| &again.value), Some(&document.value));
    }
});
