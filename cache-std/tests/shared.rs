//! Caches for threads that share a store, each as if it were a process of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cache_core::store::{
    HeldLease, Leases, Mutation, SharedStore, Station, Store, StoreError, Stored,
};
use cache_core::{Freshness, Instant, Lifetime};
use cache_std::sync::{Builder, Cache, Reach};
use cache_std::{ManualTime, MemoryStore};

type Memory = MemoryStore<u64, u64>;

/// A store that can be out of reach, and counts renewals.
#[derive(Default)]
struct Trouble {
    down: AtomicBool,
    renewals: AtomicUsize,
    renewed: Mutex<Option<std::sync::mpsc::Sender<()>>>,
}

#[derive(Clone)]
struct Far(Arc<Memory>, Arc<Trouble>);

impl Far {
    fn new() -> Self {
        Self(Arc::new(MemoryStore::new(100)), Arc::default())
    }

    fn ask<T>(&self, ask: impl FnOnce(&Memory) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.1.down.load(Ordering::Relaxed) {
            true => Err(StoreError::unavailable("on purpose")),
            false => ask(&self.0),
        }
    }

    fn value(&self, key: u64, now: Instant) -> Option<u64> {
        Store::<u64, u64>::get(&*self.0, &key, now).unwrap().map(|stored| stored.value)
    }

    fn process(&self) -> Builder<u64, u64> {
        let builder = Cache::builder().ttl(Duration::from_secs(60)).jitter_percent(0);
        builder.l2(self.clone()).backplane(Arc::clone(&self.0))
    }
}

impl Store<u64, u64> for Far {
    fn get(&self, key: &u64, now: Instant) -> Result<Option<Stored<u64>>, StoreError> {
        self.ask(|store| Store::get(store, key, now))
    }

    fn put(&self, key: &u64, v: &u64, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.ask(|store| Store::put(store, key, v, life, now))
    }

    fn remove(&self, key: &u64, now: Instant) -> Result<bool, StoreError> {
        self.ask(|store| Store::<u64, u64>::remove(store, key, now))
    }

    fn shared(&self) -> Option<&(dyn SharedStore<u64, u64> + Sync)> {
        Some(self)
    }
}

impl SharedStore<u64, u64> for Far {
    fn mutate(
        &self,
        key: &u64,
        mutation: Mutation<'_, u64>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.ask(|store| SharedStore::mutate(store, key, mutation, by, now))
    }

    fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
        self.ask(|store| SharedStore::<u64, u64>::clear_all(store, by, now))
    }
}

impl Leases<u64> for Far {
    fn acquire(
        &self,
        key: &u64,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        self.ask(|store| Leases::<u64>::acquire(store, key, ttl, now))
    }

    fn renew(
        &self,
        key: &u64,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.1.renewals.fetch_add(1, Ordering::Relaxed);
        let renewed = self.ask(|store| Leases::<u64>::renew(store, key, lease, ttl, now));
        if let Some(told) = &*self.1.renewed.lock().unwrap() {
            told.send(()).unwrap();
        }
        renewed
    }

    fn release(&self, key: &u64, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        self.ask(|store| Leases::<u64>::release(store, key, lease, now))
    }
}

fn load(value: u64) -> impl FnOnce() -> Result<u64, String> + Send + 'static {
    move || Ok(value)
}

#[test]
fn what_one_changes_the_other_has_no_more() {
    let (far, time) = (Far::new(), ManualTime::new());
    let process = || far.process().time(time.clone()).stale_if_error(Duration::from_secs(60));
    let (one, two) = (process().build().unwrap(), process().build().unwrap());
    assert_eq!(one.get_or_load(&1, load(1)).unwrap(), 1);
    thread::scope(|scope| {
        // The load leaves it in the store after its caller has gone.
        scope.spawn(|| {
            while far.value(1, Instant::ORIGIN).is_none() {
                thread::yield_now()
            }
        });
    });
    assert_eq!(two.get_or_load(&1, load(9)).unwrap(), 1);
    assert!(one.expire(&1).found);
    assert_eq!(two.freshness(&1), Some(Freshness::Expired));
    assert!(one.put(1, 2).is_stored());
    assert_eq!((one.get(&1), two.freshness(&1)), (Some(2), None));
    assert_eq!(two.get_or_load(&1, load(9)).unwrap(), 2);
    assert_eq!(one.invalidate(&1).reach, Reach::Everywhere);
    assert_eq!((one.get(&1), two.get(&1)), (None, None));
    assert!(two.put(1, 3).is_stored());
    assert_eq!((one.clear(), two.len()), (Reach::Everywhere, 0));
}

