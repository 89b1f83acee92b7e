//! Values that are kept with their tags: in the server alone, and behind the memories of processes.

mod support;

use std::time::Duration;

use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, Mutation, Plain, Station, TagChange,
};
use cache_core::{Instant, Lifetime, Loaded, tag_hash};
use cache_redis::{RedisStore, Server};
use cache_tokio::future::{Cache, Reach};
use support::{PATIENCE, Proxy, RedisServer, Way, eventually};

type Texts = RedisStore<String, Plain>;
type Memory = Cache<String, String>;

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);

/// A store as a process of its own has it.
fn process(redis: &RedisServer) -> Texts {
    let server = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let server = server.connect_timeout(PATIENCE).build().unwrap();
    Texts::new(&server, "app", Plain).unwrap().namespace("users")
}

fn memory(store: &Texts) -> Memory {
    let builder = Cache::builder().ttl(MINUTE).stale_if_error(MINUTE).l2_hard_timeout(PATIENCE);
    builder.l2(store.clone()).backplane(store.backplane()).build().unwrap()
}

async fn put(store: &Texts, key: &str, value: &str, tags: &[&str]) {
    let (value, hashes) = (value.to_owned(), hashes(tags));
    let put = Mutation::put(&value, Lifetime::fresh_for(MINUTE)).tagged(&hashes);
    assert!(store.mutate(key, put, Station::NOBODY, NOW).await.unwrap());
}

fn hashes(tags: &[&str]) -> Vec<u64> {
    tags.iter().map(|tag| tag_hash(tag)).collect()
}

async fn get(store: &Texts, key: &str) -> Option<String> {
    store.get(key, NOW).await.unwrap().map(|found| found.value)
}

async fn change(store: &Texts, tag: &str, change: TagChange) {
    let by = Station::NOBODY;
    AsyncSharedStore::<str, String>::change_tag(store, tag, change, by, NOW).await.unwrap();
}

fn of_tags(redis: &RedisServer) -> Vec<String> {
    let mut names = redis.names();
    names.retain(|name| name.starts_with("app:users:t:{app:users:}:"));
    names
}

fn left(redis: &RedisServer, name: &str) -> i64 {
    let answer = redis.ask(&["PTTL", name]).unwrap();
    answer.trim_start_matches(':').trim_end().parse().unwrap()
}

/// Evicted, or lost with a restart: nobody can tell any more what had happened to the tag.
#[tokio::test]
async fn s10_a_tag_that_the_server_has_lost_has_ended_its_entries_and_no_later_ones() {
    let redis = RedisServer::start();
    let store = process(&redis).version_check(Duration::ZERO);
    put(&store, "key", "old", &["a", "b"]).await;
    put(&store, "other", "old", &["b"]).await;
    assert_eq!(get(&store, "key").await.as_deref(), Some("old"));
    let of_a = format!("app:users:t:{{app:users:}}:{:016x}", tag_hash("a"));
    assert!(of_tags(&redis).contains(&of_a));
    redis.ask(&["DEL", &of_a]).unwrap();
    assert_eq!(get(&store, "key").await, None);
    assert_eq!(get(&store, "other").await.as_deref(), Some("old"), "of another tag");
    put(&store, "key", "new", &["a", "b"]).await;
    assert_eq!(get(&store, "key").await.as_deref(), Some("new"));
    for nonsense in ["", "x", "1 2 3 4 5 6", "99999999999999999999999"] {
        redis.ask(&["SET", &of_a, nonsense]).unwrap();
        assert_eq!(get(&store, "key").await, None, "{nonsense:?}");
    }
    redis.ask(&["DEL", "app:users:t:{app:users:}"]).unwrap();
    redis.ask(&["DEL", &of_a]).unwrap();
    put(&store, "key", "newer", &["a"]).await;
    assert_eq!(get(&store, "key").await.as_deref(), Some("newer"), "its number goes on");
    change(&store, "a", TagChange::Invalidate).await;
    assert_eq!(get(&store, "key").await, None);
}

#[tokio::test]
async fn s7_what_is_kept_of_a_tag_outlives_its_entries_and_has_an_end() {
    let redis = RedisServer::start();
    let store = process(&redis);
    put(&store, "key", "value", &["a"]).await;
    let [name] = <[String; 1]>::try_from(of_tags(&redis)).unwrap();
    let first = left(&redis, &name);
    assert!(first > 60_000, "{first}");
    let (value, tags) = ("value".to_owned(), hashes(&["a"]));
    let for_ever = Mutation::put(&value, Lifetime::fresh_for(Duration::MAX)).tagged(&tags);
    assert!(store.mutate("key", for_ever, Station::NOBODY, NOW).await.unwrap());
    let longest = left(&redis, &name);
    assert!(longest > 9 * 365 * 24 * 3_600_000, "{longest}");
    change(&store, "a", TagChange::Invalidate).await;
    change(&store, "unused", TagChange::Expire).await;
    assert!(left(&redis, &name) > longest - 60_000, "no shorter for a change");
    assert!(of_tags(&redis).iter().all(|name| left(&redis, name) > 0));
}

