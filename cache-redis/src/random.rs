//! Numbers that nobody can guess, and numbers that are only spread.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::time::SystemTime;

/// A token that no other has. `None` where the operating system gives no random bytes.
pub(crate) fn token() -> Option<[u8; 16]> {
    let mut token = [0; 16];
    getrandom::fill(&mut token).ok()?;
    Some(token)
}

/// A number that no other process has, nor this one twice, and never 0. Where the operating system gives no
/// random bytes, it is made of what tells processes apart.
pub(crate) fn station() -> u128 {
    static MADE: AtomicU64 = AtomicU64::new(1);
    let made = u128::from(MADE.fetch_add(1, Relaxed));
    let number = token().map_or_else(
        || {
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
            (since << 64) ^ (u128::from(std::process::id()) << 32) ^ made
        },
        u128::from_be_bytes,
    );
    number.max(1)
}

/// A seed of this process's own; a fixed one where the operating system gives none.
pub(crate) fn seed() -> u64 {
    getrandom::u64().unwrap_or(1)
}

/// SplitMix64 (Steele, Lea and Flood 2014), to spread delays.
#[derive(Clone, Debug)]
pub(crate) struct Spread(u64);

impl Spread {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from 0 up to `limit`, `limit` left out unless it is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(limit);
        (product >> 64) as u64
    }

    /// Evenly from nothing up to `longest`.
    pub(crate) fn within(&mut self, longest: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX)))
    }
}
