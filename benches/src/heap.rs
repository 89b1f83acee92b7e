//! An allocator that counts what each thread holds.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;

/// The system's allocator, counted. A program that wants to count makes it its global one.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Counting;

impl Counting {
    /// To be the global allocator.
    pub const fn new() -> Self {
        Self
    }
}

// Counted by thread, and so without a locked instruction, which would show in what is timed.
thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// Bytes that this thread has allocated and not freed. What it freed of another thread's counts as
/// less than nothing, so only differences tell something.
pub fn held() -> isize {
    HELD.get()
}

/// How often this thread has allocated.
pub fn allocations() -> u64 {
    MADE.get()
}

fn made(bytes: isize) {
    MADE.set(MADE.get().wrapping_add(1));
    count(bytes);
}

fn count(bytes: isize) {
    HELD.set(HELD.get().wrapping_add(bytes));
}

// SAFETY: every call goes to `System` with the arguments as they came. Counting neither allocates
// nor panics: the thread's counter is built at compile time and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        made(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        made(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `place` came from this allocator, and so from `System`, with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        made(size as isize - layout.size() as isize);
        // SAFETY: as for `dealloc`; the new size is the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static HEAP: Counting = Counting::new();

    #[test]
    fn what_is_held_is_counted_until_it_is_freed() {
        let before = held();
        let mut block: Vec<u8> = Vec::with_capacity(1_000);
        assert_eq!(held() - before, 1_000);
        block.reserve_exact(3_000);
        assert_eq!(held() - before, 3_000);
        let zeroed = vec![0_u8; 500];
        assert_eq!(held() - before, 3_500);
        drop((block, zeroed));
        assert_eq!(held(), before);
    }
}
