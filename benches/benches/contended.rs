//! Two threads at once.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use advanced_caching::sync::Cache;
use cache_benches::keys::{self, Key, Value};
use cache_benches::peer;
use cache_benches::threads::together;
use criterion::Criterion;

const THREADS: usize = 2;
const ENTRIES: u64 = 1_000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    contended::<u64, u64>(&mut criterion, "two threads, get, u64 to u64");
    contended::<String, Arc<str>>(&mut criterion, "two threads, get, String to Arc<str>");
    puts(&mut criterion);
    criterion.final_summary();
}

fn contended<K: Key, V: Value>(criterion: &mut Criterion, name: &str) {
    let cache: Cache<K, V> = peer::filled(2 * ENTRIES as usize, ENTRIES, V::of);
    let mut group = criterion.benchmark_group(name);
    for (name, asked) in [("of 1,000", ENTRIES), ("of the same 8", 8)] {
        let keys: Vec<Vec<K>> =
            (0..THREADS as u64).map(|seed| keys::random(asked, 1 << 14, seed)).collect();
        let read = |thread: usize, n: usize| {
            let keys = &keys[thread];
            black_box(cache.get(keys[n % keys.len()].borrow()));
        };
        group.bench_function(name, |bencher| bencher.iter_custom(|reads| both(reads, read)));
    }
}

fn puts(criterion: &mut Criterion) {
    let cache: Cache<u64, u64> = peer::filled(2 * ENTRIES as usize, ENTRIES, u64::of);
    let put = |thread: usize, n: usize| {
        let _ = cache.put((n + thread * 500) as u64 % ENTRIES, 1);
    };
    criterion.bench_function("two threads, overwrite of 1,000", |bencher| {
        bencher.iter_custom(|puts| both(puts, put));
    });
}

/// What `count` operations of each thread take on average.
fn both(count: u64, operation: impl Fn(usize, usize) + Sync) -> Duration {
    let work = |thread: usize| (0..count as usize).for_each(|n| operation(thread, n));
    let spans = together(THREADS, |_| (), work);
    let busy: Duration = spans.iter().map(|span| span.end - span.start).sum();
    busy / THREADS as u32
}
