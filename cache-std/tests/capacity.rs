//! A cache's bound, changed while it is in use.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use cache_core::table::Bound;
use cache_core::{Cause, Loaded, Put};
use cache_std::ManualTime;
use cache_std::sync::{Builder, Cache, CapacityError, Waiting};

const MINUTE: Duration = Duration::from_secs(60);

fn builder<V>() -> Builder<u64, V> {
    Cache::builder().ttl(MINUTE).time(ManualTime::new())
}

fn fill<V: Clone>(cache: &Cache<u64, V>, keys: impl IntoIterator<Item = u64>, value: V) {
    for key in keys {
        assert!(matches!(cache.put(key, value.clone()), Put::Stored));
    }
}

/// Every value is in the cache, or was told of as evicted.
fn shrink_to_a_tenth<V>(waiting: Waiting, capacity: usize, value: V)
where
    V: Clone + PartialEq + Debug + Send + Sync + 'static,
{
    let (tell, told) = channel();
    let hear = move |event: cache_std::sync::Event<u64, V>| drop(tell.send(event));
    let cache = builder().waiting(waiting).capacity(capacity).listener(hear).build().unwrap();
    fill(&cache, 0..capacity as u64, value.clone());
    let (before, tenth) = (cache.len(), capacity / 10);
    cache.control().set_capacity(tenth).unwrap();
    let left = cache.len();
    assert!(left <= tenth && left * 10 >= tenth * 9, "{left} of {before}");
    assert_eq!(cache.control().bound(), Bound::Entries(tenth));
    assert_eq!(cache.stats().evictions, (capacity - left) as u64);
    let is_there: Vec<_> = (0..capacity as u64).filter(|key| cache.contains(key)).collect();
    assert_eq!((is_there.len(), cache.stats().lost_events), (left, 0));
    drop(cache);
    let mut all = is_there;
    for event in told {
        assert_eq!((event.cause, event.value), (Cause::Capacity, value.clone()));
        all.push(event.key);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..capacity as u64), "each key once");
}

#[test]
fn what_is_too_much_goes_at_once_and_is_told_of() {
    for waiting in [Waiting::Spin, Waiting::Park] {
        for capacity in [1_000, 1_060] {
            shrink_to_a_tenth(waiting, capacity, 7);
            shrink_to_a_tenth(waiting, capacity, "seven".to_owned());
        }
    }
}

fn grow<V: Clone + Send + Sync + 'static>(waiting: Waiting, most: usize, value: V) {
    let cache = builder().waiting(waiting).capacity(100).max_capacity(most).build().unwrap();
    let (keys, most) = (20 * most as u64, most);
    for capacity in [100, most, 150, most / 2, most, 100] {
        cache.control().set_capacity(capacity).unwrap();
        assert!(cache.len() <= capacity);
        fill(&cache, 0..keys, value.clone());
        assert_eq!(cache.len(), capacity, "every set is full");
    }
    let evictions = cache.stats().evictions;
    cache.control().set_capacity(100).unwrap();
    assert_eq!((cache.len(), cache.stats().evictions), (100, evictions));
}

#[test]
fn a_cache_grows_to_the_most_that_it_was_built_for() {
    for waiting in [Waiting::Spin, Waiting::Park] {
        for most in [900, 2_003] {
            grow(waiting, most, 7);
            grow(waiting, most, "seven".to_owned());
        }
    }
}

#[test]
fn a_small_cache_may_be_cut_to_one_entry() {
    let cache = builder().capacity(900).build().unwrap();
    fill(&cache, 0..900, 7);
    cache.control().set_capacity(1).unwrap();
    assert_eq!(cache.len(), 1);
    fill(&cache, 1_000..1_001, 8);
    assert_eq!((cache.len(), cache.get(&1_000)), (1, Some(8)));
}

/// The share of a hundred hot keys that stay when a cache is cut to a tenth.
fn hot_ones_stay<V: Clone + Send + Sync + 'static>(capacity: usize, value: V) -> usize {
    let cache = builder().capacity(capacity).build().unwrap();
    fill(&cache, 0..capacity as u64 * 4 / 5, value);
    let hot: Vec<_> = (0..capacity as u64).filter(|key| cache.contains(key)).take(40).collect();
    for _ in 0..3 {
        assert!(hot.iter().all(|key| cache.get(key).is_some()));
    }
    cache.control().set_capacity(capacity / 5).unwrap();
    hot.iter().filter(|key| cache.contains(key)).count()
}

#[test]
fn what_was_used_stays() {
    assert_eq!(hot_ones_stay(1_000, 7), 40);
    assert_eq!(hot_ones_stay(1_000, "seven".to_owned()), 40);
    // In sets of five entries, a few of which have more hot ones than they can keep.
    let kept = [hot_ones_stay(2_000, 7), hot_ones_stay(2_000, "seven".to_owned())];
    assert!(kept.iter().all(|kept| *kept >= 34), "{kept:?}");
}

