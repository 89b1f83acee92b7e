//! PG, PH, R7: what one process changes, and another has in memory.

use std::sync::{Arc, Mutex, Weak};

use advanced_caching::future::{Cache, Reach, TokioTime};
use advanced_caching::store::{Backplane, Receiver, Station, Store};
use advanced_caching::{Freshness, Lifetime};
use tokio::time::{advance, sleep};

use super::far::{Far, State};
use crate::tasks::calls::{Calls, Users, ask, told};
use crate::world::{Told, ms, on_paused_time, secs, settled};

#[test]
fn pg_an_invalidation_elsewhere_refuses_the_load_that_it_interrupted() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let caller = ask(&one, 1, calls.load(ms(100), Ok(1)));
        sleep(ms(50)).await;
        two.invalidate(&1).await;
        assert_eq!(told(caller).await, Told::Value(1), "who waited is told");
        settled().await;
        assert_eq!((one.get(&1), far.value(&one, 1)), (None, None), "and nobody else");
        assert_eq!(told(ask(&one, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(2));
        settled().await;
        assert_eq!(far.value(&one, 1), Some(2));
    });
}

#[test]
fn ph_a_put_elsewhere_wins_over_the_load_that_it_interrupted() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let caller = ask(&one, 1, calls.load(ms(100), Ok(1)));
        sleep(ms(50)).await;
        assert!(two.put(1, 2).await.is_stored());
        assert_eq!(told(ask(&one, 1, calls.never())).await, Told::Value(2));
        assert_eq!(told(caller).await, Told::Value(1));
        settled().await;
        assert_eq!((one.get(&1), two.get(&1), far.value(&one, 1)), (Some(2), Some(2), Some(2)));
    });
}

#[test]
fn ph_a_load_whose_answer_is_on_its_way_to_the_store_does_not_overtake_a_put() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        far.takes(ms(20));
        let caller = ask(&one, 1, calls.load(ms(100), Ok(1)));
        assert_eq!((told(caller).await, calls.now()), (Told::Value(1), 140));
        assert_eq!(one.get(&1), Some(1), "it has landed here, and is on its way there");
        far.takes(ms(2));
        assert!(two.put(1, 2).await.is_stored());
        assert_eq!(one.get(&1), None, "who shares the store is told");
        sleep(ms(50)).await;
        assert_eq!((far.value(&one, 1), one.stats().store_refusals), (Some(2), 1));
    });
}

#[test]
fn what_a_peer_makes_stale_stays_as_fallback() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let process = || far.process().stale_while_revalidate(secs(60)).build().unwrap();
        let (one, two) = (process(), process());
        assert!(one.put(1, 1).await.is_stored());
        assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
        assert!(one.expire(&1).await.found);
        assert_eq!((two.get(&1), two.freshness(&1)), (None, Some(Freshness::Stale)));
        assert_eq!(told(ask(&two, 1, calls.load(ms(0), Ok(2)))).await, Told::Value(1));
        settled().await;
        assert_eq!((two.get(&1), far.value(&two, 1)), (Some(2), Some(2)));
    });
}

#[test]
fn of_puts_that_overlap_the_store_knows_the_last_and_no_memory_another() {
    on_paused_time(async {
        for gap in 0..24 {
            let (far, calls) = (Far::new(), Calls::new());
            let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
            far.takes(ms(20));
            let first = tokio::spawn({
                let one = one.clone();
                async move { one.put(1, 1).await }
            });
            sleep(ms(gap)).await;
            assert!(two.put(1, 2).await.is_stored() && first.await.unwrap().is_stored());
            let last = far.value(&one, 1).unwrap();
            assert!(last == 2 || gap == 0);
            for cache in [&one, &two] {
                assert!(cache.get(&1).is_none_or(|value| value == last), "{gap} ms");
                assert_eq!(told(ask(cache, 1, calls.never())).await, Told::Value(last));
            }
        }
    });
}

