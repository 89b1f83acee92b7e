//! Memory for all tables of a cache, in large pages where that helps.
//!
//! A large cache is read all over. In pages of 4 KiB the processor has to look up most of its
//! addresses anew; in pages of 2 MiB it knows them. Linux gives such pages to who asks, for memory
//! that begins and ends where they do, and a `Vec` cannot be made to. With `--cfg cache_small_pages`
//! nobody asks: to measure what this gains.

use core::alloc::Layout;
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use std::alloc::{alloc, dealloc, handle_alloc_error};

/// Items that stay where they are, as in a boxed slice.
pub(crate) struct Room<T> {
    start: NonNull<T>,
    len: usize,
    layout: Layout,
}

// SAFETY: it owns its items, as a boxed slice does.
unsafe impl<T: Send> Send for Room<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Room<T> {}

/// A large page.
const LARGE: usize = 2 << 20;

/// The memory of so many items: from a large page on it begins with one, and ends with one if that
/// takes no more than a fifth in addition.
fn layout_of<T>(items: usize) -> Layout {
    let Ok(plain) = Layout::array::<T>(items) else { panic!("a cache larger than memory") };
    if plain.size() < LARGE || cfg!(any(cache_small_pages, not(target_os = "linux"))) {
        return plain;
    }
    let whole = plain.size().next_multiple_of(LARGE);
    let size = if whole - plain.size() <= plain.size() / 5 { whole } else { plain.size() };
    Layout::from_size_align(size, LARGE).unwrap_or(plain)
}

impl<T> Room<T> {
    /// Room that holds these items, of which there must be one at least.
    pub(super) fn of(items: impl ExactSizeIterator<Item = T>) -> Self {
        let layout = layout_of::<T>(items.len());
        assert!(layout.size() > 0, "there is no room for nothing");
        // SAFETY: the layout is not empty.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        ask_for_large_pages(start, layout);
        let mut room = Self { start: start.cast(), len: 0, layout };
        for item in items.take(items_in::<T>(layout)) {
            // SAFETY: there is memory for one more item than those so far.
            unsafe { room.start.add(room.len).write(item) };
            room.len += 1;
        }
        assert!(room.len > 0, "there must be one to choose");
        room
    }
}

impl<T> Room<T> {
    /// One of the items, and its position, by the highest bits of a hash (Lemire 2019).
    #[inline(always)]
    pub(super) fn choose(&self, hash: u64) -> (usize, &T) {
        let at = position(hash, self.len);
        debug_assert!(at < self.len);
        // SAFETY: a position is the high half of a product whose one factor is the number of items, so it
        // is below that number, which is not zero.
        (at, unsafe { self.start.add(at).as_ref() })
    }
}

/// The position that [`Room::choose`] chooses among so many items.
#[inline(always)]
pub(super) const fn position(hash: u64, items: usize) -> usize {
    ((hash as u128 * items as u128) >> 64) as usize
}

/// How many items a layout has room for: an iterator may say too few.
const fn items_in<T>(layout: Layout) -> usize {
    match size_of::<T>() {
        0 => usize::MAX,
        size => layout.size() / size,
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn ask_for_large_pages(start: NonNull<u8>, layout: Layout) {
    if layout.align() == LARGE {
        // SAFETY: the memory is ours. The advice changes in which pages the system keeps it, and
        // nothing else; where it cannot be followed, nothing happens.
        unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask_for_large_pages(_: NonNull<u8>, _: Layout) {}

impl<T> Deref for Room<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: so many items are there.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        let items = slice::from_raw_parts_mut;
        // SAFETY: the items are there and are not used afterwards, and the memory was taken with this
        // layout.
        unsafe {
            core::ptr::drop_in_place(items(self.start.as_ptr(), self.len));
            dealloc(self.start.as_ptr().cast(), self.layout);
        }
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_holds_what_it_was_given_and_drops_it_once() {
        let item = Arc::new(7);
        for len in [1, 7, 1_000] {
            let room = Room::of(vec![Arc::clone(&item); len].into_iter());
            assert_eq!((room.len(), Arc::strong_count(&item)), (len, len + 1));
            assert!(room.iter().all(|held| **held == 7));
            drop(room);
            assert_eq!(Arc::strong_count(&item), 1);
        }
    }

    #[test]
    fn large_room_begins_with_a_large_page_and_wastes_little() {
        let room = Room::of((0..400_000_u32).map(|n| u64::from(n) * 3));
        let page = if cfg!(all(target_os = "linux", not(cache_small_pages))) { LARGE } else { 8 };
        assert_eq!(room.start.as_ptr() as usize % page, 0);
        assert!(room.iter().zip(0..).all(|(held, n)| *held == n * 3));
        for items in [1, 1_000, 300_000, 1_000_000, 9_999_999] {
            let (size, wanted) = (layout_of::<u64>(items).size(), items * 8);
            assert!(size >= wanted && size - wanted <= wanted / 5, "{items} items take {size}");
        }
    }

    #[test]
    fn an_iterator_that_panics_leaves_nothing_behind() {
        let item = Arc::new(());
        let panicked = std::panic::catch_unwind(|| {
            Room::of((0..9).map(|n| if n < 5 { Arc::clone(&item) } else { panic!("at {n}") }))
        });
        assert!(panicked.is_err());
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