#[tokio::test]
async fn pg_a_fill_from_before_another_processes_change_of_its_tag_is_refused() {
    let redis = RedisServer::start();
    // Without a backplane, who asks seldom is refused more.
    let [one, other] = [(); 2].map(|()| process(&redis).version_check(Duration::ZERO));
    let text = "text".to_owned();
    for (tag, how, lands) in [
        ("a", TagChange::Invalidate, false),
        ("b", TagChange::Invalidate, true),
        ("a", TagChange::Expire, true),
    ] {
        let lease = one.acquire("key", MINUTE, NOW).await.unwrap().expect("nobody has it");
        change(&other, tag, how).await;
        let tags = hashes(&["a"]);
        let fill = Mutation::fill(&text, Lifetime::fresh_for(MINUTE), lease).tagged(&tags);
        let landed = one.mutate("key", fill, Station::NOBODY, NOW).await.unwrap();
        assert_eq!(landed, lands, "{tag}: {how:?}");
        let is_there = get(&process(&redis), "key").await.is_some();
        assert_eq!(is_there, lands && how == TagChange::Invalidate, "{tag}: {how:?}");
        assert!(one.remove("key", NOW).await.is_ok());
    }
}

/// The string of a tag is made anew by a fill from before its loss.
#[tokio::test]
async fn s10_a_tag_that_is_known_again_brings_back_nothing_that_it_had_ended() {
    let redis = RedisServer::start();
    let store = process(&redis).version_check(Duration::ZERO);
    let lease = async |key: &str| store.acquire(key, MINUTE, NOW).await.unwrap().unwrap();
    let [late, beside] = [lease("late").await, lease("beside").await];
    put(&store, "key", "old", &["a"]).await;
    change(&store, "a", TagChange::Invalidate).await;
    redis.ask(&["DEL", &format!("app:users:t:{{app:users:}}:{:016x}", tag_hash("a"))]).unwrap();
    let (text, life) = ("text".to_owned(), Lifetime::fresh_for(MINUTE));
    for (key, lease, tag, lands) in [("late", late, "a", false), ("beside", beside, "b", true)] {
        let tags = hashes(&[tag]);
        let fill = Mutation::fill(&text, life, lease).tagged(&tags);
        let landed = store.mutate(key, fill, Station::NOBODY, NOW).await.unwrap();
        assert_eq!(landed, lands, "{key}: its tag, used first, was changed or not since");
        assert_eq!(get(&store, key).await.is_some(), lands, "{key}");
    }
    assert_eq!(get(&store, "key").await, None);
    let fill = Mutation::fill(&text, life, lease("late").await);
    let tags = hashes(&["a"]);
    assert!(store.mutate("late", fill.tagged(&tags), Station::NOBODY, NOW).await.unwrap());
    assert_eq!(get(&store, "key").await, None, "though the tag is in use again");
}

/// Each change is one of those of which the log has room for a hundred.
#[tokio::test]
async fn s10_a_load_during_many_changes_of_other_tags_lands_unless_there_were_too_many() {
    let redis = RedisServer::start();
    let store = process(&redis).version_check(Duration::ZERO);
    let (text, life) = ("text".to_owned(), Lifetime::fresh_for(MINUTE));
    change(&store, "before", TagChange::Expire).await;
    for (round, (changes, lands)) in [(0, true), (99, true), (101, false)].into_iter().enumerate() {
        let lease = store.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
        for n in 0..changes {
            change(&store, &format!("other {n}"), TagChange::Invalidate).await;
        }
        let tags = hashes(&[&format!("first used in {round}")]);
        let fill = Mutation::fill(&text, life, lease).tagged(&tags);
        let landed = store.mutate("key", fill, Station::NOBODY, NOW).await.unwrap();
        assert_eq!(landed, lands, "after {changes} changes");
    }
}

#[tokio::test]
async fn s10_after_a_refused_fill_the_next_load_knows_better() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| process(&redis).version_check(MINUTE));
    let (text, tags) = ("text".to_owned(), hashes(&["a"]));
    assert!(one.acquire("other", MINUTE, NOW).await.unwrap().is_some());
    change(&other, "a", TagChange::Invalidate).await;
    let mut fills = vec![];
    for _ in 0..2 {
        let lease = one.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
        let fill = Mutation::fill(&text, Lifetime::fresh_for(MINUTE), lease).tagged(&tags);
        fills.push(one.mutate("key", fill, Station::NOBODY, NOW).await.unwrap());
    }
    assert_eq!(fills[1..], [true], "the first may be refused, since one had asked before");
}

