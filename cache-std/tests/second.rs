//! A cache with a store behind its memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cache_core::conformance::{self, Harness, StoreHarness};
use cache_core::store::{Chain, Plain, Store, StoreError, Stored};
use cache_core::{Clock, Freshness, Instant, Lifetime, Loaded, Put};
use cache_std::sync::{Builder, Cache, LoadError, LoadPart, Source};
use cache_std::{DirStore, ManualTime, MemoryStore};

const SECOND: Duration = Duration::from_secs(1);

/// A store that can be out of reach, and can be held up.
#[derive(Default)]
struct Fragile {
    down: AtomicBool,
    panics: AtomicBool,
    asked: AtomicU64,
    /// The next write waits here, and says so.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

#[derive(Clone)]
struct Behind(Arc<Fragile>, Arc<MemoryStore<u64, u64>>);

impl Behind {
    fn new() -> Self {
        Self(Arc::default(), Arc::new(MemoryStore::new(1_000)))
    }

    fn ask(&self) -> Result<(), StoreError> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!self.0.panics.load(Ordering::Relaxed), "on purpose");
        match self.0.down.load(Ordering::Relaxed) {
            true => Err(StoreError::unavailable("on purpose")),
            false => Ok(()),
        }
    }

    fn write(&self) -> Result<(), StoreError> {
        let gate = self.0.gate.lock().unwrap().take();
        if let Some((here, go)) = gate {
            here.send(()).unwrap();
            go.recv().unwrap();
        }
        self.ask()
    }

    fn down(&self, down: bool) {
        self.0.down.store(down, Ordering::Relaxed);
    }

    fn value(&self, key: u64, time: &ManualTime) -> Option<u64> {
        self.1.get(&key, time.now()).unwrap().map(|found| found.value)
    }

    fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }
}

impl Store<u64, u64> for Behind {
    fn get(&self, key: &u64, now: Instant) -> Result<Option<Stored<u64>>, StoreError> {
        self.ask().and_then(|()| self.1.get(key, now))
    }

    fn put(&self, key: &u64, v: &u64, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.write().and_then(|()| self.1.put(key, v, life, now))
    }

    fn remove(&self, key: &u64, now: Instant) -> Result<bool, StoreError> {
        self.write().and_then(|()| Store::<u64, u64>::remove(&*self.1, key, now))
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        self.write().and_then(|()| Store::<u64, u64>::clear(&*self.1, now))
    }
}

fn builder(time: &ManualTime, behind: &Behind) -> Builder<u64, u64> {
    let builder = Cache::builder().ttl(SECOND * 10).jitter_percent(0).time(time.clone());
    builder.l2(behind.clone())
}

fn load(value: u64) -> impl FnOnce() -> Result<u64, String> + Send + 'static {
    move || Ok(value)
}

fn down() -> Result<u64, String> {
    Err("down".into())
}

fn until(ready: impl Fn() -> bool) {
    while !ready() {
        thread::yield_now();
    }
}

#[test]
fn what_one_cache_loads_another_finds_with_its_age() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let first = builder(&time, &behind).build().unwrap();
    assert_eq!(first.get_or_load(&1, load(7)).unwrap(), 7);
    until(|| behind.value(1, &time) == Some(7));
    time.advance(SECOND * 4);
    let second = builder(&time, &behind).build().unwrap();
    assert_eq!(second.get(&1), None, "`get` looks in memory alone");
    let seen = second.read(&1).outcome(down).unwrap();
    assert_eq!((seen.value, seen.source, seen.load), (7, Source::Store, LoadPart::Started));
    assert_eq!((seen.age(), seen.fresh_for()), (SECOND * 4, SECOND * 6));
    assert_eq!((second.stats().store_hits, first.stats().store_misses), (1, 1));
}

