//! Reads on terms of their own, and reads of many keys.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cache_std::sync::{Builder, Cache, LoadError, LoadPart, Source};
use cache_std::{Freshness, Loaded, ManualTime, Policy};

const SECOND: Duration = Duration::from_secs(1);

type Failed = LoadError<String>;

fn builder(time: &ManualTime) -> Builder<u64, u64> {
    Cache::builder().ttl(SECOND).jitter_percent(0).time(time.clone())
}

fn load(value: u64) -> impl FnOnce() -> Result<u64, String> + Send + 'static {
    move || Ok(value)
}

fn down() -> Result<u64, String> {
    Err("down".into())
}

/// A loader that waits to be told what to answer.
fn gate() -> (Sender<u64>, impl FnOnce() -> Result<u64, String> + Send + 'static) {
    let (tell, told): (_, Receiver<u64>) = channel();
    (tell, move || told.recv().map_err(|_| "given up".to_owned()))
}

/// Until all loads of a cache have ended; they run on threads of their own.
fn until(ready: impl Fn() -> bool) {
    while !ready() {
        thread::yield_now();
    }
}

#[test]
fn a_strict_read_gets_nothing_old_and_waits_for_the_load() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_while_revalidate(SECOND * 9).stale_if_error(SECOND * 9);
    let cache = cache.build().unwrap();
    cache.put(1, 1);
    time.advance(SECOND * 2);
    let error = cache.read(&1).fresh().get_or_load(down).unwrap_err();
    assert_eq!(error.error().unwrap(), "down", "no old value instead of the error");
    assert_eq!(cache.read(&1).get_or_load(down).unwrap(), 1);
    time.advance(SECOND * 2); // past the cool-down
    assert_eq!(cache.read(&1).fresh().get_or_load(load(2)).unwrap(), 2);
    assert_eq!(cache.read(&1).fresh().get(), Some(2));
}

#[test]
fn what_is_too_old_for_one_caller_serves_another() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_while_revalidate(SECOND * 9).build().unwrap();
    cache.put(1, 1);
    time.advance(SECOND * 4);
    assert_eq!(cache.read(&1).max_stale(SECOND * 3).get(), None);
    assert_eq!(cache.read(&1).max_stale(SECOND * 3 + SECOND / 2).get(), Some(1));
    assert_eq!(cache.read(&1).only_if_cached().get(), Some(1), "as the windows allow");
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.stats().loads, 0);
}

#[test]
fn only_if_cached_starts_no_load_and_joins_none() {
    let time = ManualTime::new();
    let cache = builder(&time).build().unwrap();
    let (tell, loader) = gate();
    let other = cache.clone();
    let leader = thread::spawn(move || other.get_or_load(&1, loader));
    time.until_parked(1);
    let error = cache.read(&1).only_if_cached().get_or_load(load(9)).unwrap_err();
    assert!(matches!(error, LoadError::NotCached), "{error}");
    tell.send(7).unwrap();
    assert_eq!(leader.join().unwrap().unwrap(), 7);
    assert_eq!(cache.read(&1).only_if_cached().get_or_load(load(9)).unwrap(), 7);
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn a_short_patience_ends_the_wait_and_not_the_load() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_if_error(SECOND * 9).build().unwrap();
    let (tell, loader) = gate();
    let other = cache.clone();
    let reader = move || other.read(&1).wait_at_most(SECOND / 50).get_or_load(loader);
    let reader = thread::spawn(reader);
    time.until_parked(1);
    time.advance(SECOND / 50);
    assert!(reader.join().unwrap().unwrap_err().is_timeout());
    // Another joins the same load and has no patience at all.
    let none = cache.read(&1).wait_at_most(Duration::ZERO).get_or_load(load(9));
    assert!(none.unwrap_err().is_timeout());
    tell.send(7).unwrap();
    until(|| cache.get(&1).is_some());
    assert_eq!((cache.get(&1), cache.stats().loads), (Some(7), 1));
    // With an old value, that is what the impatient get.
    time.advance(SECOND * 2);
    let (tell, loader) = gate();
    assert_eq!(cache.read(&1).wait_at_most(Duration::ZERO).get_or_load(loader).unwrap(), 7);
    tell.send(8).unwrap();
    until(|| cache.get(&1).is_some());
    assert_eq!(cache.get(&1), Some(8), "and the load that it started has landed");
}

