//! What listeners are told: every value that leaves, once, with the true cause.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};

use cache_core::{Cause, Loaded};
use cache_std::ManualTime;
use cache_std::background::Scheduler;
use cache_std::sync::{Builder, Cache};

const SECOND: Duration = Duration::from_secs(1);

type Told<K, V> = Receiver<(K, V, Cause)>;

fn heard<K, V>(builder: Builder<K, V>, time: &ManualTime) -> (Builder<K, V>, Told<K, V>)
where
    K: Send + 'static,
    V: Send + 'static,
{
    let (tell, told) = channel();
    let hear = move |event: cache_std::sync::Event<K, V>| {
        drop(tell.send((event.key, event.value, event.cause)));
    };
    (builder.ttl(SECOND).jitter_percent(0).time(time.clone()).listener(hear), told)
}

/// All causes, with one type of values: what lies in it is told by drop or by copy.
fn every_cause<V: Clone + Send + Sync + PartialEq + core::fmt::Debug + 'static>(
    capacity: usize,
    value: impl Fn(u64) -> V,
) {
    let time = ManualTime::new();
    let (builder, told) = heard(Cache::builder(), &time);
    let cache = builder.stale_if_error(SECOND).capacity(capacity).build().unwrap();
    let next = || told.recv().unwrap();
    cache.put(1, value(10));
    cache.put(1, value(11));
    assert_eq!(next(), (1, value(10), Cause::Replaced));
    cache.put(1, Loaded::value(value(12)).tag("blue"));
    assert_eq!(next(), (1, value(11), Cause::Replaced));
    let answer = value(13);
    time.advance(SECOND);
    let loaded = cache.get_or_load(&1, move || Ok::<_, String>(answer));
    assert_eq!(loaded.unwrap(), value(13));
    assert_eq!(next(), (1, value(12), Cause::Replaced));
    assert!(cache.invalidate(&1).found);
    assert_eq!(next(), (1, value(13), Cause::Invalidated));
    cache.put(2, Loaded::value(value(20)).tag("blue"));
    cache.invalidate_tag("blue");
    cache.purge_expired();
    assert_eq!(next(), (2, value(20), Cause::Invalidated));
    cache.put(3, value(30));
    cache.put(4, value(40));
    time.advance(SECOND * 2);
    assert_eq!(cache.purge_expired(), 2);
    let mut both = [next(), next()];
    both.sort_by_key(|event| event.0);
    assert_eq!(both, [(3, value(30), Cause::Expired), (4, value(40), Cause::Expired)]);
    cache.put(5, value(50));
    cache.clear();
    assert_eq!(next(), (5, value(50), Cause::Cleared));
    let half = capacity.div_ceil(2);
    for key in 0..(capacity + half) as u64 {
        cache.put(key, value(key));
    }
    assert!(
        told.iter()
            .take(half)
            .all(|(key, old, cause)| { cause == Cause::Capacity && old == value(key) })
    );
    assert_eq!(cache.stats().lost_events, 0);
    drop(cache);
    assert!(told.try_iter().all(|event| event.2 == Cause::Capacity));
    assert!(told.recv().is_err(), "the thread has ended with the cache");
}

#[test]
fn every_value_that_leaves_is_told_of_with_its_cause() {
    every_cause(3, |n| n);
    every_cause(3, |n| n.to_string());
}

#[test]
fn every_value_that_leaves_a_set_is_told_of_with_its_cause() {
    every_cause(1_024, |n| n);
    every_cause(1_024, |n| n.to_string());
}

/// What went in is inside or was told of, whatever raced.
#[test]
fn threads_lose_no_event_and_see_none_twice() {
    let time = ManualTime::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let cache: Cache<u64, u64> = Cache::builder()
        .ttl(SECOND)
        .time(time)
        .capacity(2_000)
        .listener(move |event| hear.lock().unwrap().push(event.value))
        .build()
        .unwrap();
    let values = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, values) = (&cache, &values);
            scope.spawn(move || {
                for round in 0..20_000_u64 {
                    let key = round.wrapping_mul(0x9e37_79b9 + thread) % 4_000;
                    if round % 5 == 0 {
                        cache.invalidate(&key);
                    } else {
                        cache.put(key, values.fetch_add(1, Ordering::Relaxed) as u64);
                    }
                }
            });
        }
    });
    cache.clear();
    assert!(cache.is_empty());
    let (put, lost) = (values.into_inner(), cache.stats().lost_events as usize);
    while told.lock().unwrap().len() < put - lost {
        std::thread::yield_now();
    }
    let mut told = told.lock().unwrap().clone();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len() + lost, put);
}

