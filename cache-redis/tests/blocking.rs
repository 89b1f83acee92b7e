//! The store and the locks of threads, and caches of programs that have no runtime.

mod support;

use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant as Real};

use cache_core::store::{Backplane, Plain, Receiver, Store, StoreError};
use cache_core::{Freshness, Instant, Lifetime};
use cache_redis::{
    AcquireError, Blocking, Connection, LockOptions, RedisLocks, RedisStore, Released, Server,
    ServerError,
};
use cache_std::sync::{Cache, Reach};
use support::{PATIENCE, RedisServer, behind};

type Texts = Blocking<RedisStore<String, Plain>>;

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);

fn open(redis: &RedisServer) -> Server {
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    builder.connect_timeout(PATIENCE).build().unwrap()
}

fn store(server: &Server) -> RedisStore<String, Plain> {
    RedisStore::new(server, "app", Plain).unwrap().namespace("texts")
}

fn texts(redis: &RedisServer) -> Texts {
    store(&open(redis)).blocking()
}

/// A cache as a process of its own has it, which has no runtime, and hears what others do.
fn process(redis: &RedisServer) -> Cache<String, String> {
    let store = store(&open(redis));
    let builder = Cache::builder().ttl(MINUTE).stale_if_error(MINUTE).jitter_percent(0);
    let cache = builder.l2(store.blocking()).backplane(store.backplane()).build().unwrap();
    assert_eq!(get(&store.blocking(), "any").unwrap(), None);
    eventually("it listens", || store.backplane().is_open());
    cache
}

fn put(store: &Texts, key: &str, value: &str) -> Result<(), StoreError> {
    store.put(key, &value.to_owned(), Lifetime::fresh_for(MINUTE), NOW)
}

fn get(store: &Texts, key: &str) -> Result<Option<String>, StoreError> {
    Ok(store.get(key, NOW)?.map(|found| found.value))
}

fn load(value: &str) -> impl FnOnce() -> Result<String, String> + Send + 'static {
    let value = value.to_owned();
    move || Ok(value)
}

fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let patience = Real::now() + PATIENCE;
    while !so() {
        assert!(Real::now() < patience, "it never came about that {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// How many scripts the server was asked to run.
fn scripts(redis: &RedisServer) -> u64 {
    let stats = redis.ask(&["INFO", "commandstats"]).expect("it answers");
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1);
    calls.and_then(|calls| calls.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn r8_two_caches_without_a_runtime_load_a_key_once() {
    let redis = RedisServer::start();
    let (one, two) = (process(&redis), process(&redis));
    let (begin, begun) = channel();
    let (go, wait) = channel::<()>();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            one.get_or_load("key", move || {
                begin.send(()).unwrap();
                wait.recv().unwrap();
                Ok::<_, String>("first".to_owned())
            })
        });
        begun.recv().unwrap();
        let before = scripts(&redis);
        let second = scope.spawn(|| two.get_or_load("key", load("second")));
        // One that is refused the lease asks for it again and again.
        eventually("the other waits", || scripts(&redis) >= before + 4);
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), "first");
        assert_eq!(second.join().unwrap().unwrap(), "first", "it waited for the other's");
    });
}

#[test]
fn what_one_cache_changes_the_other_is_told() {
    let redis = RedisServer::start();
    let (one, two) = (process(&redis), process(&redis));
    for (cache, other) in [(&one, &two), (&two, &one)] {
        assert!(cache.put("key".to_owned(), "old".to_owned()).is_stored());
        assert_eq!(other.get_or_load("key", load("?")).unwrap(), "old");
        assert_eq!(cache.invalidate("key").reach, Reach::Everywhere);
        eventually("it is told", || other.freshness("key").is_none());
    }
}

