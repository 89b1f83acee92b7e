//! What the cache tells its caller to do next.

use crate::decide::Refusal;
use crate::entry::Freshness;
use crate::ticket::{FlightId, Ticket};
use crate::time::Instant;

/// The answer to a read that may load.
#[derive(Debug)]
#[must_use = "an action says what to do next, and may hold a ticket"]
#[allow(clippy::exhaustive_enums)] // a caller must handle every action
pub enum Action<'a, V> {
    /// Use the value. `freshness` tells a fresh one from a stale one and from one kept for errors.
    Serve {
        /// The value.
        value: &'a V,
        /// How fresh it is.
        freshness: Freshness,
    },
    /// Use the value, and load a new one when there is time.
    ServeAndRefresh {
        /// The value.
        value: &'a V,
        /// How fresh it is.
        freshness: Freshness,
        /// The right to load.
        ticket: Ticket,
    },
    /// The origin was asked lately and knows no such key.
    Missing,
    /// Load now, then `complete`, `fail` or `abandon` with the ticket.
    Load {
        /// The right to load.
        ticket: Ticket,
        /// An old value that may serve if the load fails.
        fallback: Option<&'a V>,
    },
    /// Another caller loads: wait for its flight, and look again at `until` at the latest.
    Wait {
        /// The flight.
        flight: FlightId,
        /// When to look again if nothing was heard.
        until: Instant,
        /// An old value that may serve if the load fails.
        fallback: Option<&'a V>,
    },
    /// No value, and no load before `retry_at`.
    Fail {
        /// When the next load may start.
        retry_at: Instant,
        /// Why.
        cause: Refusal,
    },
    /// A limit is reached and there is no old value.
    Busy,
}

impl<'a, V> Action<'a, V> {
    /// The value to use now, if there is one.
    pub const fn value(&self) -> Option<&'a V> {
        match self {
            Self::Serve { value, .. } | Self::ServeAndRefresh { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The ticket, if the caller is to load.
    pub fn into_ticket(self) -> Option<Ticket> {
        match self {
            Self::ServeAndRefresh { ticket, .. } | Self::Load { ticket, .. } => Some(ticket),
            _ => None,
        }
    }
}

/// What became of a loader's answer.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums)] // a caller must handle every outcome
pub enum Completion<'a, V> {
    /// Stored, or renewed after "not modified".
    Applied(&'a V),
    /// The key is remembered as missing, or was only removed if it is not to be remembered.
    Missing,
    /// A mutation or a later load came first: the value is for those who waited, not for the cache.
    Superseded(Option<V>),
    /// The value is for those who waited: the origin said no-store, or there was no room.
    NotKept(V),
    /// "Not modified", but there is no old value: the load counts as failed.
    NothingToRenew,
}

/// What became of a value put by hand.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // a caller must handle every outcome
pub enum Put<V> {
    /// Stored.
    Stored,
    /// Not stored, and handed back: there is a fresh value already (`put_if_absent` only).
    Present(V),
    /// Not stored, and handed back: no-store, too heavy, or no room.
    NotKept(V),
    /// What was put was no value ("missing"): the key is now remembered as missing.
    Missing,
}

impl<V> Put<V> {
    /// Whether the value is now in the cache.
    pub const fn is_stored(&self) -> bool {
        matches!(self, Self::Stored)
    }
}

/// Why a value left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Its windows had passed.
    Expired,
    /// Room was needed.
    Capacity,
    /// A new value took its place.
    Replaced,
    /// It was invalidated by key or tag, or the origin said that it is gone.
    Invalidated,
    /// The cache was cleared.
    Cleared,
}
