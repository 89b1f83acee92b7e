//! Locks: who holds one, how long, and what the late ones can do.

mod support;

use std::time::Duration;

use cache_redis::{
    AcquireError, BuildError, ExtendError, LockOptions, RedisLocks, Released, Server,
};
use support::{PATIENCE, Proxy, RedisServer, Way, eventually};
use tokio::time::{sleep, timeout};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

fn open(redis: &RedisServer) -> RedisLocks {
    let builder = Server::builder(&redis.address())
        .unwrap()
        .operation_timeout(PATIENCE)
        .connect_timeout(PATIENCE);
    RedisLocks::new(&builder.build().unwrap(), "app").unwrap()
}

const fn minute() -> LockOptions {
    LockOptions::new(MINUTE)
}

/// For how long the server keeps the lock `a`.
fn left(redis: &RedisServer) -> Duration {
    let answer = redis.ask(&["PTTL", "app:default:k:{a}"]).unwrap();
    Duration::from_millis(answer.trim().trim_start_matches(':').parse().unwrap())
}

#[tokio::test]
async fn r9_one_at_a_time_and_names_are_apart() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| open(&redis));
    let held = one.acquire("a", minute()).await.unwrap();
    assert!(matches!(other.acquire("a", minute()).await, Err(AcquireError::Held)));
    let _beside = other.acquire("b", minute()).await.unwrap();
    let _elsewhere = other.clone().namespace("a").acquire("a", minute()).await.unwrap();
    assert_eq!(held.release().await.unwrap(), Released::Released);
    let again = other.acquire("a", minute()).await.unwrap();
    assert!(again.valid_for() > MINUTE / 2 && again.valid_for() < MINUTE);
}

/// The seed of many bugs: a holder that is late removes what is not its own any more.
#[tokio::test]
async fn r9_a_late_holder_ends_nobody_elses() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| open(&redis));
    let late = one.acquire("a", LockOptions::new(SHORT)).await.unwrap();
    timeout(PATIENCE, late.lost()).await.expect("its time is over");
    assert_eq!(late.valid_for(), Duration::ZERO);
    let next = other.acquire("a", minute().wait(PATIENCE)).await.unwrap();
    assert!(next.fence() > late.fence());
    assert!(matches!(late.extend(MINUTE).await, Err(ExtendError::Lost)));
    assert_eq!(late.release().await.unwrap(), Released::AlreadyLost);
    assert!(matches!(one.acquire("a", minute()).await, Err(AcquireError::Held)));
    assert_eq!(next.release().await.unwrap(), Released::Released);
}

#[tokio::test]
async fn r9_who_waits_gets_it_when_it_is_dropped() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| open(&redis));
    let held = one.acquire("a", minute()).await.unwrap();
    let waiting = tokio::spawn(async move { other.acquire("a", minute().wait(PATIENCE)).await });
    tokio::task::yield_now().await;
    drop(held);
    let next = waiting.await.unwrap();
    assert!(next.is_ok(), "{next:?}");
}

#[tokio::test]
async fn r9_a_renewed_lock_outlives_its_ttl_until_it_is_taken_away() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| open(&redis));
    let held = one.acquire("a", LockOptions::new(Duration::from_secs(3)).renew()).await.unwrap();
    for _ in 0..2 {
        let mut least = held.valid_for();
        eventually("it is renewed", async || {
            let left = held.valid_for();
            let renewed = left > least;
            least = left;
            renewed
        })
        .await;
    }
    assert!(matches!(other.acquire("a", minute()).await, Err(AcquireError::Held)));
    redis.ask(&["DEL", "app:default:k:{a}"]).unwrap();
    timeout(PATIENCE, held.lost()).await.expect("the next renewal finds it gone");
    assert_eq!(held.release().await.unwrap(), Released::AlreadyLost);
}

