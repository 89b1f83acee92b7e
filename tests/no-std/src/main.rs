//! Drives a cache by hand in a binary without the standard library. Exit code 0 if it did right.
#![no_std]
#![no_main]

use core::ffi::c_int;
use core::panic::PanicInfo;
use core::time::Duration;

use cache_core::local::Cache;
use cache_core::table::{LinearTable, LocalTable, SetTable};
use cache_core::{Action, Freshness, Instant, Policy};

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn abort() -> !;
    }
    abort()
}

#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    let few = drives(LinearTable::<u8, u32, 4>::new());
    let many = drives(SetTable::<u8, u32, 9, 4>::new());
    c_int::from(!(few && many && heap::drives()))
}

/// Load, serve, go stale, serve on error: `true` if all of it came out.
fn drives(table: impl LocalTable<u8, u32>) -> bool {
    let second = Duration::from_secs(1);
    let policy = Policy::ttl(second).stale_if_error(second).jitter_percent(0).build();
    let Ok(policy) = policy else { return false };
    let mut cache = Cache::with_table(policy, table);
    let now = Instant::from_millis(10);
    let Action::Load { ticket, .. } = cache.lookup(&1, now) else { return false };
    let _ = cache.complete(&1, ticket, 7, now);
    let fresh = cache.get(&1, now + second / 2) == Some(&7);
    let later = now + second;
    let Action::Load { ticket, fallback: Some(7) } = cache.lookup(&1, later) else { return false };
    let kept = cache.fail(&1, ticket, &"sensor gone", later) == Some(&7);
    let served = cache.lookup(&1, later);
    let marked = matches!(served, Action::Serve { freshness: Freshness::Expired, .. });
    let gone = later + second;
    fresh && kept && marked && cache.tick(gone, 1_000) == 1 && cache.is_empty()
}

#[cfg(not(feature = "heap"))]
mod heap {
    pub fn drives() -> bool {
        true
    }
}

#[cfg(feature = "heap")]
mod heap {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ffi::c_void;
    use core::hash::{BuildHasherDefault, Hasher};

    use cache_core::table::{Bound, HashTable};

    unsafe extern "C" {
        fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
        fn free(memory: *mut c_void);
    }

    struct CAllocator;

    // SAFETY: `aligned_alloc` gives memory of the size and alignment asked for, or null, and it is
    // freed by the function that belongs to it.
    unsafe impl GlobalAlloc for CAllocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let align = layout.align().max(size_of::<usize>());
            let size = layout.size().next_multiple_of(align);
            // SAFETY: the alignment is a power of two that the C library takes, and the size is a
            // multiple of it.
            unsafe { aligned_alloc(align, size).cast() }
        }

        unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
            // SAFETY: the memory came from `alloc` above.
            unsafe { free(memory.cast()) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: CAllocator = CAllocator;

    #[derive(Default)]
    struct Sum(u64);

    impl Hasher for Sum {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    pub fn drives() -> bool {
        super::drives(HashTable::new(Bound::Entries(8), BuildHasherDefault::<Sum>::new()))
    }
}
