//! An answer to `fetch` may be refused; it never panics.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidelock::git::fuzzing::side_bands(bytes);
});
