//! What was met.

use std::sync::atomic::{AtomicU64, Ordering};

/// Faults that were met, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of loaders and stores that were begun, and readings of clocks.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that were said to be unsupported.
    pub unsupported: u64,
    /// Calls that took longer.
    pub delays: u64,
    /// Calls that panicked.
    pub panics: u64,
    /// Writes that were lost.
    pub lost: u64,
    /// Entries that could not be read.
    pub corrupt: u64,
    /// Times a clock leapt ahead.
    pub jumps: u64,
    /// Times a clock stood still.
    pub stalls: u64,
    /// Times a clock was set back.
    pub setbacks: u64,
}

impl Counts {
    /// All faults together.
    pub const fn faults(&self) -> u64 {
        let calls = self.errors + self.unsupported + self.delays + self.panics;
        calls + self.lost + self.corrupt + self.jumps + self.stalls + self.setbacks
    }
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Call,
    Error,
    Unsupported,
    Delay,
    Panic,
    Lost,
    Corrupt,
    Jump,
    Stall,
    Setback,
}

#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; 10]);

impl Tally {
    pub(super) fn note(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |kind: Kind| self.0[kind as usize].load(Ordering::Relaxed);
        Counts {
            calls: of(Kind::Call),
            errors: of(Kind::Error),
            unsupported: of(Kind::Unsupported),
            delays: of(Kind::Delay),
            panics: of(Kind::Panic),
            lost: of(Kind::Lost),
            corrupt: of(Kind::Corrupt),
            jumps: of(Kind::Jump),
            stalls: of(Kind::Stall),
            setbacks: of(Kind::Setback),
        }
    }
}
