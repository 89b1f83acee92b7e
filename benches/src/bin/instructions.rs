//! What `cargo xtask instructions` counts: loops of hits and of puts, each in a function of its own.

use std::collections::HashMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use advanced_caching::sync::Cache;
use cache_benches::keys::{self, Key, Value};
use cache_benches::ours;

const ENTRIES: u64 = 1_000;

type Raw<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let reads = arguments.get(1).and_then(|reads| reads.parse().ok());
    let (Some(kind), Some(reads)) = (arguments.first(), reads) else { return wrong() };
    match kind.as_str() {
        "u64" => hot_u64_loop(&cache(), &asked(reads)),
        "str" => hot_str_loop(&cache(), &asked(reads)),
        "put" => put_loop(&cache(), &asked(reads)),
        "raw-u64" => raw_u64_loop(&raw(), &asked(reads)),
        "raw-str" => raw_str_loop(&raw(), &asked(reads)),
        _ => return wrong(),
    }
    ExitCode::SUCCESS
}

fn wrong() -> ExitCode {
    eprintln!("instructions: say u64, str, put, raw-u64 or raw-str, and how many");
    ExitCode::from(2)
}

#[inline(never)]
fn hot_u64_loop(cache: &Cache<u64, u64>, keys: &[u64]) {
    for key in keys {
        black_box(cache.get(key));
    }
}

#[inline(never)]
fn hot_str_loop(cache: &Cache<String, Arc<str>>, keys: &[String]) {
    for key in keys {
        black_box(cache.get(key.as_str()));
    }
}

/// Of keys that are there.
#[inline(never)]
fn put_loop(cache: &Cache<u64, u64>, keys: &[u64]) {
    for key in keys {
        let _ = black_box(cache.put(*key, *key));
    }
}

#[inline(never)]
fn raw_u64_loop(map: &Raw<u64, u64>, keys: &[u64]) {
    for key in keys {
        black_box(map.get(key).copied());
    }
}

#[inline(never)]
fn raw_str_loop(map: &Raw<String, Arc<str>>, keys: &[String]) {
    for key in keys {
        black_box(map.get(key.as_str()).cloned());
    }
}

fn asked<K: Key>(reads: usize) -> Vec<K> {
    keys::random(ENTRIES, reads, 1)
}

fn cache<K: Key, V: Value>() -> Cache<K, V> {
    let cache = ours::builder(2 * ENTRIES as usize).build().expect("the settings are right");
    for n in 0..ENTRIES {
        let _ = cache.put(K::nth(n), V::of(n));
    }
    cache
}

fn raw<K: Key, V: Value>() -> Raw<K, V> {
    (0..ENTRIES).map(|n| (K::nth(n), V::of(n))).collect()
}
