//! What a store does beyond the rules for all stores: names, expiries, clears, bytes of others.

mod support;

use std::sync::Arc;
use std::time::Duration;

use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, Mutation, Plain, Station, StoreError, TagChange,
};
use cache_core::{Instant, Lifetime};
use cache_redis::{BuildError, RedisStore, Server, ServerError};
use support::{
    CLUSTER_RIGHTS, Listener, PATIENCE, RIGHTS, RedisServer, TRACKING_RIGHT, Told, behind,
    eventually,
};

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);

async fn tell(store: &Texts, tag: &str, change: TagChange, by: Station) {
    AsyncSharedStore::<str, String>::change_tag(store, tag, change, by, NOW).await.unwrap();
}

fn open(redis: &RedisServer) -> Server {
    Server::builder(&redis.address())
        .unwrap()
        .operation_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .build()
        .unwrap()
}

fn texts(server: &Server, prefix: &str, namespace: &[u8]) -> Texts {
    Texts::new(server, prefix, Plain).unwrap().namespace(namespace)
}

async fn put(store: &Texts, key: &[u8], value: &str) -> Result<(), StoreError> {
    store.put(key, &value.to_owned(), Lifetime::fresh_for(MINUTE), NOW).await
}

async fn get(store: &Texts, key: &[u8]) -> Option<String> {
    store.get(key, NOW).await.unwrap().map(|found| found.value)
}

/// The name of the only entry.
fn only(redis: &RedisServer) -> String {
    let mut names = redis.names();
    names.retain(|name| name.contains(":e"));
    assert_eq!(names.len(), 1, "{names:?}");
    names.remove(0)
}

/// The number that Redis answers.
fn number(redis: &RedisServer, command: &[&str]) -> i64 {
    redis.ask(command).unwrap().trim_start_matches(':').trim_end().parse().unwrap()
}

#[tokio::test]
async fn r10_no_key_of_one_namespace_is_reached_from_another() {
    let redis = RedisServer::start();
    let server = open(&redis);
    let parts: [&[u8]; 9] = [b"", b":", b"a:b", b"a", b"{a}", b"*", b"a\0", b"\xff\xfe", b"%3A"];
    let mut stores = vec![];
    for prefix in ["a", "a:", "a:b", "*", "{a}"] {
        for namespace in parts {
            stores.push(texts(&server, prefix, namespace).max_key_bytes(2 << 20));
        }
    }
    let long = vec![b'{'; 1 << 20];
    // The longest key in a few of them: it takes its time.
    let keys = |n: usize| parts.into_iter().chain((n < 5).then_some(&long[..]));
    for (n, store) in stores.iter().enumerate() {
        for (k, key) in keys(n).enumerate() {
            put(store, key, &format!("{n}/{k}")).await.unwrap();
        }
    }
    // `a` in `a`, and `*` in `*`, which is a pattern to Redis.
    let cleared = [3, 32];
    for n in cleared {
        stores[n].clear_now().await;
        assert_eq!(stores[n].purge_some(usize::MAX).await, keys(n).count());
    }
    for (n, store) in stores.iter().enumerate() {
        for (k, key) in keys(n).enumerate() {
            let expected = (!cleared.contains(&n)).then(|| format!("{n}/{k}"));
            assert_eq!(get(store, key).await, expected);
        }
    }
}

/// Methods that do not depend on the type of the key, called without naming it.
trait Whole {
    async fn clear_now(&self);
    async fn purge_some(&self, budget: usize) -> usize;
}

impl Whole for Texts {
    async fn clear_now(&self) {
        AsyncStore::<[u8], String>::clear(self, NOW).await.unwrap();
    }

    async fn purge_some(&self, budget: usize) -> usize {
        AsyncStore::<[u8], String>::purge(self, NOW, budget).await.unwrap()
    }
}

#[tokio::test]
async fn s7_every_entry_expires_with_its_last_window() {
    let redis = RedisServer::start();
    let server = open(&redis);
    let store = texts(&server, "app", b"");
    let windows = Lifetime::fresh_for(MINUTE)
        .stale_while_revalidate(MINUTE)
        .stale_if_error(MINUTE * 5)
        .aged(MINUTE / 2);
    let ten_years = 10 * 365 * 24 * 3_600_000;
    let lives = [
        (windows, 330_000),
        (Lifetime::fresh_for(Duration::MAX), ten_years),
        (Lifetime::fresh_for(Duration::from_millis(999_999)), 999_999),
    ];
    for (life, expected) in lives {
        store.put("key", &"value".to_owned(), life, NOW).await.unwrap();
        let left = number(&redis, &["PTTL", &only(&redis)]);
        assert!((1..=expected).contains(&left) && left > expected - 30_000, "{left}");
    }
}

