//! Patterns, proxy URLs and proxy variables may be refused; they never panic, and a pattern reads as it is shown.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidelock::egress::fuzzing::settings(bytes);
});
