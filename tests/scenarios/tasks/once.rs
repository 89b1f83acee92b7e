//! S1, PA, PB, PB2, PC, PP, S20: one load for tasks, and whatever becomes of those who asked.

use std::pin::pin;
use std::task::{Context, Waker};

use tokio::time::{advance, sleep};

use super::calls::{Answer, Calls, Load, all_told, ask, ask_all, builder, told};
use crate::world::{Origin, Told, ms, on_paused_time, panic_quietly, secs, settled};

const DOWN: Origin = Origin("down");

#[test]
fn s1_fifty_tasks_at_once_make_one_load_of_a_cold_key() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let callers = ask_all(50, &cache, calls.load(ms(50), Ok(7)));
        assert_eq!((all_told(callers).await, calls.now()), (Told::Value(7), 50));
        assert_eq!((calls.count(), cache.stats().loads, cache.stats().misses), (1, 1, 50));
    });
}

#[test]
fn s1_fifty_tasks_at_once_make_one_load_of_a_too_old_entry() {
    on_paused_time(async {
        let cache = builder().stale_while_revalidate(secs(10)).build().unwrap();
        cache.put(1, 6).await;
        advance(secs(100)).await;
        let calls = Calls::new();
        let callers = ask_all(50, &cache, calls.load(ms(50), Ok(7)));
        assert_eq!((all_told(callers).await, calls.now()), (Told::Value(7), 50));
        assert_eq!((calls.count(), cache.stats().loads, cache.stats().misses), (1, 1, 50));
    });
}

#[test]
fn pa_a_hundred_tasks_at_once_make_one_load() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let callers = ask_all(100, &cache, calls.load(ms(50), Ok(7)));
        assert_eq!((all_told(callers).await, calls.now()), (Told::Value(7), 50));
        assert_eq!((calls.count(), cache.get(&1)), (1, Some(7)));
    });
}

#[test]
fn pb_ten_followers_are_answered_though_the_leader_is_cancelled() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let leader = ask(&cache, 1, calls.load(ms(200), Ok(7)));
        settled().await;
        let followers = ask_all(10, &cache, calls.load(ms(200), Ok(8)));
        sleep(ms(50)).await;
        leader.abort();
        assert!(leader.await.unwrap_err().is_cancelled());
        assert_eq!((all_told(followers).await, calls.now()), (Told::Value(7), 200));
        assert_eq!(calls.times(), [0]);
    });
}

#[test]
fn pb2_a_leader_who_is_not_polled_keeps_nobody_waiting() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let mut leader = pin!(cache.get_or_load(&1, calls.load(ms(100), Ok(7))));
        assert!(leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let follower: Answer = cache.get_or_load(&1, calls.load(ms(100), Ok(8))).await;
        assert_eq!((follower.unwrap(), calls.now()), (7, 100));
        sleep(ms(900)).await;
        assert_eq!((leader.await.unwrap(), calls.now(), calls.count()), (7, 1_000, 1));
    });
}

#[test]
fn pc_all_are_told_of_one_failure_and_who_comes_later_may_load() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let callers = ask_all(20, &cache, calls.load(ms(50), Err(DOWN)));
        assert_eq!((all_told(callers).await, calls.now()), (Told::Failed(DOWN), 50));
        assert_eq!(calls.times(), [0]);
        let later = ask(&cache, 1, calls.load(ms(0), Ok(3)));
        assert_eq!((told(later).await, calls.times()), (Told::Value(3), vec![0, 50]));
    });
}

#[test]
fn pp_when_the_first_load_panics_nobody_hangs_and_all_are_told() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let callers = ask_all(11, &cache, calls.panic(ms(50), "oh"));
        assert_eq!((all_told(callers).await, calls.now()), (Told::Panicked("oh".into()), 50));
        assert_eq!((calls.count(), cache.stats().failures), (1, 1));
        assert!(cache.explain(&1).flight.is_none(), "the key is free");
    });
}

#[test]
fn s20_after_a_loader_that_panicked_the_next_caller_loads() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        // Before there is a future, and while that is polled.
        let no_future = || -> Load { panic_quietly("at once") };
        assert_eq!(told(ask(&cache, 1, no_future)).await, Told::Panicked("at once".into()));
        let first = ask(&cache, 1, calls.panic(ms(10), "later"));
        assert_eq!(told(first).await, Told::Panicked("later".into()));
        let next = ask(&cache, 1, calls.load(ms(10), Ok(7)));
        assert_eq!((told(next).await, calls.times()), (Told::Value(7), vec![0, 10]));
        assert_eq!((cache.stats().loads, cache.stats().failures), (3, 2));
    });
}

#[test]
fn s20_after_a_caller_who_was_cancelled_the_next_one_shares_the_load_that_goes_on() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let first = ask(&cache, 1, calls.load(ms(100), Ok(7)));
        sleep(ms(40)).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let next = ask(&cache, 1, calls.load(ms(100), Ok(8)));
        assert_eq!((told(next).await, calls.now(), calls.count()), (Told::Value(7), 100, 1));
    });
}

/// A leader and three followers; the leader's load panics, or the leader is cancelled.
#[test]
fn a_thousand_leaders_that_panic_or_are_dropped_leave_nobody_waiting() {
    on_paused_time(async {
        let (cache, calls) = (builder().abandon_unwatched(true).build().unwrap(), Calls::new());
        for n in 0..1_000 {
            let panics = n % 2 == 0;
            let leader = match panics {
                true => ask(&cache, 1, calls.panic(ms(10), "oh")),
                false => ask(&cache, 1, calls.load(ms(10), Ok(n))),
            };
            settled().await;
            let followers = ask_all(3, &cache, calls.load(ms(10), Ok(9)));
            settled().await;
            if panics {
                assert_eq!(told(leader).await, Told::Panicked("oh".into()));
                assert_eq!(all_told(followers).await, Told::Panicked("oh".into()));
            } else {
                leader.abort();
                assert!(leader.await.unwrap_err().is_cancelled());
                assert_eq!(all_told(followers).await, Told::Value(n));
                assert!(cache.invalidate(&1).await.found);
            }
        }
        assert_eq!((calls.count(), calls.now()), (1_000, 10_000));
        assert_eq!((cache.stats().failures, cache.stats().landed), (500, 500));
        assert!(cache.explain(&1).flight.is_none());
    });
}