/// Whatever writes it; and so does all else but the numbers of the namespace's version and of its tags.
#[tokio::test]
async fn s7_every_way_to_write_gives_an_expiry() {
    let redis = RedisServer::start();
    let store = texts(&open(&redis), "app", b"");
    let (value, life) = ("value".to_owned(), Lifetime::fresh_for(MINUTE).stale_if_error(MINUTE));
    put(&store, b"put", "value").await.unwrap();
    assert!(store.put_if_absent("absent", &value, life, NOW).await.unwrap());
    let lease = store.acquire("fill", MINUTE, NOW).await.unwrap().unwrap();
    assert!(store.acquire("leased", MINUTE, NOW).await.unwrap().is_some());
    let tagged = Mutation::put(&value, life).tagged(&[1, 2]);
    assert!(store.mutate("tagged", tagged, Station::NOBODY, NOW).await.unwrap());
    tell(&store, "tag", TagChange::Expire, Station::NOBODY).await;
    let mutations = [
        ("fill", Mutation::fill(&value, life, lease)),
        ("told", Mutation::put(&value, life)),
        ("absent", Mutation::Expire),
    ];
    for (key, mutation) in mutations {
        assert!(store.mutate(key, mutation, Station::NOBODY, NOW).await.unwrap(), "{key}");
    }
    let names = redis.names();
    assert_eq!(names.iter().filter(|name| name.contains(":e")).count(), 5, "{names:?}");
    for name in names.iter().filter(|name| !name.ends_with(":v") && !name.ends_with("app::}")) {
        assert!(number(&redis, &["PTTL", name]) > 0, "{name}");
    }
}

#[tokio::test]
async fn r8_a_lease_whose_answer_was_lost_is_given_back() {
    let redis = RedisServer::start();
    let hasty = Server::builder(&redis.address()).unwrap();
    let hasty = hasty.operation_timeout(Duration::from_millis(50)).build().unwrap();
    let (hasty, patient) = (texts(&hasty, "app", b""), texts(&open(&redis), "app", b""));
    // So that the server knows the script.
    assert!(patient.acquire("other", MINUTE, NOW).await.unwrap().is_some());
    for dropped in [false, true] {
        eventually("it is connected", async || hasty.get("key", NOW).await.is_ok()).await;
        redis.signal("STOP");
        let asking = hasty.acquire("key", MINUTE * 60, NOW);
        if dropped {
            let _ = tokio::time::timeout(Duration::from_millis(20), asking).await;
        } else {
            assert!(asking.await.is_err());
        }
        redis.signal("CONT");
        let free = async || {
            let lease = patient.acquire("key", MINUTE * 60, NOW).await.unwrap();
            match lease {
                Some(lease) => patient.release("key", lease, NOW).await.unwrap(),
                None => false,
            }
        };
        eventually("another may have it", free).await;
    }
}

