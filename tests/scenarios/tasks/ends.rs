//! Caches that are dropped, or shut down, while they load.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::calls::{Answer, Calls, Load, Users, ask, builder, told};
use crate::world::{Told, ms, on_paused_time, secs, settled};

/// A cache with stale values for keys 2 and 3, and one refresh at a time.
async fn with_stale_values() -> Users {
    let cache = builder().stale_while_revalidate(secs(60)).max_refreshes(1).build().unwrap();
    for key in [2, 3] {
        cache.put(key, 1).await;
        assert!(cache.expire(&key).await.found);
    }
    cache
}

/// Has keys 2 and 3 refreshed, of which the second waits for its turn.
async fn refresh_both(cache: &Users, calls: &Calls) {
    for key in [2, 3] {
        let reader = ask(cache, key, calls.load(ms(100), Ok(2)));
        assert_eq!(told(reader).await, Told::Value(1));
    }
}

#[test]
fn a_dropped_cache_ends_its_tasks() {
    on_paused_time(async {
        let (cache, calls) = (with_stale_values().await, Calls::new());
        refresh_both(&cache, &calls).await;
        {
            let mut leader = pin!(cache.get_or_load(&1, calls.never()));
            let polled = leader.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
        }
        settled().await;
        let tasks = Handle::current().metrics();
        assert_eq!((tasks.num_alive_tasks(), calls.count()), (3, 2), "one waits for its turn");
        drop(cache);
        settled().await;
        assert_eq!((tasks.num_alive_tasks(), calls.count(), calls.now()), (0, 2, 0));
    });
}

#[test]
fn a_cache_is_kept_by_those_who_wait() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let callers = [1, 2].map(|key| ask(&cache, key, calls.load(ms(50), Ok(7))));
        settled().await;
        drop(cache);
        for caller in callers {
            assert_eq!(told(caller).await, Told::Value(7));
        }
        settled().await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    });
}

#[test]
fn a_shutdown_waits_for_what_is_under_way_and_what_is_queued() {
    on_paused_time(async {
        let (cache, calls) = (with_stale_values().await, Calls::new());
        refresh_both(&cache, &calls).await;
        let caller = ask(&cache, 1, calls.load(ms(50), Ok(7)));
        settled().await;
        assert_eq!(cache.control().shutdown(secs(10)).await, Ok(()));
        assert_eq!((calls.now(), calls.times()), (200, vec![0, 0, 100]));
        assert_eq!(told(caller).await, Told::Value(7));
        assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [Some(7), Some(2), Some(2)]);
        // Afterwards: hits, old values without a refresh, and no loads.
        assert!(cache.expire(&1).await.found);
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(7));
        let miss: Answer = cache.get_or_load(&9, calls.never()).await;
        assert_eq!(miss.unwrap_err().to_string(), "the cache was shut down");
        settled().await;
        assert_eq!((calls.count(), cache.control().shutdown(ms(0)).await), (3, Ok(())));
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    });
}

#[test]
fn a_shutdown_waits_no_longer_than_told_and_says_what_is_left() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let slow = ask(&cache, 1, calls.load(ms(500), Ok(7)));
        let hangs = ask(&cache, 2, calls.never());
        settled().await;
        let left = cache.control().shutdown(ms(100)).await.unwrap_err();
        assert_eq!((left.loads, calls.now()), (2, 100));
        let left = cache.control().shutdown(ms(900)).await.unwrap_err();
        assert_eq!((left.loads, calls.now()), (1, 1_000));
        assert_eq!((told(slow).await, cache.get(&1)), (Told::Value(7), Some(7)));
        hangs.abort();
    });
}

#[test]
fn two_who_shut_down_are_both_told_and_one_who_goes_away_harms_nobody() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let caller = ask(&cache, 1, calls.load(ms(100), Ok(7)));
        settled().await;
        let ends = |patience| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.control().shutdown(ms(patience)).await })
        };
        let (one, other, gone) = (ends(1_000), ends(1_000), ends(1_000));
        sleep(ms(50)).await;
        gone.abort();
        assert_eq!((one.await.unwrap(), other.await.unwrap(), calls.now()), (Ok(()), Ok(()), 100));
        assert_eq!(told(caller).await, Told::Value(7));
    });
}

#[test]
fn a_shutdown_inside_a_loader_waits_for_itself_to_the_end_of_its_patience() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let inner = cache.clone();
        let load = move || -> Load {
            Box::pin(async move {
                let left = inner.control().shutdown(ms(100)).await.unwrap_err();
                Ok(left.loads as u32)
            })
        };
        assert_eq!((told(ask(&cache, 1, load)).await, calls.now()), (Told::Value(1), 100));
        assert_eq!((cache.get(&1), cache.control().shutdown(ms(0)).await), (Some(1), Ok(())));
    });
}
