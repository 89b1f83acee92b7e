//! A table of many sets of fixed number, without a heap.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};

use super::linear::LinearPlaces;
use super::set::InlineSet;
use super::{Bound, Fnv1a, House, LocalTable, Table, WAYS};
use crate::record::Record;
use crate::resting::Resting;

/// A table of `SETS` sets of [`WAYS`] entries each, and `R` records (32 if not said), in place: without a heap, for
/// hundreds or thousands of entries. Every operation is O(`WAYS`), however many sets there are.
///
/// The policy is that of the threaded cache's large tables: each set evicts by S3-FIFO among its own
/// entries. Sets fill unevenly, as chance will have it: a table that is offered exactly as many keys as
/// it has places keeps some 92 % of them. The hash is FNV-1a, which an adversary can make collide:
/// use it for keys of one's own.
///
/// An entry with windows or labels of its own takes one of the records until it goes; see
/// [`LinearTable`](super::LinearTable), which is the better one for less than a hundred entries.
///
/// ```
/// use core::time::Duration;
/// use cache_core::local::Cache;
/// use cache_core::table::SetTable;
/// use cache_core::{Instant, Policy};
///
/// let policy = Policy::ttl(Duration::from_secs(60)).build()?;
/// let mut cache: Cache<u32, u16, SetTable<u32, u16, 8, 16>> = Cache::new(policy);
/// let now = Instant::from_secs(1);
/// for sensor in 0..150 {
///     let _ = cache.put(sensor, 7, now);
/// }
/// assert_eq!(cache.get(&149, now), Some(&7));
/// assert!(cache.len() > 120); // of 224 places
/// # Ok::<(), cache_core::PolicyError>(())
/// ```
pub struct SetTable<K, V, const SETS: usize, const R: usize = 32> {
    sets: [InlineSet<K, V>; SETS],
    len: usize,
    house: House,
}

/// Positions that the table gives to each set.
const STRIDE: usize = 32;

impl<K, V, const SETS: usize, const R: usize> SetTable<K, V, SETS, R> {
    /// An empty table.
    pub fn new() -> Self {
        const { assert!(SETS > 0 && SETS < 1 << 16, "a table has 1 to 65,535 sets") };
        #[allow(clippy::cast_possible_truncation)] // see above
        let sets = core::array::from_fn(|number| InlineSet::inline(number as u32));
        Self { sets, len: 0, house: House::default() }
    }

    /// The set that holds the keys under a hash of this table's.
    const fn number_of(hash: u64) -> usize {
        (hash >> 16) as usize
    }
}

impl<K, V, const SETS: usize, const R: usize> Default for SetTable<K, V, SETS, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, const SETS: usize, const R: usize> fmt::Debug for SetTable<K, V, SETS, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetTable")
            .field("sets", &SETS)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<K, V, const SETS: usize, const R: usize> Table<K, V> for SetTable<K, V, SETS, R> {
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let number = Self::number_of(hash);
        Some(number * STRIDE + self.sets.get(number)?.find(hash, key)?)
    }

    fn find_to_put<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let number = Self::number_of(hash);
        Some(number * STRIDE + self.sets.get(number)?.find_to_put(hash, key)?)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &Resting<V>)> {
        self.sets.get(at / STRIDE)?.get(at % STRIDE)
    }

    fn entry(&self, at: usize) -> Option<&Resting<V>> {
        self.sets.get(at / STRIDE)?.entry(at % STRIDE)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Resting<V>> {
        self.sets.get_mut(at / STRIDE)?.get_mut(at % STRIDE)
    }

    fn note_use(&mut self, at: usize) {
        if let Some(set) = self.sets.get_mut(at / STRIDE) {
            set.note_use(at % STRIDE);
        }
    }

    fn weight_at(&self, _at: usize) -> u32 {
        1
    }

    fn insert(
        &mut self,
        hash: u64,
        key: K,
        entry: Resting<V>,
        weight: u32,
        evicted: &mut impl FnMut(u64, K, Resting<V>),
    ) -> Result<usize, (K, Resting<V>)> {
        let number = Self::number_of(hash);
        let Some(set) = self.sets.get_mut(number) else { return Err((key, entry)) };
        let before = set.len();
        // Counted at once: `evicted` may panic, and has the set whole behind it.
        let tally = &mut self.house.tally;
        let at = set.insert(hash, key, entry, weight, &mut |hash, key, entry| {
            tally.evictions += 1;
            evicted(hash, key, entry);
        })?;
        self.len += self.sets[number].len() - before;
        Ok(number * STRIDE + at)
    }

    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)> {
        let removed = self.sets.get_mut(at / STRIDE)?.remove(at % STRIDE)?;
        self.len -= 1;
        Some(removed)
    }

    fn slots(&self) -> usize {
        SETS * STRIDE
    }

    fn len(&self) -> usize {
        self.len
    }

    fn weight(&self) -> u64 {
        self.len as u64
    }

    fn bound(&self) -> Bound {
        Bound::Entries(SETS * WAYS)
    }

    fn house(&self) -> &House {
        &self.house
    }

    fn house_mut(&mut self) -> &mut House {
        &mut self.house
    }
}

impl<K, V, const SETS: usize, const R: usize> LocalTable<K, V> for SetTable<K, V, SETS, R> {
    type Records = LinearPlaces<K, Record, R>;

    /// The set's number, and 16 bits by which the set knows the key.
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        let mut hasher = Fnv1a::default();
        key.hash(&mut hasher);
        let spread = crate::policy::mix(hasher.finish());
        let number = ((u128::from(spread) * SETS as u128) >> 64) as u32;
        InlineSet::<K, V>::hash(number, spread)
    }

    fn records(&self) -> Self::Records {
        LinearPlaces::new()
    }
}