/// Its holder cannot leave anything there, so there is nothing to wait for.
#[tokio::test]
async fn r3_a_server_that_takes_no_writes_does_not_say_that_a_lease_is_taken() {
    let redis = RedisServer::start();
    let holder = texts(&open(&redis), "app", b"n");
    let lease = holder.acquire("key", MINUTE * 60, NOW).await.unwrap().unwrap();
    let troubles = [
        (["REPLICAOF", "127.0.0.1", "1"].as_slice(), ["REPLICAOF", "NO", "ONE"].as_slice()),
        (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
    ];
    for (begin, end) in troubles {
        // One that has not been refused yet asks the server.
        let other = texts(&open(&redis), "app", b"n");
        assert!(other.acquire("key", MINUTE, NOW).await.unwrap().is_none());
        redis.ask(begin).unwrap();
        assert!(other.acquire("key", MINUTE, NOW).await.is_err());
        redis.ask(end).unwrap();
    }
    let taken = async || matches!(holder.acquire("key", MINUTE, NOW).await, Ok(None));
    eventually("it is still taken", taken).await;
    let fence = lease.fence();
    assert!(holder.release("key", lease, NOW).await.unwrap());
    let next = holder.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
    assert!(next.fence() > fence);
}

#[tokio::test]
async fn who_hears_expiries_keeps_entries_beyond_their_life_and_others_do_not() {
    let redis = RedisServer::start();
    for (tracking, least) in [(false, 55_000), (true, 65_000)] {
        let store = texts(&open(&redis), "app", if tracking { b"a" } else { b"b" });
        let store = if tracking { store.tracking() } else { store };
        let life = Lifetime::fresh_for(MINUTE * 9).stale_if_error(MINUTE);
        store.put("key", &"value".to_owned(), life, NOW).await.unwrap();
        assert!(store.mutate("key", Mutation::Expire, Station::NOBODY, NOW).await.unwrap());
        let name = only(&redis);
        let left = number(&redis, &["PTTL", &name]);
        assert!((least..least + 5_001).contains(&left), "{left}");
        redis.ask(&["DEL", &name]).unwrap();
    }
}

#[tokio::test]
async fn s21_a_clear_is_seen_by_all_at_once_and_never_undone() {
    let redis = RedisServer::start();
    let checked = || texts(&open(&redis), "app", b"users").version_check(Duration::ZERO);
    let [one, other] = [(); 2].map(|()| checked());
    put(&one, b"key", "old").await.unwrap();
    assert_eq!(get(&other, b"key").await.as_deref(), Some("old"));
    one.clear_now().await;
    assert_eq!(get(&other, b"key").await, None);
    put(&other, b"key", "new").await.unwrap();
    assert_eq!(get(&one, b"key").await.as_deref(), Some("new"));
    for lost in [["DEL", "app:users:v", ""], ["SET", "app:users:v", "nonsense"]] {
        let words: Vec<_> = lost.into_iter().filter(|word| !word.is_empty()).collect();
        redis.ask(&words).unwrap();
        assert_eq!(get(&one, b"key").await, None, "the version is not used again");
        put(&other, b"key", "newer").await.unwrap();
        assert_eq!(get(&one, b"key").await.as_deref(), Some("newer"));
    }
}

#[tokio::test]
async fn s21_a_purge_frees_what_was_cleared_and_nothing_else() {
    let redis = RedisServer::start();
    let server = open(&redis);
    let store = texts(&server, "app", b"users");
    for n in 0..1_200_u32 {
        put(&store, &n.to_be_bytes(), "value").await.unwrap();
    }
    let foreign = ["app", "app:users", "app:users:e1:{", "other:users:e1:{a}", "app:user:e1:{a}"];
    for name in foreign {
        redis.ask(&["SET", name, "foreign"]).unwrap();
    }
    assert_eq!(store.purge_some(usize::MAX).await, 0, "nothing was cleared");
    store.clear_now().await;
    put(&store, b"kept", "value").await.unwrap();
    let mut freed = 0;
    for _ in 0..3 {
        let some = store.purge_some(100).await;
        assert!(some <= 100);
        freed += some;
    }
    assert_eq!(freed, 300);
    // Where the budget ended, the next goes on.
    assert_eq!(store.purge_some(usize::MAX).await, 900);
    assert_eq!(store.purge_some(usize::MAX).await, 0);
    assert_eq!(get(&store, b"kept").await.as_deref(), Some("value"));
    assert_eq!(redis.names().len(), foreign.len() + 2, "the entry, and the version");
}

#[tokio::test]
async fn s21_an_empty_prefix_is_refused() {
    let server = Server::open("redis://localhost").unwrap();
    let refused = Texts::new(&server, "", Plain);
    assert_eq!(refused.map(drop).unwrap_err(), BuildError::EmptyPrefix);
}

#[tokio::test]
async fn r3_what_cannot_be_read_is_said_counted_and_left_to_put() {
    let redis = RedisServer::start();
    let server = open(&redis);
    let store = texts(&server, "app", b"").max_value_bytes(1_000);
    put(&store, b"key", "value").await.unwrap();
    let name = only(&redis);
    let long = "x".repeat(5_000);
    let damages: [&[&str]; 4] = [
        &["SET", &name, "foreign", "PX", "60000"],
        &["SET", &name, &long, "PX", "60000"],
        &["SETRANGE", &name, "75", "damage"],
        &[
            "EVAL",
            "redis.call('DEL', KEYS[1]) return redis.call('RPUSH', KEYS[1], 'x')",
            "1",
            &name,
        ],
    ];
    for (seen, damage) in (1..).zip(damages) {
        put(&store, b"key", "value").await.unwrap();
        redis.ask(damage).unwrap();
        let answer = store.get(&b"key"[..], NOW).await;
        assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?} to {}", damage[0]);
        let value = "value".to_owned();
        let life = Lifetime::fresh_for(MINUTE);
        let taken = store.put_if_absent(&b"key"[..], &value, life, NOW).await;
        assert!(matches!(taken, Ok(false)), "{taken:?}");
        assert_eq!(store.stats().corrupt, seen);
    }
    let other = texts(&server, "app", b"").schema(7);
    put(&other, b"key", "value").await.unwrap();
    assert!(matches!(store.get(&b"key"[..], NOW).await, Err(StoreError::Corrupt(_))));
    assert_eq!(store.stats().foreign, 1);
}

