//! S21: a clear and a purge of many entries, and what others notice of it. `CLEAR_KEYS` makes it more.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use cache_core::store::{AsyncStore, Plain};
use cache_core::{Instant, Lifetime};
use cache_redis::{RedisStore, Server};
use support::{PATIENCE, RedisServer, ping};

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;

/// Another client, that asks again and again.
struct Bystander {
    ended: Arc<AtomicBool>,
    longest: JoinHandle<(Duration, u64)>,
}

impl Bystander {
    fn of(redis: &RedisServer) -> Self {
        let (socket, ended) = (redis.socket(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&ended);
        let longest = std::thread::spawn(move || {
            let (mut longest, mut asked) = (Duration::ZERO, 0);
            while !seen.load(Relaxed) {
                let began = Clock::now();
                ping(&socket).unwrap();
                longest = longest.max(began.elapsed());
                asked += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            (longest, asked)
        });
        Self { ended, longest }
    }

    /// How long it waited for an answer at most, and how often it asked.
    fn end(self) -> (Duration, u64) {
        self.ended.store(true, Relaxed);
        self.longest.join().unwrap()
    }
}

async fn put(store: &Texts, key: &str) {
    let hour = Lifetime::fresh_for(Duration::from_secs(3_600));
    store.put(key, &"x".repeat(100), hour, NOW).await.unwrap();
}

/// Copies an entry under so many names.
fn multiply(redis: &RedisServer, count: u64) {
    let names = redis.names();
    let name = names.iter().find(|name| name.starts_with("app:many:e")).unwrap();
    let stem = name.strip_suffix("{key}").unwrap();
    let copy = "local bytes = redis.call('GET', KEYS[1])
                for n = tonumber(ARGV[2]), tonumber(ARGV[3]) do
                    redis.call('SET', ARGV[1] .. '{' .. n .. '}', bytes, 'PX', 3600000) end";
    for from in (1..=count).step_by(10_000) {
        let to = count.min(from + 9_999);
        let [from, to] = [from, to].map(|n| n.to_string());
        redis.ask(&["EVAL", copy, "1", name, stem, &from, &to]);
    }
}

fn size(redis: &RedisServer) -> u64 {
    let answer = redis.ask(&["DBSIZE"]).unwrap();
    answer.trim_start_matches(':').trim_end().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_many_entries_are_cleared_at_once_and_purged_in_steps() {
    let given = std::env::var("CLEAR_KEYS").ok().and_then(|text| text.parse().ok());
    let count: u64 = given.unwrap_or(100_000);
    let redis = RedisServer::start();
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let server = builder.connect_timeout(PATIENCE).build().unwrap();
    let texts = |name: &str| Texts::new(&server, "app", Plain).unwrap().namespace(name);
    let (store, neighbour) = (texts("many"), texts("many:more"));
    put(&store, "key").await;
    multiply(&redis, count);
    for n in 0..100 {
        put(&neighbour, &format!("{n}")).await;
        redis.ask(&["SET", &format!("of others {n}"), "x"]).unwrap();
    }
    let before = size(&redis);
    assert!(before >= count + 201, "{before}");

    let bystander = Bystander::of(&redis);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let began = Clock::now();
    AsyncStore::<str, String>::clear(&store, NOW).await.unwrap();
    let took = began.elapsed();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (stall, _) = bystander.end();
    println!("clear of {count} entries: {took:?}; another client waited {stall:?} at most");
    for key in ["key", "1", &count.to_string()] {
        assert!(store.get(key, NOW).await.unwrap().is_none(), "{key}");
    }
    assert_eq!(size(&redis), before, "their memory is given back by a purge");
    put(&store, "new").await;

    let (bystander, began) = (Bystander::of(&redis), Clock::now());
    let freed = AsyncStore::<str, String>::purge(&store, NOW, usize::MAX).await.unwrap();
    let took = began.elapsed();
    let (stall, asked) = bystander.end();
    println!("purge: {took:?}; another client waited {stall:?} at most, of {asked} times");
    assert_eq!((freed as u64, size(&redis)), (count + 1, before - count));
    assert!(store.get("new", NOW).await.unwrap().is_some());
    for n in 0..100 {
        assert!(neighbour.get(&format!("{n}"), NOW).await.unwrap().is_some());
        assert!(redis.ask(&["GET", &format!("of others {n}")]).unwrap().contains('x'));
    }
}
