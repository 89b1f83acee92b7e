//! Where entries rest: the seam between the algorithm and memory.
//!
//! A [`Table`] owns placement and the choice of victims; it lends resting entries by position and
//! knows nothing of time or flights. Four come with the crate, all bounded, all with S3-FIFO
//! eviction: `HashTable` on the heap, `LinearTable` and `SetTable` without one, and `Set`, of which
//! `SetTable` is made, and the threaded cache makes a large table with many small locks.

use core::borrow::Borrow;
use core::hash::{Hash, Hasher};

use crate::record::Record;
use crate::resting::{Mark, Resting, Times};

#[cfg(feature = "sets")]
mod hands;
#[cfg(feature = "hashbrown")]
mod hash;
mod house;
#[cfg(feature = "heapless")]
mod linear;
#[cfg(feature = "sets")]
mod rows;
#[cfg(any(feature = "hashbrown", feature = "heapless"))]
mod s3fifo;
#[cfg(feature = "sets")]
mod set;
#[cfg(all(feature = "sets", feature = "heapless"))]
mod set_table;
#[cfg(feature = "sets")]
mod tags;

#[cfg(feature = "sets")]
pub use hands::Uses;
#[cfg(feature = "hashbrown")]
pub use hash::{HashPlaces, HashTable};
pub(crate) use house::Sweep;
pub use house::{House, Tally};
#[cfg(feature = "heapless")]
pub use linear::{LinearPlaces, LinearTable};
#[cfg(all(feature = "sets", feature = "alloc"))]
pub use rows::{Boxed, BoxedTimes};
#[cfg(feature = "sets")]
pub use rows::{Inline, OwnTimes, Rows};
#[cfg(all(feature = "sets", feature = "alloc"))]
pub use set::HeapSet;
#[cfg(feature = "sets")]
pub use set::{Place, Set, WAYS};
#[cfg(all(feature = "sets", feature = "heapless"))]
pub use set_table::SetTable;

/// What bounds a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// At most so many entries.
    Entries(usize),
    /// At most so much weight, as the cache's weigher counts it.
    Weight(u64),
}

/// What a full table does with a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Evicts an entry that was not used lately.
    #[default]
    Evict,
    /// Hands the new item back.
    HandBack,
}

/// Items by key, at positions that hold until the next insertion or removal.
pub trait Places<K, T> {
    /// Position of the item under `key`. Calls the key's `Eq` and nothing else of the user's.
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized;

    /// Hash, key and item at a position.
    fn get(&self, at: usize) -> Option<(u64, &K, &T)>;

    /// The item at a position.
    fn get_mut(&mut self, at: usize) -> Option<&mut T>;

    /// Adds an item whose key is not there yet.
    ///
    /// # Errors
    /// Hands key and item back when there is no room.
    fn insert(&mut self, hash: u64, key: K, item: T) -> Result<usize, (K, T)>;

    /// Takes the item at a position out.
    fn remove(&mut self, at: usize) -> Option<(K, T)>;

    /// Positions are below this number; some may be empty.
    fn slots(&self) -> usize;

    /// How many items there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most items there can be.
    fn capacity(&self) -> usize;
}

/// A bounded map of resting entries under exclusive access.
///
/// An implementor keeps the items, their hashes and weights, and chooses victims by how often they
/// were [used](Self::note_use). It must keep its bound at all times, or come no farther from one that was
/// [lowered](Self::set_bound), and must not call user code other than the key's `Eq`, in `find`.
pub trait Table<K, V> {
    /// Position of the entry under `key`.
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized;

