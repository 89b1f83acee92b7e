//! R8: one load for all processes.

use advanced_caching::Loaded;
use advanced_caching::future::Reach;
use tokio::time::sleep;

use super::far::{Far, State};
use crate::tasks::calls::{Calls, all_told, ask, ask_all, told};
use crate::world::{Origin, Told, ms, on_paused_time, secs, settled};

#[test]
fn r8_one_cold_key_is_loaded_once_for_all_processes() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        far.takes(ms(2));
        let processes: Vec<_> = (0..8).map(|_| far.process().build().unwrap()).collect();
        let load = calls.load(ms(50), Ok(7));
        let callers = processes.iter().flat_map(|cache| ask_all(50, cache, load.clone()));
        assert_eq!(all_told(callers.collect()).await, Told::Value(7));
        assert_eq!(calls.count(), 1);
        assert!((57..60).contains(&calls.now()), "told of the end, the others look at once");
        settled().await;
        assert!(processes.iter().all(|cache| cache.get(&1) == Some(7)));
    });
}

#[test]
fn r8_what_is_told_while_the_lease_is_asked_for_is_heard() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        far.takes(ms(20));
        let first = ask(&one, 1, calls.load(ms(50), Ok(7)));
        sleep(ms(68)).await;
        // The store says at 98 ms that the other has the lease, is filled at 100, and is heard at 108.
        let second = ask(&two, 1, calls.never());
        assert_eq!((told(first).await, calls.now()), (Told::Value(7), 90));
        assert_eq!((told(second).await, calls.now()), (Told::Value(7), 128));
    });
}

#[test]
fn r8_what_has_landed_between_two_questions_is_not_loaded_again() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        far.takes(ms(20));
        let first = ask(&one, 1, calls.load(ms(50), Ok(7)));
        sleep(ms(85)).await;
        // The store has nothing at 95 ms, and at 115 the lease is free: it was filled at 100.
        let second = ask(&two, 1, calls.load(ms(0), Ok(8)));
        assert_eq!(told(first).await, Told::Value(7));
        assert_eq!((told(second).await, calls.count()), (Told::Value(7), 1));
    });
}

#[test]
fn r8_a_lease_is_renewed_as_long_as_its_load_goes_on() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let process = || far.process().l2_lease(ms(100)).build().unwrap();
        let (one, two) = (process(), process());
        let load = calls.load(ms(1_000), Ok(7));
        let callers = vec![ask(&one, 1, load.clone()), ask(&two, 1, load)];
        assert_eq!(all_told(callers).await, Told::Value(7));
        settled().await;
        assert_eq!((calls.count(), far.value(&one, 1)), (1, Some(7)));
        assert!(far.log().iter().filter(|what| **what == "renew").count() >= 20);
    });
}

#[test]
fn r8_when_the_holder_dies_another_takes_over_at_the_end_of_its_lease() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let dying = ask(&one, 1, calls.never());
        sleep(ms(10)).await;
        dying.abort();
        drop(one); // and its load with it
        let caller = ask(&two, 1, calls.load(ms(100), Ok(2)));
        assert_eq!(told(caller).await, Told::Value(2));
        let took_over = calls.times()[1];
        assert!((5_000..5_100).contains(&took_over), "{took_over} ms");
    });
}

#[test]
fn r8_a_holder_whose_lease_was_lost_is_fenced_off() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let late = ask(&one, 1, calls.load(secs(10), Ok(1)));
        sleep(secs(1)).await;
        far.is(State::Hangs); // nothing is renewed
        sleep(secs(7)).await;
        far.is(State::Up);
        assert_eq!(told(ask(&two, 1, calls.load(ms(100), Ok(2)))).await, Told::Value(2));
        assert_eq!(told(late).await, Told::Value(1), "its own callers are told");
        settled().await;
        assert_eq!((one.get(&1), far.value(&one, 1)), (None, Some(2)), "nobody else ever is");
        assert_eq!(one.stats().store_refusals, 1);
    });
}

#[test]
fn r8_a_load_that_fails_lets_another_process_try_at_once() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let failing = ask(&one, 1, calls.load(ms(50), Err(Origin("down"))));
        sleep(ms(10)).await;
        let next = ask(&two, 1, calls.load(ms(50), Ok(2)));
        assert_eq!(told(failing).await, Told::Failed(Origin("down")));
        assert_eq!(told(next).await, Told::Value(2));
        assert!(calls.times()[1] <= 100 + 1, "{:?}", calls.times());
    });
}

#[test]
fn r8_a_lease_whose_end_did_not_reach_the_store_is_given_back_once_it_answers() {
    on_paused_time(async {
        for trouble in [State::Down, State::Hangs] {
            let (far, calls) = (Far::new(), Calls::new());
            let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
            let failing = ask(&one, 1, calls.load(ms(50), Err(Origin("down"))));
            sleep(ms(10)).await;
            far.is(trouble);
            assert_eq!(told(failing).await, Told::Failed(Origin("down")));
            sleep(ms(1_000)).await;
            far.is(State::Up);
            // Without, the lease would be over at 5,000 ms.
            assert_eq!(told(ask(&two, 1, calls.load(ms(50), Ok(2)))).await, Told::Value(2));
            assert!(calls.times()[1] <= 2_500, "{trouble:?}: {:?}", calls.times());
            settled().await;
            let _ = far.log();
            sleep(secs(5)).await;
            assert!(!far.log().contains(&"release"), "and it is tried until then only");
        }
    });
}