#[tokio::test]
async fn r9_who_is_told_that_it_is_lost_counts_on_it_no_more() {
    let redis = RedisServer::start();
    let held = open(&redis).acquire("a", LockOptions::new(MINUTE * 60)).await.unwrap();
    redis.ask(&["DEL", "app:default:k:{a}"]).unwrap();
    assert!(matches!(held.extend(MINUTE * 60).await, Err(ExtendError::Lost)));
    assert_eq!(held.valid_for(), Duration::ZERO);
    timeout(PATIENCE, held.lost()).await.expect("it ends at once");
}

/// A server that was killed comes back without its memory, and gives the lock to another.
#[tokio::test]
async fn r9_who_held_a_lock_that_the_server_forgot_is_told_before_another_has_it() {
    for options in [LockOptions::new(MINUTE * 60), LockOptions::new(MINUTE * 60).renew()] {
        let mut redis = RedisServer::start();
        let held = open(&redis).acquire("a", options).await.unwrap();
        redis.kill();
        eventually("nobody counts on it", async || held.valid_for().is_zero()).await;
        redis.restart();
        let next = open(&redis).acquire("a", minute()).await.unwrap();
        let began = std::time::Instant::now();
        timeout(PATIENCE, held.lost()).await.expect("it asks as soon as it is connected");
        println!("told {:?} after another had it", began.elapsed());
        assert_eq!(held.valid_for(), Duration::ZERO);
        assert!(matches!(held.extend(MINUTE).await, Err(ExtendError::Lost)));
        assert_eq!(held.release().await.unwrap(), Released::AlreadyLost);
        assert_eq!(next.release().await.unwrap(), Released::Released);
    }
}

/// The same, where nobody comes in between, and the server is up again before anything is noticed.
#[tokio::test]
async fn r9_a_lock_that_the_server_forgot_is_lost() {
    let mut redis = RedisServer::start();
    let held = open(&redis).acquire("a", LockOptions::new(MINUTE * 60)).await.unwrap();
    redis.restart();
    timeout(PATIENCE, held.lost()).await.expect("it asks as soon as it is connected");
    assert_eq!(held.valid_for(), Duration::ZERO);
}

#[tokio::test]
async fn r9_a_lock_outlives_a_connection_and_lasts_no_longer_for_that() {
    let redis = RedisServer::start();
    let server = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
    let server = server.connect_timeout(PATIENCE).build().unwrap();
    let locks = RedisLocks::new(&server, "app").unwrap();
    for options in [LockOptions::new(MINUTE * 60), LockOptions::new(MINUTE * 60).renew()] {
        let held = locks.acquire("a", options).await.unwrap();
        for _ in 0..3 {
            let (lost, before) = (server.connections_lost(), held.valid_for());
            redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
            eventually("the connection ended", async || server.connections_lost() > lost).await;
            eventually("it is confirmed", async || !held.valid_for().is_zero()).await;
            assert!(options.renew || held.valid_for() <= before);
            let told = timeout(Duration::ZERO, held.lost()).await;
            assert!(told.is_err(), "it was held all the time");
        }
        assert_eq!(held.release().await.unwrap(), Released::Released);
    }
}

/// The server does it first, and its answer is looked at last.
#[tokio::test]
async fn r9_an_answer_that_is_looked_at_late_makes_it_last_no_longer() {
    let redis = RedisServer::start();
    let held = open(&redis).acquire("a", minute()).await.unwrap();
    held.extend(MINUTE).await.unwrap(); // now the server knows the script
    let mut long = Box::pin(held.extend(MINUTE * 60));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Future::poll(long.as_mut(), &mut context).is_pending(), "it is on its way");
    eventually("the server has done it", async || left(&redis) > MINUTE).await;
    held.extend(MINUTE / 2).await.unwrap();
    long.await.unwrap();
    let left = left(&redis);
    assert!(held.valid_for() <= left, "{held:?}");
}

