//! Stores that processes share, and the channel that tells each of them what the others do.

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
use alloc::sync::Weak;
use core::fmt;
use core::time::Duration;

use super::{AsyncLeases, HeldLease, Leases, StoreError};
use crate::entry::Lifetime;
use crate::time::Instant;

/// One of those who are told what happens to a shared store, so that it is not told what it did
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Station(u128);

impl Station {
    /// One whose mutations all are told of.
    pub const NOBODY: Self = Self(0);

    /// For implementations of [`Backplane`]: no two that listen may have the same number, in any
    /// process, nor any of them 0.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u128 {
        self.0
    }
}

/// What happens to an entry of a shared store.
#[non_exhaustive]
pub enum Mutation<'a, V> {
    /// Another value takes its place.
    #[non_exhaustive]
    Put {
        /// The value.
        value: &'a V,
        /// Its life as of now.
        lifetime: Lifetime,
        /// Hashes of its tags.
        tags: &'a [u64],
    },
    /// A value that was loaded takes its place, if the lease under which it was loaded is in force
    /// still.
    #[non_exhaustive]
    Fill {
        /// The value.
        value: &'a V,
        /// Its life as of now.
        lifetime: Lifetime,
        /// Hashes of its tags.
        tags: &'a [u64],
        /// From before the load.
        lease: HeldLease,
    },
    /// A load found that there is no such value: it goes, if the lease of the load is in force still. That is done also
    /// where nothing was there.
    #[non_exhaustive]
    Vacate {
        /// From before the load.
        lease: HeldLease,
    },
    /// It is stale from now on.
    Expire,
    /// It goes.
    Remove,
}

impl<'a, V> Mutation<'a, V> {
    /// Another value takes the entry's place.
    pub const fn put(value: &'a V, lifetime: Lifetime) -> Self {
        Self::Put { value, lifetime, tags: &[] }
    }

    /// A value that was loaded takes the entry's place, if `lease` is in force still.
    pub const fn fill(value: &'a V, lifetime: Lifetime, lease: HeldLease) -> Self {
        Self::Fill { value, lifetime, tags: &[], lease }
    }

    /// The same value with tags, by their [hashes](crate::tag_hash). What puts no value has none.
    #[must_use]
    pub const fn tagged(mut self, hashes: &'a [u64]) -> Self {
        if let Self::Put { tags, .. } | Self::Fill { tags, .. } = &mut self {
            *tags = hashes;
        }
        self
    }

    /// A load found that there is no such value.
    pub const fn vacate(lease: HeldLease) -> Self {
        Self::Vacate { lease }
    }

    /// The lease that must be in force.
    pub const fn lease(&self) -> Option<&HeldLease> {
        match self {
            Self::Fill { lease, .. } | Self::Vacate { lease } => Some(lease),
            _ => None,
        }
    }
}

impl<V> fmt::Debug for Mutation<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put { .. } => "Put",
            Self::Fill { .. } => "Fill",
            Self::Vacate { .. } => "Vacate",
            Self::Expire => "Expire",
            Self::Remove => "Remove",
        })
    }
}

/// What happens to all values with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // who tells of it must tell of each
pub enum TagChange {
    /// They are stale from now on.
    Expire,
    /// They go.
    Invalidate,
}