#[test]
fn what_cannot_be_is_told_and_changes_nothing() {
    let cache = builder::<u8>().capacity(1_000).max_capacity(2_000).build().unwrap();
    let control = cache.control();
    assert_eq!(control.set_capacity(0), Err(CapacityError::TooSmall { least: 72 }));
    assert_eq!(control.set_capacity(71), Err(CapacityError::TooSmall { least: 72 }));
    assert_eq!(control.set_capacity(2_001), Err(CapacityError::TooLarge { most: 2_000 }));
    let error = control.set_weight_limit(9).unwrap_err();
    assert_eq!(error, CapacityError::OtherBound { bound: Bound::Entries(1_000) });
    assert!(error.to_string().ends_with("call set_capacity(..)"), "{error}");
    assert_eq!(control.bound(), Bound::Entries(1_000));
    assert_eq!(control.set_capacity(72), Ok(()));

    let cache = builder::<u8>().build().unwrap();
    let error = cache.control().set_capacity(10_001).unwrap_err();
    assert!(error.to_string().contains("give at most 10000"), "{error}");
    let cache = builder::<u8>().weight_limit(9).weigher(|_, _| 1).build().unwrap();
    let error = cache.control().set_capacity(9).unwrap_err();
    assert!(error.to_string().ends_with("call set_weight_limit(..)"), "{error}");
    assert_eq!(cache.control().set_weight_limit(0), Err(CapacityError::TooSmall { least: 1 }));
    assert_eq!(cache.control().bound(), Bound::Weight(9));
}

#[test]
fn a_most_that_cannot_be_is_named() {
    let field = |builder: Builder<u64, u64>| builder.build().err().map(|error| error.field());
    let ok = || builder::<u64>();
    assert_eq!(field(ok().capacity(100).max_capacity(99)), Some("max_capacity"));
    assert_eq!(field(ok().max_capacity(9_999)), Some("max_capacity"));
    assert_eq!(field(ok().capacity(99).max_capacity(2_800)), Some("max_capacity"));
    let by_weight = ok().weight_limit(9).weigher(|_, _| 1).max_capacity(20_000);
    assert_eq!(field(by_weight), Some("max_capacity"));
    assert_eq!(field(ok().capacity(100).max_capacity(2_800)), None);
    assert_eq!(field(ok().capacity(1).max_capacity(1_023)), None);
}

/// A cache whose values weigh as many MiB as they say.
fn of_mib(limit: u64) -> Cache<u64, u32> {
    builder().weight_limit(limit << 20).weigher(|_, mib: &u32| mib << 20).build().unwrap()
}

#[test]
fn a_limit_of_weight_goes_down_and_up() {
    for limit in [100, 256] {
        let cache = of_mib(limit);
        for lower in [1_u64, 10, 64, 99, 255] {
            cache.control().set_weight_limit(lower << 20).unwrap();
            assert!(cache.weight() <= lower << 20);
            for raised in [limit, 1_000] {
                cache.control().set_weight_limit(raised << 20).unwrap();
                fill(&cache, 0..20_000, 1);
                assert_eq!(cache.weight(), raised << 20, "after {lower}");
            }
            cache.control().set_weight_limit(lower << 20).unwrap();
            // Each of up to four tables has a rest of its share.
            assert!((lower.saturating_sub(3) << 20..=lower << 20).contains(&cache.weight()));
            assert_eq!(cache.len() as u64, cache.weight() >> 20);
            assert!(cache.put(0, 1).is_stored(), "though it is heavier than a share");
        }
    }
}

#[test]
fn a_value_on_loan_stays_while_the_limit_has_room_for_it() {
    let cache = of_mib(256);
    assert!(cache.put(0, 100).is_stored(), "heavier than one of four shares");
    for key in 1..600 {
        assert_eq!(cache.get(&0), Some(100));
        fill(&cache, [key], 1);
    }
    cache.control().set_weight_limit(180 << 20).unwrap();
    assert_eq!((cache.get(&0), cache.weight()), (Some(100), 180 << 20));

    // There is no room for it any more, and those of the other tables stay.
    cache.control().set_weight_limit(80 << 20).unwrap();
    assert_eq!(cache.get(&0), None);
    assert!((60 << 20..=80 << 20).contains(&cache.weight()), "{}", cache.weight() >> 20);
    assert!(matches!(cache.put(0, 81), Put::NotKept(81)));
    assert!(cache.put(0, 80).is_stored());
    cache.invalidate(&0);

    cache.control().set_weight_limit(256 << 20).unwrap();
    fill(&cache, 1..20_000, 1);
    assert_eq!(cache.weight(), 256 << 20, "nothing is lent for ever");
}

