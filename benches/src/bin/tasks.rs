//! What hits cost tasks, next to other caches' async calls, and what a cold key costs a thousand of them:
//! `cargo run --profile compare -p cache-benches --features peers --bin tasks`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use advanced_caching::future;
use advanced_caching::sync::LoadError;
use cache_benches::heap::{self, Counting};
use cache_benches::keys::{self, Key, Value};
use cache_benches::ours;
use cache_benches::progress::Progress;
use cache_benches::quartiles::Quartiles;
use cache_benches::round::{Contestant, Round, play};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

#[global_allocator]
static HEAP: Counting = Counting::new();

const ENTRIES: u64 = 1_000;
const READS: usize = 200_000;
const ROUNDS: usize = 31;
const TASKS: usize = 1_000;
const LOAD: Duration = Duration::from_millis(50);

fn main() {
    hits::<u64, u64>("hot hits, u64 to u64, 1,000 entries, a runtime of one thread");
    hits::<String, Arc<str>>(
        "hot hits, String to Arc<str>, 1,000 entries, a runtime of one thread",
    );
    cold();
    scenarios();
}

/// What a round did, in the runtime's one thread.
async fn timed<K: Key>(keys: &[K], mut read: impl AsyncFnMut(&K::Asked)) -> Round {
    let start = Instant::now();
    for key in keys {
        read(key.borrow()).await;
    }
    Round::alone(start.elapsed(), keys.len())
}

fn hits<K: Key, V: Value>(title: &str) {
    let runtime = one_thread();
    let keys: Vec<K> = keys::random(ENTRIES, READS, 1);
    let tasks = future::Cache::builder().capacity(10_000).ttl(ours::TTL);
    let tasks = tasks.stale_while_revalidate(ours::SWR).stale_if_error(ours::SIE);
    let tasks: future::Cache<K, V> = tasks.build().expect("settings");
    let blocking = tasks.blocking(); // the same memory: where its entries lie is no difference
    let moka = moka::future::Cache::builder().max_capacity(10_000).time_to_live(ours::TTL).build();
    let quick = quick_cache::sync::Cache::<K, V>::new(10_000);
    for n in 0..ENTRIES {
        quick.insert(K::nth(n), V::of(n));
        runtime.block_on(async {
            let _ = tasks.put(K::nth(n), V::of(n)).await;
            moka.insert(K::nth(n), V::of(n)).await;
        });
    }
    let before = heap::allocations();
    runtime.block_on(timed(&keys, async |key| {
        black_box(tasks.get_or_load(key, || async { Ok::<_, Infallible>(V::of(0)) }).await.ok());
    }));
    println!("{title}\n  allocations in {READS} hits of ours: {}", heap::allocations() - before);
    let mut contestants = [
        Contestant::new("ours, blocking", 1, || {
            runtime.block_on(timed(&keys, async |key| {
                black_box(blocking.get_or_load(key, || Ok::<_, Infallible>(V::of(0))).ok());
            }))
        }),
        // What any future that might have to wait costs: the floor of the next.
        Contestant::new("the same polled", 1, || {
            runtime.block_on(timed(&keys, async |key| {
                let read = poll_fn(|_| match blocking.get_or_load(key, || Ok(V::of(0))) {
                    Ok(value) => Poll::Ready(value),
                    Err::<_, LoadError<Infallible>>(_) => Poll::Pending,
                });
                black_box(read.await);
            }))
        }),
        Contestant::new("ours, async", 1, || {
            runtime.block_on(timed(&keys, async |key| {
                let load = || async { Ok::<_, Infallible>(V::of(0)) };
                black_box(tasks.get_or_load(key, load).await.ok());
            }))
        }),
        Contestant::new("moka::future", 1, || {
            runtime.block_on(timed(&keys, async |key| {
                let load = async { Ok::<_, Infallible>(V::of(0)) };
                black_box(moka.try_get_with_by_ref(key, load).await.ok());
            }))
        }),
        Contestant::new("quick_cache", 1, || {
            runtime.block_on(timed(&keys, async |key| {
                let load = async { Ok::<_, Infallible>(V::of(0)) };
                black_box(quick.get_or_insert_async(key, load).await.ok());
            }))
        }),
    ];
    play(&mut contestants, ROUNDS, &Progress::hidden());
    let medians: Vec<_> = contestants
        .iter()
        .map(|each| (each.name, Quartiles::of(each.rounds.iter().map(|round| round.ns_per_op))))
        .collect();
    let base = medians[2].1.median;
    for (name, Quartiles { q1, median, q3, .. }) in medians {
        let ratio = base / median;
        println!("  {name:16} {median:7.2} ns  {q1:7.2} .. {q3:7.2}  async/this {ratio:5.2}");
    }
}

