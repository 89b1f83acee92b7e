//! Servers that are killed, stopped, cut off, full, demoted, loading, or ask for another password.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant as Clock};

use cache_core::store::{AsyncStore, Plain, StoreError};
use cache_core::{Instant, Lifetime};
use cache_redis::{Connection, RedisStore, Server, ServerError};
use support::{PATIENCE, Proxy, RedisServer, Way, behind, eventually};
use tokio::task::JoinSet;

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;

/// A store on a server with the time-outs that are usual.
fn usual(address: &str) -> Texts {
    Texts::new(&Server::open(address).unwrap(), "app", Plain).unwrap()
}

/// One that waits as long as it takes.
fn patient(address: &str) -> Texts {
    let builder = Server::builder(address).unwrap();
    let builder = builder.operation_timeout(PATIENCE).connect_timeout(PATIENCE);
    Texts::new(&builder.build().unwrap(), "app", Plain).unwrap()
}

async fn put(store: &Texts, key: &str) -> Result<(), StoreError> {
    let minute = Lifetime::fresh_for(Duration::from_secs(60));
    store.put(key, &format!("of {key}"), minute, NOW).await
}

/// Whether the entry is there; its value is that of its key in any case.
async fn get(store: &Texts, key: &str) -> Result<bool, StoreError> {
    let found = store.get(key, NOW).await?;
    if let Some(found) = &found {
        assert_eq!(found.value, format!("of {key}"), "the answer to another question");
    }
    Ok(found.is_some())
}

/// Waits until the store is used, and answers how long that took.
async fn used_again(store: &Texts) -> Duration {
    let began = Clock::now();
    eventually("it works again", async || put(store, "again").await.is_ok()).await;
    began.elapsed()
}

/// Callers that ask without pause until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<Duration>,
}

