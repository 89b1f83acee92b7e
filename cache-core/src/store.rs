//! What keeps entries behind the cache: a file, a database, a server. Implemented by users.
//!
//! [`Store`] is for blocking stores, [`AsyncStore`] for those that answer later; [`Ready`] makes
//! the one into the other. A store that can also keep others from loading the same key implements
//! [`Leases`] or [`AsyncLeases`]. Whether a store behaves as it must can be checked with
//! `conformance::store` (feature `conformance`).

mod chain;
#[cfg(feature = "envelope")]
mod codec;
#[cfg(feature = "envelope")]
pub mod envelope;
mod error;
mod forward;
mod leases;
#[cfg(feature = "envelope")]
mod locks;
mod shared;

pub use self::chain::Chain;
#[cfg(any(feature = "lz4", feature = "zstd"))]
pub use self::codec::CompressionError;
#[cfg(feature = "json")]
pub use self::codec::Json;
#[cfg(feature = "lz4")]
pub use self::codec::Lz4;
#[cfg(feature = "messagepack")]
pub use self::codec::MessagePack;
#[cfg(feature = "postcard")]
pub use self::codec::Postcard;
#[cfg(feature = "protobuf")]
pub use self::codec::Protobuf;
#[cfg(feature = "zstd")]
pub use self::codec::Zstd;
#[cfg(feature = "envelope")]
pub use self::codec::{Codec, CodecError, KeyBytes, KeyFromBytes, Plain};
pub use self::error::{Cause, StoreError};
pub use self::forward::Ready;
pub use self::leases::{AsyncLeases, HeldLease, Leases};
#[cfg(feature = "envelope")]
pub use self::locks::{
    AcquireError, AsyncLock, AsyncLocks, ExtendError, Lock, LockOptions, Locks, Released,
};
pub use self::shared::{AsyncSharedStore, Mutation, SharedStore, Station, TagChange, Unshared};
#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
pub use self::shared::{Backplane, Receiver};
use crate::entry::{Entry, Lifetime};
#[cfg(feature = "alloc")]
use crate::loaded::Loaded;
use crate::time::Instant;

/// A value with what is known of its life, as a store hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored<V> {
    /// The value.
    pub value: V,
    /// Its life as of now: the age has grown by the time spent in the store.
    pub lifetime: Lifetime,
    #[cfg(feature = "alloc")]
    tags: alloc::vec::Vec<u64>,
}

impl<V> Stored<V> {
    /// A value and its life as of now.
    pub const fn new(value: V, lifetime: Lifetime) -> Self {
        Self {
            value,
            lifetime,
            #[cfg(feature = "alloc")]
            tags: alloc::vec::Vec::new(),
        }
    }

    /// With the hashes of its tags.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn tagged(mut self, hashes: impl IntoIterator<Item = u64>) -> Self {
        self.tags = hashes.into_iter().collect();
        self
    }

    /// The [hashes](crate::tag_hash) of its tags.
    #[cfg(feature = "alloc")]
    pub fn tags(&self) -> &[u64] {
        &self.tags
    }

    /// The same as a loader's answer, with all windows said, so that none is the policy's, and with its tags.
    #[cfg(feature = "alloc")]
    pub fn into_loaded(self) -> Loaded<V> {
        let Lifetime { age, ttl, swr, sie } = self.lifetime;
        let loaded = Loaded::value(self.value).ttl(ttl).stale_while_revalidate(swr);
        self.tags.into_iter().fold(loaded.stale_if_error(sie).age(age), Loaded::tag_hash)
    }

    /// The same as an entry of a cache whose clock reads `now`.
    pub fn into_entry(self, now: Instant) -> Entry<V> {
        Entry::from_lifetime(self.value, self.lifetime, now)
    }
}

/// A store that answers at once, or blocks its caller until it can.
///
/// `now` is the caller's clock. A store in this process may count time by it; one that is shared
/// with others or outlives the process keeps its own clock and leaves `now` aside. What goes in and
/// out is a [`Lifetime`], made of durations, so the two clocks never meet.
///
/// What a store promises:
/// - `get` answers what the last `put` of an equal key gave, with an age grown by what has passed
///   since, until [`Lifetime::total`] is over; from then on it answers `None`. No other key, whatever
///   its characters, reaches that entry. [`Duration::MAX`](core::time::Duration::MAX) stays as it
///   is: for ever. A store may lose entries; it never alters them.
/// - An entry that is over when it is put ends what was there, and is not kept.
/// - An operation it cannot do is answered by [`StoreError::Unsupported`] and changes nothing. A
///   value it cannot hold is answered by [`StoreError::TooLarge`] and changes nothing.
/// - Bytes that it cannot read are an absent entry or [`StoreError::Corrupt`], not a value. What is
///   out of reach is [`StoreError::Unavailable`], not absent: after that the entry is the old one,
///   the new one, or none.
/// - No lifetime and no `now` makes it panic: what is zero, huge or earlier than before saturates.
///
/// ```
/// use core::time::Duration;
/// use std::{cell::RefCell, collections::HashMap};
/// use cache_core::{Entry, Instant, Lifetime};
/// use cache_core::store::{Store, StoreError, Stored};
///
/// #[derive(Default)]
/// struct Memory(RefCell<HashMap<String, Entry<u32>>>);
///
/// impl Store<str, u32> for Memory {
///     fn get(&self, key: &str, now: Instant) -> Result<Option<Stored<u32>>, StoreError> {
///         let entry = self.0.borrow().get(key).copied();
///         let alive = entry.filter(|entry| !now.has_reached(entry.gone_at()));
///         Ok(alive.map(|entry| Stored::new(entry.value, entry.lifetime(now))))
///     }
///
///     fn put(&self, key: &str, value: &u32, life: Lifetime, now: Instant) -> Result<(), StoreError> {
///         self.0.borrow_mut().insert(key.into(), Entry::from_lifetime(*value, life, now));
///         Ok(())
///     }
///
///     fn remove(&self, key: &str, now: Instant) -> Result<bool, StoreError> {
///         let removed = self.0.borrow_mut().remove(key);
///         Ok(removed.is_some_and(|entry| !now.has_reached(entry.gone_at())))
///     }
/// }
///
/// let store: &dyn Store<str, u32> = &Memory::default();
/// let minute = Lifetime::fresh_for(Duration::from_secs(60));
/// store.put("answer", &42, minute, Instant::from_secs(100))?;
/// let stored = store.get("answer", Instant::from_secs(110))?.expect("still fresh");
/// assert_eq!((stored.value, stored.lifetime.age), (42, Duration::from_secs(10)));
/// # Ok::<(), StoreError>(())
/// ```
pub trait Store<K: ?Sized, V> {
    /// The entry of `key`, if its life is not over.
    ///
    /// # Errors
    /// The store is out of reach, or cannot read what it holds.
    fn get(&self, key: &K, now: Instant) -> Result<Option<Stored<V>>, StoreError>;