/// A thousand tasks ask for one key that takes a while to load.
fn cold() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime");
    let spans = (0..15_u64).map(|n| runtime.block_on(ask(n)).as_secs_f64() / LOAD.as_secs_f64());
    let Quartiles { q1, median, q3, .. } = Quartiles::of(spans);
    println!(
        "{TASKS} tasks on one cold key, two threads, a load of {LOAD:?}\n  \
         until all were answered, of the load: {median:.3}  {q1:.3} .. {q3:.3}"
    );
}

async fn ask(n: u64) -> Duration {
    let cache: future::Cache<u64, u64> =
        future::Cache::builder().ttl(ours::TTL).build().expect("settings");
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let cache = cache.clone();
            let load = move || async move {
                tokio::time::sleep(LOAD).await;
                Ok::<_, Infallible>(n)
            };
            tokio::spawn(async move { cache.get_or_load(&1, load).await.ok() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.ok().flatten(), Some(n));
    }
    assert_eq!(cache.stats().loads, 1);
    start.elapsed()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// A cache whose old values serve for long, and who asks it.
type Users = future::Cache<u64, u64>;
type Answer = Result<u64, LoadError<String>>;

fn users() -> Users {
    let builder = future::Cache::builder().ttl(ours::TTL).stale_if_error(ours::SIE);
    builder.soft_timeout(2 * MS * 100).hard_timeout(MS * 1_000).build().expect("settings")
}

const MS: Duration = Duration::from_millis(1);

/// Asks for key 1 by a load that takes so long.
fn ask_for(users: &Users, takes: Duration, end: Result<u64, &'static str>) -> JoinHandle<Answer> {
    let users = users.clone();
    let load = move || async move {
        tokio::time::sleep(takes).await;
        match end {
            Err("panic") => std::panic::resume_unwind(Box::new("on purpose")),
            end => end.map_err(str::to_owned),
        }
    };
    tokio::spawn(async move { users.get_or_load(&1, load).await })
}

/// How many got a value, and how long after `start` the last was answered.
async fn answered(callers: Vec<JoinHandle<Answer>>, start: Instant) -> (usize, usize, Duration) {
    let (mut values, all) = (0, callers.len());
    for caller in callers {
        values += usize::from(matches!(caller.await, Ok(Ok(_))));
    }
    (values, all, start.elapsed())
}

/// What callers see when something goes wrong, in real time and on two threads.
fn scenarios() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime");
    println!(
        "what callers see, two threads, real time: values, callers, until the last was answered; loads"
    );
    let tell = |what: &str, users: &Users, (values, callers, took): (usize, usize, Duration)| {
        let loads = users.stats().loads;
        println!(
            "  {what:58} {values:4} {callers:4} {:7.1} ms {loads:3}",
            took.as_secs_f64() * 1e3
        );
    };
    runtime.block_on(async {
        let (cache, start) = (users(), Instant::now());
        let callers = (0..100).map(|_| ask_for(&cache, MS * 50, Ok(7))).collect();
        tell("PA 100 callers, a load of 50 ms", &cache, answered(callers, start).await);

        let (cache, start) = (users(), Instant::now());
        let leader = ask_for(&cache, MS * 200, Ok(7));
        tokio::time::sleep(MS * 10).await;
        let callers = (0..10).map(|_| ask_for(&cache, MS * 200, Ok(8))).collect();
        tokio::time::sleep(MS * 40).await;
        leader.abort();
        let seen = answered(callers, start).await;
        tell("PB leader cancelled after 50 ms of 200 ms, ten followers", &cache, seen);

        let (cache, start) = (users(), Instant::now());
        let mut leader = Box::pin(cache.get_or_load(&1, || async {
            tokio::time::sleep(MS * 100).await;
            Ok::<_, String>(7)
        }));
        let _ = leader.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let seen = answered(vec![ask_for(&cache, MS * 100, Ok(8))], start).await;
        tell("PB2 leader polled once, a load of 100 ms, one follower", &cache, seen);
        drop(leader);

        let (cache, start) = (users(), Instant::now());
        let callers = (0..20).map(|_| ask_for(&cache, MS * 50, Err("down"))).collect();
        tell("PC 20 callers, the load fails after 50 ms", &cache, answered(callers, start).await);

        let (cache, start) = (users(), Instant::now());
        let callers = (0..11).map(|_| ask_for(&cache, MS * 50, Err("panic"))).collect();
        tell("PP 11 callers, the load panics after 50 ms", &cache, answered(callers, start).await);

        let cache = users();
        let _ = cache.put(1, 1).await;
        cache.expire(&1).await;
        let start = Instant::now();
        let seen = answered(vec![ask_for(&cache, MS * 400, Ok(2))], start).await;
        tell("PT soft time-out of 200 ms, a load of 400 ms", &cache, seen);
        tokio::time::sleep(MS * 250).await;
        assert_eq!(cache.get(&1), Some(2), "the load went on and landed");

        let (cache, start) = (users(), Instant::now());
        let seen = answered(vec![ask_for(&cache, MS * 3_000, Ok(2))], start).await;
        tell("PT hard time-out of 1 s, a load of 3 s", &cache, seen);
    });
}