/// All have heard of it, and ask the server again.
#[tokio::test]
async fn s10_a_server_without_memory_ends_tags_and_clears_all_the_same() {
    let redis = RedisServer::start();
    let store = process(&redis);
    put(&store, "key", "value", &["a"]).await;
    put(&store, "other", "value", &[]).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    change(&store, "a", TagChange::Invalidate).await;
    assert_eq!(get(&store, "key").await, None);
    assert_eq!(get(&store, "other").await.as_deref(), Some("value"));
    AsyncSharedStore::<str, String>::clear_all(&store, Station::NOBODY, NOW).await.unwrap();
    assert_eq!(get(&store, "other").await, None);
    assert_eq!(left(&redis, "app:users:v"), -1, "it has no end");
}

#[tokio::test]
async fn the_question_for_tags_makes_an_entry_no_younger() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let near = process(&redis);
    let builder = Server::builder(&proxy.address()).unwrap().operation_timeout(PATIENCE);
    let far = Texts::new(&builder.build().unwrap(), "app", Plain).unwrap().namespace("users");
    eventually("it is connected", async || far.get("none", NOW).await.is_ok()).await;
    put(&near, "key", "value", &["a"]).await;
    proxy.set(Way::Open(ms(100)));
    let many: [&str; 1] = ["key"];
    let mut age = Duration::ZERO;
    let mut note = |_, stored: cache_core::store::Stored<String>| age = stored.lifetime.age;
    far.clone().version_check(Duration::ZERO).get_many(&many, NOW, &mut note).await.unwrap();
    // Two trips of two ways each, and then two more.
    assert!(age >= ms(390), "{age:?}");
    let age = far.get("key", NOW).await.unwrap().unwrap().lifetime.age;
    assert!(age >= ms(790), "{age:?}");
}

/// Without a backplane: within the time that the store was told.
#[tokio::test]
async fn r7_a_change_of_a_tag_is_seen_by_others_when_they_ask_again() {
    let redis = RedisServer::start();
    let (one, other) = (process(&redis), process(&redis).version_check(ms(50)));
    put(&one, "key", "value", &["a"]).await;
    assert_eq!(get(&other, "key").await.as_deref(), Some("value"));
    change(&one, "a", TagChange::Invalidate).await;
    eventually("the other sees it", async || get(&other, "key").await.is_none()).await;
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn s10_many_entries_are_answered_by_what_has_become_of_their_tags() {
    let redis = RedisServer::start();
    let store = process(&redis);
    for (key, tags) in [("0", &[][..]), ("1", &["a"]), ("2", &["a", "b"]), ("3", &["b"])] {
        put(&store, key, key, tags).await;
    }
    change(&store, "a", TagChange::Invalidate).await;
    for store in [&store, &process(&redis), &process(&redis).version_check(Duration::ZERO)] {
        let mut found = vec![];
        let mut note = |position, stored: cache_core::store::Stored<String>| {
            let tags = stored.tags().len();
            found.push((position, stored.value, tags));
        };
        store.get_many(&["3", "2", "1", "0", "4"], NOW, &mut note).await.unwrap();
        found.sort();
        assert_eq!(found, [(0, "3".to_owned(), 1), (3, "0".to_owned(), 0)]);
    }
}

#[tokio::test]
async fn s10_tags_are_shared_by_processes_and_by_those_that_start_later() {
    let redis = RedisServer::start();
    let stores = [(); 2].map(|()| process(&redis));
    let [one, two] = [memory(&stores[0]), memory(&stores[1])];
    let load = |text: &'static str| {
        move |_| async move { Ok::<_, String>(Loaded::value(text.to_owned()).tag("team")) }
    };
    let never = |_| async { Err::<Loaded<String>, _>("the origin was asked".to_owned()) };
    for store in &stores {
        let backplane = store.backplane();
        eventually("the channel is open", async || backplane.is_open()).await;
    }
    assert_eq!(one.get_or_load_with("key", load("old")).await.unwrap(), "old");
    eventually("it is stored", async || get(&stores[0], "key").await.is_some()).await;
    assert_eq!(two.get_or_load_with("key", never).await.unwrap(), "old");
    assert_eq!(two.expire_tag("team").await, Reach::Everywhere);
    let later = memory(&process(&redis));
    for cache in [&two, &later] {
        assert_eq!(cache.get("key"), None);
        assert_eq!(cache.get_or_load_with("key", never).await.unwrap(), "old", "as fallback");
    }
    assert_eq!(one.invalidate_tag("team").await, Reach::Everywhere);
    eventually("the other hears", async || two.freshness("key").is_none()).await;
    let later = memory(&process(&redis));
    for cache in [&one, &two, &later] {
        assert!(cache.get_or_load_with("key", never).await.is_err());
    }
    assert_eq!(later.get_or_load_with("key", load("new")).await.unwrap(), "new");
}