#[test]
fn s8_promotion_keeps_age_and_what_is_left_of_each_window() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let life = Lifetime::fresh_for(SECOND * 10)
        .stale_while_revalidate(SECOND * 5)
        .stale_if_error(SECOND * 20)
        .aged(SECOND * 9);
    behind.1.put(&1, &7, life, time.now()).unwrap();
    let cache = builder(&time, &behind).build().unwrap();
    assert_eq!(cache.get_or_load(&1, down).unwrap(), 7);
    assert_eq!(cache.entry(&1).unwrap().lifetime(time.now()), life);
    time.advance(SECOND);
    assert_eq!((cache.get(&1), cache.freshness(&1)), (None, Some(Freshness::Stale)));
    time.advance(SECOND * 5);
    assert_eq!(cache.freshness(&1), Some(Freshness::Expired));
    time.advance(SECOND * 15);
    assert_eq!(cache.freshness(&1), None);
}

#[test]
fn s8_a_stale_value_behind_serves_at_once_and_is_refreshed() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let old = Lifetime::fresh_for(SECOND).stale_while_revalidate(SECOND * 9).aged(SECOND * 2);
    for patience in [Duration::MAX, SECOND] {
        behind.1.put(&1, &7, old, time.now()).unwrap();
        let cache = builder(&time, &behind).hard_timeout(patience).build().unwrap();
        let (tell, told) = channel();
        let loader = move || told.recv().map_err(|_| "given up".to_owned());
        let seen = cache.read(&1).outcome(loader).unwrap();
        assert_eq!((seen.value, seen.freshness), (7, Freshness::Stale));
        assert_eq!(seen.load, LoadPart::Started);
        assert_eq!(cache.get_or_load(&1, load(0)).unwrap(), 7, "one load, and all are served");
        tell.send(8).unwrap();
        until(|| cache.get(&1) == Some(8));
        until(|| behind.value(1, &time) == Some(8));
        assert_eq!(cache.stats().loads, 1);
    }
}

#[test]
fn s8_who_wants_it_fresh_waits_for_the_origin() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let old = Lifetime::fresh_for(SECOND).stale_while_revalidate(SECOND * 9).aged(SECOND * 2);
    behind.1.put(&1, &7, old, time.now()).unwrap();
    let cache = builder(&time, &behind).build().unwrap();
    let (here, at_origin) = channel();
    let (tell, told) = channel();
    let reader = cache.clone();
    let strict = thread::spawn(move || {
        let loader = move || {
            here.send(()).unwrap();
            told.recv().map_err(|_| "given up".to_owned())
        };
        reader.read(&1).fresh().get_or_load(loader).unwrap()
    });
    at_origin.recv().unwrap();
    assert_eq!(cache.get_or_load(&1, load(0)).unwrap(), 7);
    tell.send(8).unwrap();
    assert_eq!(strict.join().unwrap(), 8);
}

#[test]
fn s9_an_old_copy_in_memory_gives_way_to_what_a_peer_has_stored() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let [one, other] = [(); 2].map(|()| builder(&time, &behind).build().unwrap());
    assert_eq!(one.get_or_load(&1, load(7)).unwrap(), 7);
    until(|| behind.value(1, &time) == Some(7));
    assert_eq!(other.get_or_load(&1, down).unwrap(), 7);
    time.advance(SECOND * 10);
    assert_eq!(other.get_or_load(&1, load(8)).unwrap(), 8);
    until(|| behind.value(1, &time) == Some(8));
    assert_eq!(one.get_or_load(&1, down).unwrap(), 8);
}

#[test]
fn s10_no_ttl_is_cut_on_the_way() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let [one, other] = [(); 2].map(|()| builder(&time, &behind).build().unwrap());
    let years = SECOND * 86_400 * 3_650;
    one.put(1, Loaded::value(7).ttl(years));
    one.put(2, Loaded::value(8).ttl(Duration::MAX));
    time.advance(years - SECOND);
    assert_eq!(other.get_or_load(&1, down).unwrap(), 7);
    time.advance(SECOND);
    assert!(other.get_or_load(&1, down).is_err());
    assert_eq!(other.get_or_load(&2, down).unwrap(), 8);
}

#[test]
fn what_is_kept_for_errors_behind_serves_when_the_origin_fails() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let old = Lifetime::fresh_for(SECOND).stale_if_error(SECOND * 9).aged(SECOND * 2);
    behind.1.put(&1, &7, old, time.now()).unwrap();
    let cache = builder(&time, &behind).build().unwrap();
    let seen = cache.read(&1).outcome(down).unwrap();
    assert_eq!((seen.value, seen.freshness, seen.degraded), (7, Freshness::Expired, true));
    assert_eq!(behind.value(1, &time), Some(7), "a failure changes nothing behind");
}

