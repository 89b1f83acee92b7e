//! R2, S12: a store that fails or hangs costs no answer.

use advanced_caching::future::{LoadError, Reach, Source};
use tokio::time::{advance, sleep};

use super::far::{Far, State};
use crate::tasks::calls::{Calls, all_told, ask, ask_all, told};
use crate::world::{Origin, Told, ms, on_paused_time, secs};

#[test]
fn s12_while_the_store_is_down_callers_get_their_values_and_are_told_so() {
    on_paused_time(async {
        let far = Far::new();
        let cache = far.process().build().unwrap();
        far.is(State::Down);
        let load = || async { Ok::<_, Origin>(7) };
        let seen = cache.read(&1).outcome(load).await.unwrap();
        assert_eq!((seen.value, seen.source, seen.degraded), (7, Source::Origin, true));
        assert!(cache.put(2, 8).await.is_stored());
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(7), Some(8)));
        assert!(cache.stats().store_errors >= 2);
        far.is(State::Up);
        let seen = cache.read(&3).outcome(load).await.unwrap();
        assert!(!seen.degraded);
    });
}

#[test]
fn r2_while_the_store_hangs_callers_wait_for_its_time_out_once() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        far.is(State::Hangs);
        let callers = ask_all(100, &cache, calls.load(ms(10), Ok(7)));
        assert_eq!((all_told(callers).await, calls.now()), (Told::Value(7), 210));
        assert_eq!((far.log(), calls.count()), (vec!["get"], 1));
        assert_eq!(cache.get(&1), Some(7));
    });
}

#[test]
fn who_has_an_old_value_does_not_wait_long_for_the_store() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().stale_if_error(secs(600)).build().unwrap();
        assert!(cache.put(1, 6).await.is_stored());
        advance(secs(70)).await;
        far.is(State::Hangs);
        let before = calls.now();
        assert_eq!(told(ask(&cache, 1, calls.load(ms(10), Ok(7)))).await, Told::Value(7));
        assert_eq!(calls.now() - before, 35, "25 ms for the store, then the origin");
        // Nor for the right to load.
        advance(secs(70)).await;
        far.is(State::Up);
        far.takes(ms(10));
        let before = calls.now();
        let caller = ask(&cache, 1, calls.load(ms(10), Ok(8)));
        sleep(ms(5)).await;
        far.is(State::Hangs);
        assert_eq!(told(caller).await, Told::Value(8));
        assert_eq!(calls.now() - before, 45);
    });
}

#[test]
fn a_store_that_hangs_on_writes_delays_nobody() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        let caller = ask(&cache, 1, calls.load(ms(10), Ok(7)));
        sleep(ms(5)).await;
        far.is(State::Hangs);
        assert_eq!((told(caller).await, calls.now()), (Told::Value(7), 10));
        assert_eq!(cache.get(&1), Some(7));
        sleep(secs(1)).await;
        let hit: Result<u32, LoadError<Origin>> = cache.get_or_load(&1, calls.never()).await;
        assert_eq!(hit.unwrap(), 7);
    });
}

#[test]
fn an_invalidation_that_the_store_missed_holds_here_and_is_made_up_for() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put(1, 1).await.is_stored());
        assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
        far.is(State::Down);
        let gone = one.invalidate(&1).await;
        assert_eq!((gone.found, gone.reach), (true, Reach::Queued));
        far.log();
        assert_eq!(told(ask(&one, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(2));
        assert!(!far.log().contains(&"get"), "the store may have what was invalidated");
        assert_eq!((far.value(&one, 1), two.get(&1)), (Some(1), Some(1)));
        far.is(State::Up);
        sleep(secs(2)).await;
        assert_eq!(far.value(&one, 1), None, "removed as soon as it could be");
        assert_eq!(two.get(&1), None, "and told to those who share it");
        assert_eq!(one.get(&1), Some(2));
        assert_eq!(one.invalidate(&1).await.reach, Reach::Everywhere);
    });
}

#[test]
fn what_an_invalidation_did_not_reach_is_not_brought_back_by_an_expiry() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().stale_while_revalidate(secs(60)).build().unwrap();
        assert!(cache.put(1, 1).await.is_stored());
        far.is(State::Down);
        assert_eq!(cache.invalidate(&1).await.reach, Reach::Queued);
        far.is(State::Up);
        let expired = cache.expire(&1).await;
        assert_eq!((expired.found, expired.reach), (false, Reach::Everywhere));
        assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(2));
    });
}

#[test]
fn a_put_whose_answer_was_lost_leaves_nothing_in_the_store() {
    on_paused_time(async {
        let far = Far::new();
        let cache = far.process().build().unwrap();
        far.loses_answer();
        assert!(cache.put(1, 7).await.is_stored());
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(7), Some(7)));
        sleep(ms(100)).await;
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(7), None), "nobody can tell");
        assert_eq!(far.log(), ["put", "remove"]);
    });
}

#[test]
fn r2_a_mutation_waits_for_a_store_that_hangs_once() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        far.is(State::Hangs);
        assert!(cache.put(1, 7).await.is_stored());
        assert_eq!((calls.now(), cache.get(&1)), (200, Some(7)));
        assert_eq!((cache.invalidate(&1).await.reach, calls.now()), (Reach::Queued, 400));
    });
}

#[test]
fn a_clear_that_the_store_missed_is_made_up_for() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put(1, 1).await.is_stored());
        assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
        far.is(State::Down);
        assert_eq!((one.clear().await, one.len()), (Reach::Queued, 0));
        far.is(State::Up);
        sleep(secs(2)).await;
        assert_eq!((far.value(&one, 1), two.len()), (None, 0));
    });
}

#[test]
fn the_late_answer_to_a_fill_settles_no_younger_doubt() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        far.takes(ms(20));
        assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(1)))).await, Told::Value(1));
        // The fill is done at 50 ms, and answered at 60.
        sleep(ms(12)).await;
        assert_eq!(far.value(&cache, 1), Some(1));
        far.is(State::Down);
        assert_eq!(cache.invalidate(&1).await.reach, Reach::Queued);
        sleep(ms(10)).await;
        far.is(State::Up);
        assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(2));
    });
}

/// Of another version of the program, say, or damaged.
#[test]
fn what_cannot_be_read_is_loaded_once_and_replaced() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        far.is(State::Unreadable);
        let load = || async { Ok::<_, Origin>(7) };
        let seen = cache.read(&1).outcome(load).await.unwrap();
        assert_eq!((seen.value, seen.source, seen.degraded), (7, Source::Origin, false));
        sleep(ms(1)).await;
        assert_eq!(far.log(), ["get", "acquire", "fill"]);
        far.is(State::Up);
        let other = far.process().build().unwrap();
        assert_eq!(told(ask(&other, 1, calls.load(ms(10), Ok(8)))).await, Told::Value(7));
        assert_eq!(calls.count(), 0);
    });
}

#[test]
fn a_value_that_is_too_large_for_the_store_stays_in_each_memory() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        far.is(State::Small);
        for cache in [&one, &two] {
            assert_eq!(told(ask(cache, 1, calls.load(ms(10), Ok(7)))).await, Told::Value(7));
            sleep(ms(500)).await;
        }
        assert_eq!((one.get(&1), two.get(&1), calls.count()), (Some(7), Some(7), 2));
        // Nobody was told anything, and the right to load was given back.
        let asked = ["get", "acquire", "fill", "release"];
        assert_eq!(far.log(), [asked, asked].concat());
    });
}
