//! A listener that is cut off a hundred times while others write.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant as Clock};

use cache_core::Freshness;
use cache_core::store::Plain;
use cache_redis::{RedisStore, Server};
use cache_tokio::future::{Builder, Cache, LoadError};
use support::{Listener, PATIENCE, RedisServer, Told, eventually};
use tokio::task::JoinSet;

type Texts = RedisStore<String, Plain>;
type Memory = Cache<u64, String>;

const MINUTE: Duration = Duration::from_secs(60);
const KILLS: usize = 100;
/// Each of them writes to keys of its own, so that the last version of each is known.
const WRITERS: u64 = 8;
const WRITES: u64 = 25;
const KEYS: u64 = 10 * WRITERS;
/// Nobody writes to this one.
const QUIET: u64 = KEYS;

/// A store whose listener is back soon: its delays begin anew with each heartbeat.
fn store(redis: &RedisServer) -> Texts {
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let builder = builder.connect_timeout(PATIENCE).heartbeat(Duration::from_millis(5));
    Texts::new(&builder.build().unwrap(), "app", Plain).unwrap()
}

fn before(store: &Texts) -> Builder<u64, String> {
    let builder = Cache::builder().ttl(MINUTE).stale_if_error(MINUTE);
    builder.l2_hard_timeout(PATIENCE).l2(store.clone())
}

/// The last version of each key that a writer has made known.
type Versions = Arc<Vec<AtomicU64>>;

/// What a process reads, by its memory, by Redis, or in the end by the origin.
async fn read(cache: &Memory, versions: &Versions, key: u64) -> u64 {
    let versions = Arc::clone(versions);
    let load = move || async move { Ok(versions[key as usize].load(Relaxed).to_string()) };
    let value: Result<String, LoadError<String>> = cache.get_or_load(&key, load).await;
    value.unwrap().parse().unwrap()
}

async fn write(cache: Memory, versions: Versions, writer: u64, done: Arc<AtomicU64>) {
    for n in 0..WRITES {
        let key = writer + WRITERS * (n % (KEYS / WRITERS));
        let version = versions[key as usize].load(Relaxed) + 1;
        cache.put(key, version.to_string()).await;
        versions[key as usize].store(version, Relaxed);
        done.fetch_add(1, Relaxed);
    }
}

/// Readers of all keys, without pause.
fn readers(cache: &Memory, versions: &Versions, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for reader in 0..4 {
        let (cache, versions, stop) = (cache.clone(), Arc::clone(versions), Arc::clone(stop));
        readers.spawn(async move {
            let mut key = reader * 7;
            while !stop.load(Relaxed) {
                read(&cache, &versions, key % KEYS).await;
                tokio::task::yield_now().await;
                key += 1;
            }
        });
    }
    readers
}

/// Whoever has lost messages may hold what is old, but not count it as fresh once it hears again; and it
/// keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_listener_killed_a_hundred_times_under_writes_holds_nothing_old_as_fresh() {
    let redis = RedisServer::start();
    let writer = before(&store(&redis)).build().unwrap(); // does not listen
    let heard = store(&redis);
    let reader = before(&heard).backplane(heard.backplane()).build().unwrap();
    let (ear, _) = Listener::<u64>::on(&heard.backplane());
    ear.hears(Told::Opened, 1).await;
    let versions: Versions = Arc::new((0..=KEYS).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let mut reading = readers(&reader, &versions, &stop);
    let (began, mut longest, mut written) = (Clock::now(), Duration::ZERO, 0);
    for _ in 0..KILLS {
        read(&reader, &versions, QUIET).await;
        let (mut writing, done) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
        for n in 0..WRITERS {
            writing.spawn(write(writer.clone(), Arc::clone(&versions), n, Arc::clone(&done)));
        }
        eventually("some are written", async || done.load(Relaxed) > 0).await;
        ear.take();
        assert_eq!(redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).as_deref(), Some(":1\r\n"));
        writing.join_all().await;
        let last = Clock::now();
        written += done.load(Relaxed);
        ear.hears(Told::Opened, 1).await;
        eventually("nothing old is fresh", async || {
            let old = |key: u64| {
                let fresh = reader.get(&key).map(|value| value.parse::<u64>().unwrap());
                fresh.is_some_and(|version| version != versions[key as usize].load(Relaxed))
            };
            !(0..KEYS).any(old)
        })
        .await;
        longest = longest.max(last.elapsed());
        let kept = reader.freshness(&QUIET);
        assert!(kept.is_some_and(|kept| kept != Freshness::Fresh), "it is {kept:?}");
    }
    assert_eq!(writer.stats().store_errors, 0);
    println!("{written} writes in {:?}; nothing old was fresh {longest:?} later", began.elapsed());
    stop.store(true, Relaxed);
    while let Some(reader) = reading.join_next().await {
        reader.unwrap();
    }
}