#[test]
fn mutations_are_in_both_when_they_return() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).stale_if_error(SECOND * 50).build().unwrap();
    cache.put(1, 7);
    assert_eq!(behind.value(1, &time), Some(7));
    assert_eq!(cache.put_if_absent(1, 8), Put::Present(8));
    assert_eq!(behind.value(1, &time), Some(7));
    time.advance(SECOND);
    assert!(cache.expire(&1).found);
    let stored = behind.1.get(&1, time.now()).unwrap().unwrap();
    assert_eq!(stored.lifetime.freshness(), Freshness::Expired);
    assert!(cache.invalidate(&1).found);
    assert_eq!(behind.value(1, &time), None);
    cache.put(2, Loaded::value(9).tag("blue"));
    assert_eq!(behind.value(2, &time), None, "what has tags stays in memory");
    cache.put(3, 9);
    cache.put(3, Loaded::value(9).tag("blue"));
    assert_eq!(behind.value(3, &time), None);
    cache.put(4, 9);
    cache.clear();
    assert!(behind.1.is_empty() && cache.is_empty());
    behind.1.put(&5, &50, Lifetime::fresh_for(SECOND), time.now()).unwrap();
    assert_eq!(cache.put_if_absent(5, 8), Put::Present(8), "present behind");
    assert_eq!(cache.get(&5), Some(50));
}

#[test]
fn a_refresh_asks_the_origin_whatever_is_behind() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).build().unwrap();
    cache.put(1, 7);
    assert!(cache.refresh(&1, load(8)));
    until(|| behind.value(1, &time) == Some(8));
    assert_eq!(cache.get(&1), Some(8));
}

#[test]
fn what_is_not_there_or_not_to_be_stored_is_removed_behind() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let life = Lifetime::fresh_for(SECOND).stale_if_error(SECOND * 9).aged(SECOND * 2);
    for key in [1, 2] {
        behind.1.put(&key, &7, life, time.now()).unwrap();
    }
    let cache = builder(&time, &behind).build().unwrap();
    let missing = cache.get_or_load_with(&1, |_| Ok::<_, String>(Loaded::missing()));
    assert!(missing.unwrap_err().is_missing());
    let seen = cache.get_or_load_with(&2, |previous| {
        assert_eq!(previous.value(), Some(&7), "the loader sees what was found behind");
        Ok::<_, String>(Loaded::value(8).no_store())
    });
    assert_eq!(seen.unwrap(), 8);
    until(|| (behind.value(1, &time), behind.value(2, &time)) == (None, None));
}

#[test]
fn a_store_that_is_down_or_panics_costs_no_answer() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).build().unwrap();
    behind.down(true);
    assert_eq!(cache.get_or_load(&1, load(7)).unwrap(), 7);
    assert_eq!(cache.put(2, 8), Put::Stored);
    behind.0.panics.store(true, Ordering::Relaxed);
    assert_eq!(cache.get_or_load(&3, load(9)).unwrap(), 9);
    let many = cache.get_or_load_many(&[1, 2, 3, 4], |keys: Vec<u64>| {
        Ok::<_, String>(keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
    });
    assert_eq!(many.unwrap(), [Some(7), Some(8), Some(9), Some(4)]);
    assert!(cache.stats().store_errors >= 6, "{:?}", cache.stats());
}

#[test]
fn an_invalidation_that_did_not_reach_the_store_holds_all_the_same() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).build().unwrap();
    cache.put(1, 7);
    behind.down(true);
    assert!(cache.invalidate(&1).found);
    behind.down(false);
    assert_eq!(behind.value(1, &time), Some(7), "the store was not reached");
    assert_eq!(cache.get_or_load(&1, load(8)).unwrap(), 8);
    until(|| behind.value(1, &time) == Some(8));
    time.advance(SECOND * 2);
    let other = builder(&time, &behind).build().unwrap();
    assert_eq!(other.get_or_load(&1, down).unwrap(), 8);
    // Of all keys, when it was a clear.
    behind.down(true);
    cache.clear();
    behind.down(false);
    assert_eq!(cache.get_or_load(&1, load(9)).unwrap(), 9);
}

