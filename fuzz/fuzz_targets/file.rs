//! Files of the configuration directory: HCL, JSON, entries, services.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| canary_userspace::fuzz::file(text));
