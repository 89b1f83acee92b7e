//! Who reads a value, as far as its job must know.

use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use cache_std::Instant;

/// Nobody has read since the last look.
const UNREAD: u8 = 1;
/// The job rests until somebody reads.
const PAUSED: u8 = 2;
/// The job has no task: its runtime ended, or it was started on none.
const ORPHANED: u8 = 4;

/// What a read costs: one load of a number that hardly ever changes.
pub(super) struct Attention {
    /// 0 while readers have nothing to do for the job.
    bits: AtomicU8,
    stop_after: Option<Duration>,
    last_read: Mutex<Instant>,
}

/// What a reader has to do for the job.
pub(super) struct Wanted {
    pub(super) resume: bool,
    pub(super) task: bool,
}

impl Attention {
    pub(super) const fn new(stop_after: Option<Duration>, now: Instant) -> Self {
        Self { bits: AtomicU8::new(0), stop_after, last_read: Mutex::new(now) }
    }

    /// Whether a read has to be noted at all.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.bits.load(Ordering::Relaxed) != 0
    }

    /// Notes a read.
    pub(super) fn note(&self) -> Wanted {
        let bits = self.bits.swap(0, Ordering::AcqRel);
        Wanted { resume: bits & PAUSED != 0, task: bits & ORPHANED != 0 }
    }

    /// The job has no task: the next reader is asked for one.
    pub(super) fn orphan(&self) {
        self.bits.fetch_or(ORPHANED, Ordering::AcqRel);
    }

    /// Whether nobody has read for so long that the job pauses, which is noted. A reader who comes
    /// later will resume it; one who comes at this moment keeps it going. Those who wait look again
    /// after each run, which is a read.
    pub(super) fn pauses(&self, now: Instant) -> bool {
        let Some(span) = self.stop_after else { return false };
        let bits = self.bits.fetch_or(UNREAD, Ordering::AcqRel);
        let mut last_read = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        if bits & UNREAD == 0 {
            *last_read = now;
            return false;
        }
        let pause = |bits| (bits & UNREAD != 0).then_some(bits | PAUSED);
        now.has_reached(*last_read + span)
            && self.bits.fetch_update(Ordering::AcqRel, Ordering::Acquire, pause).is_ok()
    }
}