#[test]
fn a_server_that_is_killed_costs_callers_nothing_but_a_load() {
    let mut redis = RedisServer::start();
    let (direct, cache) = (texts(&redis), process(&redis));
    assert_eq!(cache.get_or_load("key", load("old")).unwrap(), "old");
    put(&direct, "direct", "old").unwrap();
    redis.kill();
    let failed = |error: &StoreError| {
        use ServerError::{Broken, Down, Refused};
        matches!(behind(error), Some(Broken | Down | Refused))
    };
    eventually("it is known to be down", || {
        assert!(get(&direct, "direct").is_err_and(|error| failed(&error)));
        matches!(direct.as_async().server().connection(), Connection::Down(_))
    });
    assert_eq!(cache.get_or_load("other", load("new")).unwrap(), "new");
    assert_eq!(cache.invalidate("key").reach, Reach::Queued);
    redis.restart();
    eventually("it is used again", || put(&direct, "direct", "newer").is_ok());
    assert_eq!(get(&direct, "direct").unwrap().as_deref(), Some("newer"));
    // What was to be removed is not read before it was.
    assert_eq!(cache.get_or_load("key", load("new")).unwrap(), "new");
}

#[test]
fn a_server_that_hangs_holds_its_callers_for_the_time_out() {
    let redis = RedisServer::start();
    let builder = Server::builder(&redis.address()).unwrap().connect_timeout(PATIENCE);
    // No heartbeat ends the connection first.
    let server = builder.operation_timeout(Duration::from_millis(300)).heartbeat(PATIENCE);
    let store = store(&server.build().unwrap()).blocking();
    eventually("it is connected", || put(&store, "key", "value").is_ok());
    redis.signal("STOP");
    let answer = get(&store, "key");
    redis.signal("CONT");
    assert_eq!(behind(&answer.unwrap_err()), Some(ServerError::TimedOut));
    eventually("it is used again", || get(&store, "key").is_ok());
}

/// More operations than a task may have without a pause, on a thread that is to block on nothing.
fn uses_much(store: &Texts) {
    for n in 0..300 {
        put(store, &n.to_string(), "value").unwrap();
        assert_eq!(get(store, &n.to_string()).unwrap().as_deref(), Some("value"));
    }
}

