//! Memory in front of Redis: real servers, and faults made on purpose.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant as Clock};

use cache_core::store::Plain;
use cache_redis::{RedisStore, Server, ServerError};
use cache_tokio::future::{Background, Builder, Cache, LoadError, Reach, Scheduler, Source};
#[cfg(feature = "cluster")]
use support::RedisCluster;
use support::{PATIENCE, Proxy, RedisServer, Way, eventually, race};
use tokio::task::JoinSet;
use tokio::time::sleep;

type Texts = RedisStore<String, Plain>;
type Memory = Cache<u64, String>;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A process: a connection, a store and a memory of its own.
fn process(address: &str) -> Builder<u64, String> {
    let store = Texts::new(&Server::open(address).unwrap(), "app", Plain).unwrap();
    let builder = Cache::builder().ttl(ms(60_000)).l2(store.clone());
    builder.backplane(store.backplane())
}

/// The same, on a machine that may be slow: only what is permanent counts.
fn patient(address: &str) -> Memory {
    memory(&patient_store(address))
}

fn patient_store(address: &str) -> Texts {
    let server = Server::builder(address).unwrap().operation_timeout(PATIENCE);
    let server = server.connect_timeout(PATIENCE).build().unwrap();
    Texts::new(&server, "app", Plain).unwrap()
}

fn memory(store: &Texts) -> Memory {
    let builder = Cache::builder().ttl(ms(60_000)).l2_hard_timeout(PATIENCE).l2(store.clone());
    builder.backplane(store.backplane()).build().unwrap()
}

/// An origin that counts its loads. A key's value begins with the key.
#[derive(Clone, Default)]
struct Origin(Arc<AtomicU64>);

impl Origin {
    async fn read(&self, cache: &Memory, key: u64) -> Result<String, LoadError<String>> {
        let loads = Arc::clone(&self.0);
        let load = move || async move {
            let load = loads.fetch_add(1, Relaxed);
            sleep(ms(2)).await;
            Ok(format!("{key}: {load}"))
        };
        cache.get_or_load(&key, load).await
    }

