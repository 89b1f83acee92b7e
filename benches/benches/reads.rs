//! Reads that start no load.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use advanced_caching::sync::Cache;
use cache_benches::keys::{self, Key, Value};
use cache_benches::peer;
use criterion::{BenchmarkId, Criterion};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    hits(&mut criterion);
    others(&mut criterion);
    criterion.final_summary();
}

fn hits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get, hit");
    for entries in [1_000, 100_000, 1_000_000] {
        let cache: Cache<u64, u64> = holding(entries);
        let mut keys = cycle::<u64>(entries);
        let id = BenchmarkId::new("u64 to u64", entries);
        group.bench_function(id, |bencher| bencher.iter(|| cache.get(keys())));
    }
    for entries in [1_000, 100_000] {
        let cache: Cache<String, Arc<str>> = holding(entries);
        let mut keys = cycle::<String>(entries);
        let id = BenchmarkId::new("str to Arc<str>", entries);
        group.bench_function(id, |bencher| bencher.iter(|| cache.get(keys().as_str())));
    }
}

fn others(criterion: &mut Criterion) {
    let cache: Cache<u64, u64> = holding(1_000);
    let mut keys = cycle::<u64>(1_000);
    let mut group = criterion.benchmark_group("1,000 of u64 to u64");
    group.bench_function("get, miss", |bencher| bencher.iter(|| cache.get(&(1_000 + keys()))));
    group.bench_function("peek", |bencher| bencher.iter(|| cache.peek(keys())));
    group.bench_function("contains", |bencher| bencher.iter(|| cache.contains(keys())));
}

fn holding<K: Key, V: Value>(entries: u64) -> Cache<K, V> {
    peer::filled(2 * entries as usize, entries, V::of)
}

/// The keys of the entries in random order, again and again.
fn cycle<K: Key>(entries: u64) -> impl FnMut() -> &'static K {
    // Leaked, so that the keys can be handed out for as long as they are wanted.
    let keys: &[K] = keys::random(entries, 1 << 16, 1).leak();
    let mut next = 0;
    move || {
        next = (next + 1) % keys.len();
        black_box(&keys[next])
    }
}
