//! Memory in front of a Redis in which others write too.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cache_core::store::Plain;
use cache_redis::{RedisStore, Server};
use cache_tokio::future::{Cache, LoadError};
#[cfg(feature = "cluster")]
use support::RedisCluster;
use support::{PATIENCE, RedisServer, eventually, race};
use tokio::task::JoinSet;

type Texts = RedisStore<String, Plain>;
type Memory<K> = Cache<K, String>;

const MINUTE: Duration = Duration::from_secs(60);

/// A server that lets its user track.
fn start() -> RedisServer {
    let redis = RedisServer::start();
    redis.allow_tracking();
    redis
}

/// A store as a process of its own has it, on a machine that may be slow.
fn store(address: &str) -> Texts {
    let server = Server::builder(address).unwrap().operation_timeout(PATIENCE);
    let server = server.connect_timeout(PATIENCE).build().unwrap();
    Texts::new(&server, "app", Plain).unwrap()
}

/// Memory in front of it, which hears of everything.
async fn memory<K>(store: &Texts) -> Memory<K>
where
    K: Clone + Eq + std::hash::Hash + Send + Sync + 'static,
    K: cache_core::store::KeyBytes + cache_core::store::KeyFromBytes,
{
    let builder = Cache::builder().ttl(2 * MINUTE).stale_if_error(10 * MINUTE).l1_ttl(2 * MINUTE);
    let builder = builder.l2_hard_timeout(PATIENCE).l2(store.clone());
    let memory = builder.backplane(store.backplane()).build().unwrap();
    eventually("it hears", async || store.backplane().is_open()).await;
    memory
}

async fn process(address: &str) -> Memory<String> {
    memory(&store(address).tracking()).await
}

/// What the cache answers where the origin must not be asked, or cannot.
async fn read(cache: &Memory<String>, key: &str) -> Result<String, LoadError<String>> {
    let load = || async { Err::<String, _>("the origin is down".to_owned()) };
    cache.get_or_load(&key.to_owned(), load).await
}

fn fresh(cache: &Memory<String>, key: &str) -> bool {
    cache.contains(key)
}

