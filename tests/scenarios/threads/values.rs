//! S11 and S16 with threads: what is kept, and what goes.

use std::sync::Arc;

use advanced_caching::sync::Cache;
use advanced_caching::{Loaded, ManualTime};

use crate::world::{Origin, ms, secs, within_a_minute};

#[test]
fn s11_none_is_cached_like_any_value() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = Cache::<u8, Option<u32>>::builder().ttl(secs(1)).jitter_percent(0);
        let cache = cache.time(time.clone()).build().unwrap();
        let none = || Ok::<Option<u32>, Origin>(None);
        assert_eq!(cache.get_or_load(&1, none).unwrap(), None);
        let unused = || -> Result<Option<u32>, Origin> { panic!("the value is there") };
        assert_eq!(cache.get_or_load(&1, unused).unwrap(), None);
        assert_eq!(cache.get_or_load_here(&1, unused).unwrap(), None);
        assert_eq!((cache.get(&1), cache.contains(&1)), (Some(None), true));
        assert!(!cache.put_if_absent(1, Some(3)).is_stored(), "it is no gap to be filled");
        time.advance(secs(1));
        assert_eq!(cache.get(&1), None, "it expires like any value");
        assert_eq!((cache.stats().loads, cache.stats().hits), (1, 3));
    });
}

/// A cache in one table with 100 copies of a value, all of which expire after a second.
fn hundred() -> (ManualTime, Cache<u8, Arc<()>>, Arc<()>) {
    let (time, value) = (ManualTime::new(), Arc::new(()));
    let cache = Cache::builder().capacity(101).ttl(secs(1)).jitter_percent(0).time(time.clone());
    let cache = cache.build().unwrap();
    for key in 0..100 {
        assert!(cache.put(key, Arc::clone(&value)).is_stored());
    }
    assert_eq!((cache.len(), Arc::strong_count(&value)), (100, 101));
    (time, cache, value)
}

#[test]
fn s16_writes_of_other_keys_remove_what_has_expired() {
    within_a_minute(|| {
        let (time, cache, value) = hundred();
        time.advance(secs(1));
        let mut writes = 0;
        while Arc::strong_count(&value) > 1 {
            cache.put(200, Loaded::value(Arc::new(())));
            writes += 1;
            assert!(writes <= 200, "each write looks at a few positions");
        }
        assert_eq!((cache.len(), cache.stats().expirations), (1, 100));
        assert_eq!((cache.stats().reads(), cache.stats().evictions), (0, 0));
    });
}

#[test]
fn s16_loads_of_other_keys_remove_what_has_expired() {
    within_a_minute(|| {
        let (time, cache, value) = hundred();
        time.advance(secs(1));
        let mut loads = 0;
        while Arc::strong_count(&value) > 1 {
            cache.get_or_load(&200, || Ok::<_, Origin>(Arc::new(()))).unwrap();
            cache.invalidate(&200);
            loads += 1;
            assert!(loads <= 200, "each load looks at a few positions");
        }
        assert_eq!(cache.stats().expirations, 100);
    });
}

#[test]
fn s16_a_purge_removes_what_has_expired_and_nothing_else() {
    within_a_minute(|| {
        let (time, cache, value) = hundred();
        time.advance(ms(500));
        cache.put(200, Arc::new(()));
        time.advance(ms(499));
        assert_eq!(cache.purge_expired(), 0);
        time.advance(ms(1));
        assert_eq!(cache.purge_expired(), 100);
        assert_eq!((cache.len(), Arc::strong_count(&value)), (1, 1));
        assert!(cache.contains(&200));
    });
}
