//! Threads that wait by tokio's clock, on paused time.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Instant};
use cache_std::{Signal, Time};
use cache_tokio::TokioTime;
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