/// More than are remembered: then none is believed until the store has been cleared.
#[test]
fn too_many_doubts_are_a_doubt_of_all() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).build().unwrap();
    cache.put(0, 7);
    behind.down(true);
    for key in 0..=10_000 {
        cache.invalidate(&key);
    }
    behind.down(false);
    assert_eq!(cache.get_or_load(&0, load(8)).unwrap(), 8);
    until(|| behind.value(0, &time) == Some(8));
    cache.clear();
    let asked = behind.asked();
    assert_eq!(cache.get_or_load(&0, load(9)).unwrap(), 9);
    until(|| behind.asked() - asked == 2);
}

/// The load's write is held up; a put comes meanwhile and must be the last in both.
#[test]
fn a_load_that_writes_late_does_not_undo_a_put() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).build().unwrap();
    let ((here, at_store), (go, wait)) = (channel(), channel());
    *behind.0.gate.lock().unwrap() = Some((here, wait));
    let loader = cache.clone();
    let leader = thread::spawn(move || loader.get_or_load(&1, load(7)).unwrap());
    at_store.recv().unwrap();
    assert_eq!(cache.get(&1), Some(7), "those who waited need not wait for the store");
    let writer = cache.clone();
    let writer = thread::spawn(move || writer.put(1, 8));
    go.send(()).unwrap();
    assert_eq!((leader.join().unwrap(), writer.join().unwrap()), (7, Put::Stored));
    assert_eq!((cache.get(&1), behind.value(1, &time)), (Some(8), Some(8)));
}

/// The old value was read from the store before it was invalidated there.
#[test]
fn what_was_read_before_an_invalidation_does_not_stay() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).build().unwrap();
    for round in 0..200 {
        behind.1.put(&1, &7, Lifetime::fresh_for(SECOND), time.now()).unwrap();
        let reader = cache.clone();
        let reader = thread::spawn(move || reader.get_or_load(&1, load(8)).unwrap());
        if round % 2 == 0 {
            thread::yield_now();
        }
        cache.invalidate(&1);
        let seen = reader.join().unwrap();
        assert!(seen == 7 || seen == 8);
        // Whoever asks after the invalidation, and after that load, gets nothing older.
        if let Some(value) = cache.get(&1) {
            assert_eq!(value, 8);
        }
        assert_ne!(behind.value(1, &time), Some(7));
        cache.invalidate(&1);
    }
}

#[test]
fn a_batch_asks_the_store_for_all_and_the_origin_for_the_rest() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let fresh = Lifetime::fresh_for(SECOND * 5);
    let stale = Lifetime::fresh_for(SECOND).stale_while_revalidate(SECOND * 9).aged(SECOND * 2);
    behind.1.put(&1, &10, fresh, time.now()).unwrap();
    behind.1.put(&2, &20, stale, time.now()).unwrap();
    let cache = builder(&time, &behind).build().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&asked);
    let found = cache.get_or_load_many(&[1, 2, 3], move |keys: Vec<u64>| {
        calls.lock().unwrap().push(keys.clone());
        Ok::<_, String>(keys.into_iter().map(|key| (key, key + 100)).collect::<Vec<_>>())
    });
    let found = found.unwrap();
    assert_eq!((found[0], found[2]), (Some(10), Some(103)));
    assert!([Some(20), Some(102)].contains(&found[1]));
    assert_eq!(*asked.lock().unwrap(), [[2, 3]]);
    until(|| (2..=3).all(|key| behind.value(key, &time) == Some(key + 100)));
}

#[test]
fn a_cache_finds_its_entries_again_after_a_restart() {
    let (time, folder) = (ManualTime::new(), tempfile::TempDir::new().unwrap());
    let open = || -> Cache<String, String> {
        let files = DirStore::new(folder.path(), Plain);
        Cache::builder().ttl(SECOND * 3_600).time(time.clone()).l2(files).build().unwrap()
    };
    let (hello, first) = (|| Ok::<_, String>("hello".to_owned()), open());
    assert_eq!(first.get_or_load("key", hello).unwrap(), "hello");
    let files = DirStore::<String, _>::new(folder.path(), Plain);
    until(|| files.len().unwrap() == 1);
    let again = open();
    assert_eq!(again.get_or_load("key", || Err("asked again".to_owned())).unwrap(), "hello");
}