    /// Keeps `value` for what is left of `lifetime`, in place of what was there.
    ///
    /// # Errors
    /// The store is out of reach, or the entry is too large for it.
    fn put(&self, key: &K, value: &V, lifetime: Lifetime, now: Instant) -> Result<(), StoreError>;

    /// Removes the entry of `key`, and tells whether there was one that `get` would have answered.
    ///
    /// # Errors
    /// The store is out of reach.
    fn remove(&self, key: &K, now: Instant) -> Result<bool, StoreError>;

    /// Tells `found` of each entry among `keys`, by its position there, in any order. Absent and
    /// unreadable ones are left out. Unless overridden, this is one `get` for each key.
    ///
    /// # Errors
    /// The store is out of reach. Some entries may have been told by then.
    fn get_many(
        &self,
        keys: &[&K],
        now: Instant,
        found: &mut dyn FnMut(usize, Stored<V>),
    ) -> Result<(), StoreError> {
        for (position, key) in keys.iter().enumerate() {
            if let Some(stored) = StoreError::corrupt_as_absent(self.get(key, now))? {
                found(position, stored);
            }
        }
        Ok(())
    }

    /// Keeps `value` only if there is none that is fresh or stale, in one step; tells whether it did. One that is kept
    /// for errors alone is [absent](Lifetime::is_present), and gives way.
    ///
    /// # Errors
    /// As for `put`, and [`StoreError::Unsupported`] unless overridden.
    fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let _ = (key, value, lifetime, now);
        Err(StoreError::unsupported("put_if_absent"))
    }

    /// Removes every entry of this store, and nothing else that shares its place.
    ///
    /// # Errors
    /// The store is out of reach, and [`StoreError::Unsupported`] unless overridden.
    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        let _ = now;
        Err(StoreError::unsupported("clear"))
    }

    /// Removes at most `budget` entries whose life is over, and tells how many. A store that frees
    /// them by itself answers 0.
    ///
    /// # Errors
    /// The store is out of reach, and [`StoreError::Unsupported`] unless overridden.
    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        let _ = (now, budget);
        Err(StoreError::unsupported("purge"))
    }

    /// The same store, if processes share it: what is done to it by way of this keeps others from
    /// loading the same key, and tells them. `None` unless overridden.
    fn shared(&self) -> Option<&(dyn SharedStore<K, V> + Sync)> {
        None
    }
}

/// A store that answers later. What it promises is what [`Store`] promises.
///
/// Futures are `Send`. Nothing happens before one is polled, and one that is dropped leaves the
/// entry as the old one, the new one, or none. Implementations may say `async fn`.
pub trait AsyncStore<K: ?Sized, V> {
    /// As [`Store::get`].
    fn get(
        &self,
        key: &K,
        now: Instant,
    ) -> impl Future<Output = Result<Option<Stored<V>>, StoreError>> + Send;

    /// As [`Store::put`].
    fn put(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// As [`Store::remove`].
    fn remove(
        &self,
        key: &K,
        now: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// As [`Store::get_many`]. Unless overridden, the gets go one after another.
    fn get_many(
        &self,
        keys: &[&K],
        now: Instant,
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> impl Future<Output = Result<(), StoreError>> + Send
    where
        Self: Sync,
        K: Sync,
        V: Send,
    {
        async move {
            for (position, key) in keys.iter().enumerate() {
                if let Some(stored) = StoreError::corrupt_as_absent(self.get(key, now).await)? {
                    found(position, stored);
                }
            }
            Ok(())
        }
    }

    /// As [`Store::put_if_absent`].
    fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let _ = (key, value, lifetime, now);
        core::future::ready(Err(StoreError::unsupported("put_if_absent")))
    }

    /// As [`Store::clear`].
    fn clear(&self, now: Instant) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = now;
        core::future::ready(Err(StoreError::unsupported("clear")))
    }

    /// As [`Store::purge`].
    fn purge(
        &self,
        now: Instant,
        budget: usize,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send {
        let _ = (now, budget);
        core::future::ready(Err(StoreError::unsupported("purge")))
    }

    /// As [`Store::shared`].
    fn shared(&self) -> Option<impl AsyncSharedStore<K, V> + Send + Sync> {
        None::<Unshared>
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