#[test]
fn a_cleared_store_is_cleared_everywhere() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put(1, 1).await.is_stored());
        assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
        let loading = ask(&two, 2, calls.load(ms(100), Ok(2)));
        sleep(ms(50)).await;
        one.clear().await;
        assert_eq!((one.len(), two.len(), far.value(&one, 1)), (0, 0, None));
        assert_eq!(told(loading).await, Told::Value(2));
        settled().await;
        assert_eq!((two.get(&2), far.value(&two, 2)), (None, None));
    });
}

/// A backplane in the hands of a test.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Option<Weak<dyn Receiver<u8>>>>>);

impl Held {
    fn receiver(&self) -> Arc<dyn Receiver<u8>> {
        let receiver = self.0.lock().unwrap();
        receiver.as_ref().and_then(Weak::upgrade).expect("a cache listens")
    }
}

impl Backplane<u8> for Held {
    fn attach(&self, receiver: Weak<dyn Receiver<u8>>) -> Station {
        *self.0.lock().unwrap() = Some(receiver);
        Station::new(7)
    }
}

/// A cache whose backplane is closed.
fn listening(far: &Far, held: &Held) -> Users {
    let builder = Cache::builder().ttl(secs(60)).jitter_percent(0).time(TokioTime::new());
    let builder = builder.stale_if_error(secs(600)).l2(far.clone()).backplane(held.clone());
    builder.build().unwrap()
}

#[test]
fn r7_nothing_counts_as_fresh_for_long_while_nothing_is_heard() {
    on_paused_time(async {
        let (far, held, calls) = (Far::new(), Held::default(), Calls::new());
        let cache = listening(&far, &held);
        let fresh_for = |key: u8| {
            let (cache, load) = (cache.clone(), calls.load(ms(0), Ok(1)));
            async move { cache.read(&key).outcome(load).await.unwrap().fresh_for() }
        };
        assert_eq!(fresh_for(1).await, secs(1), "nothing was heard yet");
        held.receiver().opened();
        assert_eq!((cache.get(&1), cache.freshness(&1)), (None, Some(Freshness::Expired)));
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(1), "from the store");
        assert_eq!(fresh_for(1).await, secs(60));
        held.receiver().closed();
        assert_eq!((cache.get(&1), cache.freshness(&1)), (None, Some(Freshness::Expired)));
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(1), "from the store");
        assert_eq!(fresh_for(1).await, secs(1));
        advance(secs(1)).await;
        assert_eq!(cache.get(&1), None);
    });
}

#[test]
fn r7_a_change_that_was_not_heard_is_made_up_for() {
    on_paused_time(async {
        let (far, held, calls) = (Far::new(), Held::default(), Calls::new());
        let cache = listening(&far, &held);
        held.receiver().opened();
        assert!(cache.put(1, 1).await.is_stored());
        let loading = ask(&cache, 2, calls.load(ms(100), Ok(1)));
        sleep(ms(50)).await;
        // The message of this never comes.
        for key in [1, 2] {
            let life = Lifetime::fresh_for(secs(60));
            Store::<u8, u32>::put(&*far.store, &key, &2, life, cache.time().now()).unwrap();
        }
        assert_eq!(cache.get(&1), Some(1));
        held.receiver().closed();
        assert_eq!(cache.get(&1), None);
        held.receiver().opened();
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(2));
        assert_eq!(told(loading).await, Told::Value(1));
        settled().await;
        assert_eq!(cache.get(&2), None, "a load that began before lands nowhere");
        assert_eq!(told(ask(&cache, 2, calls.never())).await, Told::Value(2));
    });
}

