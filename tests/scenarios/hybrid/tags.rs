//! PG, S10: values with tags in a store that processes share.

use std::time::Duration;

use advanced_caching::future::Reach;
use advanced_caching::{Freshness, Loaded};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::far::{Far, State};
use crate::tasks::calls::{Answer, Calls, Users, ask, told};
use crate::world::{Origin, Told, ms, on_paused_time, secs};

/// A caller whose loader takes its time, and answers a value of the team's.
fn ask_team(cache: &Users, key: u8, takes: Duration, value: u32) -> JoinHandle<Answer> {
    let cache = cache.clone();
    let load = move |_| async move {
        sleep(takes).await;
        Ok::<_, Origin>(Loaded::value(value).tag("team"))
    };
    tokio::spawn(async move { cache.get_or_load_with(&key, load).await })
}

#[test]
fn s10_what_has_tags_is_stored_with_them_and_their_changes_travel() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let process = || far.process().stale_if_error(secs(60)).build().unwrap();
        let (one, two) = (process(), process());
        let tagged = |value| Loaded::value(value).tag("team");
        assert!(one.put(1, tagged(1)).await.is_stored());
        assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
        assert_eq!(told(ask_team(&one, 2, ms(1), 2)).await, Told::Value(2));
        assert_eq!(told(ask(&two, 2, calls.never())).await, Told::Value(2), "what was loaded too");
        assert_eq!(one.expire_tag("team").await, Reach::Everywhere);
        for cache in [&one, &two, &process()] {
            assert!(cache.freshness(&1).is_none_or(|freshness| freshness == Freshness::Expired));
            let failed = told(ask(cache, 1, calls.load(ms(1), Err(Origin("down"))))).await;
            assert_eq!(failed, Told::Value(1), "kept as fallback");
        }
        assert_eq!(two.invalidate_tag("team").await, Reach::Everywhere);
        for cache in [&one, &two, &process()] {
            assert_eq!((cache.freshness(&1), far.value(cache, 1)), (None, None));
            let failed = told(ask(cache, 1, calls.load(ms(1), Err(Origin("down"))))).await;
            assert!(matches!(failed, Told::Failed(_)), "{failed:?}");
        }
    });
}

#[test]
fn s10_what_has_a_tag_is_not_taken_from_the_store_before_that_has_ended_it() {
    on_paused_time(async {
        let far = Far::new();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let tagged = |value| Loaded::value(value).tag("team");
        assert!(one.put(1, tagged(1)).await.is_stored());
        far.is(State::Down);
        assert_eq!(one.invalidate_tag("team").await, Reach::Queued);
        assert_eq!(one.get(&1), None);
        assert_eq!(told(ask_team(&one, 1, ms(0), 2)).await, Told::Value(2));
        far.is(State::Up);
        sleep(secs(2)).await;
        assert_eq!((two.get(&1), far.value(&two, 1)), (None, None), "told as soon as it could be");
    });
}

/// Between the two the store is asked; what it answers is of before the change.
#[test]
fn pg_what_was_read_while_its_tag_ended_is_not_kept() {
    on_paused_time(async {
        let far = Far::new();
        let one = far.process().build().unwrap();
        let tagged = |value| Loaded::value(value).tag("team");
        assert!(far.process().build().unwrap().put(1, tagged(1)).await.is_stored());
        far.takes(ms(20));
        let ending = tokio::spawn({
            let one = one.clone();
            async move { one.invalidate_tag("team").await }
        });
        sleep(ms(1)).await;
        far.takes(ms(2));
        assert_eq!(told(ask_team(&one, 1, ms(0), 2)).await, Told::Value(2));
        assert_eq!(ending.await.unwrap(), Reach::Everywhere);
        assert_ne!(one.get(&1), Some(1));
    });
}

#[test]
fn pg_a_load_whose_tag_was_ended_by_another_process_lands_nowhere() {
    on_paused_time(async {
        let far = Far::new();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let loading = ask_team(&one, 1, ms(50), 1);
        sleep(ms(10)).await;
        assert_eq!(two.invalidate_tag("team").await, Reach::Everywhere);
        assert_eq!(told(loading).await, Told::Value(1), "its callers are answered");
        sleep(ms(10)).await;
        assert_eq!((one.get(&1), far.value(&two, 1)), (None, None));
    });
}

#[test]
fn tags_that_change_at_the_same_time_are_all_told() {
    on_paused_time(async {
        let far = Far::new();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        for (key, tag) in [(1, "a"), (2, "b")] {
            assert!(two.put(key, Loaded::value(1).tag(tag)).await.is_stored());
        }
        far.takes(ms(20));
        let change = |tag: &'static str| {
            let one = one.clone();
            tokio::spawn(async move { one.invalidate_tag(tag).await })
        };
        let first = change("a");
        sleep(ms(1)).await;
        let second = change("b");
        sleep(ms(18)).await;
        far.is(State::Down);
        assert_eq!(first.await.unwrap(), Reach::Everywhere);
        assert_eq!((second.await.unwrap(), two.get(&2)), (Reach::Queued, Some(1)));
        far.is(State::Up);
        sleep(secs(2)).await;
        assert_eq!((two.get(&1), two.get(&2)), (None, None));
    });
}

