//! Mutations that a caller gives up, and those that meet loads of their own process.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;

use advanced_caching::future::Reach;
use advanced_caching::{Loaded, Put};
use tokio::time::{advance, sleep};

use super::far::{Far, State};
use crate::tasks::calls::{Calls, Users, ask, told};
use crate::world::{Origin, Told, ms, on_paused_time, panic_quietly, secs, settled};

#[derive(Clone, Copy, Debug)]
enum What {
    Put,
    Expire,
    Invalidate,
    Clear,
}

async fn mutate(cache: Users, what: What) {
    match what {
        What::Put => {
            let _ = cache.put(1, 2).await;
        }
        What::Expire => {
            cache.expire(&1).await;
        }
        What::Invalidate => {
            cache.invalidate(&1).await;
        }
        What::Clear => {
            cache.clear().await;
        }
    }
}

/// Polls it once in each millisecond, so often; whether it has ended.
async fn poll_for(polls: u64, mut work: Pin<&mut impl Future<Output = ()>>) -> bool {
    for _ in 0..polls {
        let ended = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await;
        if ended {
            return true;
        }
        advance(ms(1)).await;
    }
    false
}

#[test]
fn a_mutation_that_is_dropped_at_any_time_leaves_memory_and_store_agreed() {
    on_paused_time(async {
        for what in [What::Put, What::Expire, What::Invalidate, What::Clear] {
            let mut ended = false;
            for polls in 0..200 {
                let (far, calls) = (Far::new(), Calls::new());
                let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
                assert!(one.put(1, 1).await.is_stored());
                assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
                far.takes(ms(4));
                ended = poll_for(polls, pin!(mutate(one.clone(), what))).await;
                far.takes(ms(0));
                sleep(secs(2)).await;
                let stored = far.value(&one, 1);
                for cache in [&one, &two] {
                    let seen = cache.get(&1);
                    assert!(seen.is_none() || seen == stored, "{what:?} after {polls} polls");
                }
                let next = told(ask(&one, 1, calls.load(ms(0), Ok(9)))).await;
                assert!(matches!(next, Told::Value(_)), "no turn is lost");
                assert_eq!(one.invalidate(&1).await.reach, Reach::Everywhere);
                if ended {
                    break;
                }
            }
            assert!(ended, "{what:?} never ended");
        }
    });
}

#[test]
fn s15_a_put_during_a_refresh_wins_in_the_store_too() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().stale_while_revalidate(secs(60)).build().unwrap();
        assert!(cache.put(1, 1).await.is_stored());
        advance(secs(70)).await;
        assert_eq!(told(ask(&cache, 1, calls.load(ms(100), Ok(2)))).await, Told::Value(1));
        sleep(ms(50)).await;
        assert!(cache.put(1, 3).await.is_stored());
        sleep(ms(100)).await;
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(3), Some(3)));
        assert_eq!((calls.count(), cache.stats().superseded), (1, 1));
    });
}

#[test]
fn s15_a_put_during_a_refresh_wins_in_a_store_of_its_own_too() {
    on_paused_time(async {
        let (far, calls) = (Far::private(), Calls::new());
        far.takes(ms(20));
        let cache = far.process().build().unwrap();
        let loading = ask(&cache, 1, calls.load(ms(100), Ok(1)));
        assert_eq!((told(loading).await, calls.now()), (Told::Value(1), 120));
        // The load writes to the store until 140 ms.
        assert!(cache.put(1, 2).await.is_stored());
        assert_eq!((far.value(&cache, 1), cache.get(&1), calls.now()), (Some(2), Some(2), 160));
    });
}

#[test]
fn a_value_that_a_peer_has_stored_is_present() {
    on_paused_time(async {
        let far = Far::new();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put_if_absent(1, 1).await.is_stored());
        assert_eq!(two.put_if_absent(1, 2).await, Put::Present(2));
        assert_eq!((two.get(&1), far.value(&two, 1)), (Some(1), Some(1)));
        assert_eq!(one.put_if_absent(1, 3).await, Put::Present(3));
    });
}

#[test]
fn a_shutdown_waits_for_what_loads_write() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        far.takes(ms(20));
        let cache = far.process().build().unwrap();
        assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(1)))).await, Told::Value(1));
        assert_eq!(far.value(&cache, 1), None);
        cache.control().shutdown(secs(1)).await.unwrap();
        assert_eq!(far.value(&cache, 1), Some(1));
    });
}

#[test]
fn a_dropped_cache_leaves_no_task_behind_whatever_its_store_does() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let _leader = ask(&one, 1, calls.never());
        sleep(ms(10)).await;
        let waiting = ask(&two, 1, calls.never());
        sleep(ms(10)).await;
        far.is(State::Down);
        assert_eq!(two.invalidate(&2).await.reach, Reach::Queued);
        waiting.abort();
        drop(two);
        settled().await;
        sleep(ms(100)).await;
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive, 2, "the leader, and its load");
    });
}

#[test]
fn a_mutation_that_is_not_polled_any_more_holds_up_nobody() {
    on_paused_time(async {
        for far in [Far::new(), Far::private()] {
            let calls = Calls::new();
            let cache = far.process().build().unwrap();
            far.takes(ms(4));
            let mut stuck = pin!(cache.put(1, 1));
            let polled = poll_fn(|context| Poll::Ready(stuck.as_mut().poll(context))).await;
            assert!(polled.is_pending());
            let before = calls.now();
            assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(2));
            assert_eq!(cache.invalidate(&1).await.reach, Reach::Everywhere);
            assert!(cache.put(1, 3).await.is_stored());
            cache.clear().await;
            assert!(calls.now() - before < 2_000, "{} ms", calls.now() - before);
            // It goes on in the end, and is the last.
            let late = poll_fn(|context| stuck.as_mut().poll(context)).await;
            assert!(late.is_stored());
            let seen = cache.get(&1);
            assert!(seen.is_none() || seen == far.value(&cache, 1), "{seen:?}");
        }
    });
}