/// A [`Store`](super::Store) that other processes change as well; see [`AsyncSharedStore`] for what it
/// promises.
pub trait SharedStore<K: ?Sized, V>: Leases<K> {
    /// As [`AsyncSharedStore::mutate`].
    ///
    /// # Errors
    /// As there.
    fn mutate(
        &self,
        key: &K,
        mutation: Mutation<'_, V>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError>;

    /// As [`AsyncSharedStore::clear_all`].
    ///
    /// # Errors
    /// As there.
    fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError>;

    /// As [`AsyncSharedStore::keeps_tags`].
    fn keeps_tags(&self) -> bool {
        false
    }

    /// As [`AsyncSharedStore::change_tag`].
    ///
    /// # Errors
    /// As there.
    fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Result<(), StoreError> {
        let _ = (tag, change, by, now);
        Err(StoreError::unsupported("change_tag"))
    }
}

/// An [`AsyncStore`](super::AsyncStore) that other processes change as well: who loads a key holds a
/// lease of it, and what happens to an entry happens to its lease in the same step, and is told to all
/// who listen to the store's [`Backplane`].
///
/// What it promises:
/// - What `put`, `remove` and `clear` of the store do is this, by [`Station::NOBODY`].
/// - Every mutation of a key, and one of all keys, ends the lease that is in force: a fill with it is
///   refused from then on. A fill ends its own.
/// - A fill, or a vacation, whose lease is not in force changes nothing, and tells nobody.
/// - A fill is told as such: copies of the value before it are as good as they were.
/// - Where the answer is an error, the mutation may or may not have happened; if it has, it was told.
/// - Who listens is told after it has happened.
pub trait AsyncSharedStore<K: ?Sized, V>: AsyncLeases<K> {
    /// Changes the entry of `key` in one step. `false` where nothing was there to remove or to make
    /// stale, or a fill or a vacation was refused. A vacation whose lease was in force is `true` whether or not
    /// something was there: who loaded may count on it that there is nothing.
    ///
    /// # Errors
    /// As for [`Store::put`](super::Store::put).
    fn mutate(
        &self,
        key: &K,
        mutation: Mutation<'_, V>,
        by: Station,
        now: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes every entry; see [`Store::clear`](super::Store::clear).
    ///
    /// # Errors
    /// As there.
    fn clear_all(
        &self,
        by: Station,
        now: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether entries are kept with their tags. Then `get` answers none of which a tag was
    /// [invalidated](TagChange::Invalidate) since it was put, or for a fill, since its lease was acquired; and one of
    /// which a tag was [expired](TagChange::Expire) since then is stale from that time. A fill with a tag that was
    /// invalidated since its lease was acquired is refused. What the store can no longer tell counts as
    /// invalidated.
    fn keeps_tags(&self) -> bool {
        false
    }

    /// Changes all values with a tag, and tells who listens. A store that does not
    /// [keep tags](Self::keeps_tags) only tells: the values are in the memories of those who listen alone.
    ///
    /// # Errors
    /// The store is out of reach, and [`StoreError::Unsupported`] unless overridden.
    fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = (tag, change, by, now);
        core::future::ready(Err(StoreError::unsupported("change_tag")))
    }
}

/// What a store is that is not shared. There is none.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums)] // it has no value
pub enum Unshared {}

fn never<T>(unshared: &Unshared) -> core::future::Ready<Result<T, StoreError>> {
    match *unshared {}
}

impl<K: ?Sized> AsyncLeases<K> for Unshared {
    fn acquire(
        &self,
        _: &K,
        _: Duration,
        _: Instant,
    ) -> impl Future<Output = Result<Option<HeldLease>, StoreError>> + Send {
        never(self)
    }

    fn renew(
        &self,
        _: &K,
        _: &HeldLease,
        _: Duration,
        _: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        never(self)
    }

    fn release(
        &self,
        _: &K,
        _: HeldLease,
        _: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        never(self)
    }
}

impl<K: ?Sized, V> AsyncSharedStore<K, V> for Unshared {
    fn mutate(
        &self,
        _: &K,
        _: Mutation<'_, V>,
        _: Station,
        _: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        never(self)
    }

    fn clear_all(
        &self,
        _: Station,
        _: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        never(self)
    }
}

/// The channel by which a shared store tells processes what others do to it.
#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
pub trait Backplane<K> {
    /// Tells `receiver` of everything that happens from now on, until it is gone, but for what is done
    /// by the station that is answered. Does not wait for anything: the receiver is told that the
    /// channel [is open](Receiver::opened) when it is.
    fn attach(&self, receiver: Weak<dyn Receiver<K>>) -> Station;
}

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
impl<K, B: Backplane<K> + ?Sized> Backplane<K> for alloc::sync::Arc<B> {
    fn attach(&self, receiver: Weak<dyn Receiver<K>>) -> Station {
        (**self).attach(receiver)
    }
}

/// Who is told what others did to a shared store. No call takes long, or calls the backplane.
#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
pub trait Receiver<K>: Send + Sync {
    /// Everything is told from now on, until [`closed`](Self::closed) says otherwise. What happened
    /// before may not have been: told also where nothing was closed, but messages were lost.
    fn opened(&self);

    /// Messages may be lost from now on.
    fn closed(&self);

    /// A key has another value, or none.
    fn changed(&self, key: K);

    /// A load of a key has landed in the store: who waits for it may look there. Copies of the value
    /// before it may serve on.
    fn filled(&self, key: K);

    /// A key's value is stale.
    fn expired(&self, key: K);

    /// The store was emptied.
    fn cleared(&self);

    /// Values with this tag are stale.
    fn tag_expired(&self, tag: &str);

    /// Values with this tag are gone.
    fn tag_invalidated(&self, tag: &str);
}
