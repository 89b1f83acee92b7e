//! S8, S9, S10: what one process loads, and another finds.

use advanced_caching::Freshness;
use advanced_caching::future::{Cache, LoadPart, Source, TokioTime};
use advanced_caching::store::{Chain, Store};
use advanced_caching::{Lifetime, Loaded};
use tokio::time::advance;

use super::far::{Far, State};
use crate::tasks::calls::{Calls, all_told, ask, ask_all, told};
use crate::world::{Origin, Told, ms, on_paused_time, secs, settled};

#[test]
fn what_one_process_loads_another_finds_and_a_hundred_misses_are_one_get() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert_eq!(told(ask(&one, 1, calls.load(ms(100), Ok(7)))).await, Told::Value(7));
        settled().await;
        assert_eq!(far.log(), ["get", "acquire", "fill"]);
        assert_eq!(two.get(&1), None, "`get` looks in memory alone");
        assert_eq!(all_told(ask_all(100, &two, calls.never())).await, Told::Value(7));
        settled().await;
        assert_eq!((far.log(), calls.count()), (vec!["get"], 1));
        assert_eq!((two.get(&1), two.stats().store_hits), (Some(7), 1));
    });
}

#[test]
fn s8_promotion_keeps_age_and_what_is_left_of_each_window() {
    on_paused_time(async {
        let far = Far::new();
        let cache = far.process().build().unwrap();
        let life = Lifetime::fresh_for(secs(30)).stale_while_revalidate(secs(5));
        let life = life.stale_if_error(secs(100));
        Store::<u8, u32>::put(&*far.store, &1, &7, life, cache.time().now()).unwrap();
        advance(secs(20)).await;
        let seen = cache.read(&1).outcome(|| async { Err(Origin("down")) }).await.unwrap();
        assert_eq!((seen.value, seen.source, seen.load), (7, Source::Store, LoadPart::Started));
        assert_eq!(
            (seen.age(), seen.fresh_for(), seen.stale_for()),
            (secs(20), secs(10), secs(15))
        );
        assert_eq!(seen.usable_for(), secs(110));
    });
}

#[test]
fn s8_a_stale_value_behind_serves_at_once_and_is_refreshed() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        let life = Lifetime::fresh_for(secs(30)).stale_while_revalidate(secs(30));
        Store::<u8, u32>::put(&*far.store, &1, &7, life, cache.time().now()).unwrap();
        advance(secs(40)).await;
        let start = calls.now();
        assert_eq!(told(ask(&cache, 1, calls.load(ms(100), Ok(8)))).await, Told::Value(7));
        assert_eq!(calls.now(), start, "it did not wait for the origin");
        advance(ms(100)).await;
        settled().await;
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(8), Some(8)));
        assert_eq!(far.log(), ["get", "acquire", "fill"]);
    });
}

#[test]
fn s9_an_expired_copy_gives_way_to_what_a_peer_has_refreshed() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let process = || far.process().l1_ttl(secs(2)).build().unwrap();
        let (one, two) = (process(), process());
        assert_eq!(told(ask(&one, 1, calls.load(ms(0), Ok(1)))).await, Told::Value(1));
        assert_eq!(told(ask(&two, 1, calls.never())).await, Told::Value(1));
        advance(secs(59)).await;
        assert!(two.refresh(&1, calls.load(ms(0), Ok(2))));
        settled().await;
        assert_eq!((one.get(&1), one.freshness(&1)), (None, None), "its own time is over");
        assert_eq!(told(ask(&one, 1, calls.never())).await, Told::Value(2));
        assert_eq!(calls.count(), 2);
    });
}

#[test]
fn s10_memory_counts_as_fresh_for_its_own_while_and_never_longer_than_the_store() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().l1_ttl(secs(7)).l2_ttl(secs(90)).build().unwrap();
        assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(1)))).await, Told::Value(1));
        settled().await;
        let now = cache.time().now();
        let kept = Store::<u8, u32>::get(&*far.store, &1, now).unwrap().unwrap();
        assert_eq!(kept.lifetime.ttl, secs(90), "no ttl is cut on the way");
        assert_eq!(cache.entry(&1).unwrap().lifetime(now).ttl, secs(7));
        advance(secs(85)).await;
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(1));
        let left =
            cache.read(&1).outcome(|| async { Err(Origin("down")) }).await.unwrap().fresh_for();
        assert_eq!(left, secs(5), "what is left in the store");
        let own = Loaded::value(3).ttl(secs(3));
        assert!(cache.put(2, own).await.is_stored());
        let now = cache.time().now();
        let kept = Store::<u8, u32>::get(&*far.store, &2, now).unwrap().unwrap();
        assert_eq!((kept.lifetime.ttl, cache.freshness(&2)), (secs(3), Some(Freshness::Fresh)));
    });
}

#[test]
fn what_is_kept_for_errors_behind_serves_when_the_origin_fails() {
    on_paused_time(async {
        let (far, calls) = (Far::new(), Calls::new());
        let cache = far.process().build().unwrap();
        let life = Lifetime::fresh_for(secs(30)).stale_if_error(secs(100));
        Store::<u8, u32>::put(&*far.store, &1, &7, life, cache.time().now()).unwrap();
        advance(secs(60)).await;
        let failing = calls.load(ms(10), Err(Origin("down")));
        assert_eq!(told(ask(&cache, 1, failing)).await, Told::Value(7));
        settled().await;
        assert_eq!(far.log(), ["get", "acquire", "release"], "another process may try");
    });
}

#[test]
fn s8_chains_promote_through_every_level() {
    on_paused_time(async {
        let (near, far) = (Far::private(), Far::private());
        let builder = Cache::builder().ttl(secs(60)).jitter_percent(0).time(TokioTime::new());
        let cache = builder.l2(Chain::new(near.clone(), far.clone())).build().unwrap();
        let calls = Calls::new();
        let life = Lifetime::fresh_for(secs(30)).aged(secs(10));
        Store::<u8, u32>::put(&*far.store, &1, &7, life, cache.time().now()).unwrap();
        advance(secs(5)).await;
        assert_eq!(told(ask(&cache, 1, calls.never())).await, Told::Value(7));
        let now = cache.time().now();
        let promoted = Store::<u8, u32>::get(&*near.store, &1, now).unwrap().unwrap();
        assert_eq!((promoted.lifetime.age, promoted.lifetime.ttl), (secs(15), secs(30)));
        assert_eq!(cache.entry(&1).unwrap().lifetime(now).age, secs(15));
        near.is(State::Down);
        assert!(cache.put(1, 8).await.is_stored());
        assert_eq!((far.value(&cache, 1), cache.get(&1)), (None, Some(8)), "not left half");
        near.is(State::Up);
        assert_eq!(told(ask(&cache, 2, calls.load(ms(0), Ok(2)))).await, Told::Value(2));
        settled().await;
        assert_eq!((near.value(&cache, 2), far.value(&cache, 2)), (Some(2), Some(2)));
    });
}

#[test]
fn a_store_of_this_process_alone_has_no_leases() {
    on_paused_time(async {
        let (far, calls) = (Far::private(), Calls::new());
        let cache = far.process().build().unwrap();
        assert_eq!(told(ask(&cache, 1, calls.load(ms(0), Ok(1)))).await, Told::Value(1));
        settled().await;
        assert_eq!(far.log(), ["get", "put"]);
        assert!(cache.invalidate(&1).await.found);
        assert_eq!((far.log(), far.value(&cache, 1)), (vec!["remove"], None));
    });
}