#[test]
fn a_put_that_finds_a_value_says_so_whatever_others_did_meanwhile() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        far.is(State::Hangs);
        let late = tokio::spawn({
            let one = one.clone();
            async move { one.put_if_absent(1, 1).await }
        });
        settled().await;
        far.is(State::Up);
        assert!(two.put(1, 2).await.is_stored());
        assert_eq!(told(ask(&one, 1, calls.never())).await, Told::Value(2));
        // It gives up asking the store, and finds what the read has brought.
        assert_eq!(late.await.unwrap(), Put::Present(1));
        assert_eq!((one.get(&1), far.value(&one, 1)), (Some(2), Some(2)));
    });
}

#[test]
fn that_a_key_is_missing_ends_no_value_of_the_store_if_it_was_to_be_absent() {
    on_paused_time(async {
        let far = Far::new();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(two.put(1, 1).await.is_stored());
        assert_eq!(one.put_if_absent(1, Loaded::missing()).await, Put::Missing);
        assert_eq!((one.get(&1), far.value(&one, 1)), (Some(1), Some(1)));
    });
}

#[test]
fn that_a_key_is_missing_is_remembered_though_the_store_had_nothing() {
    on_paused_time(async {
        let (far, loads) = (Far::new(), Arc::new(AtomicU32::new(0)));
        let cache = far.process().build().unwrap();
        for _ in 0..2 {
            let loads = Arc::clone(&loads);
            let load = async move |_| {
                loads.fetch_add(1, Relaxed);
                Ok::<_, Origin>(Loaded::missing())
            };
            let answer = cache.get_or_load_with(&1, load).await;
            assert!(answer.unwrap_err().is_missing());
            settled().await;
        }
        assert_eq!((loads.load(Relaxed), cache.stats().store_refusals), (1, 0));
        assert_eq!(far.log(), ["get", "acquire", "vacate"]);
    });
}

#[test]
fn an_early_refresh_asks_the_origin_though_the_store_has_the_value() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().early_refresh_percent(50).build().unwrap();
        assert!(cache.put(1, 1).await.is_stored());
        advance(secs(40)).await;
        far.log();
        assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(1));
        settled().await;
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(2), Some(2)));
        assert_eq!(far.log(), ["get", "acquire", "fill"]);
        // What a peer has refreshed is taken.
        let peer = far.process().build().unwrap();
        advance(secs(40)).await;
        assert!(peer.refresh(&1, calls.load(ms(0), Ok(3))));
        settled().await;
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(2));
        settled().await;
        assert_eq!((cache.get(&1), calls.count()), (Some(3), 2));
    });
}

#[test]
fn a_read_that_another_has_overtaken_answers_what_the_store_had_and_asks_no_origin() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(two.put(1, 1).await.is_stored());
        advance(secs(1)).await;
        far.takes(ms(20));
        let slow = ask(&one, 1, calls.never());
        sleep(ms(15)).await;
        far.takes(ms(0));
        assert!(two.put(1, 2).await.is_stored());
        assert_eq!(told(ask(&one, 1, calls.never())).await, Told::Value(2));
        assert_eq!(calls.now(), 1_015, "it waits for nobody");
        assert_eq!(told(slow).await, Told::Value(1));
        assert_eq!((calls.now(), calls.count(), one.get(&1)), (1_020, 0, Some(2)));
    });
}

#[test]
fn s20_a_load_that_nobody_waits_for_any_more_gives_its_lease_back() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let process = || far.process().abandon_unwatched(true).build().unwrap();
        let (one, two) = (process(), process());
        let leaves = ask(&one, 1, calls.never());
        sleep(ms(10)).await;
        leaves.abort();
        sleep(ms(100)).await;
        let before = calls.now();
        assert_eq!(told(ask(&two, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(2));
        assert!(calls.now() - before < 100);
    });
}

#[test]
fn a_weigher_that_panics_leaves_memory_and_store_as_they_were() {
    on_paused_time(async {
        let far = Far::new();
        let weigher = |_: &u8, value: &u32| {
            if *value == 2 { panic_quietly("weigher") } else { 1 }
        };
        let cache = far.process().weight_limit(100).weigher(weigher).build().unwrap();
        assert!(cache.put(1, 1).await.is_stored());
        let other = cache.clone();
        let putting = tokio::spawn(async move { other.put(1, 2).await });
        assert!(putting.await.is_err_and(|error| error.is_panic()));
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(1), Some(1)));
    });
}

/// The first is under way in the store; who waits for its end has changed memory already.
#[test]
fn a_removal_that_is_dropped_while_it_waits_for_another_mutation_is_made_up_for() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().stale_if_error(secs(600)).build().unwrap();
        assert!(cache.put(1, 1).await.is_stored());
        far.takes(ms(100));
        let other = cache.clone();
        let expiring = tokio::spawn(async move { other.expire(&1).await });
        sleep(ms(10)).await;
        assert!(!poll_for(1, pin!(mutate(cache.clone(), What::Invalidate))).await);
        expiring.await.unwrap();
        sleep(secs(3)).await;
        far.takes(ms(0));
        let down = calls.load(ms(0), Err(Origin("down")));
        assert!(matches!(told(ask(&cache, 1, down)).await, Told::Failed(_)), "nothing is left");
    });
}
