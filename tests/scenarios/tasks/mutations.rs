//! PG, PH, S15: mutations in the middle of loads.

use advanced_caching::Loaded;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::calls::{Answer, Calls, Users, ask, builder, told};
use crate::world::{Told, ms, on_paused_time, secs};

/// A load of 1 that takes 100 ms, and has run for 50.
async fn half_loaded(cache: &Users, calls: &Calls) -> JoinHandle<Answer> {
    let caller = ask(cache, 1, calls.load(ms(100), Ok(1)));
    sleep(ms(50)).await;
    caller
}

#[test]
fn pg_after_an_invalidation_nobody_sees_the_load_that_it_interrupted() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let first = half_loaded(&cache, &calls).await;
        assert!(!cache.invalidate(&1).await.found, "there was no value yet");
        let next = ask(&cache, 1, calls.load(ms(100), Ok(2)));
        assert_eq!((told(first).await, calls.now()), (Told::Value(1), 100));
        assert_eq!(cache.get(&1), None, "what it loaded is given to who waited, and not stored");
        assert_eq!((told(next).await, calls.now()), (Told::Value(2), 150));
        assert_eq!((cache.get(&1), calls.times()), (Some(2), vec![0, 50]));
        assert_eq!((cache.stats().superseded, cache.stats().landed), (1, 1));
    });
}

#[test]
fn pg_an_invalidated_tag_and_a_clear_refuse_the_loads_that_began_before() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let slow = |_| async {
            sleep(ms(100)).await;
            Ok(Loaded::value(1).tag("team"))
        };
        let reader = cache.clone();
        let first: JoinHandle<Answer> =
            tokio::spawn(async move { reader.get_or_load_with(&1, slow).await });
        sleep(ms(50)).await;
        cache.invalidate_tag("team").await;
        assert_eq!((told(first).await, cache.get(&1)), (Told::Value(1), None));
        let second = half_loaded(&cache, &calls).await;
        cache.clear().await;
        assert_eq!((told(second).await, cache.get(&1)), (Told::Value(1), None));
        assert_eq!((cache.stats().superseded, cache.stats().landed), (2, 0));
    });
}

/// The simulation found this one. The cache learns only with the answer that the tag concerns this key.
#[test]
fn pg_who_asks_after_the_end_of_a_tag_is_not_told_what_was_loaded_before_it() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let ask_team = |value: u32| -> JoinHandle<Answer> {
            let load = move |_| async move {
                sleep(ms(100)).await;
                Ok(Loaded::value(value).tag("team"))
            };
            let reader = cache.clone();
            tokio::spawn(async move { reader.get_or_load_with(&1, load).await })
        };
        let (first, second) = (ask_team(1), ask_team(0));
        sleep(ms(50)).await;
        cache.invalidate_tag("team").await;
        let (third, fourth) = (ask_team(3), ask_team(3));
        assert_eq!((told(first).await, told(second).await), (Told::Value(1), Told::Value(1)));
        assert_eq!((told(third).await, told(fourth).await), (Told::Value(3), Told::Value(3)));
        assert_eq!((calls.now(), cache.get(&1)), (200, Some(3)));
        assert_eq!((cache.stats().superseded, cache.stats().landed), (1, 1));
    });
}

#[test]
fn ph_after_a_put_nobody_sees_the_load_that_it_interrupted() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let first = half_loaded(&cache, &calls).await;
        assert!(cache.put(1, 2).await.is_stored());
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(2));
        assert_eq!((told(first).await, calls.now()), (Told::Value(1), 100));
        assert_eq!((cache.get(&1), calls.times()), (Some(2), vec![0]));
        assert_eq!((cache.stats().superseded, cache.stats().landed), (1, 0));
    });
}

#[test]
fn s15_a_put_during_a_refresh_wins() {
    on_paused_time(async {
        let cache = builder().ttl(secs(1)).stale_while_revalidate(secs(60)).build().unwrap();
        cache.put(1, 0).await;
        sleep(secs(1)).await;
        let calls = Calls::new();
        assert_eq!(told(half_loaded(&cache, &calls).await).await, Told::Value(0));
        assert!(cache.put(1, 9).await.is_stored());
        sleep(ms(100)).await;
        assert_eq!((cache.get(&1), calls.times()), (Some(9), vec![0]));
        assert_eq!((cache.stats().superseded, cache.stats().landed), (1, 0));
    });
}
