//! What one read accepts.

use core::time::Duration;

use crate::time::Instant;

/// What one read accepts. It narrows the windows before the algorithm decides; it never widens
/// what the cache keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contract {
    /// Oldest acceptable value, counted from the end of its freshness; `None` for whatever the
    /// cache's windows allow, zero for fresh values only.
    pub max_stale: Option<Duration>,
    /// When this caller stops waiting.
    pub give_up: Instant,
    /// Whether the driver has room for another load; without it the read is refused a flight.
    pub room: bool,
    /// The caller neither starts a load nor waits for one: it takes what may be served without.
    pub only_if_cached: bool,
    /// The caller wants a new value even if the one that is there is fresh.
    pub refresh: bool,
    /// The caller takes nothing that is there, however fresh, and no fallback.
    pub bypass: bool,
}

impl Default for Contract {
    fn default() -> Self {
        Self::new()
    }
}

impl Contract {
    /// Whatever the cache's windows allow, and patience without end.
    pub const fn new() -> Self {
        Self {
            max_stale: None,
            give_up: Instant::FAR_FUTURE,
            room: true,
            only_if_cached: false,
            refresh: false,
            bypass: false,
        }
    }

    /// Accepts nothing older than `max_stale` past its freshness.
    #[must_use]
    pub const fn max_stale(mut self, max_stale: Duration) -> Self {
        self.max_stale = Some(max_stale);
        self
    }

    /// Stops waiting at `give_up`.
    #[must_use]
    pub const fn give_up(mut self, give_up: Instant) -> Self {
        self.give_up = give_up;
        self
    }

    /// Says whether the driver has room for another load.
    #[must_use]
    pub const fn room(mut self, room: bool) -> Self {
        self.room = room;
        self
    }

    /// Takes what may be served without a load, started or waited for.
    #[must_use]
    pub const fn only_if_cached(mut self) -> Self {
        self.only_if_cached = true;
        self
    }

    /// Wants a new value, as if an early refresh were due.
    #[must_use]
    pub const fn refresh(mut self) -> Self {
        self.refresh = true;
        self
    }

    /// With `true`, takes nothing that is there: as if the key had no entry, and were not known to be
    /// missing. Loads are shared with others as ever, and what they bring is kept.
    #[must_use]
    pub const fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// Whether any value that needs no decision will do.
    pub(crate) const fn is_easy(&self) -> bool {
        self.max_stale.is_none() && !self.refresh && !self.bypass
    }
}
