//! Two stores as one.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::entry::{Freshness, Lifetime};
use crate::store::{AsyncStore, Store, StoreError, Stored};
use crate::time::Instant;

/// A near store in front of a far one. Chains of more are made of chains.
///
/// A read asks the far store only where the near one has nothing fresh, and leaves what it finds in
/// the near one, with its age and its windows. Writes go to both, the far one first. Where the near
/// store fails, a read is answered by the far one; a write is an error if either fails, and then each
/// store has the old entry, the new one, or none.
///
/// A key that is changed while a read copies it to the near store is read once more there, so that no
/// old value stays. Two changes of one key at a time are for the caller to order, as a cache does.
///
/// ```
/// use core::time::Duration;
/// use cache_core::{Instant, Lifetime};
/// use cache_core::store::{Chain, Store};
/// # use std::{cell::RefCell, collections::HashMap};
/// # use cache_core::{Entry, store::{StoreError, Stored}};
/// # #[derive(Default)]
/// # struct Memory(RefCell<HashMap<String, Entry<u32>>>);
/// # impl Store<str, u32> for Memory {
/// #     fn get(&self, key: &str, now: Instant) -> Result<Option<Stored<u32>>, StoreError> {
/// #         let entry = self.0.borrow().get(key).copied();
/// #         let alive = entry.filter(|entry| !now.has_reached(entry.gone_at()));
/// #         Ok(alive.map(|entry| Stored::new(entry.value, entry.lifetime(now))))
/// #     }
/// #     fn put(&self, key: &str, v: &u32, life: Lifetime, now: Instant) -> Result<(), StoreError> {
/// #         self.0.borrow_mut().insert(key.into(), Entry::from_lifetime(*v, life, now));
/// #         Ok(())
/// #     }
/// #     fn remove(&self, key: &str, _: Instant) -> Result<bool, StoreError> {
/// #         Ok(self.0.borrow_mut().remove(key).is_some())
/// #     }
/// # }
///
/// let (near, far) = (Memory::default(), Memory::default());
/// let now = Instant::ORIGIN + Duration::from_secs(600);
/// let hour = Lifetime::fresh_for(Duration::from_secs(3_600)).aged(Duration::from_secs(60));
/// far.put("answer", &42, hour, now)?;
/// Chain::new(&near, &far).get("answer", now)?;
/// assert_eq!(near.get("answer", now)?.map(|found| found.lifetime), Some(hour));
/// # Ok::<(), StoreError>(())
/// ```
#[derive(Debug, Default)]
pub struct Chain<A, B> {
    near: A,
    far: B,
    changes: Changes,
}

impl<A, B> Chain<A, B> {
    /// `near` in front of `far`.
    pub const fn new(near: A, far: B) -> Self {
        Self { near, far, changes: Changes::new() }
    }

    /// The near store.
    pub const fn near(&self) -> &A {
        &self.near
    }

    /// The far store.
    pub const fn far(&self) -> &B {
        &self.far
    }

    /// Counts as a change under way until what it returns is dropped.
    pub(super) fn begin_change(&self) -> Change<'_> {
        count(&self.changes.begun);
        Change(&self.changes)
    }
}

impl<K: ?Sized, V, A: Store<K, V>, B: Store<K, V>> Store<K, V> for Chain<A, B> {
    fn get(&self, key: &K, now: Instant) -> Result<Option<Stored<V>>, StoreError> {
        // A near store that fails is as good as one that has nothing.
        let near = self.near.get(key, now).unwrap_or_default();
        if near.as_ref().is_some_and(|near| near.lifetime.freshness() == Freshness::Fresh) {
            return Ok(near);
        }
        let seen = self.changes.seen();
        let far = match (self.far.get(key, now), near.is_some()) {
            (Err(_), true) => None,
            (answer, _) => answer?,
        };
        let Some(far) = newer(near.as_ref(), far) else { return Ok(near) };
        // To have it nearer is a gain, and no promise.
        let _ = self.near.put(key, &far.value, far.lifetime, now);
        if self.changes.since(seen) && is_outdated(&far, self.far.get(key, now)) {
            let _ = self.near.remove(key, now);
        }
        Ok(Some(far))
    }

    fn put(&self, key: &K, value: &V, lifetime: Lifetime, now: Instant) -> Result<(), StoreError> {
        let _change = self.begin_change();
        let far = self.far.put(key, value, lifetime, now);
        match self.near.put(key, value, lifetime, now) {
            // What is too large for the near store must not leave an older one there.
            Err(StoreError::TooLarge { .. }) => self.near.remove(key, now).map(drop).and(far),
            near => far.and(near),
        }
    }

