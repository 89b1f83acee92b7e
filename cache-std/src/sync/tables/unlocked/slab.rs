//! Memory for the entries of a set that is taken once and stays where it is.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use cache_core::table::{Place, Rows, WAYS};

use super::plain::Plain;

/// Up to [`WAYS`] entries of plain keys and values. Their memory is taken with the first, and given
/// back when the set is dropped: a reader without a lock never meets memory that has gone.
#[repr(C, align(16))] // the tags that follow it in a set are read sixteen at a time
pub(crate) struct Slab<K, V> {
    /// Dangling while nothing was ever held.
    start: NonNull<Place<K, V>>,
    /// Changes by release: who reads it by acquire and finds that something is held finds the start
    /// as well.
    len: AtomicUsize,
    _plain: PhantomData<Plain<K, V>>,
}

// SAFETY: it owns its entries, as a `Vec` does.
unsafe impl<K: Send, V: Send> Send for Slab<K, V> {}
// SAFETY: as above.
unsafe impl<K: Sync, V: Sync> Sync for Slab<K, V> {}

impl<K, V> Slab<K, V> {
    /// Where the start of the entries is, and where their number.
    pub(super) const START: usize = core::mem::offset_of!(Self, start);
    pub(super) const LEN: usize = core::mem::offset_of!(Self, len);

    /// An empty one: there are slabs for plain keys and values only.
    pub(crate) const fn new(_: Plain<K, V>) -> Self {
        const { assert!(size_of::<Place<K, V>>() > 0, "an entry has a mark") };
        Self { start: NonNull::dangling(), len: AtomicUsize::new(0), _plain: PhantomData }
    }

    const fn layout() -> Layout {
        Layout::new::<[Place<K, V>; WAYS]>()
    }

    fn held(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn is_taken(&self) -> bool {
        self.start != NonNull::dangling()
    }
}

impl<K, V> Rows<Place<K, V>> for Slab<K, V> {
    #[inline]
    fn make_room(&mut self, _most: usize) {
        if !self.is_taken() {
            // SAFETY: the layout is not empty, for a place is not.
            let start = unsafe { alloc(Self::layout()) };
            let Some(start) = NonNull::new(start) else { handle_alloc_error(Self::layout()) };
            self.start = start.cast();
        }
    }

    #[inline]
    fn push(&mut self, place: Place<K, V>) {
        let len = self.held();
        assert!(self.is_taken() && len < WAYS, "room is made before something is put there");
        // SAFETY: there is memory for `WAYS` places, and the one after the last is free.
        unsafe { self.start.add(len).write(place) };
        self.len.store(len + 1, Ordering::Release);
    }

    #[inline]
    fn swap_remove(&mut self, at: usize) -> Place<K, V> {
        assert!(at < self.held(), "only what is there can be removed");
        let last = self.held() - 1;
        self.len.store(last, Ordering::Release);
        // SAFETY: both are within what was held. The one at `at` is read once and then overwritten
        // by the last, or is the last, which counts no more.
        unsafe {
            let place = self.start.add(at);
            let removed = place.read();
            ptr::copy(self.start.add(last).as_ptr(), place.as_ptr(), 1);
            removed
        }
    }

    fn shrink(&mut self) {}
}

impl<K, V> Deref for Slab<K, V> {
    type Target = [Place<K, V>];

    #[inline]
    fn deref(&self) -> &[Place<K, V>] {
        // SAFETY: so many places are there, or none and the pointer dangles as it may.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.held()) }
    }
}

impl<K, V> DerefMut for Slab<K, V> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Place<K, V>] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.held()) }
    }
}

impl<K, V> Drop for Slab<K, V> {
    fn drop(&mut self) {
        if self.is_taken() {
            // SAFETY: the memory was taken with this layout. Plain keys and values need no drop.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout()) };
        }
    }
}
