//! What a test must supply: the store, keys and values, the passing of time, and faults.

use alloc::borrow::ToOwned;
#[cfg(target_has_atomic = "ptr")]
use alloc::sync::Weak;
use alloc::vec::Vec;
use core::time::Duration;

#[cfg(feature = "envelope")]
use crate::store::Locks;
use crate::store::{Leases, Store};
#[cfg(target_has_atomic = "ptr")]
use crate::store::{Receiver, SharedStore, Station};
use crate::time::Instant;

/// Keys and time, for stores and leases alike.
pub trait Harness {
    /// The keys of the store: `str`, `[u8]`, `u64` ..
    type Key: ToOwned + ?Sized;

    /// The `n`-th key. Plain, and different for each `n`.
    fn key(&self, n: u64) -> <Self::Key as ToOwned>::Owned;

    /// The reading of the clock by which the store is called. It should start well after
    /// [`Instant::ORIGIN`].
    fn now(&self) -> Instant;

    /// Lets `span` pass, or a little more, for this clock and the store's own, and answers the new
    /// reading. Virtual time where the store lives by `now`; else a short sleep.
    fn advance(&self, span: Duration) -> Instant;

    /// The shortest time that the rules let pass; all other times are multiples of it. One second
    /// unless overridden; where `advance` sleeps, some tens of milliseconds.
    fn unit(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// By how much the store's times may be off. One microsecond unless overridden; it must be well
    /// below [`unit`](Self::unit), and covers rounding in the store and delays on the way to it.
    fn tolerance(&self) -> Duration {
        Duration::from_micros(1)
    }

    /// Keys that tempt the store to mix them up, each different from the others and from those of
    /// [`key`](Self::key). See [`hostile_strings`](super::hostile_strings) and
    /// [`hostile_bytes`](super::hostile_bytes).
    fn hostile_keys(&self) -> Vec<<Self::Key as ToOwned>::Owned> {
        Vec::new()
    }
}

/// Makes a store and its values for [`conformance::store`](super::store).
///
/// What is not overridden is not checked, and the report says so.
pub trait StoreHarness: Harness {
    /// The values of the store.
    type Value: PartialEq;
    /// The store.
    type Store: Store<Self::Key, Self::Value>;

    /// An empty store that shares nothing with those made before, and loses none of 100 entries.
    fn make(&self) -> Self::Store;

    /// The `n`-th value, different for each `n`.
    fn value(&self, n: u64) -> Self::Value;

    /// A value that means "nothing", such as `Option::None` or an empty text.
    fn none_value(&self) -> Option<Self::Value> {
        None
    }

    /// A value that is above the store's limit.
    fn oversized_value(&self) -> Option<Self::Value> {
        None
    }

    /// A second handle on the entries of `store`, as another process would hold.
    fn another(&self, store: &Self::Store) -> Option<Self::Store> {
        let _ = store;
        None
    }

    /// A store of another name in the same place as `store`: another prefix, folder or table.
    fn neighbour(&self, store: &Self::Store) -> Option<Self::Store> {
        let _ = store;
        None
    }

    /// Entries that take up room in `store`, alive or not.
    fn held(&self, store: &Self::Store) -> Option<usize> {
        let _ = store;
        None
    }

    /// Damages what `store` holds for `key`; `false` where that cannot be done.
    fn corrupt(&self, store: &Self::Store, key: &Self::Key) -> bool {
        let _ = (store, key);
        false
    }

    /// Puts `store` out of reach, or back; `false` where that cannot be done. What it held may be
    /// lost.
    fn outage(&self, store: &Self::Store, on: bool) -> bool {
        let _ = (store, on);
        false
    }
}

/// Makes leases for [`conformance::leases`](super::leases).
pub trait LeaseHarness: Harness {
    /// The leases.
    type Leases: Leases<Self::Key>;

    /// Leases of which none is held, and which share nothing with those made before.
    fn make(&self) -> Self::Leases;

    /// A second handle on the same leases, as another process would hold.
    fn another(&self, leases: &Self::Leases) -> Option<Self::Leases> {
        let _ = leases;
        None
    }
}

/// Makes locks for [`conformance::locks`](super::locks).
#[cfg(feature = "envelope")]
pub trait LockHarness: Harness {
    /// The locks. On virtual time, who waits for one must move the clock.
    type Locks: Locks;

    /// Locks of which none is held, and which share nothing with those made before.
    fn make(&self) -> Self::Locks;

    /// Ends a lock without its holder, as a server does that forgets; `false` where that cannot be done.
    fn take_away(&self, locks: &Self::Locks, name: &str) -> bool {
        let _ = (locks, name);
        false
    }
}

/// Makes a store for [`conformance::shared`](super::shared).
#[cfg(target_has_atomic = "ptr")]
pub trait SharedHarness: Harness<Key: ToOwned<Owned: PartialEq + Send + Sync + 'static>> {
    /// The values of the store.
    type Value: PartialEq;
    /// The store.
    type Store: Store<Self::Key, Self::Value> + SharedStore<Self::Key, Self::Value>;

    /// An empty store that shares nothing with those made before, and of which no key is leased.
    fn make(&self) -> Self::Store;

    /// The `n`-th value, different for each `n`.
    fn value(&self, n: u64) -> Self::Value;

    /// A second handle on the entries of `store`, as another process would hold.
    fn another(&self, store: &Self::Store) -> Option<Self::Store> {
        let _ = store;
        None
    }

    /// Attaches `receiver` to the backplane of `store`, and waits until that is open. `None` where it
    /// has none, and then what is told is not checked.
    fn listen(
        &self,
        store: &Self::Store,
        receiver: Weak<dyn Receiver<<Self::Key as ToOwned>::Owned>>,
    ) -> Option<Station> {
        let _ = (store, receiver);
        None
    }

    /// Whether changes of several keys are told in the order in which they happened. Not where the keys
    /// are on several servers.
    fn told_in_order(&self) -> bool {
        true
    }
}
