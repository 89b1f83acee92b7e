//! Writes: into room, over what is there, into a full cache, and what has passed.

use std::time::Duration;

use advanced_caching::ManualTime;
use advanced_caching::sync::Cache;
use cache_benches::{keys, ours, peer};
use criterion::{BatchSize, Criterion, Throughput};

/// Entries of one batch.
const ENTRIES: u64 = 10_000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    insert(&mut criterion);
    overwrite(&mut criterion);
    evict(&mut criterion);
    expire(&mut criterion);
    criterion.final_summary();
}

fn put(cache: &Cache<u64, u64>, key: u64) {
    let _ = cache.put(key, key);
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    group.throughput(Throughput::Elements(ENTRIES));
    let empty = || -> Cache<u64, u64> { peer::filled(2 * ENTRIES as usize, 0, |n| n) };
    let fill = |cache: &mut Cache<u64, u64>| (0..ENTRIES).for_each(|key| put(cache, key));
    group.bench_function("10,000 new keys into room", |bencher| {
        bencher.iter_batched_ref(empty, fill, BatchSize::LargeInput);
    });
}

fn overwrite(criterion: &mut Criterion) {
    let cache: Cache<u64, u64> = peer::filled(100_000, 50_000, |n| n);
    let keys: Vec<u64> = keys::random(50_000, 1 << 16, 1);
    let mut keys = keys.iter().cycle();
    criterion.bench_function("overwrite, 50,000 in 100,000", |bencher| {
        bencher.iter(|| put(&cache, *keys.next().unwrap_or(&0)));
    });
}

fn evict(criterion: &mut Criterion) {
    let mut next = 200_000;
    let cache: Cache<u64, u64> = peer::filled(100_000, next, |n| n);
    criterion.bench_function("insert and evict, capacity 100,000", |bencher| {
        bencher.iter(|| {
            next += 1;
            put(&cache, next);
        });
    });
}

/// The mark that a value is stale from now on, and the removal of what has passed.
fn expire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("expire");
    let cache: Cache<u64, u64> = peer::filled(2 * ENTRIES as usize, ENTRIES, |n| n);
    let mut key = 0;
    group.bench_function("one key", |bencher| {
        bencher.iter(|| {
            key = (key + 1) % ENTRIES;
            cache.expire(&key)
        });
    });
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("purge 10,000 that have passed", |bencher| {
        bencher.iter_batched_ref(passed, |cache| cache.purge_expired(), BatchSize::LargeInput);
    });
}

fn passed() -> Cache<u64, u64> {
    let time = ManualTime::new();
    let builder = ours::builder(2 * ENTRIES as usize).time(time.clone());
    let cache = builder.build().expect("the settings are right");
    (0..ENTRIES).for_each(|key| put(&cache, key));
    time.advance(ours::TTL + ours::SWR + ours::SIE);
    cache
}