#[test]
fn a_read_may_keep_what_it_loads_by_another_policy() {
    let time = ManualTime::new();
    let cache = builder(&time).build().unwrap();
    let longer = Policy::ttl(SECOND * 60).stale_while_revalidate(SECOND * 5).build().unwrap();
    let none = Policy::no_store().build().unwrap();
    assert_eq!(cache.read(&1).policy(&longer).get_or_load(load(1)).unwrap(), 1);
    assert_eq!(cache.read(&2).policy(&none).get_or_load(load(2)).unwrap(), 2);
    assert_eq!(cache.get_or_load(&3, load(3)).unwrap(), 3);
    assert_eq!(cache.get_many(&[1, 2, 3]), [Some(1), None, Some(3)]);
    time.advance(SECOND * 59);
    assert_eq!(cache.get_many(&[1, 2, 3]), [Some(1), None, None]);
    time.advance(SECOND * 5);
    assert_eq!(cache.freshness(&1), Some(Freshness::Stale));
    // What the loader says itself goes before both.
    let own = |_: &_| Ok::<_, String>(Loaded::value(4).ttl(SECOND * 2));
    assert_eq!(cache.read(&4).policy(&longer).get_or_load_with(own).unwrap(), 4);
    time.advance(SECOND * 2);
    assert_eq!(cache.get(&4), None);
}

#[test]
fn followers_on_other_terms_share_one_flight() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_if_error(SECOND * 99).build().unwrap();
    cache.put(1, 1);
    time.advance(SECOND * 2);
    let (tell, loader) = gate();
    let other = cache.clone();
    let leader = thread::spawn(move || other.read(&1).fresh().get_or_load(loader));
    time.until_parked(1);
    let other = cache.clone();
    let strict = thread::spawn(move || other.read(&1).fresh().get_or_load(load(9)));
    time.until_parked(2);
    time.advance(SECOND); // the soft time-out
    assert_eq!(cache.read(&1).get_or_load(load(9)).unwrap(), 1, "an old value will do here");
    tell.send(7).unwrap();
    assert_eq!(leader.join().unwrap().unwrap(), 7);
    assert_eq!(strict.join().unwrap().unwrap(), 7);
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn an_outcome_tells_what_the_read_was() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_while_revalidate(SECOND).stale_if_error(SECOND * 9);
    let cache = cache.build().unwrap();
    let seen = cache.read(&1).outcome(load(1)).unwrap();
    assert_eq!((seen.value, seen.source, seen.load), (1, Source::Origin, LoadPart::Started));
    assert_eq!(
        (seen.freshness, seen.age(), seen.fresh_for()),
        (Freshness::Fresh, Duration::ZERO, SECOND)
    );
    time.advance(SECOND / 2);
    let seen = cache.read(&1).outcome(load(9)).unwrap();
    assert_eq!((seen.source, seen.load, seen.degraded), (Source::Memory, LoadPart::None, false));
    assert_eq!((seen.age(), seen.fresh_for()), (SECOND / 2, SECOND / 2));
    assert_eq!((seen.stale_for(), seen.usable_for()), (SECOND * 3 / 2, SECOND * 19 / 2));

    time.advance(SECOND);
    let (tell, loader) = gate();
    let seen = cache.read(&1).outcome(loader).unwrap();
    assert_eq!(
        (seen.freshness, seen.load, seen.degraded),
        (Freshness::Stale, LoadPart::Started, false)
    );
    let seen = cache.read(&1).outcome(load(9)).unwrap();
    assert_eq!((seen.value, seen.load), (1, LoadPart::Joined), "its refresh is under way");
    drop(tell);
    until(|| cache.explain(&1).failures == 1);
    let seen = cache.read(&1).outcome(load(9)).unwrap();
    assert_eq!((seen.value, seen.load), (1, LoadPart::Cooling));

    time.advance(SECOND); // stale-while-revalidate and the cool-down are over
    let seen = cache.read(&1).outcome(down).unwrap();
    assert_eq!((seen.value, seen.freshness), (1, Freshness::Expired));
    assert_eq!((seen.load, seen.degraded, seen.age()), (LoadPart::Started, true, SECOND * 5 / 2));
    let seen = cache.read(&1).outcome(down).unwrap();
    assert_eq!((seen.load, seen.degraded), (LoadPart::Cooling, true));
}

#[test]
fn a_refresh_of_a_fresh_value_runs_behind_it_once() {
    let time = ManualTime::new();
    let cache = builder(&time).build().unwrap();
    cache.put(1, 1);
    let (tell, loader) = gate();
    assert!(cache.refresh(&1, loader));
    assert!(!cache.refresh(&1, load(9)), "one is under way");
    assert_eq!(cache.get(&1), Some(1));
    tell.send(2).unwrap();
    until(|| cache.get(&1) == Some(2));
    let squares = Cache::builder().ttl(SECOND).loader(|n: &u64| Ok::<u64, String>(n * n));
    let squares = squares.build().unwrap();
    assert!(squares.refresh(&3), "of a cold key, too");
    until(|| squares.get(&3) == Some(9));
}