#[test]
fn r8_a_lease_that_cannot_be_given_back_holds_up_nothing_and_is_let_go_in_the_end() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put(2, 2).await.is_stored());
        assert_eq!(told(ask(&two, 2, calls.never())).await, Told::Value(2));
        far.is(State::Clinging);
        let failing = ask(&one, 1, calls.load(ms(50), Err(Origin("down"))));
        assert_eq!(told(failing).await, Told::Failed(Origin("down")));
        settled().await;
        far.is(State::Down);
        let _ = far.log();
        assert_eq!(one.invalidate(&2).await.reach, Reach::Queued);
        far.is(State::Clinging);
        sleep(ms(1_500)).await;
        assert_eq!((two.get(&2), far.value(&one, 2)), (None, None), "it was made up for");
        assert!(far.log().contains(&"release"), "and the lease was not over");
        sleep(secs(120)).await;
        let _ = far.log();
        sleep(secs(5)).await;
        assert_eq!(far.log(), [""; 0], "and nothing is tried any more");
    });
}

#[test]
fn r8_a_fill_that_did_not_reach_the_store_keeps_nobody_waiting_once_it_answers() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let first = ask(&one, 1, calls.load(ms(50), Ok(1)));
        sleep(ms(10)).await;
        far.is(State::Down);
        assert_eq!(told(first).await, Told::Value(1));
        settled().await;
        far.is(State::Up);
        let before = calls.now();
        let next = ask(&two, 1, calls.load(ms(50), Ok(2)));
        assert_eq!(told(next).await, Told::Value(2));
        assert!(calls.now() - before < 2_000, "not for what is left of the lease");
    });
}

#[test]
fn r8_what_a_lost_fill_was_to_replace_is_not_fresh_once_the_store_answers() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put(1, 1).await.is_stored());
        assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
        assert!(one.refresh(&1, calls.load(ms(50), Ok(2))));
        sleep(ms(10)).await;
        far.is(State::Down);
        sleep(ms(100)).await;
        assert_eq!((one.get(&1), two.get(&1)), (Some(2), Some(1)));
        far.is(State::Up);
        sleep(ms(1_500)).await;
        assert_eq!((one.get(&1), two.get(&1)), (Some(2), None), "the other asks again");
        let next = ask(&two, 1, calls.load(ms(50), Ok(3)));
        assert_eq!(told(next).await, Told::Value(3));
    });
}

/// However long the store was away: the lease is over by then.
#[test]
fn r8_what_a_lost_vacate_was_to_remove_goes_once_the_store_answers() {
    on_paused_time(async {
        let far = Far::new();
        let one = far.process().stale_if_error(secs(600)).build().unwrap();
        assert!(one.put(1, 1).await.is_stored());
        sleep(secs(61)).await;
        let other = one.clone();
        let asked = tokio::spawn(async move {
            let missing = async |_| {
                sleep(ms(50)).await;
                Ok::<_, Origin>(Loaded::missing())
            };
            other.get_or_load_with(&1, missing).await
        });
        sleep(ms(10)).await;
        far.is(State::Down);
        assert!(asked.await.unwrap().unwrap_err().is_missing());
        sleep(secs(10)).await;
        assert_eq!(far.value(&one, 1), Some(1));
        far.is(State::Up);
        sleep(ms(1_500)).await;
        assert_eq!(far.value(&one, 1), None, "nobody falls back on it");
    });
}

#[test]
fn r8_a_fill_of_which_only_the_answer_was_lost_stays() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        let asked = ask(&cache, 1, calls.load(ms(50), Ok(1)));
        sleep(ms(10)).await;
        far.loses_answer();
        assert_eq!(told(asked).await, Told::Value(1));
        sleep(secs(2)).await;
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(1), Some(1)));
        assert_eq!(far.log(), ["get", "acquire", "fill", "renew"]);
    });
}

#[test]
fn who_waits_for_another_process_waits_to_the_hard_time_out_at_most() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let process = || far.process().hard_timeout(secs(2)).build().unwrap();
        let (one, two) = (process(), process());
        let _slow = ask(&one, 1, calls.load(secs(20), Ok(1)));
        sleep(ms(10)).await;
        let caller = ask(&two, 1, calls.load(secs(1), Ok(2)));
        assert!(matches!(told(caller).await, Told::TimedOut { .. }));
        sleep(secs(2)).await;
        assert_eq!(calls.count(), 2, "then it loads itself");
        assert_eq!((two.get(&1), far.value(&two, 1)), (Some(2), None), "for itself alone");
    });
}

#[test]
fn without_leases_each_process_loads_and_none_leaves_anything() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let process = || far.process().l2_leases(false).build().unwrap();
        let (one, two) = (process(), process());
        let load = calls.load(ms(50), Ok(7));
        let callers = vec![ask(&one, 1, load.clone()), ask(&two, 1, load)];
        assert_eq!(all_told(callers).await, Told::Value(7));
        settled().await;
        assert_eq!((calls.count(), far.log()), (2, vec!["get", "get"]));
    });
}
