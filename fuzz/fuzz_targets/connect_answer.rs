//! A proxy's answer to CONNECT ends in a tunnel or an error, and its quote is bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidelock::egress::fuzzing::connect_answer(bytes);
});
