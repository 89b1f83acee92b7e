//! The channel between processes, when connections break, hang and come back, and when others speak on it.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant as Clock};

use cache_core::store::{AsyncStore, Backplane, Plain, Receiver, Station};
use cache_core::{Instant, Lifetime};
use cache_redis::{RedisStore, Server};
use support::{Listener, PATIENCE, Proxy, RedisServer, Told, Way, eventually};
use tokio::runtime::Runtime;

type Texts = RedisStore<String, Plain>;
type Ear = Listener<String>;

const NOW: Instant = Instant::ORIGIN;
const CHANNEL: &str = "app:texts:c";

/// A store as a process of its own has it, with the heartbeat that is usual.
fn process(address: &str) -> Texts {
    let builder = Server::builder(address).unwrap().connect_timeout(PATIENCE);
    store(builder.operation_timeout(PATIENCE).build().unwrap())
}

/// One with all the time-outs that are usual.
fn usual(address: &str) -> Texts {
    store(Server::open(address).unwrap())
}

fn store(server: Server) -> Texts {
    Texts::new(&server, "app", Plain).unwrap().namespace("texts")
}

async fn put(store: &Texts, key: &str) {
    let minute = Lifetime::fresh_for(Duration::from_secs(60));
    store.put(key, &"text".to_owned(), minute, NOW).await.unwrap();
}

fn changed(key: &str) -> Told {
    Told::Changed(key.to_owned())
}

