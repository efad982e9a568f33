//! What strangers send as a webhook may be refused; it never panics, and proves nothing without a secret.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 2 {
        0 => tidelock::server::webhook::fuzzing::payload(rest),
        _ => tidelock::server::webhook::fuzzing::proof(rest),
    }
});