impl Load {
    fn on(store: &Arc<Texts>, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut set = JoinSet::new();
        for n in 0..callers {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            set.spawn(async move {
                let mut slowest = Duration::ZERO;
                while !stop.load(Relaxed) {
                    let began = Clock::now();
                    let answer = get(&store, &format!("key {n}")).await;
                    slowest = slowest.max(began.elapsed());
                    assert!(!matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                slowest
            });
        }
        Self { stop, callers: set }
    }

    /// The time that the slowest call took.
    async fn end(self) -> Duration {
        self.stop.store(true, Relaxed);
        self.callers.join_all().await.into_iter().max().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_a_killed_server_is_used_again_when_it_is_back() {
    let mut redis = RedisServer::start();
    let store = Arc::new(usual(&redis.address()));
    used_again(&store).await;
    let load = Load::on(&store, 8);
    redis.kill();
    eventually("it is seen to be down", async || {
        matches!(store.server().connection(), Connection::Down(_))
    })
    .await;
    let (sent_in_vain, began) = (store.server().failures(ServerError::TimedOut), Clock::now());
    for _ in 0..1_000 {
        let error = get(&store, "key").await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
    println!("1,000 calls failed in {:?}", began.elapsed());
    let waited = store.server().failures(ServerError::TimedOut) - sent_in_vain;
    assert!(waited <= 8, "{waited} waited, more than were under way");
    redis.restart();
    let back = used_again(&store).await;
    println!("used again {back:?} after it answered; slowest call {:?}", load.end().await);
    assert!(store.server().connections_lost() >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_stopped_server_holds_callers_for_one_timeout_and_then_nobody() {
    let redis = RedisServer::start();
    let store = Arc::new(usual(&redis.address()));
    used_again(&store).await;
    let load = Load::on(&store, 64);
    redis.signal("STOP");
    eventually("the breaker opens", async || {
        matches!(store.server().connection(), Connection::Down(_))
    })
    .await;
    let slowest = load.end().await;
    let held = store.server().failures(ServerError::TimedOut);
    for _ in 0..1_000 {
        get(&store, "key").await.unwrap_err();
    }
    assert_eq!(store.server().failures(ServerError::TimedOut), held, "somebody waited");
    redis.signal("CONT");
    let back = used_again(&store).await;
    println!("{held} held, for {slowest:?} at most; used again after {back:?}");
    assert!(slowest < PATIENCE, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_swallows_everything_is_replaced() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let store = usual(&proxy.address());
    used_again(&store).await;
    let lost = store.server().connections_lost();
    proxy.set(Way::Hole);
    // Nobody asks anything: the heartbeat alone finds out.
    eventually("it is given up", async || store.server().connections_lost() > lost).await;
    get(&store, "key").await.unwrap_err();
    proxy.set(Way::Open(Duration::ZERO));
    println!("used again after {:?}", used_again(&store).await);
}

/// A connection that is being made may hang for as long as it may take: another is made beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_while_it_is_made_does_not_stand_in_the_way() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let builder = Server::builder(&proxy.address()).unwrap();
    let builder = builder.connect_timeout(Duration::from_secs(3_600));
    let store = Texts::new(&builder.build().unwrap(), "app", Plain).unwrap();
    for _ in 0..3 {
        proxy.swallow(1); // at first, the very first
        used_again(&store).await;
        let lost = store.server().connections_lost();
        proxy.set(Way::Cut);
        eventually("it is given up", async || store.server().connections_lost() > lost).await;
        proxy.set(Way::Open(Duration::ZERO));
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_noticed_though_nobody_asks() {
    let mut redis = RedisServer::start();
    let hour = Duration::from_secs(3_600);
    let builder = Server::builder(&redis.address()).unwrap().heartbeat(hour);
    let store = Texts::new(&builder.build().unwrap(), "app", Plain).unwrap();
    used_again(&store).await;
    let lost = store.server().connections_lost();
    redis.kill();
    eventually("it is noticed", async || store.server().connections_lost() > lost).await;
}

#[tokio::test]
async fn a_slow_path_costs_a_caller_no_more_than_its_timeout() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    // No heartbeat comes in between.
    let builder = Server::builder(&proxy.address()).unwrap().heartbeat(PATIENCE);
    let store = Texts::new(&builder.build().unwrap(), "app", Plain).unwrap();
    used_again(&store).await;
    proxy.set(Way::Open(PATIENCE));
    let error = get(&store, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::TimedOut));
    assert!(!error.to_string().is_empty());
}

/// Answers come in the order of the questions: one that nobody waits for any more must not be given to the
/// next who asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_nobody_gets_the_answer_to_a_cancelled_callers_question() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let store = Arc::new(patient(&proxy.address()));
    for n in 0..50 {
        put(&store, &format!("key {n}")).await.unwrap();
    }
    proxy.set(Way::Open(Duration::from_millis(1)));
    let mut answered = 0;
    for round in 0..20_u64 {
        let mut callers = JoinSet::new();
        for n in 0..50 {
            let store = Arc::clone(&store);
            callers.spawn(async move { get(&store, &format!("key {n}")).await });
        }
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        if round % 4 != 3 {
            callers.abort_all();
        }
        while let Some(ended) = callers.join_next().await {
            match ended {
                Ok(answer) => answered += u32::from(answer.unwrap()),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
    }
    assert!(answered >= 250, "{answered} were answered, of those that were not cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_connections_killed_in_the_middle_give_errors_and_never_wrong_answers() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let store = Arc::new(usual(&proxy.address()));
    for n in 0..8 {
        eventually("it is put", async || put(&store, &format!("key {n}")).await.is_ok()).await;
    }
    let load = Load::on(&store, 8);
    for round in 0..10 {
        used_again(&store).await;
        if round % 2 == 0 {
            redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        } else {
            proxy.set(Way::Cut);
            proxy.set(Way::Open(Duration::ZERO));
        }
    }
    used_again(&store).await;
    load.end().await;
    eventually("each has its own", async || {
        for n in 0..8 {
            if !matches!(get(&store, &format!("key {n}")).await, Ok(true)) {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test]
async fn r3_a_full_server_refuses_writes_and_goes_on_to_be_read() {
    let redis = RedisServer::start();
    let store = patient(&redis.address());
    put(&store, "key").await.unwrap();
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let error = put(&store, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::OutOfMemory));
    assert!(get(&store, "key").await.unwrap());
    assert_eq!(store.server().failures(ServerError::OutOfMemory), 1);
    assert_eq!(store.server().connections_lost(), 0, "the connection is in order");
    // What is not sent needs no answer; what frees memory is sent.
    let asked = refusals(&redis);
    for _ in 0..1_000 {
        let error = put(&store, "key").await.unwrap_err();
        assert_eq!(behind(&error), Some(ServerError::OutOfMemory));
    }
    let asked = refusals(&redis) - asked;
    assert!(asked < 500, "{asked} of 1,000 writes were sent");
    assert!(store.remove("key", NOW).await.unwrap());
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    println!("{asked} of 1,000 were sent; written again after {:?}", used_again(&store).await);
    put(&store, "key").await.unwrap();
}

/// How many writes the server has refused.
fn refusals(redis: &RedisServer) -> u64 {
    let stats = redis.ask(&["INFO", "commandstats"]).unwrap();
    let set = stats.lines().find_map(|line| line.strip_prefix("cmdstat_set:")).unwrap();
    let rejected = set.split("rejected_calls=").nth(1).unwrap();
    rejected.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn r3_a_demoted_server_is_left_and_asked_again() {
    let redis = RedisServer::start();
    let store = patient(&redis.address());
    put(&store, "key").await.unwrap();
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let error = put(&store, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::ReadOnly));
    assert_eq!(store.server().connections_lost(), 1);
    eventually("it can be read", async || get(&store, "key").await.is_ok()).await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
    used_again(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_a_server_that_loads_is_down() {
    let settings = ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"];
    let redis = Arc::new(RedisServer::start_with(&settings));
    let store = patient(&redis.address());
    put(&store, "key").await.unwrap();
    let fill = "for n = 1, 1000 do redis.call('SET', 'other:' .. n, 'value') end";
    redis.ask(&["EVAL", fill, "0"]).unwrap();
    let loading = Arc::clone(&redis);
    let reload = tokio::task::spawn_blocking(move || loading.ask(&["DEBUG", "RELOAD"]));
    eventually("a caller is told", async || {
        let answer = get(&store, "key").await;
        matches!(&answer, Err(error) if behind(error) == Some(ServerError::Loading))
    })
    .await;
    reload.await.unwrap();
    used_again(&store).await;
    assert!(get(&store, "key").await.unwrap());
}

const CANARY: &str = "canary-7c1e";

#[tokio::test]
async fn r3_a_wrong_password_is_said_and_no_password_is_shown() {
    let redis = RedisServer::start_with(&["--requirepass", "right"]);
    let with = |password: &str| format!("{}?pass={password}", redis.address_without_login());
    let right = patient(&with("right"));
    put(&right, "key").await.unwrap();
    let wrong = patient(&with(CANARY));
    let error = put(&wrong, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Auth));
    let none = patient(&redis.address_without_login());
    let unsaid = put(&none, "key").await.unwrap_err();
    assert_eq!(behind(&unsaid), Some(ServerError::Auth));
    let builder = Server::builder(&with(CANARY)).unwrap();
    let invalid = Server::open(&format!("redis://:{CANARY}@host:port:{CANARY}/x")).unwrap_err();
    let shown = [
        format!("{error} {error:?} {invalid} {invalid:?}"),
        format!("{wrong:?} {:?} {builder:?}", wrong.server()),
        format!("{:?} {:?}", wrong.server().connection(), std::error::Error::source(&error)),
    ];
    for text in shown {
        assert!(!text.contains(CANARY) && !text.contains("redis.sock"), "{text}");
    }
    assert!(wrong.server().failures(ServerError::Auth) >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_is_told_of_each_end_and_of_the_return() {
    let mut redis = RedisServer::start();
    let store = patient(&redis.address());
    let mut watch = store.server().watch();
    used_again(&store).await;
    assert_eq!(watch.changed().await, Some(Connection::Up));
    redis.kill();
    assert!(matches!(watch.changed().await, Some(Connection::Down(_))));
    redis.restart();
    // Reasons may change while it is down.
    while watch.changed().await.expect("the server is kept") != Connection::Up {}
    drop(store);
    assert_eq!(watch.changed().await, None, "it does not keep the server");
    assert_eq!(watch.changed().await, None);
}

#[tokio::test]
async fn more_operations_than_may_be_under_way_are_refused() {
    let redis = RedisServer::start();
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let store = Texts::new(&builder.max_in_flight(0).build().unwrap(), "app", Plain).unwrap();
    let error = put(&store, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Busy));
    let builder = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let store = Texts::new(&builder.max_bytes_in_flight(0).build().unwrap(), "app", Plain).unwrap();
    let error = put(&store, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Busy), "not a byte");
}

#[test]
fn a_server_outlives_the_runtime_of_its_first_operation() {
    let redis = RedisServer::start();
    let store = patient(&redis.address());
    for _ in 0..3 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(put(&store, "key")).unwrap();
        assert!(runtime.block_on(get(&store, "key")).unwrap());
    }
    assert_eq!(behind(&poll_once(put(&store, "key"))), Some(ServerError::NoRuntime));
}

/// The error of a future that is not on a runtime.
fn poll_once(future: impl Future<Output = Result<(), StoreError>>) -> StoreError {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer.unwrap_err(),
        std::task::Poll::Pending => panic!("it waits"),
    }
}
