//! Any bytes as operations on `sync::Cache`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cache_fuzz::threads(data));
