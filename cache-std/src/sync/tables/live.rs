//! The timing that puts and sweeps go by, which may change while they go on.

use core::array;

use cache_core::shard::Timing;

use super::primitives::{AtomicU64, AtomicUsize, Ordering};

/// A [`Timing`] as words. It changes only while every table says that it is to be asked together
/// with its book (see [`Cells::change_policy`](super::cells::Cells::change_policy)), so under a
/// table's lock, where the table does not say so, what was read is whole and of today.
#[repr(align(64))] // one line, which is seldom written
pub(super) struct LiveTiming {
    /// How often it has changed.
    version: AtomicUsize,
    words: [AtomicU64; 5],
}

/// Which timing was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(usize);

impl LiveTiming {
    pub(super) fn new(timing: Timing) -> Self {
        let words = timing.to_words();
        let word = |n: usize| AtomicU64::new(words[n]);
        Self { version: AtomicUsize::new(0), words: array::from_fn(word) }
    }

    /// The timing. Away from a table's lock, it may be of yesterday, or of two days at once: what
    /// follows from it holds if, under the lock, it is [still](Self::is_still) that version.
    #[inline(always)]
    pub(super) fn read(&self) -> (Timing, Version) {
        let version = Version(self.version.load(Ordering::Acquire));
        let words = array::from_fn(|n| self.words[n].load(Ordering::Relaxed));
        (Timing::from_words(words), version)
    }

    /// Whether what was read is the timing now. To be asked under a table's lock.
    #[inline(always)]
    pub(super) fn is_still(&self, version: Version) -> bool {
        self.version.load(Ordering::Relaxed) == version.0
    }

    /// Another timing. Called by one thread at a time, between taking every table's lock to say that
    /// its book is to be asked, and taking it again to say that this is no longer so.
    pub(super) fn set(&self, timing: Timing) {
        for (word, new) in self.words.iter().zip(timing.to_words()) {
            word.store(new, Ordering::Relaxed);
        }
        // Released after the words: who reads this version reads these words, or later ones.
        self.version.fetch_add(1, Ordering::Release);
    }
}
