//! A cache that is changed while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cache_core::{Cause, Freshness, Loaded, Policy, Put};
use cache_std::sync::{Cache, LoadError, Source, Waiting};
use cache_std::{Clock, ManualTime, MemoryStore, Time};

const SECOND: Duration = Duration::from_secs(1);

/// The same for each arrangement of tables: sets of numbers, sets of others, parked ones, one table.
macro_rules! every_arrangement {
    ($test:ident($builder:ident) $work:block) => {
        mod $test {
            use super::*;

            fn run<V: Value>($builder: cache_std::sync::Builder<u64, V>) $work

            #[test]
            fn of_numbers() {
                run::<u64>(Cache::builder().capacity(5_000));
            }

            #[test]
            fn of_others() {
                run::<Arc<str>>(Cache::builder().capacity(5_000));
            }

            #[test]
            fn parked() {
                run::<u64>(Cache::builder().capacity(5_000).waiting(Waiting::Park));
            }

            #[test]
            fn one_table() {
                run::<u64>(Cache::builder().capacity(1_000));
            }

            #[test]
            fn by_weight() {
                run::<Arc<str>>(Cache::builder().weight_limit(1 << 28).weigher(|_, _| 100));
            }
        }
    };
}

trait Value: Clone + PartialEq + core::fmt::Debug + Send + Sync + 'static {
    fn of(n: u64) -> Self;
}

impl Value for u64 {
    fn of(n: u64) -> Self {
        n
    }
}

impl Value for Arc<str> {
    fn of(n: u64) -> Self {
        n.to_string().into()
    }
}

every_arrangement!(other_windows_hold_for_what_is_there(builder) {
    let time = ManualTime::new();
    let cache = builder.ttl(10 * SECOND).stale_if_error(90 * SECOND).time(time.clone());
    let cache = cache.jitter_percent(0).build().unwrap();
    (0..500).for_each(|n| drop(cache.put(n, V::of(n))));
    cache.put(600, Loaded::value(V::of(600)).ttl(50 * SECOND));
    cache.put(700, Loaded::value(V::of(700)).tag("tagged"));
    cache.expire(&3);
    time.advance(20 * SECOND);
    (500..600).for_each(|n| drop(cache.put(n, V::of(n))));
    cache.control().change_policy(|policy| policy.ttl(30 * SECOND)).unwrap();
    assert_eq!(cache.policy().freshness(), Some(30 * SECOND));
    for n in (0..500).filter(|n| *n != 3) {
        let Some(entry) = cache.entry(&n) else { continue };
        assert_eq!(entry.value, V::of(n));
        assert_eq!(entry.age(time.now()), 20 * SECOND);
        assert_eq!(entry.remaining(time.now()), 10 * SECOND);
        assert_eq!(cache.get(&n), Some(V::of(n)), "fresh again");
    }
    assert_eq!(cache.freshness(&3), Some(Freshness::Expired), "expired by hand, and not by its ttl");
    let left = |key: u64| cache.entry(&key).unwrap().remaining(time.now());
    assert_eq!((left(500), left(600), left(700)), (30 * SECOND, 30 * SECOND, 10 * SECOND));
    cache.control().change_policy(|policy| policy.ttl(SECOND).stale_if_error(2 * SECOND)).unwrap();
    assert_eq!(cache.get(&0), None);
    assert_eq!(cache.get(&500), Some(V::of(500)));
    // All that the shorter windows put an end to goes without being read.
    let (before, went) = (cache.len(), cache.purge_expired());
    let live = (0..=700).filter(|n| cache.entry(n).is_some()).count();
    assert_eq!((cache.len(), before - went), (live, live));
    assert!(went >= 400, "{went} went");
    cache.put(1, V::of(9));
    assert_eq!(left(1), SECOND);
    time.advance(SECOND);
    assert_eq!(cache.get(&1), None);
    cache.control().change_policy(|_| Policy::no_store()).unwrap();
    assert!(cache.is_empty());
    assert_eq!(cache.put(1, V::of(1)), Put::NotKept(V::of(1)));
    cache.control().change_policy(|_| Policy::forever()).unwrap();
    cache.put(1, V::of(1));
    time.advance(1_000_000 * SECOND);
    assert_eq!(cache.get(&1), Some(V::of(1)));
});

