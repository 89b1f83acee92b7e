//! User code that panics where a load runs: errors, what judges them, destructors.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use advanced_caching::future::{Cache, LoadError, TokioTime};
use tokio::time::sleep;

use super::calls::{Calls, Load, ask, ask_all, builder, told};
use crate::world::{Origin, Told, ms, on_paused_time, panic_quietly, secs, settled};

/// An error that cannot be shown.
#[derive(Debug)]
struct Unshowable;

impl fmt::Display for Unshowable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_quietly("no words")
    }
}

fn assert_no_words<T: fmt::Debug>(told: &Result<T, LoadError<Unshowable>>) {
    let panicked = matches!(told, Err(LoadError::Panicked(text)) if &**text == "no words");
    assert!(panicked, "{told:?}");
}

#[test]
fn an_error_that_cannot_be_shown_is_a_failure_like_any() {
    on_paused_time(async {
        let (cache, runs) = (builder().build().unwrap(), Arc::new(AtomicUsize::new(0)));
        let callers = [(); 4].map(|()| {
            let (cache, runs) = (cache.clone(), Arc::clone(&runs));
            let load = || async move {
                runs.fetch_add(1, Ordering::Relaxed);
                sleep(ms(10)).await;
                Err(Unshowable)
            };
            tokio::spawn(async move { cache.get_or_load(&1, load).await })
        });
        for caller in callers {
            assert_no_words(&caller.await.unwrap());
        }
        assert_eq!((runs.load(Ordering::Relaxed), cache.stats().failures), (1, 1));
        let many = |_: Vec<u8>| async { Err::<Vec<(u8, u32)>, _>(Unshowable) };
        for told in cache.get_or_load_each([&2, &3], many).await {
            assert_no_words(&told);
        }
        assert_eq!((cache.stats().failures, cache.stats().abandoned), (3, 0));
    });
}

#[test]
fn what_judges_errors_may_refuse_the_old_value_and_may_panic() {
    on_paused_time(async {
        let judge = |error: &Origin| match error.0 {
            "revoked" => false,
            "strange" => panic_quietly("judge"),
            _ => true,
        };
        let cache = Cache::builder().ttl(secs(10)).stale_if_error(secs(1_000)).jitter_percent(0);
        let cache = cache.cool_down(secs(1), 1, secs(1)).stale_if_error_when(judge);
        let (cache, calls) = (cache.time(TokioTime::new()).build().unwrap(), Calls::new());
        cache.put(1, 7).await;
        for (error, expected) in [
            ("down", Told::Value(7)),
            ("strange", Told::Value(7)),
            ("revoked", Told::Failed(Origin("revoked"))),
            ("down", Told::Failed(Origin("down"))),
        ] {
            sleep(secs(10)).await;
            let caller = ask(&cache, 1, calls.load(ms(0), Err(Origin(error))));
            assert_eq!(told(caller).await, expected, "{error}");
        }
        assert_eq!((cache.stats().failures, cache.stats().abandoned), (4, 0));
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_quietly("dropped");
    }
}

#[test]
fn a_load_that_breaks_when_it_is_given_up_keeps_nobody_waiting() {
    on_paused_time(async {
        let cache = builder().load_limit(ms(50)).build().unwrap();
        let calls = Calls::new();
        let breaks = || -> Load {
            Box::pin(async {
                let _bomb = Bomb;
                std::future::pending().await
            })
        };
        let leader = ask(&cache, 1, breaks);
        settled().await;
        let followers = ask_all(3, &cache, calls.load(ms(10), Ok(7)));
        let answer = leader.await.unwrap().unwrap_err();
        assert!(matches!(answer, LoadError::GivenUp), "{answer:?}");
        for follower in followers {
            assert_eq!((told(follower).await, calls.times()), (Told::Value(7), vec![50]));
        }
        assert!(cache.explain(&1).flight.is_none());
    });
}

/// Answers at once, and panics when it is dropped.
struct Breaks(Bomb);

impl Future for Breaks {
    type Output = Result<u32, Origin>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(1))
    }
}

#[test]
fn a_load_that_breaks_when_it_has_ended_keeps_nobody_waiting() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let leader = ask(&cache, 1, || -> Load { Box::pin(Breaks(Bomb)) });
        assert_eq!(told(leader).await, Told::Panicked("dropped".into()));
        assert_eq!(told(ask(&cache, 1, calls.load(ms(10), Ok(7)))).await, Told::Value(7));
    });
}
