//! What the cache knows of one key, in words.

use core::fmt;
use core::time::Duration;

use crate::contract::Contract;
use crate::decide::Decision;
use crate::entry::Freshness;
use crate::label::Label;
use crate::record::ErrorText;
use crate::slot::{Ask, Site, Slot};
use crate::ticket::{Ticket, Tickets};

/// What the cache knows of one key at an instant, and what a read would do. Prints as a few lines.
///
/// Values are never part of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Freshness of the entry, if one is held that may still serve.
    pub freshness: Option<Freshness>,
    /// Time since the entry was stored.
    pub age: Duration,
    /// What is left of freshness, of stale-while-revalidate and of all windows.
    pub left: Left,
    /// What is left of the time in which the key is known to be missing.
    pub missing_for: Option<Duration>,
    /// The flight under way.
    pub flight: Option<FlightView>,
    /// Failures in a row since the last success.
    pub failures: u32,
    /// What is left of the cool-down.
    pub cooling_for: Option<Duration>,
    /// What a read that may load would do now.
    pub verdict: Verdict,
    error: ErrorText,
    label: Label,
}

/// What is left of each window; [`Duration::MAX`] for "for ever".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// Until freshness ends.
    pub fresh: Duration,
    /// Until stale-while-revalidate ends.
    pub stale: Duration,
    /// Until nothing may be served.
    pub any: Duration,
}

/// A flight as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlightView {
    /// Time since its newest load began.
    pub running_for: Duration,
    /// What is left of its lease; zero when the next caller takes over.
    pub lease_left: Duration,
    /// Loads that have not ended.
    pub loads: u32,
}

/// What a read would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Serve the value.
    Serve,
    /// Say that the key is missing.
    Missing,
    /// Serve the value kept for errors.
    ServeKept,
    /// Serve the value and refresh it.
    ServeAndRefresh,
    /// Load.
    Load,
    /// Wait for the flight.
    Wait,
    /// Fail: a load failed lately, or the flight is late.
    Fail,
    /// Refuse: a limit is reached.
    Busy,
}

impl Explanation {
    pub(crate) fn of(slot: &Slot, site: Site<'_>, contract: &Contract, room: bool) -> Self {
        let now = site.now;
        let windows = slot.windows.filter(|windows| !now.has_reached(windows.gone_at()));
        let record = &slot.record;
        let trouble = record.trouble.as_ref();
        Self {
            freshness: windows.map(|windows| windows.freshness(now)),
            age: windows.map_or(Duration::ZERO, |w| now.saturating_since(w.stored_at)),
            left: windows.map_or_else(Left::default, |windows| Left {
                fresh: windows.fresh_until.remaining_at(now),
                stale: windows.stale_until().remaining_at(now),
                any: windows.gone_at().remaining_at(now),
            }),
            missing_for: record.missing_until.map(|until| until.remaining_at(now)),
            flight: record.flight.as_ref().map(|flight| FlightView {
                running_for: now.saturating_since(flight.started),
                lease_left: if flight.is_held(now) {
                    flight.until.remaining_at(now)
                } else {
                    Duration::ZERO
                },
                loads: flight.outstanding,
            }),
            failures: trouble.map_or(0, |trouble| trouble.failures),
            cooling_for: trouble.map(|t| t.retry_at.remaining_at(now)).filter(|d| !d.is_zero()),
            verdict: verdict(slot, site, contract, room),
            error: trouble.map(|trouble| trouble.error.clone()).unwrap_or_default(),
            label: record.label.clone(),
        }
    }

    /// Text of the last error since the last success, cut to 160 bytes; empty if there was none.
    pub fn last_error(&self) -> &str {
        self.error.as_str()
    }

    /// The origin's name for this version of the value.
    pub fn etag(&self) -> Option<&str> {
        self.label.etag()
    }