/// Both have the key in memory, then something happens: soon it is fresh in none, and all still serve it where
/// the origin fails.
async fn makes_stale(redis: &RedisServer, key: &str, happens: impl Fn(&str)) {
    let both = [process(&redis.address()).await, process(&redis.address()).await];
    both[0].put(key.to_owned(), "old".to_owned()).await;
    eventually("it is in both", async || {
        read(&both[1], key).await.unwrap() == "old" && both.iter().all(|cache| fresh(cache, key))
    })
    .await;
    happens(&redis.entry_of(key).unwrap());
    eventually("it is stale in both", async || !both.iter().any(|cache| fresh(cache, key))).await;
    for cache in &both {
        assert_eq!(read(cache, key).await.unwrap(), "old", "kept as fallback");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_do_makes_memory_stale_and_is_kept_as_fallback() {
    let redis = start();
    let ask = |command: &[&str]| drop(redis.ask(command).expect("it answers"));
    makes_stale(&redis, "set", |name| ask(&["SET", name, "of others"])).await;
    makes_stale(&redis, "deleted", |name| ask(&["DEL", name])).await;
    makes_stale(&redis, "over", |name| ask(&["PEXPIRE", name, "20"])).await;
    makes_stale(&redis, "emptied", |_| ask(&["FLUSHALL"])).await;
    makes_stale(&redis, "evicted", |_| {
        ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        ask(&["CONFIG", "SET", "maxmemory", "1"]);
        support::until("it is evicted", || {
            redis.ask(&["SET", "other", "x"]);
            redis.entry_of("evicted").is_none()
        });
    })
    .await;
}

/// Redis keeps entries beyond their life, so that no expiry comes while one is loaded anew.
#[tokio::test]
async fn no_expiry_of_what_is_loaded_anew_is_taken_for_a_change_by_others() {
    let redis = start();
    let store = store(&redis.address()).tracking();
    let builder = Cache::builder().ttl(Duration::from_millis(20)).l2_hard_timeout(PATIENCE);
    let builder = builder.l2(store.clone()).backplane(store.backplane());
    let memory: Memory<String> = builder.build().unwrap();
    let backplane = store.backplane();
    eventually("it hears", async || backplane.is_open()).await;
    let loads = Arc::new(AtomicU64::new(0));
    eventually("it was loaded many times", async || {
        let counted = Arc::clone(&loads);
        let load = move || {
            counted.fetch_add(1, Relaxed);
            async { Ok::<_, String>("value".to_owned()) }
        };
        memory.get_or_load("key", load).await.unwrap();
        loads.load(Relaxed) >= 20
    })
    .await;
    assert_eq!(backplane.tracked().unwrap().changes, 0);
}

/// Another program that writes what this library can read.
struct Forger {
    scratch: RedisServer,
    store: Texts,
}

impl Forger {
    fn new() -> Self {
        let scratch = RedisServer::start();
        let store = store(&scratch.address());
        Self { scratch, store }
    }

    /// The bytes of an entry.
    async fn bytes(&self, key: &str, value: &str) -> Vec<u8> {
        use cache_core::store::AsyncStore;
        let life = cache_core::Lifetime::fresh_for(2 * MINUTE);
        self.store.put(key, &value.to_owned(), life, cache_core::Instant::ORIGIN).await.unwrap();
        let name = self.scratch.entry_of(key).unwrap();
        let answer = self.scratch.ask_bytes(&[b"GET", name.as_bytes()]).unwrap();
        let at = answer.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        answer[at..answer.len() - 2].to_vec()
    }
}

fn set(redis: &RedisServer, name: &str, bytes: &[u8]) {
    let life = (2 * MINUTE).as_millis().to_string();
    redis.ask_bytes(&[b"SET", name.as_bytes(), bytes, b"PX", life.as_bytes()]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_is_read() {
    let (redis, forger) = (start(), Forger::new());
    let caches = [process(&redis.address()).await, process(&redis.address()).await];
    caches[0].put("key".to_owned(), "ours".to_owned()).await;
    assert_eq!(read(&caches[1], "key").await.unwrap(), "ours");
    set(&redis, &redis.entry_of("key").unwrap(), &forger.bytes("key", "theirs").await);
    for cache in &caches {
        eventually("it is read", async || read(cache, "key").await.unwrap() == "theirs").await;
    }
}

/// As often as it can, another program writes next values; processes read, are cut off, and read on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_race_of_readers_and_others_who_write_leaves_no_key_outdated() {
    const KEYS: usize = 20;
    const WRITES: usize = 30;
    let (redis, forger) = (Arc::new(start()), Forger::new());
    let caches = [process(&redis.address()).await, process(&redis.address()).await];
    let (mut names, mut values) = (vec![], vec![]);
    for key in 0..KEYS {
        caches[0].put(key.to_string(), "0".to_owned()).await;
        names.push(redis.entry_of(&key.to_string()).unwrap());
        for write in 1..=WRITES {
            values.push(forger.bytes(&key.to_string(), &write.to_string()).await);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for n in 0..8 {
        let (cache, stop) = (caches[n % 2].clone(), Arc::clone(&stop));
        readers.spawn(async move {
            let mut key = n;
            while !stop.load(Relaxed) {
                read(&cache, &(key % KEYS).to_string()).await.unwrap();
                key += 1;
                tokio::task::yield_now().await; // hits do not, and others are to run
            }
        });
    }
    let server = Arc::clone(&redis);
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..KEYS * WRITES {
            let (key, write) = (n % KEYS, n / KEYS);
            set(&server, &names[key], &values[key * WRITES + write]);
            if n % 150 == 75 {
                server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
        }
    });
    writing.await.unwrap();
    let last = WRITES.to_string();
    for cache in &caches {
        for key in 0..KEYS {
            let key = key.to_string();
            eventually("the last is read", async || read(cache, &key).await.unwrap() == last).await;
        }
    }
    stop.store(true, Relaxed);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_race_of_readers_and_writers_who_track_leaves_no_key_outdated() {
    let redis = start();
    let processes = [store(&redis.address()).tracking(), store(&redis.address()).tracking()];
    let memories = [memory(&processes[0]).await, memory(&processes[1]).await];
    race(memories, std::slice::from_ref(&redis)).await;
    println!("{:?}", processes.map(|store| store.backplane().tracked()));
}

#[cfg(feature = "cluster")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_race_under_tracking_leaves_no_key_outdated_in_a_cluster() {
    let cluster = RedisCluster::start();
    cluster.nodes.iter().for_each(RedisServer::allow_tracking);
    let processes = [store(&cluster.address()).tracking(), store(&cluster.address()).tracking()];
    let memories = [memory(&processes[0]).await, memory(&processes[1]).await];
    race(memories, &cluster.nodes).await;
    println!("{:?}", processes.map(|store| store.backplane().tracked()));
}

/// Two processes that put, load and read the same keys, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_processes_put_and_load_stays_in_their_memories() {
    const KEYS: usize = 300;
    let redis = start();
    let stores = [store(&redis.address()).tracking(), store(&redis.address()).tracking()];
    let caches: [Memory<String>; 2] = [memory(&stores[0]).await, memory(&stores[1]).await];
    let loads = Arc::new(AtomicU64::new(0));
    let load = async |cache: &Memory<String>, key: String| {
        let loads = Arc::clone(&loads);
        let load = || async move {
            loads.fetch_add(1, Relaxed);
            Ok::<_, String>("loaded".to_owned())
        };
        cache.get_or_load(&key, load).await.unwrap()
    };
    for key in 0..KEYS {
        caches[key % 2].put(format!("put{key}"), "put".to_owned()).await;
        load(&caches[key % 2], format!("load{key}")).await;
    }
    // What is loaded is written after it was answered.
    eventually("all is in Redis", async || {
        redis.names().iter().filter(|name| name.contains(":e")).count() == 2 * KEYS
    })
    .await;
    for key in 0..KEYS {
        load(&caches[(key + 1) % 2], format!("put{key}")).await;
        load(&caches[(key + 1) % 2], format!("load{key}")).await;
    }
    assert_eq!(loads.load(Relaxed), KEYS as u64);
    // When this has come, all that came before it has.
    redis.ask(&["DEL", &redis.entry_of("put0").unwrap()]).unwrap();
    for cache in &caches {
        eventually("it is told", async || !fresh(cache, "put0")).await;
        for key in 1..KEYS {
            assert!(
                fresh(cache, &format!("put{key}")) && fresh(cache, &format!("load{key}")),
                "{key}"
            );
        }
    }
    assert!(stores.iter().all(|store| store.backplane().tracked().unwrap().changes == 1));
}
