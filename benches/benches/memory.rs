//! What entries take of the heap. Nothing is timed: the numbers are printed.

use std::sync::Arc;

use advanced_caching::Loaded;
use advanced_caching::sync::Cache;
use cache_benches::heap::{self, Counting};
use cache_benches::keys::{Key, Value};
use cache_benches::ours;

#[global_allocator]
static HEAP: Counting = Counting::new();

const ENTRIES: u64 = 100_000;

fn main() {
    println!("bytes of the heap for each of {ENTRIES} entries, in a cache that is just full");
    print("u64 to u64", bytes::<u64, u64>(|n| u64::of(n).into()));
    print("u64 to u64, each with a ttl of its own", bytes::<u64, u64>(own_ttl));
    print("String to Arc<str>, with the texts", bytes::<String, Arc<str>>(text));
}

fn own_ttl(n: u64) -> Loaded<u64> {
    Loaded::value(n).ttl(ours::TTL / 2)
}

fn text(n: u64) -> Loaded<Arc<str>> {
    Arc::<str>::of(n).into()
}

fn print(what: &str, bytes: f64) {
    println!("{bytes:>8.1}  {what}");
}

fn bytes<K: Key, V: Value>(loaded: impl Fn(u64) -> Loaded<V>) -> f64 {
    let before = heap::held();
    let cache: Cache<K, V> =
        ours::builder(ENTRIES as usize).build().expect("the settings are right");
    for n in 0..ENTRIES {
        let _ = cache.put(K::nth(n), loaded(n));
    }
    (heap::held() - before) as f64 / cache.len() as f64
}