    /// Whether what is known of the key is to be kept in the face of a value of some age that comes from
    /// elsewhere, a snapshot say: the value here is fresh, or no older; or it is being loaded; or the
    /// origin does not know the key. See [`Lifetime::outdoes`](crate::Lifetime::outdoes).
    pub fn outdoes(&self, age: Duration) -> bool {
        let fresh = self.freshness == Some(Freshness::Fresh);
        let younger = self.freshness.is_some() && self.age <= age;
        let loading = self.flight.is_some_and(|flight| !flight.lease_left.is_zero());
        fresh || younger || loading || self.missing_for.is_some()
    }

    /// The value's tags, by hashes that are the same in every process: their names are not kept.
    pub fn tag_hashes(&self) -> &[u64] {
        self.label.tags()
    }
}

/// Runs the read on a copy, with tickets that lead nowhere.
fn verdict(slot: &Slot, site: Site<'_>, contract: &Contract, room: bool) -> Verdict {
    let mut copy = slot.clone();
    let mut tickets = Tickets::new(usize::from(room));
    match copy.lookup(site, Ask::Load, contract, &mut tickets, room) {
        Decision::Serve | Decision::Nothing if slot.is_missing(site.now) => Verdict::Missing,
        Decision::Serve | Decision::Nothing => Verdict::Serve,
        Decision::ServeDegraded => Verdict::ServeKept,
        Decision::ServeAndRefresh::<Ticket>(_) => Verdict::ServeAndRefresh,
        Decision::Load { .. } => Verdict::Load,
        Decision::Wait { .. } => Verdict::Wait,
        Decision::Fail { .. } => Verdict::Fail,
        Decision::Busy => Verdict::Busy,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry_line(f)?;
        if let Some(flight) = &self.flight {
            let (running, left) = (Span(flight.running_for), Span(flight.lease_left));
            write!(f, "\nflight: {} loading, the newest for {running}", flight.loads)?;
            write!(f, ", lease ends in {left}")?;
        }
        if self.failures > 0 {
            write!(f, "\nfailures in a row: {}", self.failures)?;
            if let Some(left) = self.cooling_for {
                write!(f, ", next load in {}", Span(left))?;
            }
            if !self.last_error().is_empty() {
                write!(f, ", last: {}", self.last_error())?;
            }
        }
        let next = match self.verdict {
            Verdict::Serve => "serves the value",
            Verdict::Missing => "says that the key is missing",
            Verdict::ServeKept => "serves the value kept for errors",
            Verdict::ServeAndRefresh => "serves the value and refreshes it",
            Verdict::Load => "loads",
            Verdict::Wait => "waits for the flight",
            Verdict::Fail => "fails without asking the origin",
            Verdict::Busy => "is refused: a limit is reached",
        };
        write!(f, "\na read now: {next}")
    }
}

impl Explanation {
    fn entry_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (age, left) = (Span(self.age), &self.left);
        match (self.freshness, self.missing_for) {
            (Some(Freshness::Fresh), _) => {
                write!(f, "entry: fresh, age {age}, for another {}", Span(left.fresh))
            }
            (Some(Freshness::Stale), _) => {
                write!(f, "entry: stale, age {age}, served for another {}", Span(left.stale))
            }
            (Some(Freshness::Expired), _) => {
                write!(
                    f,
                    "entry: expired, age {age}, kept for errors for another {}",
                    Span(left.any)
                )
            }
            (None, Some(left)) => {
                write!(f, "entry: known to be missing for another {}", Span(left))
            }
            (None, None) => write!(f, "entry: none"),
        }
    }
}

/// A time for people.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Duration::MAX => write!(f, "ever"),
            span if span.as_secs() >= 1 => {
                write!(f, "{}.{} s", span.as_secs(), span.subsec_millis() / 100)
            }
            span if span.as_millis() >= 1 => write!(f, "{} ms", span.as_millis()),
            span => write!(f, "{} µs", span.as_micros()),
        }
    }
}
