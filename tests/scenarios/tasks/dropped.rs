//! Callers that go away, at any point.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::time::sleep;

use super::calls::{Answer, Calls, Load, Users, all_told, ask, ask_all, builder, told};
use crate::world::{Origin, Told, ms, on_paused_time, secs, settled};

/// Polls a call so many times, 10 ms apart, and drops it. Whether it ended before.
async fn ends_within(polls: usize, call: impl Future) -> bool {
    let mut call = pin!(call);
    for _ in 0..polls {
        if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        sleep(ms(10)).await;
        settled().await;
    }
    false
}

/// Whether nothing is left of any call for key 1, and who asks now is answered.
async fn assert_unharmed(cache: &Users, calls: &Calls) {
    let next = ask(cache, 1, calls.load(ms(10), Ok(7)));
    assert_eq!(told(next).await, Told::Value(7));
    assert!(cache.explain(&1).flight.is_none());
    settled().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[test]
fn a_leader_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    on_paused_time(async {
        for (polls, abandons) in (0..).flat_map(|polls| [(polls, false), (polls, true)]) {
            let cache = builder().abandon_unwatched(abandons).build().unwrap();
            let calls = Calls::new();
            let call = cache.get_or_load(&1, calls.load(ms(30), Ok(7)));
            let ended = ends_within(polls, call).await;
            assert_unharmed(&cache, &calls).await;
            let again = abandons && (1..=2).contains(&polls);
            assert_eq!(calls.count(), 1 + usize::from(again), "{polls}, {abandons}");
            if ended {
                assert_eq!(polls, 4, "three polls wait for the load's 30 ms");
                break;
            }
        }
    });
}

#[test]
fn a_follower_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    on_paused_time(async {
        for polls in 0.. {
            let (cache, calls) = (builder().build().unwrap(), Calls::new());
            let leader = ask(&cache, 1, calls.load(ms(30), Ok(7)));
            settled().await;
            let call = cache.get_or_load(&1, calls.load(ms(30), Ok(8)));
            let ended = ends_within(polls, call).await;
            assert_eq!(told(leader).await, Told::Value(7));
            assert_unharmed(&cache, &calls).await;
            assert_eq!(calls.count(), 1);
            if ended {
                assert_eq!(polls, 4);
                break;
            }
        }
    });
}

/// Its leader's load is given up after 15 ms; then it leads itself.
#[test]
fn a_follower_who_takes_over_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    on_paused_time(async {
        for polls in 0.. {
            let cache = builder().load_limit(ms(15)).build().unwrap();
            let calls = Calls::new();
            let leader = ask(&cache, 1, calls.never());
            settled().await;
            let call = cache.get_or_load(&1, calls.load(ms(10), Ok(7)));
            let ended = ends_within(polls, call).await;
            let told = leader.await.unwrap();
            assert_eq!(told.unwrap_err().to_string(), "the load was given up");
            assert_unharmed(&cache, &calls).await;
            assert_eq!(calls.count(), 2, "{polls}");
            if ended {
                assert_eq!(polls, 4, "it joins, waits, leads, and is answered");
                break;
            }
        }
    });
}

#[test]
fn a_reader_of_many_keys_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    on_paused_time(async {
        for polls in 0.. {
            let (cache, calls) = (builder().build().unwrap(), Calls::new());
            let leader = ask(&cache, 2, calls.load(ms(30), Ok(2)));
            settled().await;
            let load = |keys: Vec<u8>| async move {
                sleep(ms(20)).await;
                Ok::<_, Origin>(keys.into_iter().map(|key| (key, 7_u32)))
            };
            let call = cache.get_or_load_each([&1, &2, &3], load);
            let ended = ends_within(polls, call).await;
            assert_eq!(told(leader).await, Told::Value(2));
            assert_unharmed(&cache, &calls).await;
            assert_eq!(cache.stats().loads, if polls == 0 { 2 } else { 3 }, "one for each key");
            if ended {
                assert_eq!(polls, 4, "its own load took 20 ms, the other's 30");
                break;
            }
        }
    });
}

