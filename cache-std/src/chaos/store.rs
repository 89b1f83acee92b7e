//! A store that fails on purpose.

use core::time::Duration;

use cache_core::store::{HeldLease, Leases, Store, StoreError, Stored};
use cache_core::{Instant, Lifetime};

use super::counts::Kind;
use super::{Chaos, Plan};

/// A store that fails by a plan; made by [`Chaos::store`].
#[derive(Clone, Debug)]
pub struct ChaosStore<S> {
    store: S,
    chaos: Chaos,
}

type Answer<T> = Result<T, StoreError>;

impl<S> ChaosStore<S> {
    pub(super) const fn new(store: S, chaos: Chaos) -> Self {
        Self { store, chaos }
    }

    /// The store itself, which does not fail.
    pub const fn inner(&self) -> &S {
        &self.store
    }

    /// One call: in time or late, before the fault or instead of it.
    fn ask<T>(
        &self,
        operation: &'static str,
        ask: impl FnOnce(&S, &mut Plan) -> Answer<T>,
    ) -> Answer<T> {
        let (chaos, mut plan) = (&self.chaos, self.chaos.plan());
        chaos.begin(&plan);
        if plan.unsupported {
            chaos.note(Kind::Unsupported);
            return Err(StoreError::unsupported(operation));
        }
        if !chaos.fails(&plan) {
            return ask(&self.store, &mut plan);
        }
        if plan.late {
            drop(ask(&self.store, &mut plan));
        }
        Err(StoreError::unavailable("a fault on purpose"))
    }

    fn corrupts(&self, plan: &mut Plan) -> bool {
        let corrupts = plan.dice.chance(self.chaos.rates.corrupt);
        if corrupts {
            self.chaos.note(Kind::Corrupt);
        }
        corrupts
    }

    /// Loses an entry that was said to be kept.
    fn lose<K: ?Sized, V>(&self, plan: &Plan, key: &K, now: Instant) -> Answer<()>
    where
        S: Store<K, V>,
    {
        if plan.lost {
            self.chaos.note(Kind::Lost);
            self.store.remove(key, now)?;
        }
        Ok(())
    }
}

impl<K: ?Sized, V, S: Store<K, V>> Store<K, V> for ChaosStore<S> {
    fn get(&self, key: &K, now: Instant) -> Answer<Option<Stored<V>>> {
        self.ask("get", |store, plan| match store.get(key, now)? {
            Some(_) if self.corrupts(plan) => Err(StoreError::corrupt("damaged on purpose")),
            found => Ok(found),
        })
    }

    fn put(&self, key: &K, value: &V, lifetime: Lifetime, now: Instant) -> Answer<()> {
        self.ask("put", |store, plan| {
            store.put(key, value, lifetime, now)?;
            self.lose(plan, key, now)
        })
    }

    fn remove(&self, key: &K, now: Instant) -> Answer<bool> {
        self.ask("remove", |store, _| store.remove(key, now))
    }

    fn get_many(
        &self,
        keys: &[&K],
        now: Instant,
        found: &mut dyn FnMut(usize, Stored<V>),
    ) -> Answer<()> {
        self.ask("get_many", |store, plan| {
            store.get_many(keys, now, &mut |at, stored| {
                if !self.corrupts(plan) {
                    found(at, stored);
                }
            })
        })
    }

    fn put_if_absent(&self, key: &K, value: &V, life: Lifetime, now: Instant) -> Answer<bool> {
        self.ask("put_if_absent", |store, plan| {
            let stored = store.put_if_absent(key, value, life, now)?;
            if stored {
                self.lose(plan, key, now)?;
            }
            Ok(stored)
        })
    }

    fn clear(&self, now: Instant) -> Answer<()> {
        self.ask("clear", |store, _| store.clear(now))
    }

    fn purge(&self, now: Instant, budget: usize) -> Answer<usize> {
        self.ask("purge", |store, _| store.purge(now, budget))
    }
}

impl<K: ?Sized, S: Leases<K>> Leases<K> for ChaosStore<S> {
    fn acquire(&self, key: &K, ttl: Duration, now: Instant) -> Answer<Option<HeldLease>> {
        self.ask("acquire", |leases, _| leases.acquire(key, ttl, now))
    }

    fn renew(&self, key: &K, lease: &HeldLease, ttl: Duration, now: Instant) -> Answer<bool> {
        self.ask("renew", |leases, _| leases.renew(key, lease, ttl, now))
    }

    fn release(&self, key: &K, lease: HeldLease, now: Instant) -> Answer<bool> {
        self.ask("release", |leases, _| leases.release(key, lease, now))
    }
}