/// A process that begins: its backplane opens while it loads. The store knows whether others have changed the key.
#[test]
fn r8_a_load_with_a_lease_lands_in_the_store_though_the_backplane_opens_meanwhile() {
    on_paused_time(async {
        let (far, held, calls) = (Far::new(), Held::default(), Calls::new());
        let (cache, other) = (listening(&far, &held), far.process().build().unwrap());
        far.takes(ms(2));
        let first = ask(&cache, 1, calls.load(ms(100), Ok(7)));
        sleep(ms(50)).await;
        held.receiver().opened();
        // It does not join a load of before the opening, and waits for it, as does another process.
        let later = [&cache, &other].map(|cache| ask(cache, 1, calls.never()));
        sleep(ms(20)).await;
        held.receiver().closed();
        held.receiver().opened();
        assert_eq!(told(first).await, Told::Value(7));
        for caller in later {
            assert_eq!((told(caller).await, calls.count()), (Told::Value(7), 1));
        }
        assert!((105..115).contains(&calls.now()), "{}: told of it at once", calls.now());
        settled().await;
        assert_eq!(far.value(&cache, 1), Some(7));
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(7));
        assert_eq!(cache.get(&1), Some(7));
    });
}

#[test]
fn r8_what_changed_while_nothing_was_heard_refuses_the_load() {
    on_paused_time(async {
        let (far, held, calls) = (Far::new(), Held::default(), Calls::new());
        let (cache, other) = (listening(&far, &held), far.process().build().unwrap());
        let loading = [1, 2].map(|key| ask(&cache, key, calls.load(ms(100), Ok(1))));
        sleep(ms(50)).await;
        assert!(other.put(1, 2).await.is_stored() && !other.invalidate(&2).await.found);
        held.receiver().opened();
        for caller in loading {
            assert_eq!(told(caller).await, Told::Value(1), "who waited is told");
        }
        settled().await;
        assert_eq!(
            [1, 2].map(|key| (cache.get(&key), far.value(&cache, key))),
            [(None, Some(2)), (None, None)]
        );
        assert_eq!(cache.stats().store_refusals, 2);
    });
}

#[test]
fn r8_what_this_process_changed_meanwhile_refuses_the_load_though_the_store_was_not_told() {
    on_paused_time(async {
        let (far, held, calls) = (Far::new(), Held::default(), Calls::new());
        let cache = listening(&far, &held);
        let loading = ask(&cache, 1, calls.load(ms(100), Ok(1)));
        sleep(ms(50)).await;
        held.receiver().opened();
        far.is(State::Down);
        assert_eq!(cache.invalidate(&1).await.reach, Reach::Queued);
        far.is(State::Up);
        assert_eq!(told(loading).await, Told::Value(1));
        settled().await;
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (None, None));
    });
}

#[test]
fn r8_a_load_that_may_have_missed_a_change_stays_nowhere_if_the_store_cannot_tell() {
    on_paused_time(async {
        let (far, held, calls) = (Far::new(), Held::default(), Calls::new());
        let cache = listening(&far, &held);
        let loading = ask(&cache, 1, calls.load(ms(100), Ok(1)));
        sleep(ms(50)).await;
        held.receiver().opened();
        far.is(State::Down);
        assert_eq!(told(loading).await, Told::Value(1));
        settled().await;
        far.is(State::Up);
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (None, None));
    });
}

/// The simulation found this one.
#[test]
fn ph_what_was_read_from_the_store_before_a_put_does_not_stay_though_the_backplane_closed() {
    on_paused_time(async {
        let (far, held, calls) = (Far::new(), Held::default(), Calls::new());
        let cache = listening(&far, &held);
        held.receiver().opened();
        let life = Lifetime::fresh_for(secs(60));
        Store::<u8, u32>::put(&*far.store, &1, &1, life, cache.time().now()).unwrap();
        far.takes(ms(20));
        let putting = tokio::spawn({
            let cache = cache.clone();
            async move { cache.put(1, 2).await }
        });
        sleep(ms(1)).await;
        held.receiver().closed();
        far.takes(ms(2));
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(1), "as it is there yet");
        assert!(putting.await.unwrap().is_stored());
        assert_eq!(cache.get(&1), None);
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(2));
    });
}
