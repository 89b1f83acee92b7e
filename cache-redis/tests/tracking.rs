//! Changes by others than this library, as the listener of a store hears them by tracking.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cache_core::store::{AsyncLeases, AsyncSharedStore, AsyncStore, Mutation, Plain, Station};
use cache_core::{Instant, Lifetime};
use cache_redis::{Connection, RedisStore, Server, ServerError, TrackingStats};
use support::{Listener, PATIENCE, Random, RedisServer, Told, eventually, until};

type Texts = RedisStore<String, Plain>;
type Ear = Listener<String>;

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);

/// A server that lets its user track.
fn start(settings: &[&str]) -> RedisServer {
    let redis = RedisServer::start_with(settings);
    redis.allow_tracking();
    redis
}

/// A store as a process of its own has it.
fn process(redis: &RedisServer) -> Texts {
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let server = builder.connect_timeout(PATIENCE).build().unwrap();
    Texts::new(&server, "app", Plain).unwrap().namespace("texts")
}

/// One that listens, and tracks. Its channel is open.
async fn tracks(redis: &RedisServer) -> (Texts, std::sync::Arc<Ear>, Station) {
    let store = process(redis).tracking();
    let (ear, station) = Ear::on(&store.backplane());
    ear.hears(Told::Opened, 1).await;
    (store, ear, station)
}

fn life() -> Lifetime {
    Lifetime::fresh_for(MINUTE).stale_if_error(MINUTE)
}

async fn put(store: &Texts, key: &str) {
    store.put(key, &"text".to_owned(), life(), NOW).await.unwrap();
}

async fn mutate(store: &Texts, key: &str, mutation: Mutation<'_, String>, by: Station) -> bool {
    store.mutate(key, mutation, by, NOW).await.unwrap()
}

fn expired(key: &str) -> Told {
    Told::Expired(key.to_owned())
}

fn stats(store: &Texts) -> TrackingStats {
    store.backplane().tracked().expect("it tracks")
}

/// Waits until all that was done before has been heard, by a change of another kind that comes after it.
async fn all_is_heard(redis: &RedisServer, store: &Texts, ear: &Ear, end: &str) {
    put(&process(redis), end).await;
    ear.hears(Told::Changed(end.to_owned()), 1).await;
    let before = stats(store).changes;
    redis.ask(&["DEL", &redis.entry_of(end).unwrap()]).unwrap();
    ear.hears(expired(end), 1).await;
    assert_eq!(stats(store).changes, before + 1, "and nothing else was");
}