    fn remove(&self, key: &K, now: Instant) -> Result<bool, StoreError> {
        let _change = self.begin_change();
        let (far, near) = (self.far.remove(key, now), self.near.remove(key, now));
        Ok(far? | near?)
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        let _change = self.begin_change();
        let far = self.far.clear(now);
        self.near.clear(now).and(far)
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        // Copies of one entry count once.
        let (near, far) = (self.near.purge(now, budget), self.far.purge(now, budget));
        Ok(near?.max(far?))
    }
}

/// As for blocking stores. The far store counts as this process's own: where others change it, they do not
/// change the near one.
impl<K, V, A, B> AsyncStore<K, V> for Chain<A, B>
where
    K: Sync + ?Sized,
    V: Send + Sync,
    A: AsyncStore<K, V> + Sync,
    B: AsyncStore<K, V> + Sync,
{
    async fn get(&self, key: &K, now: Instant) -> Result<Option<Stored<V>>, StoreError> {
        // A near store that fails is as good as one that has nothing.
        let near = self.near.get(key, now).await.unwrap_or_default();
        if near.as_ref().is_some_and(|near| near.lifetime.freshness() == Freshness::Fresh) {
            return Ok(near);
        }
        let seen = self.changes.seen();
        let far = match (self.far.get(key, now).await, near.is_some()) {
            (Err(_), true) => None,
            (answer, _) => answer?,
        };
        let Some(far) = newer(near.as_ref(), far) else { return Ok(near) };
        // To have it nearer is a gain, and no promise.
        let _ = self.near.put(key, &far.value, far.lifetime, now).await;
        if self.changes.since(seen) && is_outdated(&far, self.far.get(key, now).await) {
            let _ = self.near.remove(key, now).await;
        }
        Ok(Some(far))
    }

    async fn put(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<(), StoreError> {
        let _change = self.begin_change();
        let far = self.far.put(key, value, lifetime, now).await;
        match self.near.put(key, value, lifetime, now).await {
            // What is too large for the near store must not leave an older one there.
            Err(StoreError::TooLarge { .. }) => self.near.remove(key, now).await.map(drop).and(far),
            near => far.and(near),
        }
    }

    async fn remove(&self, key: &K, now: Instant) -> Result<bool, StoreError> {
        let _change = self.begin_change();
        let (far, near) = (self.far.remove(key, now).await, self.near.remove(key, now).await);
        Ok(far? | near?)
    }

    async fn clear(&self, now: Instant) -> Result<(), StoreError> {
        let _change = self.begin_change();
        let far = self.far.clear(now).await;
        self.near.clear(now).await.and(far)
    }

    async fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        // Copies of one entry count once.
        let near = self.near.purge(now, budget).await;
        Ok(near?.max(self.far.purge(now, budget).await?))
    }
}

/// What the far store has, if it is newer than what the near one has.
fn newer<V>(near: Option<&Stored<V>>, far: Option<Stored<V>>) -> Option<Stored<V>> {
    far.filter(|far| near.is_none_or(|near| far.lifetime.age < near.lifetime.age))
}

/// Whether the far store has, or may have, something else by now than what was copied from it. (What is
/// stored at the instant at which something was stored before it looks the same.)
fn is_outdated<V>(copied: &Stored<V>, now: Result<Option<Stored<V>>, StoreError>) -> bool {
    let (age, young) = (copied.lifetime.age, copied.lifetime.age.is_zero());
    young || !now.is_ok_and(|far| far.is_some_and(|far| far.lifetime.age >= age))
}

/// Counts changes of any keys, for reads that copy: few of them meet one.
#[derive(Debug, Default)]
struct Changes {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// A change under way. (One that was given up by its caller has ended, as far as the caller can tell.)
pub(super) struct Change<'a>(&'a Changes);

/// The changes that had begun, if all had ended.
#[derive(Clone, Copy)]
struct Seen(Option<usize>);

impl Changes {
    const fn new() -> Self {
        Self { begun: AtomicUsize::new(0), ended: AtomicUsize::new(0) }
    }

    fn seen(&self) -> Seen {
        // In this order: a change that begins in between is one under way.
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        Seen((begun == ended).then_some(begun))
    }

    /// Whether there was a change then, or has been one since.
    fn since(&self, seen: Seen) -> bool {
        seen.0 != Some(self.begun.load(Ordering::SeqCst))
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        count(&self.0.ended);
    }
}

#[cfg(target_has_atomic = "ptr")]
fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Where there is no instruction for it there is one core, and tasks do not give it up in here.
#[cfg(not(target_has_atomic = "ptr"))]
fn count(counter: &AtomicUsize) {
    counter.store(counter.load(Ordering::SeqCst).wrapping_add(1), Ordering::SeqCst);
}
