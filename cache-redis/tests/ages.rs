//! How old entries are: by the server's clock, whatever becomes of them, and of what was sent.

mod support;

use std::time::Duration;

use cache_core::store::{AsyncLeases, AsyncSharedStore, AsyncStore, Mutation, Plain, Station};
use cache_core::{Freshness, Instant, Lifetime};
use cache_redis::{RedisStore, Server};
use support::{PATIENCE, RedisServer};

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);

/// A store as a process of its own has it.
fn process(redis: &RedisServer) -> Texts {
    let server = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let server = server.connect_timeout(PATIENCE).build().unwrap();
    Texts::new(&server, "app", Plain).unwrap()
}

async fn put(store: &Texts, key: &[u8], value: &str) {
    store.put(key, &value.to_owned(), Lifetime::fresh_for(MINUTE), NOW).await.unwrap();
}

/// A server with an entry that is fresh for ten minutes and may be served for one more.
async fn with_an_entry() -> (RedisServer, Texts) {
    let redis = RedisServer::start();
    let store = process(&redis);
    let life = Lifetime::fresh_for(MINUTE * 10).stale_while_revalidate(MINUTE);
    store.put("key", &"value".to_owned(), life, NOW).await.unwrap();
    (redis, store)
}

/// The name of the only entry.
fn only(redis: &RedisServer) -> String {
    let names = redis.names();
    names.into_iter().find(|name| name.contains(":e")).expect("there is an entry")
}

/// Writes an entry's stamp as if it had been written so long ago, or later.
fn backdate(redis: &RedisServer, name: &str, seconds: i64) {
    let script = "local at = (struct.unpack('>I8', redis.call('GETRANGE', KEYS[1], 0, 7)))
        at = at - ARGV[1] * 1000000
        return redis.call('SETRANGE', KEYS[1], 0, struct.pack('>I8I8I8', at, 0, at))";
    redis.ask(&["EVAL", script, "1", name, &seconds.to_string()]).unwrap();
}

#[tokio::test]
async fn an_age_is_told_by_the_servers_clock_whatever_becomes_of_the_expiry() {
    let (redis, store) = with_an_entry().await;
    let name = only(&redis);
    let age = async || store.get("key", NOW).await.unwrap().map(|found| found.lifetime.age);
    for expiry in [&["PEXPIRE", &name, "360000"][..], &["PERSIST", &name]] {
        redis.ask(expiry).unwrap();
        assert!(age().await.is_some_and(|age| age < MINUTE));
    }
    backdate(&redis, &name, 300);
    let old = age().await.unwrap();
    assert!(old >= MINUTE * 5 && old < MINUTE * 6, "{old:?}");
    backdate(&redis, &name, 300);
    let found = store.get("key", NOW).await.unwrap().unwrap();
    assert_eq!(found.lifetime.freshness(), Freshness::Stale);
    backdate(&redis, &name, 60);
    assert_eq!(age().await, None, "its windows are over, though Redis keeps it");
}

#[tokio::test]
async fn an_entry_of_a_clock_that_was_set_back_is_stale_and_counted() {
    let (redis, store) = with_an_entry().await;
    backdate(&redis, &only(&redis), -3_600);
    let found = store.get("key", NOW).await.unwrap().unwrap();
    assert_eq!((found.lifetime.freshness(), store.stats().misdated), (Freshness::Stale, 1));
}

/// The server carries out later what was sent while it did nothing at all.
#[tokio::test]
async fn what_comes_late_is_no_younger_for_that() {
    let redis = RedisServer::start();
    let store = process(&redis);
    let (value, life) = ("value".to_owned(), Lifetime::fresh_for(MINUTE));
    let held_up = Duration::from_millis(400);
    for way in 0..3 {
        assert!(AsyncStore::<str, String>::remove(&store, "key", NOW).await.is_ok());
        let lease = store.acquire("key", MINUTE, NOW).await.unwrap().expect("a removal ends it");
        redis.signal("STOP");
        let keep = async {
            match way {
                0 => {
                    let fill = Mutation::fill(&value, life, lease);
                    store.mutate("key", fill, Station::NOBODY, NOW).await.unwrap()
                }
                1 => store.put("key", &value, life, NOW).await.is_ok(),
                _ => store.put_if_absent("key", &value, life, NOW).await.unwrap(),
            }
        };
        let go_on = async {
            tokio::time::sleep(held_up).await;
            redis.signal("CONT");
        };
        let (kept, ()) = tokio::join!(keep, go_on);
        assert!(kept);
        let age = store.get("key", NOW).await.unwrap().unwrap().lifetime.age;
        assert!(age >= held_up - Duration::from_millis(50), "{way}: {age:?}");
    }
}

/// Several times, with entries of several ages, and by one who has asked for the time on another connection. No trip
/// took longer than all of this has.
#[tokio::test]
async fn ages_of_two_processes_agree_to_within_ten_milliseconds_beyond_a_trip() {
    let redis = RedisServer::start();
    let began = std::time::Instant::now();
    let [one, other] = [(); 2].map(|()| process(&redis));
    put(&one, b"key", "value").await;
    let name = only(&redis);
    for seconds in [0, 7, 13] {
        backdate(&redis, &name, seconds);
        let first = one.get(&b"key"[..], NOW).await.unwrap().unwrap().lifetime.age;
        let second = other.get(&b"key"[..], NOW).await.unwrap().unwrap().lifetime.age;
        let apart = second.abs_diff(first);
        assert!(apart <= began.elapsed() + Duration::from_millis(10), "{first:?}, {second:?}");
    }
}

/// As `get_or_load` would load it anew: who asks whether there is something has no use for it.
#[tokio::test]
async fn what_is_kept_for_errors_alone_is_absent_for_put_if_absent() {
    let redis = RedisServer::start();
    let store = process(&redis);
    let windows = |sie| {
        let life = Lifetime::fresh_for(MINUTE).stale_while_revalidate(MINUTE);
        life.stale_if_error(MINUTE * sie)
    };
    let (new, life) = ("new".to_owned(), Lifetime::fresh_for(MINUTE));
    for (seconds, taken) in [(0, false), (90, false), (119, false), (120, true)] {
        store.put("key", &"old".to_owned(), windows(60), NOW).await.unwrap();
        backdate(&redis, &only(&redis), seconds);
        let answer = store.put_if_absent("key", &new, life, NOW).await.unwrap();
        assert_eq!(answer, taken, "after {seconds} s");
    }
    store.put("key", &"old".to_owned(), windows(60), NOW).await.unwrap();
    backdate(&redis, &only(&redis), 30);
    assert!(store.mutate("key", Mutation::Expire, Station::NOBODY, NOW).await.unwrap());
    assert!(!store.put_if_absent("key", &new, life, NOW).await.unwrap(), "it is stale, and there");
}