#[tokio::test]
async fn what_others_do_to_an_entry_is_told() {
    let redis = start(&[]);
    let (store, ear, _) = tracks(&redis).await;
    let commands: [&[&str]; 8] = [
        &["SET", "@", "of others"],
        &["APPEND", "@", "x"],
        &["SETRANGE", "@", "90", "x"],
        &["PEXPIRE", "@", "5000"],
        &["PERSIST", "@"],
        &["DEL", "@"],
        &["RENAME", "@", "elsewhere"],
        &["EVAL", "return redis.call('UNLINK', KEYS[1])", "1", "@"],
    ];
    for (n, command) in commands.iter().enumerate() {
        let key = format!("key{n}");
        put(&process(&redis), &key).await;
        let name = redis.entry_of(&key).unwrap();
        ear.hears(Told::Changed(key.clone()), 1).await;
        let command: Vec<_> = command.iter().map(|word| word.replace("@", &name)).collect();
        redis.ask(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        ear.hears(expired(&key), 1).await;
    }
    assert_eq!(stats(&store), {
        let mut stats = TrackingStats::default();
        stats.changes = 8;
        stats
    });
    assert_eq!(store.backplane().gaps(), 0);
}

#[tokio::test]
async fn an_expiry_is_told_and_so_is_one_that_comes_at_once() {
    let redis = start(&[]);
    let (_store, ear, _) = tracks(&redis).await;
    put(&process(&redis), "key").await;
    redis.ask(&["PEXPIRE", &redis.entry_of("key").unwrap(), "20"]).unwrap();
    ear.hears(expired("key"), 2).await;
    // One that is given its expiry by this library.
    let short = Lifetime::fresh_for(Duration::from_millis(20));
    process(&redis).put("short", &"text".to_owned(), short, NOW).await.unwrap();
    ear.hears(expired("short"), 1).await;
}

#[tokio::test]
async fn an_eviction_is_told() {
    let redis = start(&["--maxmemory-policy", "allkeys-lru"]);
    let (_store, ear, _) = tracks(&redis).await;
    put(&process(&redis), "key").await;
    ear.hears(Told::Changed("key".into()), 1).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    eventually("it is evicted", async || {
        redis.ask(&["SET", "other", "x"]);
        ear.count(&expired("key")) == 1
    })
    .await;
}

#[tokio::test]
async fn an_emptied_server_opens_it_anew_and_nothing_was_lost() {
    let redis = start(&[]);
    let (store, ear, _) = tracks(&redis).await;
    redis.ask(&["FLUSHALL"]).unwrap();
    ear.hears(Told::Opened, 2).await;
    redis.ask(&["FLUSHDB", "ASYNC"]).unwrap();
    ear.hears(Told::Opened, 3).await;
    assert_eq!((stats(&store).emptied, store.backplane().gaps()), (2, 0));
    assert_eq!(ear.count(&Told::Closed), 0);
}

/// Every change that the library makes, by this process and by another.
#[tokio::test]
async fn what_the_library_does_is_told_once() {
    let redis = start(&[]);
    let (store, ear, station) = tracks(&redis).await;
    let other = process(&redis);
    let text = "text".to_owned();
    for (by, store) in [(station, &store), (Station::NOBODY, &store), (Station::NOBODY, &other)] {
        for n in 0..50 {
            let key = &format!("key{n}");
            mutate(store, key, Mutation::put(&text, life()), by).await;
            mutate(store, key, Mutation::Expire, by).await;
            mutate(store, key, Mutation::Remove, by).await;
            mutate(store, key, Mutation::Remove, by).await;
            let lease = store.acquire(key, MINUTE, NOW).await.unwrap().unwrap();
            assert!(store.renew(key, &lease, MINUTE, NOW).await.unwrap());
            assert!(mutate(store, key, Mutation::fill(&text, life(), lease), by).await);
            let lease = store.acquire(key, MINUTE, NOW).await.unwrap().unwrap();
            assert!(mutate(store, key, Mutation::vacate(lease), by).await);
            assert!(store.put_if_absent(key, &text, life(), NOW).await.unwrap());
            assert!(!store.put_if_absent(key, &text, life(), NOW).await.unwrap());
            let lease = store.acquire(key, MINUTE, NOW).await.unwrap().unwrap();
            assert!(store.release(key, lease, NOW).await.unwrap());
        }
    }
    all_is_heard(&redis, &store, &ear, "end").await;
    // Those that were told by their messages, of two processes or nobody.
    assert_eq!(ear.count(&expired("key7")), 2);
    assert_eq!((stats(&store).changes, stats(&store).ignored, ear.count(&Told::Opened)), (1, 0, 1));
}

/// The same at once, so that the server does much in each of its turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_library_does_at_once_is_told_once() {
    let redis = start(&[]);
    let (store, ear, station) = tracks(&redis).await;
    let other = process(&redis);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32 {
        let (store, by) =
            if writer % 2 == 0 { (&store, station) } else { (&other, Station::NOBODY) };
        let (store, mut random) = (store.clone(), Random(writer));
        writers.spawn(async move {
            let text = "text".to_owned();
            for _ in 0..100 {
                let key = &format!("key{}", random.below(10));
                let mutation = match random.below(4) {
                    0 | 1 => Mutation::put(&text, life()),
                    2 => Mutation::Expire,
                    _ => Mutation::Remove,
                };
                mutate(&store, key, mutation, by).await;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    all_is_heard(&redis, &store, &ear, "end").await;
    assert_eq!(stats(&store).changes, 1);
}

#[tokio::test]
async fn other_names_are_nobodys_and_those_that_look_alike_are_counted() {
    let redis = start(&[]);
    let (store, ear, _) = tracks(&redis).await;
    put(&process(&redis), "key").await;
    let name = redis.entry_of("key").unwrap();
    let version = name.split(":e").nth(1).unwrap().split(':').next().unwrap();
    for name in ["app:texts:l1:{key}", "app:texts:x", "app:other:e1:{key}", "key"] {
        redis.ask(&["SET", name, "x"]).unwrap();
    }
    put(&process(&redis).namespace("other"), "key").await;
    for name in [format!("app:texts:e{version}:{{key:}}"), "app:texts:extra:e1:{key}".into()] {
        redis.ask(&["SET", &name, "x"]).unwrap();
    }
    all_is_heard(&redis, &store, &ear, "end").await;
    assert_eq!((stats(&store).changes, stats(&store).ignored), (1, 2));
}

/// What was cleared goes some day, by expiry or by `purge`. The same keys may have entries again.
#[tokio::test]
async fn what_becomes_of_cleared_entries_is_no_news() {
    let redis = start(&[]);
    let (store, ear, _) = tracks(&redis).await;
    put(&store, "key").await;
    let cleared = redis.entry_of("key").unwrap();
    AsyncStore::<str, String>::clear(&store, NOW).await.unwrap();
    put(&store, "key").await;
    redis.ask(&["SET", &cleared, "x"]).unwrap();
    assert_eq!(
        AsyncStore::<str, String>::purge(&process(&redis), NOW, usize::MAX).await.unwrap(),
        1
    );
    all_is_heard(&redis, &store, &ear, "end").await;
    assert_eq!((stats(&store).changes, ear.count(&expired("key"))), (1, 0));
}

/// The message of a change that changes nothing explains nothing any more after two heartbeats. The server is
/// asked for nothing but them here.
#[tokio::test]
async fn a_removal_of_nothing_hides_the_next_change_no_longer_than_two_heartbeats() {
    let redis = start(&[]);
    let (_store, ear, _) = tracks(&redis).await;
    let hour = Duration::from_secs(3_600);
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let writer = builder.connect_timeout(PATIENCE).heartbeat(hour).build().unwrap();
    let writer = Texts::new(&writer, "app", Plain).unwrap().namespace("texts");
    put(&writer, "key").await;
    let name = redis.entry_of("key").unwrap();
    mutate(&writer, "key", Mutation::Remove, Station::NOBODY).await;
    mutate(&writer, "key", Mutation::Remove, Station::NOBODY).await;
    ear.hears(Told::Changed("key".into()), 3).await;
    let heartbeats = || {
        let stats = redis.ask(&["INFO", "commandstats"]).unwrap();
        let of = stats.split("cmdstat_ping:calls=").nth(1).unwrap_or("0,");
        of.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    // When the next is asked, the answer to the last has been taken.
    let before = heartbeats();
    eventually("three more were asked", async || heartbeats() >= before + 4).await;
    redis.ask(&["SET", &name, "of others"]).unwrap();
    ear.hears(expired("key"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_is_a_gap_and_tracks_again() {
    let redis = start(&[]);
    let (store, ear, _) = tracks(&redis).await;
    for times in 1..=5 {
        redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        ear.hears(Told::Opened, times + 1).await;
        let key = format!("key{times}");
        put(&process(&redis), &key).await;
        ear.hears(Told::Changed(key.clone()), 1).await;
        redis.ask(&["DEL", &redis.entry_of(&key).unwrap()]).unwrap();
        ear.hears(expired(&key), 1).await;
    }
    assert_eq!((store.backplane().connection(), store.backplane().gaps()), (Connection::Up, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_track_is_told_so_and_hears_nothing() {
    let redis = RedisServer::start();
    let store = process(&redis).tracking();
    let (ear, _) = Ear::on(&store.backplane());
    let plane = store.backplane();
    let denied = Connection::Down(ServerError::NoTracking);
    eventually("it says so", async || plane.connection() == denied).await;
    put(&store, "key").await;
    assert_eq!((plane.is_open(), ear.told()), (false, vec![]), "it never opened");
    redis.allow_tracking();
    ear.hears(Told::Opened, 1).await;
    eventually("it says that it is up", async || plane.connection() == Connection::Up).await;
    drop(ear);
    eventually("nobody listens", async || plane.connection() == Connection::Starting).await;
    // Without tracking, none of this is needed.
    let plain = RedisServer::start();
    let (ear, _) = Ear::on(&process(&plain).backplane());
    ear.hears(Told::Opened, 1).await;
    assert_eq!(process(&plain).backplane().tracked(), None);
}

/// A raw connection that subscribes and tracks, and takes nothing.
fn deaf(redis: &RedisServer) -> UnixStream {
    let mut stream = UnixStream::connect(redis.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = "HELLO 3 AUTH least enough\r\nCLIENT TRACKING ON BCAST PREFIX app:\r\nSUBSCRIBE app:c\r\nPING\r\n";
    stream.write_all(text.as_bytes()).unwrap();
    let mut answers = vec![];
    while !answers.ends_with(b"+PONG\r\n") {
        let mut bytes = [0; 1_024];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "it was closed");
        answers.extend_from_slice(&bytes[..count]);
    }
    stream
}

/// What makes losses visible: a client that subscribes is limited as such, and what it tracks counts.
#[test]
fn one_who_does_not_take_names_is_disconnected() {
    let redis = start(&[]);
    redis.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0"]).unwrap();
    let _deaf = deaf(&redis);
    let listeners = || redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap();
    assert!(listeners().contains("sub=1"), "of that kind");
    let flood =
        "for n = 1, 1000 do redis.call('SET', 'app:' .. string.rep('x', 1000) .. n, '') end";
    until("it is disconnected", || {
        redis.ask(&["EVAL", flood, "0"]);
        !listeners().contains("sub=1")
    });
}
