//! Keys that ask the cache while they are dropped: none is dropped under one of its locks.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use advanced_caching::sync::Cache;
use advanced_caching::{Loaded, ManualTime};

use crate::world::{secs, within_a_minute};

/// A key that asks the cache it was in, if there is one.
#[derive(Clone)]
struct Asking {
    id: u64,
    cache: Arc<OnceLock<Cache<Self, u64>>>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.get() {
            cache.contains(&0);
        }
    }
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Asking {}

impl Hash for Asking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Borrow<u64> for Asking {
    fn borrow(&self) -> &u64 {
        &self.id
    }
}

/// A small cache, all of whose keys share a lock, and a maker of its keys.
fn asked() -> (ManualTime, Cache<Asking, u64>, impl Fn(u64) -> Asking) {
    let time = ManualTime::new();
    let cache = Cache::builder().capacity(100).ttl(secs(10)).missing_ttl(secs(10));
    let cache = cache.time(time.clone()).build().unwrap();
    let place = Arc::new(OnceLock::from(cache.clone()));
    (time, cache, move |id| Asking { id, cache: Arc::clone(&place) })
}

#[test]
fn a_key_that_was_missing_may_ask_the_cache_when_it_goes() {
    within_a_minute(|| {
        let (time, cache, key) = asked();
        for id in 1..5 {
            let missing = cache.get_or_load_with(&key(id), |_| Ok::<_, String>(Loaded::missing()));
            assert!(missing.is_err_and(|error| error.is_missing()));
        }
        time.advance(secs(100));
        cache.purge_expired();
        assert_eq!(cache.explain(&1).missing_for, None);
    });
}

#[test]
fn missing_keys_that_make_room_for_others_may_ask_the_cache() {
    within_a_minute(|| {
        let (_time, cache, key) = asked();
        for id in 1..400 {
            drop(cache.get_or_load_with(&key(id), |_| Ok::<_, String>(Loaded::missing())));
        }
        assert!(cache.stats().forgotten > 250);
    });
}

#[test]
fn a_key_whose_value_is_replaced_may_ask_the_cache() {
    within_a_minute(|| {
        let (_time, cache, key) = asked();
        cache.put(key(1), Loaded::value(1).tag("t"));
        cache.put(key(1), Loaded::value(2).ttl(secs(5)));
        assert_eq!(cache.get(&1), Some(2));
    });
}

#[test]
fn keys_that_are_cleared_may_ask_the_cache() {
    within_a_minute(|| {
        let (_time, cache, key) = asked();
        for id in 1..9 {
            cache.put(key(id), Loaded::value(id).tag("t"));
        }
        cache.clear();
        assert_eq!(cache.len(), 0);
    });
}