type Calls = Arc<Mutex<Vec<Vec<u64>>>>;

/// Answers ten times each key but those that it does not know.
fn tens(
    calls: &Calls,
    unknown: &'static [u64],
) -> impl Fn(Vec<u64>) -> Result<Vec<(u64, u64)>, String> + Send + Sync + 'static + use<> {
    let calls = Arc::clone(calls);
    move |keys| {
        calls.lock().unwrap().push(keys.clone());
        let known = keys.into_iter().filter(|key| !unknown.contains(key));
        Ok(known.map(|key| (key, 10 * key)).collect())
    }
}

#[test]
fn one_call_loads_what_is_missing_and_what_it_leaves_out_is_missing() {
    let time = ManualTime::new();
    let cache = builder(&time).missing_ttl(SECOND).build().unwrap();
    let calls = Calls::default();
    cache.put(2, 2);
    let found = cache.get_or_load_many(&[1, 2, 3, 1], tens(&calls, &[3])).unwrap();
    assert_eq!(found, [Some(10), Some(2), None, Some(10)]);
    assert_eq!(*calls.lock().unwrap(), [[1, 3]], "each key once");
    let found = cache.get_or_load_many(&[1, 2, 3], tens(&calls, &[])).unwrap();
    assert_eq!(found, [Some(10), Some(2), None], "3 is known to be missing");
    assert_eq!(calls.lock().unwrap().len(), 1);
    assert!(cache.get_or_load_many(&[] as &[u64], tens(&calls, &[])).unwrap().is_empty());
}

#[test]
fn each_record_of_a_batch_has_its_own_windows() {
    let time = ManualTime::new();
    let cache = builder(&time).build().unwrap();
    let loader = |keys: Vec<u64>| {
        Ok::<_, String>(
            keys.into_iter().map(|key| (key, Loaded::value(key).ttl(SECOND * key as u32))),
        )
    };
    assert_eq!(cache.get_or_load_many(&[2, 3], loader).unwrap(), [Some(2), Some(3)]);
    time.advance(SECOND * 2);
    assert_eq!(cache.get_many(&[2, 3]), [None, Some(3)]);
}

#[test]
fn stale_keys_of_a_batch_are_served_and_refreshed_in_the_same_call() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_while_revalidate(SECOND * 9).build().unwrap();
    let calls = Calls::default();
    cache.put(1, 1);
    cache.put(2, 2);
    time.advance(SECOND * 2);
    let found = cache.get_or_load_many(&[1, 2, 3], tens(&calls, &[])).unwrap();
    assert_eq!(found, [Some(1), Some(2), Some(30)]);
    let mut keys = calls.lock().unwrap().concat();
    keys.sort_unstable();
    assert_eq!(keys, [1, 2, 3]);
    until(|| cache.get_many(&[1, 2]) == [Some(10), Some(20)]);
    // Nobody waits where nothing is missing.
    time.advance(SECOND * 2);
    let found = cache.get_or_load_many(&[1, 2, 3], tens(&calls, &[])).unwrap();
    assert_eq!(found, [Some(10), Some(20), Some(30)]);
    until(|| calls.lock().unwrap().len() == 2);
}

#[test]
fn a_batch_waits_for_the_loads_of_others_after_its_own() {
    let time = ManualTime::new();
    let cache = builder(&time).build().unwrap();
    let (tell, loader) = gate();
    let other = cache.clone();
    let leader = thread::spawn(move || other.get_or_load(&1, loader));
    time.until_parked(1);
    let (calls, other) = (Calls::default(), cache.clone());
    let loader = tens(&calls, &[]);
    let batch = thread::spawn(move || other.get_or_load_many(&[1, 2], loader));
    until(|| cache.get(&2) == Some(20));
    tell.send(7).unwrap();
    assert_eq!(batch.join().unwrap().unwrap(), [Some(7), Some(20)]);
    assert_eq!(leader.join().unwrap().unwrap(), 7);
    assert_eq!(*calls.lock().unwrap(), [[2]]);
}

#[test]
fn batches_that_overlap_crosswise_do_not_deadlock() {
    let time = ManualTime::new();
    let cache = builder(&time).build().unwrap();
    let loads = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for turn in 0..8_u64 {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            scope.spawn(move || {
                for round in 0..50 {
                    let mut keys: Vec<u64> = (0..8).map(|n| round * 8 + (n + turn) % 8).collect();
                    if turn % 2 == 1 {
                        keys.reverse();
                    }
                    let loads = Arc::clone(&loads);
                    let found = cache.get_or_load_many(&keys, move |missing| {
                        loads.fetch_add(missing.len() as u64, Ordering::Relaxed);
                        Ok::<_, String>(missing.into_iter().map(|key| (key, key)))
                    });
                    assert_eq!(found.unwrap(), keys.iter().copied().map(Some).collect::<Vec<_>>());
                }
            });
        }
    });
    assert_eq!(loads.load(Ordering::Relaxed), 400, "each key once");
}

