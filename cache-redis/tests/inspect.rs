//! The program that looks at entries, and what it is made of.

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, Codec, HeldLease, KeyBytes, Mutation, Plain,
    Station, StoreError,
};
use cache_core::{Freshness, Instant, Lifetime};
use cache_redis::{RedisStore, Server};
use support::{Listener, PATIENCE, RedisServer, Told, eventually};

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);
const SECRET: &str = "canary";

fn texts(redis: &RedisServer) -> Texts {
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let server = builder.connect_timeout(PATIENCE).build().unwrap();
    RedisStore::new(&server, "app", Plain).unwrap().namespace("texts")
}

async fn put<K: KeyBytes + Sync + ?Sized>(store: &Texts, key: &K) {
    let life = Lifetime::fresh_for(MINUTE).stale_while_revalidate(MINUTE).stale_if_error(MINUTE);
    store.put(key, &SECRET.to_owned(), life, NOW).await.unwrap();
}

async fn lease(store: &Texts, key: &str) -> Option<HeldLease> {
    store.acquire(key, MINUTE, NOW).await.unwrap()
}

/// The program's exit code, and what it printed.
fn run(address: &str, words: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-redis-inspect"));
    command.args(["--prefix", "app", "--namespace", "texts"]).args(words.split(' '));
    let Output { status, stdout, stderr } = command.env("REDIS_URL", address).output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// Also that a program which used the blocking store ends, though its connection is up.
async fn inspect(redis: &RedisServer, words: &'static str) -> (i32, String) {
    let address = redis.address();
    tokio::task::spawn_blocking(move || run(&address, words)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_told_without_the_value() {
    let redis = RedisServer::start();
    let store = texts(&redis);
    let nothing = store.inspect("key").await.unwrap();
    assert!(matches!((nothing.entry, nothing.lease), (Ok(None), None)));
    put(&store, "key").await;
    let _held = lease(&store, "key").await.unwrap();
    let seen = store.inspect("key").await.unwrap();
    let entry = seen.entry.unwrap().unwrap();
    assert_eq!((entry.codec, entry.schema), (<Plain as Codec<String>>::ID, 0));
    assert_eq!((entry.value_bytes, entry.misdated), (SECRET.len(), false));
    assert_eq!(entry.lifetime.freshness(), Freshness::Fresh);
    assert!(entry.kept_for.is_some_and(|left| left > MINUTE && left <= 2 * MINUTE));
    assert!(seen.lease.is_some_and(|left| left > MINUTE / 2 && left <= MINUTE));

    let (code, said) = inspect(&redis, "show key").await;
    assert_eq!(code, 0, "{said}");
    for part in ["6 bytes of codec 0, schema 0", "fresh for 5", "ttl 60.000 s", "held, 5"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(SECRET) && !said.contains("redis.sock"), "{said}");
    assert_eq!(inspect(&redis, "show other").await.0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_changes_is_told() {
    let redis = RedisServer::start();
    let store = texts(&redis);
    let (ear, _) = Listener::<String>::on(&store.backplane());
    ear.hears(Told::Opened, 1).await;
    put(&store, "key").await;
    ear.hears(Told::Changed("key".into()), 1).await;

    assert_eq!(inspect(&redis, "expire key").await, (0, "done\n".into()));
    ear.hears(Told::Expired("key".into()), 1).await;
    assert!(inspect(&redis, "show key").await.1.contains("stale, served as such for"));
    assert_eq!(inspect(&redis, "remove key").await.0, 0);
    ear.hears(Told::Changed("key".into()), 2).await;
    let (code, said) = inspect(&redis, "remove key").await;
    assert_eq!((code, said.contains("nothing was there")), (1, true));

    assert_eq!(inspect(&redis, "tag expire tenant:7").await.0, 0);
    ear.hears(Told::TagExpired("tenant:7".into()), 1).await;
    assert_eq!(inspect(&redis, "tag invalidate tenant:7").await.0, 0);
    ear.hears(Told::TagInvalidated("tenant:7".into()), 1).await;
    put(&store, "key").await;
    assert_eq!(inspect(&redis, "clear").await.0, 0);
    ear.hears(Told::Cleared, 1).await;
    assert!(store.get("key", NOW).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_keys_too_and_damage_is_named() {
    let redis = RedisServer::start();
    let store = texts(&redis);
    put(&store, &42_u64).await;
    assert_eq!(inspect(&redis, "--key u64 show 42").await.0, 0);
    let name = redis.names().into_iter().find(|name| name.contains(":e")).unwrap();
    redis.ask(&["SETRANGE", &name, "75", "?"]).unwrap();
    let damaged = store.inspect(&42_u64).await.unwrap().entry;
    assert!(matches!(damaged, Err(StoreError::Corrupt(_))));
    let (code, said) = inspect(&redis, "--key u64 show 42").await;
    assert_eq!((code, said.contains("checksum")), (0, true), "{said}");
    redis.ask(&["DEL", &name]).unwrap();
    redis.ask(&["LPUSH", &name, "x"]).unwrap();
    assert!(inspect(&redis, "--key u64 show 42").await.1.contains("another type"));
    assert_eq!(store.stats().corrupt, 0, "looking counts nothing");
}

#[test]
fn what_cannot_be_done_is_said_without_the_address() {
    let (code, said) = run("unix:///nowhere/secret.sock", "show key");
    assert_eq!(code, 2);
    assert!(said.contains("Redis") && !said.contains("secret"), "{said}");
    let (code, said) = run("nonsense:secret", "clear");
    assert!(code == 2 && said.contains("address") && !said.contains("secret"), "{said}");
    let (code, said) = run("redis://localhost", "shew key");
    assert!(code == 2 && said.contains("no such command"), "{said}");
    assert_eq!(run("", "help").0, 0);
}

#[tokio::test]
async fn a_lease_ends_with_what_the_program_does() {
    let redis = RedisServer::start();
    let store = texts(&redis);
    put(&store, "key").await;
    let held = lease(&store, "key").await.unwrap();
    assert_eq!(inspect(&redis, "expire key").await.0, 0);
    eventually("it is free", async || store.inspect("key").await.unwrap().lease.is_none()).await;
    let value = SECRET.to_owned();
    let fill = Mutation::fill(&value, Lifetime::fresh_for(MINUTE), held);
    assert!(!store.mutate("key", fill, Station::NOBODY, NOW).await.unwrap());
}
