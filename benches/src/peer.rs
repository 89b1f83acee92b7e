//! What is asked of everyone who is compared. The timed loops are compiled for each type of its
//! own: nothing in them is called through a pointer.

use crate::keys::{Key, Value};

/// Something that finds values by key.
pub trait Peer<K: Key, V: Value>: Send + Sync + Sized + 'static {
    /// Its name in the report.
    const NAME: &'static str;
    /// What a caller gets for a hit: the value, or the handle on it that the peer gives out.
    type Got;

    /// An empty one for so many entries.
    fn new(capacity: usize) -> Self;

    /// Stores an entry while nobody else looks.
    fn fill(&mut self, key: K, value: V);

    /// Does what was left for later; called before the timed part.
    fn settle(&self) {}

    /// The value of a key.
    fn get(&self, key: &K::Asked) -> Option<Self::Got>;

    /// Entries held.
    fn held(&self) -> usize;
}

/// Something that several threads may also write to.
pub trait Table<K: Key, V: Value>: Peer<K, V> {
    /// Stores an entry.
    fn put(&self, key: K, value: V);
}

/// Something that loads what it does not have.
pub trait Loads: Peer<u64, u64> {
    /// The value of a key; if there is none, the key itself is loaded.
    fn get_or_load(&self, key: u64) -> u64;
}

/// One of the first `entries` entries after another, stored and settled.
pub fn filled<K: Key, V: Value, P: Peer<K, V>>(
    capacity: usize,
    entries: u64,
    value: impl Fn(u64) -> V,
) -> P {
    let mut peer = P::new(capacity);
    (0..entries).for_each(|n| peer.fill(K::nth(n), value(n)));
    peer.settle();
    peer
}
