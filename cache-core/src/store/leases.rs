//! The right to load a key, held across processes.

use core::fmt;
use core::time::Duration;

use super::StoreError;
use crate::time::Instant;

/// A lease that was acquired: one holder's right to load one key until a deadline.
///
/// Neither `Copy` nor `Clone`, and used up by releasing it. One that is dropped ends by itself when
/// its ttl is over.
#[must_use = "a dropped lease keeps others from loading until its ttl is over"]
pub struct HeldLease {
    token: [u8; 16],
    fence: u64,
    tags_seen: u64,
}

impl HeldLease {
    /// For implementations of [`Leases`]: `token` is shared by no other lease and cannot be
    /// guessed; `fence` is larger than that of every earlier lease of the same key.
    pub const fn new(token: [u8; 16], fence: u64) -> Self {
        Self { token, fence, tags_seen: 0 }
    }

    /// For implementations of [`SharedStore`](super::SharedStore) that keep tags: a number of their own that says
    /// which changes of tags came before the lease.
    pub const fn after_tags(mut self, seen: u64) -> Self {
        self.tags_seen = seen;
        self
    }

    /// The number that [`after_tags`](Self::after_tags) was given.
    pub const fn tags_seen(&self) -> u64 {
        self.tags_seen
    }

    /// What proves to the store that this lease is the one in force. Not to be shown.
    pub const fn token(&self) -> &[u8; 16] {
        &self.token
    }

    /// Grows with every acquisition of the key. Hand it to what the lease protects, which refuses
    /// numbers below the largest it has seen: that stops a holder who does not know that its lease
    /// is over.
    pub const fn fence(&self) -> u64 {
        self.fence
    }
}

impl fmt::Debug for HeldLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldLease").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// Leases on keys, shared by those who share the store.
///
/// At most one lease of a key is in force at a time, and none after its ttl. A ttl of
/// [`Duration::MAX`] ends only by release. Leases know nothing of entries: a key can be leased
/// whether or not it has one.
pub trait Leases<K: ?Sized> {
    /// A lease of `key` for `ttl`; `None` when another is in force.
    ///
    /// # Errors
    /// The store is out of reach. A lease that nobody knows of may then be in force for `ttl`.
    fn acquire(
        &self,
        key: &K,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError>;

    /// Makes `lease` last for `ttl` from now; `false` when it is not in force any more.
    ///
    /// # Errors
    /// The store is out of reach: the lease may or may not last longer.
    fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError>;

    /// Ends `lease`, and no other; `false` when it was not in force any more.
    ///
    /// # Errors
    /// The store is out of reach: the lease ends with its ttl at latest.
    fn release(&self, key: &K, lease: HeldLease, now: Instant) -> Result<bool, StoreError>;
}

/// [`Leases`] that are answered later. Futures are `Send`.
pub trait AsyncLeases<K: ?Sized> {
    /// As [`Leases::acquire`]. When the future is dropped, a lease that nobody knows of may be in
    /// force for `ttl`.
    fn acquire(
        &self,
        key: &K,
        ttl: Duration,
        now: Instant,
    ) -> impl Future<Output = Result<Option<HeldLease>, StoreError>> + Send;

    /// As [`Leases::renew`].
    fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// As [`Leases::release`].
    fn release(
        &self,
        key: &K,
        lease: HeldLease,
        now: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