#[test]
fn a_batch_that_fails_tells_each_key_its_own_end() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_if_error(SECOND * 9).build().unwrap();
    cache.put(1, 1);
    time.advance(SECOND * 2);
    cache.put(2, 2);
    let fail = |_: Vec<u64>| Err::<Vec<(u64, u64)>, _>("down".to_owned());
    let each = cache.get_or_load_each(&[1, 2, 3], fail);
    assert_eq!(each[0].as_ref().unwrap(), &1, "kept for errors");
    assert_eq!(each[1].as_ref().unwrap(), &2);
    assert!(matches!(&each[2], Err(LoadError::Failed(error)) if **error == "down"));
    let all: Result<_, Failed> = cache.get_or_load_many(&[1, 2, 3], fail);
    assert_eq!(all.unwrap_err().to_string(), "down");
    let boom = |_: Vec<u64>| -> Result<Vec<(u64, u64)>, String> { panic!("boom") };
    let each = cache.get_or_load_each(&[4, 5], boom);
    assert!(
        each.iter().all(|end| matches!(end, Err(LoadError::Panicked(text)) if &**text == "boom"))
    );
    assert_eq!(
        cache.get_or_load_many(&[4, 5], tens(&Calls::default(), &[])).unwrap(),
        [Some(40), Some(50)]
    );
}

#[test]
fn a_batch_counts_as_one_load() {
    let time = ManualTime::new();
    let cache = builder(&time).max_loads(1).build().unwrap();
    let keys: Vec<u64> = (0..2_000).collect();
    let found = cache.get_or_load_many(&keys, tens(&Calls::default(), &[])).unwrap();
    assert!(found.iter().zip(&keys).all(|(value, key)| *value == Some(10 * key)));
    assert_eq!(cache.get_or_load(&9_999, load(1)).unwrap(), 1, "the place is free again");
}

/// Caches by the shared tick, which no other test here uses. Their hits go a way of their own: of one
/// table that holds all, and of many sets.
fn ticking<K, V>(capacity: usize) -> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder().capacity(capacity).ttl(SECOND * 3_600).build().unwrap()
}

#[test]
fn by_the_shared_tick_values_are_found_while_fresh_and_each_get_counts_once() {
    [100, 10_000].into_iter().for_each(found_while_fresh);
}

fn found_while_fresh(capacity: usize) {
    let cache: Cache<String, Arc<str>> = ticking(capacity);
    let value: Arc<str> = "one".into();
    assert_eq!(cache.get("1"), None);
    cache.put("1".into(), Arc::clone(&value));
    for _ in 0..5 {
        assert_eq!(cache.get("1").as_deref(), Some("one"));
    }
    assert_eq!(Arc::strong_count(&value), 2, "each copy was dropped once");
    assert!(cache.expire("1").found);
    assert_eq!(cache.get("1"), None, "there, and not fresh");
    cache.put("1".into(), Arc::clone(&value));
    assert_eq!(cache.get("1").as_deref(), Some("one"));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.stale_hits), (6, 2, 0));
    drop(cache);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn by_the_shared_tick_numbers_in_one_table_are_found_while_fresh() {
    let cache: Cache<u64, u64> = ticking(100);
    assert_eq!(cache.get(&1), None);
    cache.put(1, 7);
    assert_eq!((cache.get(&1), cache.get_or_load(&1, load(8)).unwrap()), (Some(7), 7));
    assert!(cache.expire(&1).found);
    assert_eq!(cache.get(&1), None, "there, and not fresh");
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (2, 2, 0));
}

/// A value that breaks when it is copied, until told otherwise.
struct Fragile(Arc<AtomicU64>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_eq!(self.0.load(Ordering::SeqCst), 0, "broken");
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn by_the_shared_tick_a_copy_that_breaks_lets_go_of_its_lock() {
    [100, 10_000].into_iter().for_each(broken_and_let_go);
}

fn broken_and_let_go(capacity: usize) {
    let breaks = Arc::new(AtomicU64::new(1));
    let cache: Cache<u64, Fragile> = ticking(capacity);
    cache.put(1, Fragile(Arc::clone(&breaks)));
    let get = || catch_unwind(AssertUnwindSafe(|| cache.get(&1).is_some()));
    assert!(get().is_err());
    breaks.store(0, Ordering::SeqCst);
    assert!(get().unwrap(), "nobody holds the lock");
}