#[test]
fn r8_one_of_the_processes_loads_and_renews_its_lease_meanwhile() {
    let far = Far::new();
    let (told, renewed) = channel();
    *far.1.renewed.lock().unwrap() = Some(told);
    let process = || far.process().l2_lease(Duration::from_secs(3)).build().unwrap();
    let (one, two) = (process(), process());
    let (begin, begun) = channel();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            one.get_or_load(&1, move || {
                begin.send(()).unwrap();
                // Two thirds of its time, at least.
                (0..2).for_each(|_| renewed.recv().unwrap());
                Ok::<_, String>(1)
            })
        });
        begun.recv().unwrap();
        let second = scope.spawn(|| two.get_or_load(&1, load(2)));
        assert_eq!(first.join().unwrap().unwrap(), 1);
        assert_eq!(second.join().unwrap().unwrap(), 1, "it waited for the other's");
    });
    let after = far.1.renewals.load(Ordering::Relaxed);
    assert_eq!((two.stats().store_hits, after >= 2), (1, true));
}

#[test]
fn an_invalidation_that_the_store_missed_is_made_up_for() {
    let far = Far::new();
    let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
    assert!(one.put(1, 1).is_stored());
    assert_eq!(two.get_or_load(&1, load(9)).unwrap(), 1);
    far.1.down.store(true, Ordering::Relaxed);
    assert_eq!(one.invalidate(&1).reach, Reach::Queued);
    assert_eq!(two.get(&1), Some(1));
    far.1.down.store(false, Ordering::Relaxed);
    while two.get(&1).is_some() {
        thread::yield_now();
    }
    assert_eq!(far.value(1, Instant::ORIGIN), None);
}

#[test]
fn r8_a_lease_whose_end_the_store_missed_is_given_back() {
    let far = Far::new();
    let process = || far.process().l2_lease(Duration::from_secs(600)).build().unwrap();
    let (one, two) = (process(), process());
    let trouble = Arc::clone(&far.1);
    let failing = move || {
        trouble.down.store(true, Ordering::Relaxed);
        Err::<u64, _>("the origin is down, too".to_owned())
    };
    assert!(one.get_or_load(&1, failing).is_err());
    while one.stats().store_errors == 0 {
        thread::yield_now(); // the caller was told before the store was
    }
    far.1.down.store(false, Ordering::Relaxed);
    assert_eq!(two.get_or_load(&1, load(2)).unwrap(), 2, "long before the end of the lease");
}

#[test]
fn r8_batches_load_no_key_twice() {
    let far = Far::new();
    let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
    let (begin, begun) = channel();
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            one.get_or_load_many(&[1, 2], move |keys: Vec<u64>| {
                begin.send(()).unwrap();
                wait.lock().unwrap().recv().unwrap();
                Ok::<_, String>(keys.into_iter().map(|key| (key, key * 10)).collect::<Vec<_>>())
            })
        });
        begun.recv().unwrap();
        let second = scope.spawn(|| {
            two.get_or_load_many(&[2, 3], |keys: Vec<u64>| {
                assert_eq!(keys, [3], "the other loads 2");
                Ok::<_, String>([(3, 30)])
            })
        });
        while two.explain(&3).flight.is_none() {
            thread::yield_now();
        }
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), [Some(10), Some(20)]);
        assert_eq!(second.join().unwrap().unwrap(), [Some(20), Some(30)]);
    });
}

/// A value whose end makes another call of the cache, for the same key.
#[derive(Clone)]
struct Calls(u64, std::sync::Weak<Cache<u64, Self>>);

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some(cache) = self.1.upgrade() {
            cache.expire(&1);
        }
    }
}

/// A store that keeps nothing.
struct Nowhere;

impl Store<u64, Calls> for Nowhere {
    fn get(&self, _: &u64, _: Instant) -> Result<Option<Stored<Calls>>, StoreError> {
        Ok(None)
    }

    fn put(&self, _: &u64, _: &Calls, _: Lifetime, _: Instant) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&self, _: &u64, _: Instant) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn clear(&self, _: Instant) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_value_that_calls_the_cache_when_it_is_dropped_holds_up_nothing() {
    let (done, ended) = channel();
    thread::spawn(move || {
        let cache = Arc::new_cyclic(|cache| {
            let builder = Cache::builder().ttl(Duration::from_secs(60)).l2(Nowhere);
            let (own, built) = (cache.clone(), builder.build().unwrap());
            built.put(1, Calls(1, own));
            built
        });
        let own = Arc::downgrade(&cache);
        assert!(cache.put(1, Calls(2, own.clone())).is_stored());
        cache.invalidate(&1);
        let loaded = cache.get_or_load(&1, move || Ok::<_, String>(Calls(3, own)));
        assert_eq!(loaded.unwrap().0, 3);
        cache.clear();
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("it hangs");
}

#[test]
fn a_store_in_memory_keeps_no_key_of_what_it_has_purged() {
    let store = MemoryStore::<Arc<str>, u8>::new(100);
    let (key, now) = (Arc::<str>::from("key"), Instant::from_secs(100));
    let lifetime =
        Lifetime::fresh_for(Duration::from_secs(1)).stale_if_error(Duration::from_secs(1));
    Store::put(&store, &key, &1, lifetime, now).unwrap();
    assert!(Arc::strong_count(&key) > 1);
    let later = now + Duration::from_secs(100);
    assert_eq!(Store::<Arc<str>, u8>::purge(&store, later, usize::MAX).unwrap(), 1);
    assert_eq!(Arc::strong_count(&key), 1);
}