#[derive(Default)]
struct Chained(ManualTime);

impl Harness for Chained {
    type Key = u64;

    fn key(&self, n: u64) -> u64 {
        n
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.0.advance(span);
        self.0.now()
    }
}

type Memory = Arc<MemoryStore<u64, u64>>;

impl StoreHarness for Chained {
    type Value = u64;
    type Store = Chain<Memory, Chain<Memory, Memory>>;

    fn make(&self) -> Self::Store {
        let memory = || Arc::new(MemoryStore::new(1_000));
        Chain::new(memory(), Chain::new(memory(), memory()))
    }

    fn value(&self, n: u64) -> u64 {
        n
    }

    /// Another process: what is near is its own.
    fn another(&self, store: &Self::Store) -> Option<Self::Store> {
        let far = Chain::new(store.far().near().clone(), store.far().far().clone());
        Some(Chain::new(store.near().clone(), far))
    }
}

#[test]
fn a_chain_of_stores_conforms() {
    let report =
        conformance::store(&Chained::default()).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{report}");
}

#[test]
fn s8_a_chain_promotes_with_age_and_s9_prefers_what_is_newer() {
    let (time, chain) = (ManualTime::new(), Chained::default().make());
    let (near, far) = (chain.near(), chain.far().far());
    let life = Lifetime::fresh_for(SECOND * 10).stale_if_error(SECOND * 50).aged(SECOND * 3);
    far.put(&1, &7, life, time.now()).unwrap();
    assert_eq!(chain.get(&1, time.now()).unwrap(), Some(Stored::new(7, life)));
    assert_eq!(near.get(&1, time.now()).unwrap(), Some(Stored::new(7, life)));
    time.advance(SECOND * 10);
    far.put(&1, &8, life, time.now()).unwrap();
    chain.far().near().remove(&1, time.now()).unwrap();
    assert_eq!(chain.get(&1, time.now()).unwrap().unwrap().value, 8);
    assert_eq!(near.get(&1, time.now()).unwrap().unwrap().value, 8);
}

#[test]
fn a_shutdown_waits_for_loads_and_for_what_they_write() {
    let (time, behind) = (ManualTime::new(), Behind::new());
    let cache = builder(&time, &behind).stale_while_revalidate(SECOND * 5).build().unwrap();
    let ((here, at_store), (go, wait)) = (channel(), channel());
    *behind.0.gate.lock().unwrap() = Some((here, wait));
    let (tell, told) = channel();
    let leader = cache.clone();
    let leader = thread::spawn(move || {
        leader.get_or_load(&1, move || told.recv().map_err(|_| "given up".to_owned())).unwrap()
    });
    until(|| cache.explain(&1).flight.is_some());
    assert_eq!(cache.control().shutdown(Duration::ZERO).unwrap_err().loads, 1);
    assert!(matches!(cache.get_or_load(&2, load(7)), Err(LoadError::ShutDown)));
    let many = cache.get_or_load_many(&[2], |_| Ok::<_, String>(Vec::<(u64, u64)>::new()));
    assert!(matches!(many, Err(LoadError::ShutDown)));
    tell.send(7).unwrap();
    at_store.recv().unwrap();
    assert_eq!(cache.control().shutdown(Duration::ZERO).unwrap_err().loads, 1, "it writes");
    let waiting = cache.clone();
    let waiting = thread::spawn(move || waiting.control().shutdown(SECOND));
    go.send(()).unwrap();
    assert_eq!((waiting.join().unwrap(), leader.join().unwrap()), (Ok(()), 7));
    assert_eq!(behind.value(1, &time), Some(7));
    // What is there goes on serving, and nothing is refreshed.
    time.advance(SECOND * 11);
    assert_eq!(cache.get_or_load(&1, load(8)).unwrap(), 7);
    assert!(!cache.refresh(&1, load(8)));
    time.advance(SECOND * 5);
    assert!(matches!(cache.get_or_load(&1, load(8)), Err(LoadError::ShutDown)));
}
