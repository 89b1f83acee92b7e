//! Counters.

use core::ops::AddAssign;

/// What happened in a cache since it was made. Every number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Stats {
    /// Reads answered with a fresh value, or with a key known to be missing.
    pub hits: u64,
    /// Reads answered with a stale value, or with one kept for errors.
    pub stale_hits: u64,
    /// Reads that found nothing to serve.
    pub misses: u64,
    /// Tickets issued: loads that could begin.
    pub loads: u64,
    /// Loads whose answer was taken over.
    pub landed: u64,
    /// Loads whose answer was refused, because a mutation or a later load came first.
    pub superseded: u64,
    /// Loads that failed.
    pub failures: u64,
    /// Loads given up by their leader.
    pub abandoned: u64,
    /// Reads refused because a limit was reached.
    pub busy: u64,
    /// Entries removed to make room.
    pub evictions: u64,
    /// Entries removed because their windows had passed.
    pub expirations: u64,
    /// Values that were not kept: too heavy, no room, or the origin said so.
    pub not_kept: u64,
    /// Records of failures, missing keys or lapsed loads dropped to make room for others.
    pub forgotten: u64,
    /// Events that no listener was told, because too many waited for it.
    pub lost_events: u64,
    /// Questions to the store behind the cache that it answered with an entry.
    pub store_hits: u64,
    /// Questions to that store for which it had nothing.
    pub store_misses: u64,
    /// Operations of that store that failed.
    pub store_errors: u64,
    /// Loaded values that a store behind the cache refused, because others had changed the key since the
    /// load began.
    pub store_refusals: u64,
}

impl Stats {
    /// Reads of all kinds.
    pub const fn reads(&self) -> u64 {
        self.hits + self.stale_hits + self.misses
    }

    /// Share of reads that were answered from memory, 0 to 1; 0 before the first read.
    pub fn hit_ratio(&self) -> f64 {
        let reads = self.reads();
        if reads == 0 { 0.0 } else { (self.hits + self.stale_hits) as f64 / reads as f64 }
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.stale_hits += other.stale_hits;
        self.misses += other.misses;
        self.loads += other.loads;
        self.landed += other.landed;
        self.superseded += other.superseded;
        self.failures += other.failures;
        self.abandoned += other.abandoned;
        self.busy += other.busy;
        self.evictions += other.evictions;
        self.expirations += other.expirations;
        self.not_kept += other.not_kept;
        self.forgotten += other.forgotten;
        self.lost_events += other.lost_events;
        self.store_hits += other.store_hits;
        self.store_misses += other.store_misses;
        self.store_errors += other.store_errors;
        self.store_refusals += other.store_refusals;
    }
}
