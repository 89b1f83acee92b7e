//! Reads that may load: a hit, a miss, and a stale value while its refresh is in flight.

use std::convert::Infallible;
use std::time::Duration;

use advanced_caching::sync::Cache;
use cache_benches::held_back::HeldBack;
use cache_benches::peer;
use criterion::Criterion;

/// Keys that are asked for in turn.
const KEYS: u64 = 512;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    hits(&mut criterion);
    misses(&mut criterion);
    criterion.final_summary();
}

fn hits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get_or_load");
    for (name, cache) in
        [("fresh hit", HeldBack::fresh(KEYS)), ("stale hit", HeldBack::stale(KEYS))]
    {
        let mut key = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                key = (key + 1) % KEYS;
                cache.read(key)
            });
        });
    }
}

fn misses(criterion: &mut Criterion) {
    let cache: Cache<u64, u64> = peer::filled(10_000, 0, |n| n);
    let mut group = criterion.benchmark_group("miss, every time of a new key");
    let mut key = 0;
    group.bench_function("get_or_load, on a worker", |bencher| {
        bencher.iter(|| {
            key += 1;
            let loaded = key;
            cache.get_or_load(&key, move || Ok::<_, Infallible>(loaded)).ok()
        });
    });
    group.bench_function("get_or_load_here", |bencher| {
        bencher.iter(|| {
            key += 1;
            cache.get_or_load_here(&key, || Ok::<_, Infallible>(key)).ok()
        });
    });
}