    fn loads(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

const KEYS: u64 = 50;

/// Readers who ask without pause, and fail the test at the first wrong answer or error.
struct Readers {
    stop: Arc<AtomicBool>,
    readers: JoinSet<(u64, Duration)>,
}

impl Readers {
    fn of(cache: &Memory, origin: &Origin) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        for reader in 0..8 {
            let (cache, origin, stop) = (cache.clone(), origin.clone(), Arc::clone(&stop));
            readers.spawn(async move {
                let (mut reads, mut slowest) = (0, Duration::ZERO);
                while !stop.load(Relaxed) {
                    // Most are in memory; some were never asked for, so that the store is met.
                    let key = match reads % 16 {
                        0 => KEYS + reads * 8 + reader,
                        _ => (reads + reader * 7) % KEYS,
                    };
                    let began = Clock::now();
                    let value = origin.read(&cache, key).await.expect("no trouble is the caller's");
                    slowest = slowest.max(began.elapsed());
                    assert!(value.starts_with(&format!("{key}: ")), "{value} of {key}");
                    reads += 1;
                    if reads % 16 == 0 {
                        sleep(ms(1)).await;
                    }
                }
                (reads, slowest)
            });
        }
        Self { stop, readers }
    }

    /// How many reads there were, and how long the slowest took.
    async fn stop(mut self) -> (u64, Duration) {
        self.stop.store(true, Relaxed);
        let mut all = (0, Duration::ZERO);
        while let Some(reader) = self.readers.join_next().await {
            let (reads, slowest) = reader.expect("no reader has failed");
            all = (all.0 + reads, all.1.max(slowest));
        }
        all
    }
}

/// Waits until what this process loads reaches the store.
async fn used_again(cache: &Memory) -> Duration {
    let began = Clock::now();
    let mut key = 1_000_000;
    eventually("the store is used again", async || {
        key += 1;
        cache.put(key, "x".to_owned()).await;
        cache.invalidate(&key).await.reach == Reach::Everywhere
    })
    .await;
    began.elapsed()
}

/// Readers, while something goes wrong for a while.
async fn through(name: &str, address: &str, wrong: impl AsyncFnOnce()) {
    let cache = process(address).stale_if_error(ms(600_000)).build().unwrap();
    let origin = Origin::default();
    for key in 0..KEYS {
        origin.read(&cache, key).await.unwrap();
    }
    let readers = Readers::of(&cache, &origin);
    wrong().await;
    let back = used_again(&cache).await;
    let (reads, slowest) = readers.stop().await;
    println!("{name}: {reads} reads, slowest {slowest:?}, {} loads, back {back:?}", origin.loads());
    assert!(reads > 0 && cache.stats().store_errors > 0, "it went wrong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_a_killed_server_costs_no_caller_an_error() {
    let mut redis = RedisServer::start();
    let address = redis.address();
    through("kill -9", &address, async || {
        redis.kill();
        sleep(ms(2_000)).await;
        redis.restart();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_a_server_that_restarts_again_and_again_costs_no_caller_an_error() {
    let mut redis = RedisServer::start();
    let address = redis.address();
    through("20 restarts", &address, async || {
        for _ in 0..20 {
            redis.kill();
            redis.restart();
            sleep(ms(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_server_that_hangs_costs_no_caller_an_error() {
    let redis = RedisServer::start();
    through("SIGSTOP", &redis.address(), async || {
        redis.signal("STOP");
        sleep(ms(2_000)).await;
        redis.signal("CONT");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_into_nothing_costs_no_caller_an_error() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    through("black hole", &proxy.address(), async || {
        proxy.set(Way::Hole);
        sleep(ms(2_000)).await;
        proxy.set(Way::Open(Duration::ZERO));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_what_the_server_refuses_costs_no_caller_an_error() {
    let redis = RedisServer::start();
    through("refusals", &redis.address(), async || {
        let config = |setting: [&str; 2]| redis.ask(&["CONFIG", "SET", setting[0], setting[1]]);
        config(["maxmemory", "1"]).unwrap(); // noeviction: OOM
        sleep(ms(300)).await;
        config(["maxmemory", "0"]).unwrap();
        redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).unwrap(); // READONLY
        sleep(ms(300)).await;
        redis.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
        for name in redis.names().iter().filter(|name| name.contains(":e")).take(20) {
            redis.ask(&["DEL", name]).unwrap();
            redis.ask(&["LPUSH", name, "1"]).unwrap(); // WRONGTYPE
        }
        redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        sleep(ms(300)).await;
    })
    .await;
}

/// Nobody has read the entries yet, so the origin answers for each.
#[tokio::test]
async fn r3_bytes_that_cannot_be_read_cost_no_caller_an_error() {
    let redis = RedisServer::start();
    let writer = patient_store(&redis.address());
    let long = "x".repeat(5_000);
    for key in 0..5_u64 {
        memory(&writer).put(key, long.clone()).await;
    }
    let names = redis.names();
    let entries: Vec<_> = names.iter().filter(|name| name.contains(":e")).collect();
    let listed = "redis.call('DEL', KEYS[1]) return redis.call('RPUSH', KEYS[1], 'x')";
    redis.ask(&["SET", entries[0], "of others", "PX", "60000"]).unwrap();
    redis.ask(&["SET", entries[1], "x", "PX", "60000"]).unwrap();
    redis.ask(&["SETRANGE", entries[2], "90", "damage"]).unwrap();
    redis.ask(&["EVAL", listed, "1", entries[3]]).unwrap();
    let (store, origin) =
        (patient_store(&redis.address()).max_value_bytes(1_000), Origin::default());
    let reader = memory(&store);
    for (key, n) in (0..5).zip(0..) {
        assert_eq!(origin.read(&reader, key).await.unwrap(), format!("{key}: {n}"));
    }
    // When the reader's line to the server opens, a load that is under way asks the store once more.
    let corrupt = store.stats().corrupt;
    assert!((5..=6).contains(&corrupt), "{corrupt}");
    assert_eq!(reader.stats().store_errors, corrupt);
    // All of them have been replaced.
    let again = memory(&store);
    for (key, n) in (0..5).zip(0..) {
        assert_eq!(origin.read(&again, key).await.unwrap(), format!("{key}: {n}"));
    }
    memory(&writer).put(5, "of another schema".to_owned()).await;
    let other = patient_store(&redis.address()).schema(7);
    assert_eq!(origin.read(&memory(&other), 5).await.unwrap(), "5: 5");
    assert!((1..=2).contains(&other.stats().foreign), "{:?}", other.stats());
}

#[tokio::test]
async fn r3_a_wrong_password_costs_no_caller_an_error() {
    let redis = RedisServer::start();
    let address = format!("{}?user=least&pass=wrong", redis.address_without_login());
    let (store, origin) = (patient_store(&address), Origin::default());
    let cache = memory(&store);
    for (key, n) in (0..KEYS).zip(0..) {
        assert_eq!(origin.read(&cache, key).await.unwrap(), format!("{key}: {n}"));
    }
    assert!(store.server().failures(ServerError::Auth) >= 1);
}

/// Keys that were never loaded before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_s12_the_origin_answers_while_the_server_is_down_and_callers_are_told_so() {
    let mut redis = RedisServer::start();
    let cache = patient(&redis.address());
    used_again(&cache).await;
    let seen = async |key: u64| {
        let load = move || async move { Ok::<_, String>(format!("of {key}")) };
        let seen = cache.read(&key).outcome(load).await.expect("no trouble is the caller's");
        assert_eq!((seen.value, seen.source), (format!("of {key}"), Source::Origin));
        seen.degraded
    };
    redis.kill();
    for key in 0..KEYS {
        assert!(seen(key).await);
    }
    redis.restart();
    used_again(&cache).await;
    assert!(!seen(KEYS).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_what_was_written_while_redis_was_down_is_made_up_for() {
    let mut redis = RedisServer::start();
    let (one, two) = (patient(&redis.address()), patient(&redis.address()));
    one.put(1, "old".to_owned()).await;
    let load = || async { Err::<String, _>("the origin is not to be asked".to_owned()) };
    assert_eq!(two.get_or_load(&1, load).await.unwrap(), "old");
    let kept = redis.names();
    redis.kill();
    // Whether it is told so at once or when the connection is given up: it did not reach the store.
    eventually("it is noticed", async || one.invalidate(&2).await.reach == Reach::Queued).await;
    assert_eq!(one.invalidate(&1).await.reach, Reach::Queued);
    // When it is noticed that nothing is heard any more, all that memory has is stale.
    eventually("what is put stays in memory", async || {
        assert!(one.put(3, "new".to_owned()).await.is_stored());
        one.get(&3).as_deref() == Some("new")
    })
    .await;
    assert_eq!(one.get(&1), None);
    assert!(kept.iter().any(|name| name.contains(":e")));
    redis.restart();
    eventually("the other is told", async || two.get(&1).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_race_of_readers_and_writers_leaves_no_key_outdated() {
    let redis = RedisServer::start();
    let processes = [patient(&redis.address()), patient(&redis.address())];
    race(processes, std::slice::from_ref(&redis)).await;
}

#[cfg(feature = "cluster")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_race_of_readers_and_writers_leaves_no_key_outdated_in_a_cluster() {
    let cluster = RedisCluster::start();
    race([patient(&cluster.address()), patient(&cluster.address())], &cluster.nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_value_is_loaded_by_one_process_and_read_by_all() {
    let redis = RedisServer::start();
    let loads = Arc::new(AtomicU64::new(0));
    let job = || {
        let server = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
        let server = server.connect_timeout(PATIENCE);
        let store = Texts::new(&server.build().unwrap(), "jobs", Plain).unwrap();
        let loads = Arc::clone(&loads);
        let load = move || {
            let loads = Arc::clone(&loads);
            async move {
                sleep(ms(50)).await;
                Ok::<_, String>(format!("load {}", loads.fetch_add(1, Relaxed)))
            }
        };
        let job = Background::builder("prices").every(Duration::from_secs(3_600));
        job.scheduler(&Scheduler::new()).start_shared(store, load).unwrap()
    };
    let processes: Vec<_> = (0..5).map(|_| job()).collect();
    for value in &processes {
        value.ready().await.unwrap();
        assert_eq!(*value.get().unwrap(), "load 0");
    }
    assert_eq!(loads.load(Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_misses_of_one_key_are_one_read_of_the_store() {
    let redis = RedisServer::start();
    let (one, two) = (patient(&redis.address()), patient(&redis.address()));
    one.put(1, "there".to_owned()).await;
    two.put(2, "its connection is there".to_owned()).await;
    let reads = || {
        let stats = redis.ask(&["INFO", "commandstats"]).unwrap();
        let of = stats.split("cmdstat_getrange:calls=").nth(1).unwrap_or("0,");
        of.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = reads();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let cache = two.clone();
        let load = || async { Err::<String, _>("the origin is not to be asked".to_owned()) };
        callers.spawn(async move { cache.get_or_load(&1, load).await.unwrap() });
    }
    while let Some(value) = callers.join_next().await {
        assert_eq!(value.unwrap(), "there");
    }
    assert_eq!(reads() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_one_cold_key_is_loaded_once_for_all_processes() {
    let redis = RedisServer::start();
    load_once(&redis.address()).await;
}

#[cfg(feature = "cluster")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_one_cold_key_is_loaded_once_for_all_processes_before_a_cluster() {
    let cluster = RedisCluster::start();
    load_once(&cluster.address()).await;
}

/// Many callers in many processes who want the same key.
async fn load_once(address: &str) {
    let processes: Vec<_> = (0..8).map(|_| patient(address)).collect();
    for (cache, key) in processes.iter().zip(100..) {
        cache.put(key, "its connection is there".to_owned()).await;
    }
    let loads = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for cache in &processes {
        for _ in 0..50 {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            callers.spawn(async move {
                let load = move || async move {
                    loads.fetch_add(1, Relaxed);
                    sleep(ms(100)).await;
                    Ok::<_, String>("once".to_owned())
                };
                cache.get_or_load(&1, load).await.unwrap()
            });
        }
    }
    while let Some(value) = callers.join_next().await {
        assert_eq!(value.unwrap(), "once");
    }
    assert_eq!(loads.load(Relaxed), 1);
}