// Every value is stored at a known time. Whatever policy holds when it is looked at, its age is
// that, or a change has read an old mark by new rules.
every_arrangement!(ages_stay_true_while_threads_write_and_the_policy_changes(builder) {
    let time = ManualTime::new();
    let cache = builder.ttl(1_000 * SECOND).time(time.clone()).build().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..2 {
            let (cache, done) = (&cache, &done);
            scope.spawn(move || {
                let mut n = thread;
                while !done.load(Ordering::Relaxed) {
                    n = (n + 7) % 400;
                    drop(cache.put(n, V::of(n)));
                    match n % 40 {
                        0 => drop(cache.put(n, Loaded::value(V::of(n)).tag("tagged"))),
                        1 => drop(cache.invalidate(&n)),
                        2 => drop(cache.maintain(50)),
                        3 => drop(cache.get_or_load(&(n + 400), move || Ok::<_, String>(V::of(n)))),
                        _ => {}
                    }
                }
            });
        }
        for round in 0..60 {
            let ttl = [1_000, 5_000, 100_000][round % 3] * SECOND;
            cache.control().change_policy(|policy| policy.ttl(ttl)).unwrap();
            for n in 0..800 {
                let Some(entry) = cache.entry(&n) else { continue };
                let age = entry.age(time.now());
                // Rounding to steps of 64 ns, once for each change.
                assert!(age < Duration::from_micros(60), "{age:?} old, and the time stands still");
                let ttl = entry.remaining(time.now()) + age;
                assert!(ttl <= 100_000 * SECOND && ttl >= 900 * SECOND, "{ttl:?}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    cache.control().change_policy(|policy| policy.ttl(2_000 * SECOND).jitter_percent(0)).unwrap();
    for n in (0..400).filter(|n| n % 40 != 1) {
        let Some(entry) = cache.entry(&n) else { continue };
        let left = entry.remaining(time.now());
        assert!(2_000 * SECOND - left < Duration::from_micros(60), "{left:?}");
    }
});

every_arrangement!(who_bypasses_asks_the_origin_each_time(builder) {
    let cache = builder.ttl(SECOND).time(ManualTime::new()).build().unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let load = |value: u64| {
        let loads = Arc::clone(&loads);
        move || {
            loads.fetch_add(1, Ordering::Relaxed);
            Ok::<_, String>(V::of(value))
        }
    };
    cache.put(1, V::of(1));
    assert_eq!(cache.get_or_load(&1, load(2)).unwrap(), V::of(1));
    cache.control().bypass(true);
    assert!(cache.control().is_bypassed());
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.get_many(&[1]), [None]);
    assert_eq!(cache.read(&1).get(), None);
    assert_eq!(cache.read(&1).max_stale(SECOND).get(), None);
    assert_eq!(cache.peek(&1), Some(V::of(1)), "what is kept is shown");
    let refused = cache.read(&1).only_if_cached().get_or_load(load(2));
    assert!(matches!(refused, Err(LoadError::NotCached)), "{refused:?}");
    assert_eq!(loads.load(Ordering::Relaxed), 0);
    for value in [3, 4] {
        assert_eq!(cache.get_or_load(&1, load(value)).unwrap(), V::of(value));
        assert_eq!(cache.peek(&1), Some(V::of(value)), "and kept");
    }
    assert_eq!(cache.get_or_load_here(&1, load(5)).unwrap(), V::of(5));
    assert_eq!(cache.read(&1).outcome(load(6)).unwrap().source, Source::Origin);
    let many = cache.get_or_load_many(&[1], |keys| {
        Ok::<_, String>(keys.into_iter().map(|key| (key, V::of(7))))
    });
    assert_eq!(many.unwrap(), [Some(V::of(7))]);
    assert_eq!(loads.load(Ordering::Relaxed), 4);
    let failed = cache.get_or_load(&1, || Err::<V, _>("down"));
    assert!(matches!(failed, Err(LoadError::Failed(_))), "no old value serves: {failed:?}");
    cache.control().bypass(false);
    assert_eq!(cache.get_or_load(&1, load(8)).unwrap(), V::of(7));
    assert_eq!(cache.get(&1), Some(V::of(7)));
});

#[test]
fn who_bypasses_does_not_ask_the_store_behind_the_cache_but_keeps_it_up_to_date() {
    let time = ManualTime::new();
    let store = Arc::new(MemoryStore::<u64, u64>::new(100));
    let build = || {
        let cache = Cache::builder().ttl(SECOND).l2(Arc::clone(&store)).time(time.clone());
        cache.build().unwrap()
    };
    build().put(1, 1);
    let cache = build();
    cache.control().bypass(true);
    assert_eq!(cache.get_or_load(&1, || Ok::<_, String>(2)).unwrap(), 2);
    cache.control().shutdown(SECOND).unwrap(); // what was loaded is on its way to the store
    assert_eq!(build().get_or_load(&1, || Err("not asked")).unwrap(), 2);
}

#[test]
fn a_policy_that_cannot_be_changes_nothing() {
    let cache: Cache<u64, u64> = Cache::builder().ttl(SECOND).build().unwrap();
    let refused = cache.control().change_policy(|policy| policy.ttl(Duration::ZERO));
    assert_eq!(refused.unwrap_err().field(), "ttl");
    assert_eq!(cache.policy().freshness(), Some(SECOND));
    cache.put(1, 1);
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn a_load_under_way_lands_by_the_new_policy() {
    let time = ManualTime::new();
    let cache: Cache<u64, u64> =
        Cache::builder().ttl(SECOND).jitter_percent(0).time(time.clone()).build().unwrap();
    let inside = cache.clone();
    let loaded = cache.get_or_load_here(&1, || {
        inside.control().change_policy(|policy| policy.ttl(9 * SECOND)).unwrap();
        Ok::<_, String>(1)
    });
    assert_eq!(loaded.unwrap(), 1);
    assert_eq!(cache.entry(&1).unwrap().remaining(time.now()), 9 * SECOND);
}

/// By the process's tick, as most caches are.
#[test]
fn windows_change_where_the_time_is_the_tick() {
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(5_000).ttl(3_600 * SECOND).build().unwrap();
    (0..1_000).for_each(|n| assert_eq!(cache.put(n, n), Put::Stored));
    cache.control().change_policy(|policy| policy.ttl(Duration::from_nanos(64))).unwrap();
    // The tick is one of a millisecond now; it comes, however late.
    let (signal, time) = (Arc::default(), Arc::clone(cache.time()));
    time.wait(&signal, time.now() + Duration::from_millis(2));
    assert!((0..1_000).all(|n| cache.get(&n).is_none()));
    cache.control().change_policy(|policy| policy.ttl(3_600 * SECOND)).unwrap();
    assert_eq!((0..1_000).filter(|n| cache.get(n) == Some(*n)).count(), cache.len());
}

#[test]
fn what_a_policy_that_keeps_nothing_removes_is_told() {
    let (tell, told) = std::sync::mpsc::channel();
    let cache: Cache<u64, u64> = Cache::builder()
        .ttl(SECOND)
        .listener(move |event| tell.send((event.key, event.cause)).unwrap())
        .build()
        .unwrap();
    cache.put(1, 1);
    cache.control().change_policy(|_| Policy::no_store()).unwrap();
    assert_eq!(told.recv().unwrap(), (1, Cause::Cleared));
}