#[tokio::test]
async fn it_may_be_called_by_the_only_worker_of_a_runtime() {
    uses_much(&texts(&RedisServer::start()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_be_called_by_all_workers_of_a_runtime() {
    let redis = Arc::new(RedisServer::start());
    let store = texts(&redis);
    let users: Vec<_> = [(); 4].map(|()| store.clone()).into_iter().collect();
    let users = users.into_iter().map(|store| tokio::spawn(async move { uses_much(&store) }));
    for user in users.collect::<Vec<_>>() {
        user.await.unwrap();
    }
    let cache = process(&redis);
    assert_eq!(cache.get_or_load("key", load("value")).unwrap(), "value");
}

#[tokio::test]
async fn tasks_and_threads_may_share_a_connection() {
    let redis = RedisServer::start();
    let server = open(&redis);
    put(&store(&server).blocking(), "key", "value").unwrap();
    let found = cache_core::store::AsyncStore::get(&store(&server), "key", NOW).await.unwrap();
    assert_eq!(found.unwrap().value, "value");
}

#[test]
fn borrowed_keys_and_batches_do() {
    let redis = RedisServer::start();
    let store = texts(&redis);
    put(&store, "1", "one").unwrap();
    put(&store, "3", "three").unwrap();
    let mut all = vec![];
    store.get_many(&["1", "2", "3"], NOW, &mut |at, found| all.push((at, found.value))).unwrap();
    assert_eq!(all, [(0, "one".to_owned()), (2, "three".to_owned())]);
}

/// Asks the store when it is told, on the thread that would have to answer.
struct Asks(Texts, Mutex<Option<Result<Option<String>, StoreError>>>);

impl Receiver<String> for Asks {
    fn opened(&self) {
        *self.1.lock().unwrap() = Some(get(&self.0, "key"));
    }
    fn closed(&self) {}
    fn changed(&self, _: String) {}
    fn filled(&self, _: String) {}
    fn expired(&self, _: String) {}
    fn cleared(&self) {}
    fn tag_expired(&self, _: &str) {}
    fn tag_invalidated(&self, _: &str) {}
}

#[test]
fn who_is_told_by_the_backplane_is_refused_and_hangs_nothing() {
    let redis = RedisServer::start();
    let store = texts(&redis);
    let asks = Arc::new(Asks(store.clone(), Mutex::default()));
    let weak: Weak<Asks> = Arc::downgrade(&asks);
    store.as_async().backplane().attach(weak);
    put(&store, "key", "value").unwrap();
    eventually("it has asked", || asks.1.lock().unwrap().is_some());
    let answer = asks.1.lock().unwrap().take().unwrap();
    assert!(matches!(answer, Err(StoreError::Unavailable(_))));
    assert_eq!(get(&store, "key").unwrap().as_deref(), Some("value"));
}

#[test]
fn locks_of_threads_exclude_are_renewed_and_released_when_dropped() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| RedisLocks::new(&open(&redis), "app").unwrap().blocking());
    let short = LockOptions::new(Duration::from_millis(300)).renew();
    let held = one.acquire("a", short).unwrap();
    let fence = held.fence();
    thread::sleep(Duration::from_secs(1));
    let refused = other.acquire("a", LockOptions::new(MINUTE));
    // A machine that stalls may have lost it.
    assert!(matches!(refused, Err(AcquireError::Held)) || held.valid_for().is_zero());
    drop(refused);
    drop(held);
    let again = other.acquire("a", LockOptions::new(MINUTE).wait(PATIENCE)).unwrap();
    assert!(again.fence() > fence && again.valid_for() > MINUTE / 2);
    again.extend(2 * MINUTE).unwrap();
    assert!(again.valid_for() > MINUTE);
    drop(again);
    let last = one.acquire("a", LockOptions::new(MINUTE).wait(PATIENCE)).unwrap();
    assert_eq!(last.release().unwrap(), Released::Released);
}

#[test]
fn an_old_value_serves_while_the_server_is_gone() {
    let mut redis = RedisServer::start();
    let cache = process(&redis);
    assert!(cache.put("key".to_owned(), "old".to_owned()).is_stored());
    redis.kill();
    eventually("nothing is heard, so nothing is fresh for long", || {
        cache.freshness("key") == Some(Freshness::Expired)
    });
    let down = || Err::<String, _>("the origin is down, too".to_owned());
    assert_eq!(cache.get_or_load("key", down).unwrap(), "old");
}

/// Where the program below finds its server.
const CHILD: &str = "CACHE_REDIS_TEST_CHILD";

/// Not a test by itself: a program with a connection, a backplane and a lock that is renewed, which ends.
#[test]
fn program() {
    let Ok(address) = std::env::var(CHILD) else { return };
    let builder = Server::builder(&address).unwrap().operation_timeout(PATIENCE);
    let server = builder.connect_timeout(PATIENCE).build().unwrap();
    let store = store(&server);
    let cache = Cache::<String, String>::builder()
        .ttl(MINUTE)
        .l2(store.blocking())
        .backplane(store.backplane());
    let cache = cache.build().unwrap();
    assert_eq!(cache.get_or_load("key", load("value")).unwrap(), "value");
    let lock = RedisLocks::new(&server, "app").unwrap().blocking();
    let lock = lock.acquire("held", LockOptions::new(MINUTE).renew()).unwrap();
    // As statics are: neither is ever dropped.
    std::mem::forget((cache, lock));
}

#[test]
fn a_program_ends_though_its_connection_is_up() {
    let redis = RedisServer::start();
    let mut program = Command::new(std::env::current_exe().unwrap());
    let mut program =
        program.args(["--exact", "program"]).env(CHILD, redis.address()).spawn().unwrap();
    let mut ended = None;
    eventually("it has ended", || {
        ended = program.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
    let names = redis.names();
    assert!(names.iter().any(|name| name.contains(":k:{held}")), "it has run: {names:?}");
}
