//! S11 and S16 on the cache itself.

use std::cell::RefCell;

use advanced_caching::local::Cache;
use advanced_caching::table::{Bound, HashTable};
use advanced_caching::{Action, Cause, Completion, Freshness, Instant, Loaded, Policy};

use crate::world::{KeyHash, ms, secs};

type Local<V> = Cache<u8, V, HashTable<u8, V, KeyHash>>;

fn cache<V>(policy: Policy) -> Local<V> {
    Cache::with_table(policy, HashTable::new(Bound::Entries(100), KeyHash::default()))
}

#[test]
fn s11_none_is_cached_like_any_value() {
    let policy = Policy::ttl(secs(1)).stale_while_revalidate(secs(1)).jitter_percent(0);
    let mut cache: Local<Option<u32>> = cache(policy.build().unwrap());
    let now = Instant::from_secs(9);
    let ticket = cache.lookup(&1, now).into_ticket().expect("a cold key");
    assert_eq!(cache.complete(&1, ticket, None, now), Completion::Applied(&None));
    let Action::Serve { value: None, freshness: Freshness::Fresh } = cache.lookup(&1, now) else {
        panic!("a value that is none");
    };
    let Action::ServeAndRefresh { value: None, .. } = cache.lookup(&1, now + secs(1)) else {
        panic!("a stale value that is none");
    };
    assert_eq!(cache.get(&1, now), Some(&None), "not a miss");
    assert_eq!((cache.len(), cache.stats().loads, cache.stats().misses), (1, 2, 1));
}

thread_local! {
    static GONE: RefCell<Vec<(Cause, Option<u8>)>> = const { RefCell::new(Vec::new()) };
}

fn note(cause: Cause, key: Option<u8>, _: u32) {
    GONE.with_borrow_mut(|gone| gone.push((cause, key)));
}

#[test]
fn s16_ticks_remove_what_has_expired_a_little_at_a_time() {
    let policy = Policy::ttl(secs(1)).stale_if_error(secs(2)).jitter_percent(0);
    let mut cache: Local<u32> = cache(policy.build().unwrap()).on_removal(note);
    assert_eq!(cache.poll_at(), None, "an empty cache needs no tick");
    let start = Instant::from_secs(9);
    for key in 0..40u8 {
        cache.put(key, 1, start);
    }
    let gone_at = start + secs(3);
    let poll_at = cache.poll_at().expect("something will expire");
    assert!(poll_at <= gone_at);
    assert_eq!(cache.tick(gone_at - ms(1), 1_000), 0, "all of them may still serve");
    let mut ticks = 0;
    while cache.poll_at().is_some_and(|at| gone_at.has_reached(at)) {
        assert!(cache.tick(gone_at, 4) <= 4, "a tick does no more than it was told");
        ticks += 1;
        assert!(ticks < 100, "each tick gets on");
    }
    assert!(ticks >= 10, "40 entries at 4 a tick");
    let mut keys: Vec<_> = GONE.take().into_iter().collect();
    keys.sort_by_key(|(_, key)| *key);
    assert_eq!(keys, (0..40).map(|key| (Cause::Expired, Some(key))).collect::<Vec<_>>());
    assert_eq!((cache.len(), cache.stats().expirations, cache.poll_at()), (0, 40, None));
}

#[test]
fn s16_ticks_remove_what_is_remembered_of_missing_keys_and_failures() {
    let policy = Policy::ttl(secs(1)).missing_ttl(secs(5)).jitter_percent(0);
    let mut cache: Local<u32> = cache(policy.build().unwrap());
    let start = Instant::from_secs(9);
    for key in 0..20 {
        assert!(!cache.put(key, Loaded::missing(), start).is_stored());
        let ticket = cache.lookup(&(key + 100), start).into_ticket().expect("a cold key");
        cache.fail(&(key + 100), ticket, &"down", start);
    }
    assert!(matches!(cache.lookup(&1, start + secs(4)), Action::Missing));
    // Past the missing-ttl and the longest cool-down of 30 s nothing is left to be ticked.
    let later = start + secs(100);
    while cache.poll_at().is_some_and(|at| later.has_reached(at)) {
        cache.tick(later, 1_000);
    }
    assert_eq!(cache.poll_at(), None);
    assert_eq!(cache.explain(&101, later).failures, 0);
}
