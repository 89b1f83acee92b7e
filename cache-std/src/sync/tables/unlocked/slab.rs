//! The entries of a set of plain keys and values, in the set itself.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use cache_core::Mark;
use cache_core::table::{BoxedTimes, Place, Rows, Uses, WAYS};

use super::super::primitives::{AtomicU32, AtomicU64, Ordering};
use super::plain::Plain;

/// Up to [`WAYS`] entries of plain keys and values. Their memory is the set's own: a reader without a
/// lock never meets memory that has gone.
#[repr(C)]
pub(crate) struct Slab<K, V> {
    used: Used,
    /// The tags that follow are read sixteen at a time.
    _aligned: u64,
    _plain: PhantomData<Plain<K, V>>,
}

/// The entries: initialised where a row is or was in use.
pub(crate) type Entries<K, V> = [MaybeUninit<Place<K, V>>; WAYS];

/// Which rows are in use, and how often each was used: what readers without the lock may borrow.
#[repr(C)]
pub(super) struct Used {
    /// [`Uses`], which readers count as well. Where two count at a time, one of them may be lost, and
    /// one that comes late may bring back what others have forgotten meanwhile: they are a hint.
    uses: AtomicU64,
    /// A copy of [`Uses::full`]: the rows that a reader of what is hot looks at. One of them may have
    /// been taken out meanwhile; then its mark says so.
    full: AtomicU32,
    /// The positions in use.
    live: AtomicU32,
}

/// Both masks change by release: who reads one by acquire, and finds a position in it, finds the row
/// initialised.
impl Used {
    pub(super) fn new() -> Self {
        let (uses, full) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { uses, full, live: AtomicU32::new(0) }
    }

    /// The positions in use.
    #[inline(always)]
    pub(super) fn live(&self) -> u32 {
        self.live.load(Ordering::Acquire)
    }

    /// The positions of which no further use counts.
    #[inline(always)]
    pub(super) fn full(&self) -> u32 {
        self.full.load(Ordering::Acquire)
    }

    /// Counts a use of what is at a position, without the lock.
    pub(super) fn note(&self, at: usize) {
        let uses = self.uses();
        if uses.full() >> at & 1 == 0 || self.full() >> at & 1 == 0 {
            self.set_uses(uses.noted(at));
        }
    }

    fn is_live(&self, at: usize) -> bool {
        at < WAYS && self.live.load(Ordering::Relaxed) >> at & 1 != 0
    }

    /// Under the lock, once the row is written.
    pub(super) fn set_live(&self, at: usize, live: bool) {
        let others = self.live.load(Ordering::Relaxed) & !(1 << at);
        self.live.store(others | u32::from(live) << at, Ordering::Release);
    }

    /// Acquired and released as the masks are: who copies a bit to one of them has seen its row written.
    fn uses(&self) -> Uses {
        Uses::from_bits(self.uses.load(Ordering::Acquire))
    }

    fn set_uses(&self, uses: Uses) {
        self.uses.store(uses.to_bits(), Ordering::Release);
        self.full.store(uses.full(), Ordering::Release);
    }
}

impl<K, V> Slab<K, V> {
    /// An empty one, and its entries: there are slabs for plain keys and values only.
    pub(crate) fn new(_: Plain<K, V>) -> (Self, Entries<K, V>) {
        let slab = Self { used: Used::new(), _aligned: 0, _plain: PhantomData };
        (slab, [const { MaybeUninit::uninit() }; WAYS])
    }
}

impl<K, V> Rows<Place<K, V>> for Slab<K, V> {
    type Far = Entries<K, V>;
    type Times = BoxedTimes;

    #[inline]
    fn get<'a>(&'a self, entries: &'a Entries<K, V>, at: usize) -> Option<&'a Place<K, V>> {
        // SAFETY: what is at a live position was written.
        self.used.is_live(at).then(|| unsafe { entries[at].assume_init_ref() })
    }

    #[inline]
    fn get_mut<'a>(
        &'a mut self,
        entries: &'a mut Entries<K, V>,
        at: usize,
    ) -> Option<&'a mut Place<K, V>> {
        // SAFETY: as above.
        self.used.is_live(at).then(|| unsafe { entries[at].assume_init_mut() })
    }

    #[inline]
    fn make_room(&mut self, _at: usize, _most: usize) {}

    #[inline]
    fn put(
        &mut self,
        entries: &mut Entries<K, V>,
        at: usize,
        place: Place<K, V>,
    ) -> Option<Place<K, V>> {
        let Some(entry) = entries.get_mut(at) else { return Some(place) };
        let was_live = self.used.is_live(at);
        let old = core::mem::replace(entry, MaybeUninit::new(place));
        if was_live {
            // SAFETY: what was at a live position was written.
            return Some(unsafe { old.assume_init() });
        }
        self.used.set_live(at, true);
        None
    }

    #[inline]
    fn take(&mut self, entries: &mut Entries<K, V>, at: usize) -> Option<Place<K, V>> {
        if !self.used.is_live(at) {
            return None;
        }
        self.used.set_live(at, false);
        // SAFETY: it was live, and now is not: this is the only time that it is read as one's own. What
        // stays is as plain as it was, with a mark under which nobody is served.
        unsafe {
            let place = entries[at].as_mut_ptr();
            let taken = place.read();
            place.byte_add(Place::<K, V>::MARK).cast::<Mark>().write(Mark::DEAD);
            Some(taken)
        }
    }

    fn shrink(&mut self, _left: usize, _end: usize) {}

    #[inline]
    fn uses(&self) -> Uses {
        self.used.uses()
    }

    #[inline]
    fn set_uses(&self, uses: Uses) {
        self.used.set_uses(uses);
    }
}
