//! Limits on loads, waiters and refreshes, reached.

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::calls::{Answer, Calls, Users, ask, ask_all, builder, told};
use crate::world::{Origin, Told, ms, on_paused_time, secs, settled};

#[test]
fn a_loader_that_never_ends_holds_its_key_for_a_lease_and_its_place_for_the_limit() {
    on_paused_time(async {
        let cache = builder().hard_timeout(secs(5)).lease(secs(10)).load_limit(secs(20));
        let (cache, calls) = (cache.max_loads(2).build().unwrap(), Calls::new());
        let first = ask(&cache, 1, calls.never());
        let late = Told::TimedOut { retry_in: secs(5) };
        assert_eq!((told(first).await, calls.now()), (late.clone(), 5_000));
        assert_eq!((told(ask(&cache, 1, calls.never())).await, calls.now()), (late, 5_000));
        sleep(secs(5)).await;
        // The lease is over: the key is free, but the load still has its place.
        let second = ask(&cache, 1, calls.never());
        settled().await;
        assert_eq!(calls.times(), [0, 10_000]);
        assert_eq!(told(ask(&cache, 2, calls.never())).await, Told::Busy);
        second.abort();
        sleep(ms(9_999)).await;
        assert_eq!(told(ask(&cache, 2, calls.never())).await, Told::Busy);
        sleep(ms(1)).await;
        settled().await;
        assert_eq!((cache.stats().abandoned, calls.now()), (1, 20_000));
        let third = ask(&cache, 2, calls.load(ms(0), Ok(7)));
        assert_eq!(told(third).await, Told::Value(7));
        sleep(secs(10)).await;
        settled().await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "both were dropped");
    });
}

#[test]
fn who_waits_as_long_as_a_load_may_run_is_told_that_it_was_given_up() {
    on_paused_time(async {
        let cache = builder().hard_timeout(secs(60)).lease(secs(60)).load_limit(secs(20));
        let (cache, calls) = (cache.build().unwrap(), Calls::new());
        let leader = ask(&cache, 1, calls.never());
        settled().await;
        let follower = ask(&cache, 1, calls.load(ms(0), Ok(7)));
        assert_eq!(leader.await.unwrap().unwrap_err().to_string(), "the load was given up");
        // Who only followed looks again, and loads.
        assert_eq!((told(follower).await, calls.times()), (Told::Value(7), vec![0, 20_000]));
    });
}

#[test]
fn at_the_limit_of_waiters_for_a_key_who_has_no_old_value_is_told() {
    on_paused_time(async {
        let (cache, calls) = (builder().max_waiters_per_key(3).build().unwrap(), Calls::new());
        let mut callers = ask_all(5, &cache, calls.load(ms(50), Ok(7)));
        let other = ask(&cache, 2, calls.load(ms(50), Ok(8)));
        for busy in callers.drain(3..) {
            assert_eq!((told(busy).await, calls.now()), (Told::Busy, 0));
        }
        for caller in callers {
            assert_eq!((told(caller).await, calls.now()), (Told::Value(7), 50));
        }
        assert_eq!((told(other).await, calls.count()), (Told::Value(8), 2));
    });
}

#[test]
fn at_the_limit_of_waiters_for_a_key_who_has_an_old_value_is_served() {
    on_paused_time(async {
        let cache = builder().stale_if_error(secs(100)).max_waiters_per_key(1).build().unwrap();
        cache.put(1, 6).await;
        sleep(secs(60)).await;
        let calls = Calls::new();
        let leader = ask(&cache, 1, calls.load(ms(50), Ok(7)));
        settled().await;
        let second = ask(&cache, 1, calls.never());
        assert_eq!((told(second).await, calls.now()), (Told::Value(6), 0));
        assert_eq!((told(leader).await, calls.count()), (Told::Value(7), 1));
    });
}

/// Reads of stale keys, whose refreshes take 100 ms.
async fn refresh_stale(keys: std::ops::Range<u8>, most: usize) -> (Users, Calls) {
    let cache = builder().stale_while_revalidate(secs(600)).max_refreshes(most).build().unwrap();
    let calls = Calls::new();
    for key in keys {
        cache.put(key, 1).await;
        assert!(cache.expire(&key).await.found);
        let reader = ask(&cache, key, calls.load(ms(100), Ok(2)));
        assert_eq!((told(reader).await, calls.now()), (Told::Value(1), 0));
    }
    settled().await;
    (cache, calls)
}

#[test]
fn no_more_refreshes_run_than_may_and_the_others_have_their_turn() {
    on_paused_time(async {
        let (cache, calls) = refresh_stale(0..5, 2).await;
        sleep(ms(300)).await;
        settled().await;
        assert_eq!(calls.times(), [0, 0, 100, 100, 200]);
        assert!((0..5).all(|key| cache.get(&key) == Some(2)));
    });
}

#[test]
fn who_needs_a_queued_refresh_pulls_it_forward() {
    on_paused_time(async {
        let (cache, calls) = refresh_stale(0..4, 1).await;
        assert_eq!(calls.times(), [0]);
        sleep(ms(10)).await;
        // It wants a fresh value, and so the load that waits for its turn.
        let strict: Answer = cache.read(&3).fresh().get_or_load(calls.never()).await;
        assert_eq!((strict.unwrap(), calls.now(), calls.times()), (2, 110, vec![0, 10, 100]));
        sleep(ms(190)).await;
        settled().await;
        assert_eq!(calls.times(), [0, 10, 100, 200], "the others kept their turns");
        assert!((0..4).all(|key| cache.get(&key) == Some(2)));
    });
}

#[test]
fn a_thread_that_needs_a_queued_refresh_pulls_it_forward() {
    on_paused_time(async {
        let (cache, calls) = refresh_stale(0..2, 1).await;
        let blocking = cache.blocking().clone();
        let reader = tokio::task::spawn_blocking(move || {
            let load = || -> Result<u32, Origin> { panic!("one is under way") };
            blocking.read(&1).fresh().get_or_load(load)
        });
        while calls.count() < 2 && !reader.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(calls.times(), [0, 0]);
        // The clock stands still while a thread of the runtime is blocked.
        tokio::time::advance(ms(100)).await;
        assert_eq!(reader.await.unwrap().unwrap(), 2);
    });
}

#[test]
fn a_refresh_that_finds_no_room_in_the_queue_is_tried_by_the_next_reader() {
    on_paused_time(async {
        let cache = builder().stale_while_revalidate(secs(600)).max_loads(2_048).max_refreshes(1);
        let cache = cache.build().unwrap();
        let (calls, room) = (Calls::new(), 1 + 1_024);
        // Each put voids the refresh of the same key, which keeps its place, and is followed by another.
        for n in 0..room {
            let key = (n % 250) as u8;
            assert!(cache.put(key, 1).await.is_stored() && cache.expire(&key).await.found);
            assert_eq!(told(ask(&cache, key, calls.load(ms(1), Ok(2)))).await, Told::Value(1));
        }
        assert!(cache.put(255, 1).await.is_stored() && cache.expire(&255).await.found);
        let full = ask(&cache, 255, calls.load(ms(1), Ok(2)));
        assert_eq!((told(full).await, cache.stats().abandoned), (Told::Value(1), 1));
        assert!(cache.explain(&255).flight.is_none(), "it was given up");
        sleep(ms(1)).await;
        settled().await;
        assert_eq!(told(ask(&cache, 255, calls.load(ms(1), Ok(2)))).await, Told::Value(1));
        sleep(ms(2_000)).await;
        settled().await;
        assert_eq!((calls.count(), cache.get(&255)), (room + 1, Some(2)));
    });
}
