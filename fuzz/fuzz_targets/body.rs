//! Bodies of the HTTP API.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| canary_userspace::fuzz::body(text));