    /// The same for a caller who [inserts](Self::insert) what is not found. It may look at what an
    /// insertion needs, to tell strangers apart before it looks at their keys.
    #[inline]
    fn find_to_put<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.find(hash, key)
    }

    /// Hash, key and entry at a position.
    fn get(&self, at: usize) -> Option<(u64, &K, &Resting<V>)>;

    /// The entry at a position, without its key.
    fn entry(&self, at: usize) -> Option<&Resting<V>>;

    /// The entry at a position.
    fn get_mut(&mut self, at: usize) -> Option<&mut Resting<V>>;

    /// Counts a use of the entry at a position, up to three; by default the entry keeps them itself.
    #[inline]
    fn note_use(&mut self, at: usize) {
        if let Some(entry) = self.get_mut(at) {
            entry.note_use();
        }
    }

    /// Weight of the entry at a position.
    fn weight_at(&self, at: usize) -> u32;

    /// Adds an entry whose key is not there yet; what has to go for it goes through `evicted`. The
    /// number of victims in one call is bounded.
    ///
    /// # Errors
    /// Hands the item back when there is no room and none can be made.
    fn insert(
        &mut self,
        hash: u64,
        key: K,
        entry: Resting<V>,
        weight: u32,
        evicted: &mut impl FnMut(u64, K, Resting<V>),
    ) -> Result<usize, (K, Resting<V>)>;

    /// Takes the entry at a position out.
    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)>;

    /// Positions are below this number; some may be empty. A sweep walks them.
    fn slots(&self) -> usize;

    /// How many entries there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of all entries.
    fn weight(&self) -> u64;

    /// What bounds the table.
    fn bound(&self) -> Bound;

    /// Changes what bounds the table. What is too much stays until it is [evicted](Self::evict);
    /// insertions may let some of it go, and add nothing to it. Tables of a fixed size keep theirs.
    fn set_bound(&mut self, _bound: Bound) {}

    /// Evicts what is beyond the bound, up to `budget` entries, and returns how many went. As many as
    /// the budget: there may be more.
    fn evict(&mut self, _budget: usize, _evicted: &mut impl FnMut(u64, K, Resting<V>)) -> usize {
        0
    }

    /// The times of the entry at a position, as they were last set.
    fn times(&self, _at: usize) -> Option<Times> {
        None
    }

    /// Keeps times beside the entry at a position; `false` if the table has no place for them, and
    /// the algorithm keeps them in a record.
    fn set_times(&mut self, _at: usize, _times: Times) -> bool {
        false
    }

    /// What the algorithm keeps in every table.
    fn house(&self) -> &House;

    /// The same, to be changed.
    fn house_mut(&mut self) -> &mut House;

    /// Lends the entry at a position, if `serves` says of its mark that it may be served. Counts a
    /// use and a hit.
    #[inline]
    fn serve(&mut self, at: usize, serves: impl FnOnce(Mark) -> bool) -> Option<&mut Resting<V>> {
        let mark = self.entry(at).map(|entry| entry.mark).filter(|mark| serves(*mark))?;
        self.note_use(at);
        if mark.is_stale() {
            self.house_mut().tally.stale_hits += 1;
        } else {
            self.count_hit();
        }
        self.get_mut(at)
    }

    /// Counts a hit. A table may keep this number elsewhere, near to what a hit reads anyway, and
    /// then adds it in [`tally`](Self::tally).
    #[inline]
    fn count_hit(&mut self) {
        self.house_mut().tally.hits += 1;
    }

    /// Counts a miss; as [`count_hit`](Self::count_hit).
    #[inline]
    fn count_miss(&mut self) {
        self.house_mut().tally.misses += 1;
    }

    /// What happened to the entries so far.
    fn tally(&self) -> Tally {
        self.house().tally
    }

    /// Whether a key with this hash would be kept here, and not in another table of the same cache.
    fn owns(&self, _hash: u64) -> bool {
        true
    }
}

/// A table that a cache driven by hand can own alone: it hashes keys, and knows where their
/// records are kept.
pub trait LocalTable<K, V>: Table<K, V> {
    /// Where the records of these keys are kept.
    type Records: Places<K, Record>;

    /// The hash under which a key is kept.
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64;

    /// An empty place for records.
    fn records(&self) -> Self::Records;
}

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo): small, and good enough where keys are found by
/// comparing them and only jitter needs a hash.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "heapless"), allow(dead_code))]
pub(crate) struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv1a {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(feature = "alloc")]
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hasher = Fnv1a::default();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_agrees_with_its_published_vectors() {
        let hash = |text: &str| {
            let mut hasher = Fnv1a::default();
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }
}
