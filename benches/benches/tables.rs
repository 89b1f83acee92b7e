//! The three tables of the tour: hot reads, mixed reads, and a background value, strategy by
//! strategy, next to asking the origin every time.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use advanced_caching::local::{self, Action};
use advanced_caching::sync::{Background, Cache};
use advanced_caching::table::{Bound, HashTable};
use advanced_caching::{Clock, MonotonicTime, Policy};
use criterion::Criterion;
use foldhash::fast::RandomState;

type Sum = Arc<u64>;
type Threads = Cache<u64, Sum>;

const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    hot(&mut criterion);
    mixed(&mut criterion);
    background(&mut criterion);
    criterion.final_summary();
}

/// An origin in this process: sums up the orders of a customer. It takes microseconds, where a
/// database takes many of them; what a hit saves is so much the more there.
struct Origin {
    orders: Vec<(u64, u64)>,
}

impl Origin {
    fn new() -> Self {
        Self { orders: (0..20_000).map(|n| (n % 97, n)).collect() }
    }

    fn sum(&self, customer: u64) -> Sum {
        let of_customer = self.orders.iter().filter(|(other, _)| *other == customer % 97);
        Arc::new(of_customer.map(|(_, cents)| black_box(*cents)).sum())
    }
}

/// Every read is a hit.
fn hot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot");
    let (origin, ttl, swr, mut hand) = (Arc::new(Origin::new()), ttl(), swr(), ByHand::new());
    group.bench_function("no cache", |bencher| bencher.iter(|| origin.sum(1)));
    for (name, cache) in [("ttl", &ttl), ("ttl + swr", &swr)] {
        group.bench_function(name, |bencher| bencher.iter(|| read(cache, &origin, 1)));
    }
    group.bench_function("driven by hand", |bencher| bencher.iter(|| hand.read(&origin, 1)));
}

/// Every second read is a miss. Loads run on the reader's own thread.
fn mixed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mixed");
    let (origin, ttl, swr, mut hand) = (Origin::new(), ttl(), swr(), ByHand::new());
    let mut keys = half_new();
    group.bench_function("no cache", |bencher| bencher.iter(|| origin.sum(keys())));
    for (name, cache) in [("ttl", &ttl), ("ttl + swr", &swr)] {
        let mut read = || {
            let key = keys();
            cache.get_or_load_here(&key, || Ok::<_, Infallible>(origin.sum(key))).ok()
        };
        group.bench_function(name, |bencher| bencher.iter(&mut read));
    }
    group.bench_function("driven by hand", |bencher| bencher.iter(|| hand.read(&origin, keys())));
}

/// A job keeps the value, readers only look.
fn background(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("background");
    let (origin, ttl) = (Arc::new(Origin::new()), ttl());
    let kept = kept(Arc::clone(&origin));
    group.bench_function("no cache", |bencher| bencher.iter(|| origin.sum(1)));
    group.bench_function("ttl", |bencher| bencher.iter(|| read(&ttl, &origin, 1)));
    group.bench_function("background value", |bencher| bencher.iter(|| kept.get()));
}

fn kept(origin: Arc<Origin>) -> Background<Sum> {
    let builder = Background::builder("customer 1").every(MINUTE);
    let kept = builder.start(move || Ok::<_, Infallible>(origin.sum(1)));
    let kept = kept.expect("the settings are right");
    kept.ready().expect("the load cannot fail");
    kept
}

fn ttl() -> Threads {
    Cache::builder().ttl(MINUTE).build().expect("the settings are right")
}

fn swr() -> Threads {
    let builder = Cache::builder().ttl(MINUTE).stale_while_revalidate(MINUTE);
    builder.build().expect("the settings are right")
}

fn read(cache: &Threads, origin: &Arc<Origin>, key: u64) -> Option<Sum> {
    let origin = Arc::clone(origin);
    cache.get_or_load(&key, move || Ok::<_, Infallible>(origin.sum(key))).ok()
}

/// Every second key is one that nobody has asked for.
fn half_new() -> impl FnMut() -> u64 {
    let mut n = 0;
    move || {
        n += 1;
        if n % 2 == 0 { 1 } else { 1_000 + n }
    }
}

/// The core itself, without locks or threads: it is told the time, and says what to do.
struct ByHand {
    cache: local::Cache<u64, Sum, HashTable<u64, Sum, RandomState>>,
    clock: MonotonicTime,
}

impl ByHand {
    fn new() -> Self {
        let policy = Policy::ttl(MINUTE).build().expect("the settings are right");
        let table = HashTable::new(Bound::Entries(10_000), RandomState::default());
        Self { cache: local::Cache::with_table(policy, table), clock: MonotonicTime::new() }
    }

    fn read(&mut self, origin: &Origin, key: u64) -> Option<Sum> {
        let now = self.clock.now();
        self.cache.tick(now, 1);
        match self.cache.lookup(&key, now) {
            Action::Serve { value, .. } | Action::ServeAndRefresh { value, .. } => {
                Some(Arc::clone(value))
            }
            Action::Load { ticket, .. } => {
                let value = origin.sum(key);
                let _ = self.cache.complete(&key, ticket, Arc::clone(&value), self.clock.now());
                Some(value)
            }
            Action::Missing | Action::Wait { .. } | Action::Fail { .. } | Action::Busy => None,
        }
    }
}