#[test]
fn a_listener_may_call_the_cache_and_may_panic() {
    let (tell, told) = channel();
    let own: Arc<OnceLock<Cache<u8, u8>>> = Arc::default();
    let inside = Arc::clone(&own);
    let hear = move |event: cache_std::sync::Event<u8, u8>| {
        let cache = inside.get().unwrap();
        assert_ne!(event.key, 1, "on purpose");
        cache.put(event.key + 100, event.value);
        cache.invalidate(&(event.key + 100));
        tell.send(event.key).unwrap();
    };
    let cache = Cache::builder().ttl(SECOND).listener(hear).build().unwrap();
    assert!(own.set(cache.clone()).is_ok());
    for key in [1, 2] {
        cache.put(key, key);
        cache.invalidate(&key);
    }
    assert_eq!((told.recv(), told.recv()), (Ok(2), Ok(102)));
}

#[test]
fn a_listener_may_load_clear_and_drop_the_cache() {
    let (tell, told) = channel();
    let own: Arc<Mutex<Option<Cache<u8, u8>>>> = Arc::default();
    let inside = Arc::clone(&own);
    let hear = move |event: cache_std::sync::Event<u8, u8>| {
        let Some(cache) = inside.lock().unwrap().take() else { return };
        let loaded = cache.get_or_load(&2, || Ok::<_, String>(20)).unwrap();
        cache.clear();
        tell.send((event.key, loaded, cache.len())).unwrap();
        drop(cache); // the last handle
    };
    let cache = Cache::builder().ttl(SECOND).listener(hear).build().unwrap();
    cache.put(1, 10);
    cache.put(1, 11);
    let mut own = own.lock().unwrap();
    *own = Some(cache.clone());
    // The event waits for the lock, and so comes after this handle has gone.
    cache.invalidate(&1);
    drop(cache);
    drop(own);
    assert_eq!(told.recv(), Ok((1, 20, 0)));
    assert!(told.recv().is_err(), "the thread has ended with the cache");
}

#[test]
fn a_listener_that_hangs_stops_nobody() {
    let (_open, closed) = channel::<()>();
    let cache: Cache<u64, u64> = Cache::builder()
        .ttl(SECOND)
        .listener(move |_| assert!(closed.recv().is_err()))
        .build()
        .unwrap();
    for key in 0..5_000 {
        cache.put(key, key);
        cache.invalidate(&key);
    }
    let lost = cache.stats().lost_events;
    assert!((5_000 - 1_025..=5_000 - 1_024).contains(&lost), "{lost}");
    drop(cache);
}

#[test]
fn what_nobody_asks_for_goes_by_the_schedulers_tick() {
    let time = ManualTime::new();
    let scheduler = Scheduler::with_time(time.clone());
    let (builder, told) = heard(Cache::builder(), &time);
    let cache = builder.sweep_every_by(SECOND, &scheduler).build().unwrap();
    cache.put(1, 10);
    cache.put(2, Loaded::value(20).ttl(SECOND * 9));
    time.until_parked(1);
    time.advance(SECOND);
    assert_eq!(told.recv().unwrap(), (1, 10, Cause::Expired));
    assert_eq!(cache.iter().map(|(key, entry)| (key, entry.value)).collect::<Vec<_>>(), [(2, 20)]);
    drop(cache);
    assert!(told.recv().is_err(), "the job does not keep the cache alive");
    assert!(scheduler.shutdown(SECOND).is_ok()); // the clock stands still: as long as it takes
    let closed = Cache::<u8, u8>::builder().ttl(SECOND).sweep_every_by(SECOND, &scheduler).build();
    assert_eq!(closed.unwrap_err().field(), "sweep_every");
    let never = Cache::<u8, u8>::builder().ttl(SECOND).sweep_every(Duration::ZERO).build();
    assert_eq!(never.unwrap_err().field(), "sweep_every");
}

#[test]
fn all_entries_are_met_once_while_others_come_and_go() {
    for capacity in [500, 20_000] {
        let cache: Cache<u64, u64> =
            Cache::builder().ttl(SECOND * 3_600).capacity(capacity).build().unwrap();
        for key in 0..100 {
            cache.put(key, key);
        }
        let stop = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut round = 0;
                while stop.load(Ordering::Relaxed) == 0 {
                    round = (round + 1) % 100;
                    cache.put(1_000 + round, 0);
                    cache.invalidate(&(1_000 + round / 2));
                }
            });
            for _ in 0..50 {
                let mut keys: Vec<_> = cache.iter().filter(|(key, _)| *key < 100).collect();
                keys.sort_by_key(|(key, _)| *key);
                assert!(keys.iter().map(|(key, _)| *key).eq(0..100));
                assert!(keys.iter().all(|(key, entry)| *key == entry.value));
            }
            stop.store(1, Ordering::Relaxed);
        });
        assert!((&cache).into_iter().count() >= 100);
    }
}