#[tokio::test]
async fn r9_a_lock_is_renewed_by_the_ttl_that_was_asked_for_last() {
    let redis = RedisServer::start();
    let (short, long) = (Duration::from_secs(9), MINUTE * 60);
    let held = open(&redis).acquire("a", LockOptions::new(short).renew()).await.unwrap();
    held.extend(long).await.unwrap();
    sleep(short / 2).await;
    assert!(held.valid_for() > MINUTE && left(&redis) > MINUTE, "{held:?}");
    held.extend(short).await.unwrap();
    let mut least = held.valid_for();
    eventually("it is renewed at the third of the shorter one", async || {
        let left = held.valid_for();
        let renewed = left > least;
        least = left;
        renewed
    })
    .await;
    assert!(left(&redis) <= short);
    assert_eq!(held.release().await.unwrap(), Released::Released);
}

/// The server does it, and its answer comes too late.
#[tokio::test]
async fn r9_an_extension_without_an_answer_is_counted_on_no_longer_than_it_may_last() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let locks = RedisLocks::new(&Server::open(&proxy.address()).unwrap(), "app").unwrap();
    let mut lock = None;
    eventually("there is a lock", async || {
        lock = locks.acquire("name", LockOptions::new(MINUTE)).await.ok();
        lock.is_some()
    })
    .await;
    let lock = lock.unwrap();
    let shorter = Duration::from_secs(20);
    for dropped in [false, true] {
        proxy.set(Way::Hole);
        let extending = lock.extend(shorter);
        if dropped {
            let _ = timeout(Duration::from_millis(20), extending).await;
        } else {
            assert!(extending.await.is_err());
        }
        assert!(lock.valid_for() <= shorter, "{:?}", lock.valid_for());
    }
}

#[tokio::test]
async fn r9_a_release_that_is_dropped_is_made_up_for() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let locks = RedisLocks::new(&Server::open(&proxy.address()).unwrap(), "app").unwrap();
    let mut lock = None;
    eventually("there is a lock", async || {
        lock = locks.acquire("name", LockOptions::new(MINUTE * 60)).await.ok();
        lock.is_some()
    })
    .await;
    proxy.set(Way::Hole);
    let releasing = lock.unwrap().release();
    assert!(timeout(Duration::from_millis(20), releasing).await.is_err());
    proxy.set(Way::Open(Duration::ZERO));
    let other = open(&redis);
    eventually("another has it", async || {
        other.acquire("name", LockOptions::new(MINUTE)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn r9_fences_grow_even_if_the_server_forgets() {
    let mut redis = RedisServer::start();
    let mut last = 0;
    for round in 0..6 {
        let lock = open(&redis).acquire("a", minute()).await.unwrap();
        assert!(lock.fence() > last, "{} after {last}", lock.fence());
        last = lock.fence();
        match round {
            1 => drop(redis.ask(&["FLUSHALL"])),
            3 => redis.restart(),
            _ => assert_eq!(lock.release().await.unwrap(), Released::Released),
        }
    }
}

#[tokio::test]
async fn r9_scripts_that_the_server_forgot_are_sent_again() {
    let redis = RedisServer::start();
    let locks = open(&redis);
    locks.acquire("a", minute()).await.unwrap().release().await.unwrap();
    redis.ask(&["SCRIPT", "FLUSH", "SYNC"]).unwrap();
    let lock = locks.acquire("a", minute()).await.unwrap();
    assert_eq!(lock.release().await.unwrap(), Released::Released);
}

#[test]
fn r9_without_a_runtime_nothing_panics() {
    let server = Server::open("redis://localhost").unwrap();
    assert_eq!(RedisLocks::new(&server, "").map(drop).unwrap_err(), BuildError::EmptyPrefix);
    let locks = RedisLocks::new(&server, "app").unwrap();
    let mut attempt = Box::pin(locks.acquire("a", minute()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let answer = Future::poll(attempt.as_mut(), &mut context);
    assert!(matches!(answer, std::task::Poll::Ready(Err(AcquireError::NoRuntime))));
}
