//! Any bytes as an entry, and as the value in one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_fuzz::entries(data));
