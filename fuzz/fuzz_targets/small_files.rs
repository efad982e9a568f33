//! `known_hosts` and `.gitmodules` may be refused; they never panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidelock::git::fuzzing::small_files(bytes);
});