/// The old value of a flight is evicted by a lower bound, and the new one lands.
fn cut_in_flight<V: Clone + PartialEq + Debug + Send + Sync + 'static>(
    (capacity, lower): (usize, usize),
    values: [V; 2],
) {
    let [old, new] = values;
    let cache = builder().stale_if_error(MINUTE).hard_timeout(Duration::MAX);
    let cache = cache.capacity(capacity).build().unwrap();
    let mut evicted = 0;
    for key in 0..50 {
        cache.control().set_capacity(capacity).unwrap();
        fill(&cache, 0..capacity as u64, old.clone());
        fill(&cache, key..=key, old.clone());
        for _ in 0..3 {
            (0..capacity as u64).for_each(|key| drop(cache.get(&key)));
        }
        assert!(cache.expire(&key).found);
        let loaded = cache.get_or_load_here(&key, || {
            cache.control().set_capacity(lower).unwrap();
            assert!(cache.len() <= lower);
            evicted += usize::from(cache.entry(&key).is_none());
            Ok::<_, String>(new.clone())
        });
        assert_eq!(loaded.unwrap(), new);
        assert_eq!(cache.get(&key), Some(new.clone()));
        assert!(cache.len() <= lower);
    }
    assert!(evicted > 0, "an old value was evicted while its flight was under way");
}

#[test]
fn a_flight_lands_though_its_old_value_was_evicted() {
    cut_in_flight((100, 2), [1, 2]);
    cut_in_flight((100, 2), ["one".to_owned(), "two".to_owned()]);
    cut_in_flight((1_100, 40), [1, 2]);
    cut_in_flight((1_100, 40), ["one".to_owned(), "two".to_owned()]);
}

/// Readers and writers of a cache whose capacity two threads change to and fro.
fn change_under_traffic<V>(most: usize, value: fn(u64) -> V)
where
    V: Clone + PartialEq + Debug + Send + Sync + 'static,
{
    let least = most / 8;
    let cache = Cache::builder().ttl(MINUTE).capacity(most).build().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (cache, done) = (&cache, &done);
        for thread in 0..2 {
            scope.spawn(move || {
                for round in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    let key = (round * 7 + thread) % (2 * most as u64);
                    match round % 5 {
                        0 | 1 => assert!(cache.put(key, value(key)).is_stored()),
                        2 => drop(cache.invalidate(&key)),
                        3 => {
                            let loaded =
                                cache.get_or_load(&key, move || Ok::<_, String>(value(key)));
                            assert_eq!(loaded.unwrap(), value(key));
                        }
                        _ => assert!(cache.get(&key).is_none_or(|found| found == value(key))),
                    }
                }
            });
        }
        let changes = [0, 1].map(|thread| {
            scope.spawn(move || {
                for round in 0..150 {
                    let capacity = if round % 2 == thread { least } else { most - round };
                    cache.control().set_capacity(capacity).unwrap();
                    assert!(cache.len() <= most);
                }
            })
        });
        let ends = changes.map(std::thread::ScopedJoinHandle::join);
        done.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.unwrap());
    });
    let Bound::Entries(bound) = cache.control().bound() else { panic!("of entries") };
    assert!(cache.len() <= bound);
    (0..20 * most as u64).for_each(|key| drop(cache.put(key, value(key))));
    assert_eq!(cache.len(), bound, "the last change is in every set");
}

#[test]
fn the_bound_holds_while_threads_change_it() {
    change_under_traffic(800, |key| key);
    change_under_traffic(800, |key| key.to_string());
    change_under_traffic(1_500, |key| key);
    change_under_traffic(1_500, |key| key.to_string());
}

/// Values on loan come and go while the limit falls below what is lent, and rises again.
#[test]
fn no_weight_is_lost_while_threads_change_the_limit() {
    let cache = of_mib(256);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 1..3 {
            let (cache, done) = (&cache, &done);
            scope.spawn(move || {
                for round in (0_u64..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    let key = round * 31 % 400;
                    let _ = cache.put(key, ((round * thread) % 150) as u32);
                    if round % 3 == 0 {
                        cache.invalidate(&(key / 2));
                    }
                }
            });
        }
        let changes = [40_u64, 90].map(|lower| {
            let cache = &cache;
            scope.spawn(move || {
                for limit in [lower, 256, 1, 300].into_iter().cycle().take(400) {
                    cache.control().set_weight_limit(limit << 20).unwrap();
                }
            })
        });
        let ends = changes.map(std::thread::ScopedJoinHandle::join);
        done.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.unwrap());
    });
    cache.control().set_weight_limit(128 << 20).unwrap();
    assert!(cache.weight() <= 128 << 20);
    cache.clear();
    fill(&cache, 0..20_000, 1);
    assert_eq!(cache.weight(), 128 << 20);
}

#[test]
fn as_many_missing_keys_are_remembered_as_entries() {
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(100)
        .ttl(MINUTE)
        .missing_ttl(MINUTE)
        .time(ManualTime::new())
        .build()
        .unwrap();
    for key in 0..10_000 {
        drop(cache.get_or_load_with(&key, |_| Ok::<_, String>(Loaded::missing())));
    }
    let remembered = (0..10_000).filter(|key| cache.explain(key).missing_for.is_some()).count();
    assert!((50..=101).contains(&remembered), "{remembered}");
    assert_eq!(cache.stats().forgotten, 10_000 - remembered as u64);
}