#[tokio::test]
async fn r3_what_is_longer_than_the_limit_is_not_fetched() {
    let redis = RedisServer::start();
    let server = open(&redis);
    let large = texts(&server, "app", b"");
    put(&large, b"key", &"x".repeat(5_000_000)).await.unwrap();
    let sent = || {
        let stats = redis.ask(&["INFO", "stats"]).unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = sent();
    let answer = large.max_value_bytes(1_000).get(&b"key"[..], NOW).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    assert!(sent() - before < 1_000_000);
}

#[tokio::test]
async fn r3_what_is_too_large_is_refused_before_it_is_sent() {
    let redis = RedisServer::start();
    let server = open(&redis);
    let store = texts(&server, "app", b"").max_value_bytes(10).max_key_bytes(3);
    let value = put(&store, b"key", "more than ten").await;
    assert!(matches!(value, Err(StoreError::TooLarge { size: 13, limit: 10, .. })), "{value:?}");
    let key = put(&store, b"keys", "value").await;
    assert!(matches!(key, Err(StoreError::TooLarge { size: 4, limit: 3, .. })), "{key:?}");
    assert!(store.get(&b"keys"[..], NOW).await.is_err());
    assert_eq!(store.stats().too_large, 3);
    assert!(redis.names().iter().all(|name| !name.contains(":e")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_find_nothing_one_puts() {
    let redis = RedisServer::start();
    let handles = [(); 2].map(|()| Arc::new(texts(&open(&redis), "app", b"")));
    for round in 0..20_u64 {
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..16 {
            let store = Arc::clone(&handles[n % 2]);
            callers.spawn(async move {
                let life = Lifetime::fresh_for(MINUTE);
                store.put_if_absent(&round, &format!("of {n}"), life, NOW).await.unwrap()
            });
        }
        let stored = callers.join_all().await.into_iter().filter(|stored| *stored).count();
        assert_eq!(stored, 1);
    }
}

/// All tests run with the rights that the documentation says are needed, and no others.
#[test]
fn the_rights_of_the_tests_are_those_of_the_documentation() {
    let source = include_str!("../src/server.rs").replace("\n///", "");
    let start = source.find("A Redis user needs").unwrap();
    let said = &source[start..start + source[start..].find("#[derive").unwrap()];
    let words = |text: &str| -> Vec<_> { text.split_whitespace().map(String::from).collect() };
    let plain = |text: &str| text.chars().all(|letter| matches!(letter, 'a'..='z' | ' ' | '|'));
    let mut said: Vec<_> = said.split('`').skip(1).step_by(2).filter(|text| plain(text)).collect();
    said.retain(|text| *text != "app");
    let given = format!("{RIGHTS} {CLUSTER_RIGHTS} {TRACKING_RIGHT}").replace('+', "");
    let (mut said, mut given) = (words(&said.join(" ")), words(&given));
    said.sort();
    given.sort();
    assert_eq!(said, given);
}

/// The user that the page about Redis advises, with the names of these tests.
fn advised_user() -> Vec<String> {
    let page = include_str!("../../docs/REDIS.md");
    let rules = page.split("```").find(|block| block.starts_with("text\nACL SETUSER")).unwrap();
    let rules = rules.replace("shop", "app").replace("PASSWORD", "secret");
    rules.split_whitespace().skip(1).map(String::from).collect()
}

#[tokio::test]
async fn a_user_with_few_rights_can_do_everything() {
    let redis = RedisServer::start();
    let rules = advised_user();
    redis.ask(&rules.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let address = format!("{}?user=app&pass=secret", redis.address_without_login());
    let builder = Server::builder(&address).unwrap().operation_timeout(PATIENCE);
    let server = builder.connect_timeout(PATIENCE).build().unwrap();
    let store = texts(&server, "app", b"");
    put(&store, b"key", "value").await.unwrap();
    assert_eq!(get(&store, b"key").await.as_deref(), Some("value"));
    assert!(store.remove(&b"key"[..], NOW).await.unwrap());
    put(&store, b"key", "value").await.unwrap();
    store.clear_now().await;
    assert_eq!(store.purge_some(usize::MAX).await, 1);
    let lease = store.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
    assert!(store.renew("key", &lease, MINUTE, NOW).await.unwrap());
    assert!(store.release("key", lease, NOW).await.unwrap());
    let (ear, station) = Listener::<String>::on(&store.backplane());
    ear.hears(Told::Opened, 1).await;
    let (value, life) = ("value".to_owned(), Lifetime::fresh_for(MINUTE).stale_if_error(MINUTE));
    let lease = store.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
    for mutation in
        [Mutation::fill(&value, life, lease), Mutation::put(&value, life), Mutation::Expire]
    {
        assert!(store.mutate("key", mutation, Station::NOBODY, NOW).await.unwrap());
    }
    tell(&store, "tag", TagChange::Expire, Station::NOBODY).await;
    tell(&store, "tag", TagChange::Invalidate, station).await;
    ear.hears(Told::TagExpired("tag".into()), 1).await;
    assert!(store.inspect("key").await.unwrap().entry.unwrap().is_some());
    let foreign = put(&texts(&server, "other", b""), b"key", "value").await.unwrap_err();
    assert_eq!(behind(&foreign), Some(ServerError::Denied));
}