/// Connections that listen to the channel.
fn subscribers(redis: &RedisServer) -> u64 {
    let answer = redis.ask(&["PUBSUB", "NUMSUB", CHANNEL]).unwrap();
    answer.trim_end().rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_killed_connection_is_told_and_replaced() {
    let redis = RedisServer::start();
    let (here, there) = (process(&redis.address()), process(&redis.address()));
    let (ear, _) = Ear::on(&there.backplane());
    for times in 1..=5 {
        ear.hears(Told::Opened, times).await;
        put(&here, &format!("{times}")).await;
        ear.hears(changed(&format!("{times}")), 1).await;
        redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    }
    ear.hears(Told::Opened, 6).await;
    let told = ear.told();
    // A new connection may be there before anybody is told that the old one is gone.
    let closings = told.iter().enumerate().filter(|(_, told)| **told == Told::Closed);
    for (at, _) in closings {
        assert_eq!(told[at + 1], Told::Opened, "nothing is told while it is closed");
    }
    assert_eq!(there.backplane().gaps(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_server_that_is_killed_and_started_again_opens_it_anew() {
    let mut redis = RedisServer::start();
    let (here, there) = (process(&redis.address()), process(&redis.address()));
    let (ear, _) = Ear::on(&there.backplane());
    let plane = there.backplane();
    eventually("it says that it is open", async || plane.is_open()).await;
    assert_eq!(ear.count(&Told::Opened), 1, "who listens was told before");
    redis.kill();
    ear.hears(Told::Closed, 1).await;
    assert_eq!((ear.count(&Told::Opened), plane.is_open()), (1, false));
    redis.restart();
    let back = Clock::now();
    ear.hears(Told::Opened, 2).await;
    println!("open again {:?} after the server answered", back.elapsed());
    eventually("the store is used again", async || here.get("key", NOW).await.is_ok()).await;
    put(&here, "key").await;
    ear.hears(changed("key"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_path_that_swallows_everything_is_told_within_two_heartbeats() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let (ear, _) = Ear::on(&usual(&proxy.address()).backplane());
    let mut slowest = Duration::ZERO;
    for times in 1..=3 {
        eventually("it is open", async || ear.told().last() == Some(&Told::Opened)).await;
        let closed = ear.count(&Told::Closed);
        proxy.set(Way::Hole);
        let began = Clock::now();
        ear.hears(Told::Closed, closed + 1).await;
        slowest = slowest.max(began.elapsed());
        proxy.set(Way::Open(Duration::ZERO));
        assert!(ear.count(&Told::Closed) >= times);
    }
    println!("closed {slowest:?} after the path was lost, at most");
    // 0.7 s by the settings; the rest is for a machine that is busy.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    eventually("it is open", async || ear.told().last() == Some(&Told::Opened)).await;
    put(&process(&redis.address()), "key").await;
    ear.hears(changed("key"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_stopped_server_closes_it() {
    let redis = RedisServer::start();
    let (ear, _) = Ear::on(&usual(&redis.address()).backplane());
    ear.hears(Told::Opened, 1).await;
    redis.signal("STOP");
    ear.hears(Told::Closed, 1).await;
    redis.signal("CONT");
    ear.hears(Told::Opened, 2).await;
}

/// What a later version of this library, or somebody else, says on the channel.
#[tokio::test]
async fn r7_what_cannot_be_understood_counts_as_lost() {
    let redis = RedisServer::start();
    let store = process(&redis.address());
    let backplane = store.backplane();
    let (texts, _) = Ear::on(&backplane);
    let (numbers, _) = Listener::<u64>::on(&backplane);
    texts.hears(Told::Opened, 1).await;
    numbers.hears(Told::Opened, 1).await;
    let station = [7; 16];
    let later: [&[u8]; 5] = [&[2, 1], &[1, 7], &[1, 0], &[1, 3], b"?"];
    for (n, start) in later.iter().enumerate() {
        let message = [start, &station[..], b"key"].concat();
        redis.ask_bytes(&[b"PUBLISH", CHANNEL.as_bytes(), &message]).unwrap();
        texts.hears(Told::Opened, n + 2).await;
    }
    assert_eq!(backplane.gaps(), 5);
    // A key of a type that one of them has.
    put(&store, "key").await;
    texts.hears(changed("key"), 1).await;
    numbers.hears(Told::Opened, 7).await;
    store.remove(&7_u64, NOW).await.unwrap();
    numbers.hears(Told::Changed(7), 1).await;
    assert_eq!((texts.count(&Told::Closed), backplane.gaps()), (0, 5));
}

/// A clear that another process did is seen with the message, long before the next check.
#[tokio::test]
async fn s21_a_clear_that_is_told_is_seen_at_once() {
    let redis = RedisServer::start();
    let hour = Duration::from_secs(3_600);
    let (here, there) = (process(&redis.address()), process(&redis.address()).version_check(hour));
    let (ear, _) = Ear::on(&there.backplane());
    ear.hears(Told::Opened, 1).await;
    for n in 0..50 {
        put(&here, "key").await;
        ear.hears(changed("key"), n + 1).await;
        assert!(there.get("key", NOW).await.unwrap().is_some());
        AsyncStore::<str, String>::clear(&here, NOW).await.unwrap();
        ear.hears(Told::Cleared, n + 1).await;
        assert!(there.get("key", NOW).await.unwrap().is_none(), "{n}");
    }
    // A clear that was not told: the opening that follows makes up for it.
    put(&here, "key").await;
    ear.hears(changed("key"), 51).await;
    assert!(there.get("key", NOW).await.unwrap().is_some());
    redis.ask(&["SET", "app:texts:v", "9000000000000000"]).unwrap();
    assert!(there.get("key", NOW).await.unwrap().is_some());
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    ear.hears(Told::Opened, 2).await;
    assert!(there.get("key", NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn it_listens_while_somebody_does() {
    let redis = RedisServer::start();
    let store = process(&redis.address());
    put(&store, "key").await;
    assert_eq!(subscribers(&redis), 0);
    let (one, first) = Ear::on(&store.backplane());
    one.hears(Told::Opened, 1).await;
    let (two, second) = Ear::on(&store.clone().backplane());
    two.hears(Told::Opened, 1).await;
    assert_eq!((subscribers(&redis), one.count(&Told::Opened)), (1, 1), "one for all clones");
    assert!(first != second && first != Station::NOBODY);
    drop(one);
    put(&store, "key").await;
    two.hears(changed("key"), 1).await;
    drop(two);
    eventually("it ends", async || subscribers(&redis) == 0).await;
    let (three, _) = Ear::on(&store.backplane());
    three.hears(Told::Opened, 1).await;
    assert_eq!(subscribers(&redis), 1);
}

#[test]
fn it_begins_with_an_operation_and_outlives_runtimes() {
    let redis = RedisServer::start();
    let store = process(&redis.address());
    let (ear, station) = Ear::on(&store.backplane());
    let (no_runtime, told) = (subscribers(&redis), ear.told());
    assert_eq!((no_runtime, told), (0, vec![]));
    for times in 1..=3 {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            put(&store, "begins").await;
            ear.hears(Told::Opened, times).await;
            put(&store, "key").await;
            ear.hears(changed("key"), times).await;
        });
        drop(runtime);
        assert_eq!(ear.count(&Told::Closed), times, "who is not told any more knows");
    }
    assert_ne!(station, Station::NOBODY);
}

/// Panics with whatever it is told of a key.
struct Panics;

impl Receiver<String> for Panics {
    fn opened(&self) {}
    fn closed(&self) {}
    fn changed(&self, _: String) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
    fn filled(&self, _: String) {}
    fn expired(&self, _: String) {}
    fn cleared(&self) {}
    fn tag_expired(&self, _: &str) {}
    fn tag_invalidated(&self, _: &str) {}
}

#[tokio::test]
async fn one_that_panics_harms_nobody_else() {
    let redis = RedisServer::start();
    let store = process(&redis.address());
    let panics: Arc<dyn Receiver<String>> = Arc::new(Panics);
    let weak: Weak<dyn Receiver<String>> = Arc::downgrade(&panics);
    store.backplane().attach(weak);
    let (ear, _) = Ear::on(&store.backplane());
    ear.hears(Told::Opened, 1).await;
    for n in 1..=3 {
        put(&store, "key").await;
        ear.hears(changed("key"), n).await;
    }
    assert_eq!(ear.count(&Told::Closed), 0);
}

/// Takes its time with every message.
struct Slow(Arc<AtomicUsize>);

impl Receiver<String> for Slow {
    fn opened(&self) {
        self.0.fetch_add(1, Relaxed);
    }
    fn closed(&self) {}
    fn changed(&self, _: String) {
        std::thread::sleep(Duration::from_millis(10));
    }
    fn filled(&self, _: String) {}
    fn expired(&self, _: String) {}
    fn cleared(&self) {}
    fn tag_expired(&self, _: &str) {}
    fn tag_invalidated(&self, _: &str) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_one_that_does_not_keep_up_is_told_that_messages_were_lost() {
    let redis = RedisServer::start();
    let store = process(&redis.address());
    let opened = Arc::new(AtomicUsize::new(0));
    let slow: Arc<dyn Receiver<String>> = Arc::new(Slow(Arc::clone(&opened)));
    store.backplane().attach(Arc::downgrade(&slow));
    let count = || opened.load(Relaxed);
    eventually("it is open", async || count() == 1).await;
    let message = [&[1, 1][..], &[7; 16], &[b'x'; 60_000]].concat();
    let flood = "for n = 1, 400 do redis.call('PUBLISH', ARGV[1], ARGV[2]) end";
    redis.ask_bytes(&[b"EVAL", flood.as_bytes(), b"0", CHANNEL.as_bytes(), &message]).unwrap();
    eventually("it is told", async || count() >= 2).await;
    assert!(store.backplane().gaps() >= 1);
}
