//! Packet lines are read the same in pieces of any size.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidelock::git::fuzzing::packet_lines(bytes);
});
