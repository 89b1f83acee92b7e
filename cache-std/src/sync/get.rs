//! `get`, the fastest way out of a cache.

use core::borrow::Borrow;
use core::hash::{BuildHasher, Hash};
use std::sync::atomic::Ordering;

use cache_core::Instant;

use super::cache::Cache;
use super::tables::{Lent, Look, Plain, Tables};
use crate::time::TickTime;

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// A copy of the fresh value. Starts no load.
    #[inline(always)] // left to itself, the compiler calls it in some programs: half as long again
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        if let Some(tables) = inner.tables.quick() {
            let hash = inner.hash(key);
            if let Some(value) = tables.hot(hash, key, TickTime::latest()) {
                return Some(value);
            }
            return self.get_slowly(hash, key, TickTime::latest());
        }
        if Plain::<K, V>::MAY_BE {
            return self.get_elsewhere(key);
        }
        let mut elsewhere = None;
        match self.lend(key, &mut elsewhere) {
            Some(lent) => {
                // It is `None` still, which the compiler would look at after each hit.
                core::mem::forget(elsewhere);
                Some(lent.clone())
            }
            None => elsewhere,
        }
    }

    /// Lends the fresh value under its set's lock; or leaves in `elsewhere` what else is to be said.
    ///
    /// Not inlined, and nothing else, so that its registers are back from the stack before the value
    /// is copied. A copy often counts by a locked instruction. Where the count's address has the
    /// lowest 12 bits of a place on the stack, processors take the two for one, and whoever needs what
    /// was saved there waits: with both in one function, two of five caches of a thousand `Arc`s had
    /// such a value, and hits took a quarter longer as long as it lived.
    #[inline(never)]
    fn lend<Q>(&self, key: &Q, elsewhere: &mut Option<V>) -> Option<Lent<'_, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        match inner.tables.sets() {
            Some(sets) if inner.ticks_unbypassed.load(Ordering::Relaxed) => {
                let hash = inner.hash(key);
                let looked = sets.lend(hash, key, TickTime::latest);
                self.lent(looked, hash, key, elsewhere)
            }
            _ => self.lend_elsewhere(key, elsewhere),
        }
    }

    /// The same where there are no sets.
    #[inline(never)]
    fn lend_elsewhere<Q>(&self, key: &Q, elsewhere: &mut Option<V>) -> Option<Lent<'_, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.lend_of_one(key, elsewhere)
    }

    /// The same where one table holds all entries.
    #[inline(always)]
    fn lend_of_one<Q>(&self, key: &Q, elsewhere: &mut Option<V>) -> Option<Lent<'_, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        match inner.tables.one() {
            Some(one) if inner.ticks_unbypassed.load(Ordering::Relaxed) => {
                let hash = inner.hash(key);
                let looked = one.lend(hash, key, TickTime::latest);
                self.lent(looked, hash, key, elsewhere)
            }
            _ => {
                *elsewhere = self.get_otherwise(key);
                None
            }
        }
    }

    #[inline(always)]
    fn lent<'a, Q>(
        &self,
        looked: Look<Lent<'a, V>>,
        hash: u64,
        key: &Q,
        elsewhere: &mut Option<V>,
    ) -> Option<Lent<'a, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match looked {
            Look::Fresh(lent) => return Some(lent),
            Look::Absent => {}
            Look::Ask => *elsewhere = self.get_within(hash, key),
        }
        None
    }

    /// The same where a table alone cannot tell.
    #[cold]
    #[inline(never)]
    fn get_within<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        inner.tables.look_within(hash, key, inner.now(), &inner.contract())
    }

    /// The same for what needs no drop and is not read without a lock: by another time than the shared
    /// tick, in another arrangement, or of a type that nobody knows to be plain.
    #[cold]
    #[inline(never)]
    fn get_elsewhere<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut elsewhere = None;
        match self.lend_of_one(key, &mut elsewhere) {
            Some(lent) => Some(lent.clone()),
            None => elsewhere,
        }
    }

    /// The same in whichever arrangement, where the time is another, or the cache is bypassed: a call
    /// of a clock would cost every hit a few saved registers.
    #[cold]
    #[inline(never)]
    fn get_otherwise<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get_slowly(self.inner.hash(key), key, self.inner.now())
    }

    /// The same for all who are not told at once: out of the way of those who are.
    #[cold]
    #[inline(never)]
    fn get_slowly<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        if inner.is_bypassed() {
            return inner.tables.look_within(hash, key, now, &inner.contract());
        }
        match &inner.tables {
            Tables::Sets(_) => inner.tables.get(hash, key, now),
            tables => tables.get_slowly(hash, key, now),
        }
    }
}