#[test]
fn a_store_that_cannot_tell_of_tags_says_so_and_is_mended_all_the_same() {
    on_paused_time(async {
        let far = Far::mute();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(two.put(1, 1).await.is_stored());
        assert_eq!(one.expire_tag("team").await, Reach::Here);
        far.is(State::Down);
        assert_eq!(one.invalidate(&1).await.reach, Reach::Queued);
        assert_eq!(one.expire_tag("team").await, Reach::Here);
        far.is(State::Up);
        sleep(secs(2)).await;
        assert_eq!((two.get(&1), far.value(&two, 1)), (None, None));
    });
}

/// The simulation found this one: the store has ended what was put, and so has everybody else.
#[test]
fn pg_a_put_whose_tag_another_ends_before_it_has_returned_is_not_kept() {
    on_paused_time(async {
        for if_absent in [false, true] {
            let far = Far::new();
            let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
            far.takes(ms(20));
            let putting = tokio::spawn({
                let one = one.clone();
                let tagged = Loaded::value(1).tag("team");
                async move {
                    if if_absent {
                        return one.put_if_absent(1, tagged).await;
                    }
                    one.put(1, tagged).await
                }
            });
            // It is in the store, and not known to be.
            sleep(ms(if if_absent { 35 } else { 15 })).await;
            far.takes(ms(2));
            assert_eq!(far.value(&two, 1), Some(1));
            assert_eq!(two.invalidate_tag("team").await, Reach::Everywhere);
            assert!(putting.await.unwrap().is_stored());
            assert_eq!((one.get(&1), far.value(&one, 1)), (None, None));
            // A change of another tag does no harm.
            far.takes(ms(20));
            let other = tokio::spawn({
                let two = two.clone();
                async move { two.invalidate_tag("other").await }
            });
            sleep(ms(5)).await;
            assert!(one.put(1, Loaded::value(2).tag("team")).await.is_stored());
            assert_eq!((other.await.unwrap(), one.get(&1)), (Reach::Everywhere, Some(2)));
        }
    });
}

/// Memory knows that the tag has ended before the store does, which has the put between the two.
#[test]
fn pg_a_put_that_the_store_has_before_the_end_of_its_tag_is_not_kept() {
    on_paused_time(async {
        let far = Far::new();
        let one = far.process().build().unwrap();
        far.takes(ms(20));
        let ending = tokio::spawn({
            let one = one.clone();
            async move { one.invalidate_tag("team").await }
        });
        sleep(ms(1)).await;
        far.takes(ms(2));
        assert!(one.put(1, Loaded::value(1).tag("team")).await.is_stored());
        assert_eq!(ending.await.unwrap(), Reach::Everywhere);
        assert_eq!((one.get(&1), far.value(&one, 1)), (None, None));
    });
}

#[test]
fn s10_a_change_of_a_tag_whose_caller_has_left_is_told_all_the_same() {
    on_paused_time(async {
        let far = Far::new();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(two.put(1, Loaded::value(1).tag("team")).await.is_stored());
        far.is(State::Hangs);
        let left = tokio::time::timeout(ms(10), one.invalidate_tag("team"));
        assert!(left.await.is_err());
        far.is(State::Up);
        sleep(secs(2)).await;
        assert_eq!((two.get(&1), far.value(&two, 1)), (None, None));
    });
}

/// The tags of what a load brings are not known before its end.
#[test]
fn pg_who_comes_after_the_end_of_a_tag_is_not_told_what_a_load_of_before_it_brings() {
    on_paused_time(async {
        let far = Far::new();
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        for ends in [&one, &two] {
            let first = ask_team(&one, 1, ms(50), 1);
            sleep(ms(10)).await;
            assert_eq!(ends.invalidate_tag("other").await, Reach::Everywhere);
            let second = ask_team(&one, 1, ms(0), 0);
            sleep(ms(10)).await;
            assert_eq!(ends.invalidate_tag("team").await, Reach::Everywhere);
            let third = ask_team(&one, 1, ms(50), 2);
            assert_eq!(told(first).await, Told::Value(1));
            assert_ne!(told(third).await, Told::Value(1));
            assert_ne!(told(second).await, Told::Value(1), "as another tag may have been its own");
            one.invalidate(&1).await;
        }
    });
}

#[test]
fn s10_a_change_of_another_tag_costs_who_reads_no_load() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put(1, Loaded::value(1).tag("team")).await.is_stored());
        far.takes(ms(20));
        let caller = ask(&two, 1, calls.never());
        sleep(ms(10)).await;
        far.takes(ms(2));
        assert_eq!(two.invalidate_tag("another").await, Reach::Everywhere);
        assert_eq!(told(caller).await, Told::Value(1));
    });
}
