//! The timing that puts and sweeps go by, which may change while they go on.

use core::array;

use cache_core::shard::Timing;

use super::primitives::{AtomicU64, Ordering};

/// A [`Timing`] as words.
///
/// It is read under a table's lock, where the table does not say that it is to be asked together with
/// its book, and changes only while every table says so (see
/// [`Cells::change_policy`](super::cells::Cells::change_policy)): so what is read is whole, and of today.
#[repr(align(64))] // one line, which is seldom written
pub(super) struct LiveTiming([AtomicU64; 5]);

impl LiveTiming {
    pub(super) fn new(timing: Timing) -> Self {
        Self(timing.to_words().map(AtomicU64::new))
    }

    /// The timing now. To be asked under a table's lock.
    #[inline(always)]
    pub(super) fn read(&self) -> Timing {
        // The lock orders these: a change comes between two holds of it by who changes.
        Timing::from_words(array::from_fn(|n| self.0[n].load(Ordering::Relaxed)))
    }

    /// Another timing. Called by one thread at a time, between taking every table's lock to say that
    /// its book is to be asked, and taking it again to say that this is no longer so.
    pub(super) fn set(&self, timing: Timing) {
        for (word, new) in self.0.iter().zip(timing.to_words()) {
            word.store(new, Ordering::Relaxed);
        }
    }
}
