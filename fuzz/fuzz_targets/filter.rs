//! Filters of subsets and lists.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| canary_userspace::fuzz::filter(text));
