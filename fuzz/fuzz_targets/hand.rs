//! Any bytes as operations on `local::Cache`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_fuzz::hand(data));
