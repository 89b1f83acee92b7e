//! The algorithm: what a read does, given how fresh the entry is and who may load.

use crate::ticket::FlightId;
use crate::time::Instant;

/// Where an entry stands when it is read: the rows of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // the rows of the table, which `decide` must cover
pub enum Standing {
    /// Fresh.
    Fresh,
    /// Fresh, and old enough for an early refresh.
    Early,
    /// Within stale-while-revalidate.
    Stale,
    /// Past that, kept for stale-if-error.
    Kept,
    /// Nothing that could be served: expired or absent.
    Gone,
}

/// The answer to "may I load?": the columns of the table. Who answers differs by target (a record
/// beside the entry in a process, `SET NX PX` in Redis); what follows does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // the columns of the table, which `decide` must cover
pub enum Lease<T> {
    /// The caller leads a new flight.
    Granted(T),
    /// Another caller leads; ask again at `until` at the latest.
    Held {
        /// The flight to wait for.
        flight: FlightId,
        /// When to look again if nothing was heard.
        until: Instant,
    },
    /// A load failed or is late; no other starts before `retry_at` for callers with an old value.
    Cooling {
        /// When the next load may start.
        retry_at: Instant,
        /// What the caller without an old value is told.
        cause: Refusal,
    },
    /// A limit is reached.
    Refused,
    /// The caller only looks.
    NotAsked {
        /// The caller said that it takes an old value this old.
        takes_stale: bool,
    },
}

/// Why a caller gets neither a value nor a place to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A load failed lately and the policy fails fast.
    CoolingDown,
    /// The flight, or the caller's own patience, is past its end.
    TimedOut,
    /// The caller takes only what is there, and nothing is that it would take.
    OnlyIfCached,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // a caller must handle every decision
pub enum Decision<T> {
    /// Serve what is there.
    Serve,
    /// Serve the value kept for errors, marked as such.
    ServeDegraded,
    /// Serve what is there and load a new value.
    ServeAndRefresh(T),
    /// Load; with `fallback`, an old value serves should that fail.
    Load {
        /// The right to load.
        ticket: T,
        /// Whether an old value may serve on failure.
        fallback: bool,
    },
    /// Wait for another's load; with `fallback`, an old value serves should that fail.
    Wait {
        /// The flight to wait for.
        flight: FlightId,
        /// When to look again if nothing was heard.
        until: Instant,
        /// Whether an old value may serve on failure.
        fallback: bool,
    },
    /// Fail now.
    Fail {
        /// When the next load may start.
        retry_at: Instant,
        /// Why.
        cause: Refusal,
    },
    /// A limit is reached and there is no old value.
    Busy,
    /// Nothing to serve and nothing asked.
    Nothing,
}

/// Decides a read. `lease` is asked only where the answer depends on it: never for a fresh entry.
pub fn decide<T>(standing: Standing, lease: impl FnOnce() -> Lease<T>) -> Decision<T> {
    use Decision::{Busy, Fail, Load, Nothing, Serve, ServeAndRefresh, ServeDegraded, Wait};
    use Lease::{Cooling, Granted, Held, NotAsked, Refused};

    match standing {
        Standing::Fresh => Serve,
        Standing::Early => match lease() {
            Granted(ticket) => ServeAndRefresh(ticket),
            Held { .. } | Cooling { .. } | Refused | NotAsked { .. } => Serve,
        },
        Standing::Stale => match lease() {
            Granted(ticket) => ServeAndRefresh(ticket),
            Held { .. } | Cooling { .. } | Refused | NotAsked { takes_stale: true } => Serve,
            NotAsked { takes_stale: false } => Nothing,
        },
        Standing::Kept => match lease() {
            Granted(ticket) => Load { ticket, fallback: true },
            Held { flight, until } => Wait { flight, until, fallback: true },
            Cooling { .. } | Refused => ServeDegraded,
            NotAsked { .. } => Nothing,
        },
        Standing::Gone => match lease() {
            Granted(ticket) => Load { ticket, fallback: false },
            Held { flight, until } => Wait { flight, until, fallback: false },
            Cooling { retry_at, cause } => Fail { retry_at, cause },
            Refused => Busy,
            NotAsked { .. } => Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Early, Fresh, Gone, Kept, Stale};

    const FLIGHT: FlightId = FlightId(7);
    const UNTIL: Instant = Instant::from_secs(9);
    const CAUSE: Refusal = Refusal::CoolingDown;

    fn columns() -> [Lease<char>; 6] {
        [
            Lease::Granted('t'),
            Lease::Held { flight: FLIGHT, until: UNTIL },
            Lease::Cooling { retry_at: UNTIL, cause: CAUSE },
            Lease::Refused,
            Lease::NotAsked { takes_stale: false },
            Lease::NotAsked { takes_stale: true },
        ]
    }

    #[rustfmt::skip]
    #[test]
    fn the_table() {
        use Decision::*;
        let wait = |fallback| Wait { flight: FLIGHT, until: UNTIL, fallback };
        let load = |fallback| Load { ticket: 't', fallback };
        let refresh = ServeAndRefresh('t');
        let fail = Fail { retry_at: UNTIL, cause: CAUSE };
        let table = [
            //        granted      held         cooling        refused        not asked  takes stale
            (Fresh, [Serve,       Serve,       Serve,         Serve,         Serve,     Serve  ]),
            (Early, [refresh,     Serve,       Serve,         Serve,         Serve,     Serve  ]),
            (Stale, [refresh,     Serve,       Serve,         Serve,         Nothing,   Serve  ]),
            (Kept,  [load(true),  wait(true),  ServeDegraded, ServeDegraded, Nothing,   Nothing]),
            (Gone,  [load(false), wait(false), fail,          Busy,          Nothing,   Nothing]),
        ];
        for (standing, row) in table {
            for (lease, expected) in columns().into_iter().zip(row) {
                assert_eq!(decide(standing, || lease), expected, "{standing:?} and {lease:?}");
            }
        }
    }

    #[test]
    fn a_fresh_entry_asks_for_no_lease() {
        let decision = decide::<()>(Fresh, || unreachable!("a fresh entry asked for a lease"));
        assert_eq!(decision, Decision::Serve);
    }
}
