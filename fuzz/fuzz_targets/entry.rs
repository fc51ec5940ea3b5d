//! Files that are nearly entries.

#![no_main]

libfuzzer_sys::fuzz_target!(|choices: &[u8]| canary_userspace::fuzz::entry(choices));
