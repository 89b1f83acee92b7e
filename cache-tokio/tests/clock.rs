//! Threads that wait by tokio's clock, on paused time.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Instant};
use cache_std::{Signal, Time};
use cache_tokio::TokioTime;
use cache_tokio::future::{Cache, LoadError};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_thread_that_waits_is_woken_when_the_time_has_come() {
    let time = TokioTime::new();
    let until = time.now() + SECOND;
    let waiter = spawn_blocking(move || {
        let set = time.wait(&Arc::new(Signal::new()), until);
        (set, time.now().has_reached(until))
    });
    // Paused time stands still while a thread of the runtime is blocked.
    while !waiter.is_finished() {
        advance(SECOND).await;
    }
    assert_eq!(waiter.await.unwrap(), (false, true));
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_a_wait_before_its_time() {
    let (time, signal) = (TokioTime::new(), Arc::new(Signal::new()));
    for until in [time.now() + SECOND, Instant::FAR_FUTURE] {
        let (waited, start) = (Arc::clone(&signal), time.now());
        let waiter = spawn_blocking(move || time.wait(&waited, until));
        yield_now().await;
        signal.set();
        assert!(waiter.await.unwrap() && time.now() == start);
        assert!(signal.take());
    }
}

/// A load runs without a timer; only who would have to wait by one is told that there is none.
#[test]
fn a_runtime_whose_time_is_not_enabled_costs_nobody_a_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cache: Cache<u8, u8> = Cache::builder().ttl(Duration::from_secs(60)).build().unwrap();
    runtime.block_on(async {
        let load = || async {
            yield_now().await;
            Ok::<_, String>(7)
        };
        let told = cache.get_or_load(&1, load).await;
        assert!(matches!(told, Err(LoadError::NoRuntime)), "{told:?}");
        while !cache.contains(&1) {
            yield_now().await;
        }
        assert_eq!(cache.get_or_load(&1, || async { Err("not asked") }).await.unwrap(), 7);
    });
}
