//! The right to complete one flight.

use crate::time::Instant;

/// The right to end one flight: with a value, a failure, or by giving it up.
///
/// Unique in its cache, neither `Copy` nor `Clone`, and used up by ending the flight. A ticket
/// that is dropped holds its key until the lease ends; then the next caller may load.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped ticket keeps its key from loading until the lease ends"]
pub struct Ticket {
    /// From one counter per cache. (With a counter per key, an old ticket lands in a re-created
    /// one.)
    pub(crate) id: u64,
    /// First ticket of an unbroken row of take-overs. A mutation breaks the row, another key has
    /// another row: a ticket lands only in its own.
    pub(crate) chain: u64,
    /// Where the tags' log stood when the flight began.
    pub(crate) tags_seen: u64,
    pub(crate) soft_at: Instant,
    pub(crate) hard_at: Instant,
    pub(crate) lease_until: Instant,
}

impl Ticket {
    /// The flight that this ticket leads.
    pub const fn flight(&self) -> FlightId {
        FlightId(self.id)
    }

    /// When callers with an old value stop waiting.
    pub const fn soft_at(&self) -> Instant {
        self.soft_at
    }

    /// When every caller stops waiting.
    pub const fn hard_at(&self) -> Instant {
        self.hard_at
    }

    /// When the next caller may load, unless renewed.
    pub const fn lease_until(&self) -> Instant {
        self.lease_until
    }
}

/// Names one flight, for drivers that keep those who wait for it. Unique in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(pub(crate) u64);

/// Issues tickets and bounds the flights of a cache.
#[derive(Debug)]
pub(crate) struct Tickets {
    last: u64,
    pub(crate) flights: usize,
    pub(crate) limit: usize,
}

impl Tickets {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { last: 0, flights: 0, limit }
    }

    pub(crate) const fn next_id(&mut self) -> u64 {
        // At a billion loads a second the counter lasts 584 years.
        self.last += 1;
        self.last
    }
}
