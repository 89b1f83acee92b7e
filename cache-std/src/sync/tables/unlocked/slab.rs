//! Memory for the entries of a set that is taken once and stays where it is.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use cache_core::Mark;
use cache_core::table::{Place, Rows, Uses, WAYS};

use super::plain::Plain;

/// Up to [`WAYS`] entries of plain keys and values. Their memory is taken with the first, and given
/// back when the set is dropped: a reader without a lock never meets memory that has gone.
#[repr(transparent)]
pub(crate) struct Slab<K, V> {
    head: Head<K, V>,
    _plain: PhantomData<Plain<K, V>>,
}

/// What a reader without the lock needs of a slab.
#[repr(C)]
pub(super) struct Head<K, V> {
    /// Dangling while nothing was ever held.
    start: NonNull<Place<K, V>>,
    rows: Used,
}

/// Which rows are in use, and how often each was used: what readers without the lock may borrow.
#[repr(C)]
pub(super) struct Used {
    /// [`Uses`], which readers count as well. Where two count at a time, one of them may be lost,
    /// and one that comes late may bring those of an entry back that has gone: they are a hint.
    uses: AtomicU64,
    /// A copy of [`Uses::full`]: the rows that a reader of what is hot looks at. One of them may have
    /// been taken out meanwhile; then its mark says so.
    full: AtomicU32,
    /// The positions in use.
    live: AtomicU32,
}

/// Both masks change by release: who reads one by acquire, and finds a position in it, finds the start
/// of the rows as well.
impl Used {
    const fn new() -> Self {
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

    fn uses(&self) -> Uses {
        Uses::from_bits(self.uses.load(Ordering::Relaxed))
    }

    fn set_uses(&self, uses: Uses) {
        self.uses.store(uses.to_bits(), Ordering::Relaxed);
        self.full.store(uses.full(), Ordering::Release);
    }
}

// SAFETY: it owns its entries, as a `Vec` does.
unsafe impl<K: Send, V: Send> Send for Slab<K, V> {}
// SAFETY: as above.
unsafe impl<K: Sync, V: Sync> Sync for Slab<K, V> {}

impl<K, V> Head<K, V> {
    /// Where the start is, and where the rest.
    pub(super) const START: usize = core::mem::offset_of!(Self, start);
    pub(super) const USED: usize = core::mem::offset_of!(Self, rows);

    fn live(&self) -> u32 {
        self.rows.live.load(Ordering::Relaxed)
    }

    fn is_live(&self, at: usize) -> bool {
        at < WAYS && self.live() >> at & 1 != 0
    }

    fn set_live(&self, live: u32) {
        self.rows.live.store(live, Ordering::Release);
    }

    fn is_taken(&self) -> bool {
        self.start != NonNull::dangling()
    }
}

impl<K, V> Slab<K, V> {
    /// An empty one: there are slabs for plain keys and values only.
    pub(crate) const fn new(_: Plain<K, V>) -> Self {
        const { assert!(size_of::<Place<K, V>>() > 0, "an entry has a mark") };
        let head = Head { start: NonNull::dangling(), rows: Used::new() };
        Self { head, _plain: PhantomData }
    }

    const fn layout() -> Layout {
        Layout::new::<[Place<K, V>; WAYS]>()
    }

    #[cold]
    fn make_room(&mut self) {
        // SAFETY: the layout is not empty, for a place is not.
        let start = unsafe { alloc(Self::layout()) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(Self::layout()) };
        self.head.start = start.cast();
    }
}

impl<K, V> Rows<Place<K, V>> for Slab<K, V> {
    #[inline]
    fn get(&self, at: usize) -> Option<&Place<K, V>> {
        // SAFETY: what is at a live position was written, and stays while it is borrowed.
        self.head.is_live(at).then(|| unsafe { self.head.start.add(at).as_ref() })
    }

    #[inline]
    fn get_mut(&mut self, at: usize) -> Option<&mut Place<K, V>> {
        // SAFETY: as above, and `self` is borrowed exclusively.
        self.head.is_live(at).then(|| unsafe { self.head.start.add(at).as_mut() })
    }

    #[inline]
    fn put(&mut self, at: usize, place: Place<K, V>, _most: usize) -> Option<Place<K, V>> {
        assert!(at < WAYS, "a set has no more positions");
        if !self.head.is_taken() {
            self.make_room();
        }
        // SAFETY: there is memory for `WAYS` places.
        let start = unsafe { self.head.start.add(at) };
        if self.head.is_live(at) {
            // SAFETY: it is live, and so was written.
            return Some(unsafe { start.replace(place) });
        }
        // SAFETY: nothing is there that would have to be dropped.
        unsafe { start.write(place) };
        self.head.set_live(self.head.live() | 1 << at);
        None
    }

    #[inline]
    fn take(&mut self, at: usize) -> Option<Place<K, V>> {
        if !self.head.is_live(at) {
            return None;
        }
        self.head.set_live(self.head.live() & !(1 << at));
        // SAFETY: it was live, and now is not: this is the only time that it is read as one's own. What
        // stays is as plain as it was, with a mark under which nobody is served.
        unsafe {
            let place = self.head.start.add(at);
            let taken = place.read();
            place.byte_add(Place::<K, V>::MARK).cast::<Mark>().write(Mark::DEAD);
            Some(taken)
        }
    }

    fn shrink(&mut self, _left: usize, _end: usize) {}

    #[inline]
    fn uses(&self) -> Uses {
        self.head.rows.uses()
    }

    #[inline]
    fn set_uses(&self, uses: Uses) {
        self.head.rows.set_uses(uses);
    }
}

impl<K, V> Drop for Slab<K, V> {
    fn drop(&mut self) {
        if self.head.is_taken() {
            // SAFETY: the memory was taken with this layout. Plain keys and values need no drop.
            unsafe { dealloc(self.head.start.as_ptr().cast(), Self::layout()) };
        }
    }
}