/// A loader that holds a token until it ends or is dropped.
fn holding(token: &Arc<()>) -> impl FnOnce() -> Load + Send + 'static + use<> {
    let token = Arc::clone(token);
    move || {
        Box::pin(async move {
            sleep(ms(100)).await;
            drop(token);
            Ok(7)
        })
    }
}

#[test]
fn what_is_not_to_go_on_unwatched_ends_with_the_last_who_waits() {
    on_paused_time(async {
        let (cache, token) = (builder().abandon_unwatched(true).build().unwrap(), Arc::new(()));
        let (leader, calls) = (ask(&cache, 1, holding(&token)), Calls::new());
        settled().await;
        let follower = ask(&cache, 1, calls.never());
        sleep(ms(50)).await;
        leader.abort();
        settled().await;
        assert_eq!(Arc::strong_count(&token), 2, "one still waits");
        follower.abort();
        settled().await;
        assert_eq!(Arc::strong_count(&token), 1, "nobody waits, and the loader is dropped");
        assert_eq!((cache.stats().abandoned, calls.now()), (1, 50));
        assert_unharmed(&cache, &calls).await;
        assert_eq!(calls.times(), [50], "the next caller loads at once");
    });
}

#[test]
fn a_refresh_that_nobody_watches_goes_on() {
    on_paused_time(async {
        let cache = builder().stale_while_revalidate(ms(1_000)).abandon_unwatched(true);
        let (cache, calls) = (cache.build().unwrap(), Calls::new());
        cache.put(1, 1).await;
        assert!(cache.expire(&1).await.found);
        let readers = ask_all(3, &cache, calls.load(ms(100), Ok(2)));
        assert_eq!((all_told(readers).await, calls.now()), (Told::Value(1), 0));
        // One who insists on a fresh value comes, and goes.
        let strict = cache.read(&1).fresh().wait_at_most(ms(50));
        let told: Answer = strict.get_or_load(calls.never()).await;
        assert!(told.is_err_and(|e| e.is_timeout()));
        sleep(ms(50)).await;
        settled().await;
        assert_eq!((cache.get(&1), calls.times()), (Some(2), vec![0]));
    });
}

/// One load of two keys: a follower of one of them leaves, the caller waits for both.
#[test]
fn a_follower_who_leaves_a_load_of_many_keys_leaves_the_others_waiting() {
    on_paused_time(async {
        let cache = builder().abandon_unwatched(true).build().unwrap();
        let reader = cache.clone();
        let load = |keys: Vec<u8>| async move {
            sleep(ms(100)).await;
            Ok::<_, Origin>(keys.into_iter().map(|key| (key, 7_u32)))
        };
        let many = tokio::spawn(async move { reader.get_or_load_many([&1, &2], load).await });
        settled().await;
        let follower = ask(&cache, 2, Calls::new().never());
        settled().await;
        follower.abort();
        settled().await;
        assert_eq!(many.await.unwrap().unwrap(), [Some(7), Some(7)]);
    });
}

/// Its old value may not serve any more when the soft time-out has come: the caller waits on.
#[test]
fn a_leader_who_has_waited_in_vain_for_its_old_value_goes_on_watching() {
    on_paused_time(async {
        let cache = builder().soft_timeout(ms(50)).stale_if_error(ms(10)).abandon_unwatched(true);
        let (cache, calls) = (cache.build().unwrap(), Calls::new());
        cache.put(1, 6).await;
        sleep(secs(60)).await;
        let caller = ask(&cache, 1, calls.load(ms(100), Ok(7)));
        assert_eq!((told(caller).await, calls.now()), (Told::Value(7), 60_100));
        assert_eq!((calls.count(), cache.stats().abandoned), (1, 0));
    });
}
