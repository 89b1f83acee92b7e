//! What is kept of a key beyond its resting entry: only while it is in flight or in trouble, known
//! to be missing, or has windows or labels of its own.

use core::fmt;
use core::time::Duration;

use crate::entry::Windows;
use crate::label::Label;
use crate::ticket::{FlightId, Ticket};
use crate::time::Instant;

/// One key's record. Opaque: tables only hold it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub(crate) flight: Option<Flight>,
    pub(crate) trouble: Option<Trouble>,
    /// The origin knows no such key; fresh until then.
    pub(crate) missing_until: Option<Instant>,
    /// The entry's windows, while a record exists; the entry's own deadline is then only the
    /// instant of its next decision.
    pub(crate) windows: Option<Windows>,
    /// The windows or the label are not what the policy would supply, so the record must stay as
    /// long as the entry.
    pub(crate) own: bool,
    pub(crate) label: Label,
    /// How far in the tags' log the label was checked.
    pub(crate) tags_seen: u64,
}

impl Record {
    /// Forgets what time has settled.
    pub(crate) fn settle(&mut self, now: Instant, longest_cool_down: Duration) {
        self.missing_until = self.missing_until.filter(|until| !now.has_reached(*until));
        if self.trouble.as_ref().is_some_and(|t| now.has_reached(t.retry_at + longest_cool_down)) {
            self.trouble = None;
        }
    }

    /// Nothing in it that the resting entry does not say.
    pub(crate) fn is_idle(&self) -> bool {
        self.flight.is_none() && self.trouble.is_none() && self.missing_until.is_none() && !self.own
    }

    /// Nothing in it but an entry's own ttl or age, which a table may have a place for.
    pub(crate) fn holds_only_times(&self) -> bool {
        let quiet = self.flight.is_none() && self.trouble.is_none() && self.missing_until.is_none();
        self.own && quiet && self.label.is_empty()
    }

    /// Whether the record may be dropped for another key's: only comfort is lost.
    pub(crate) fn may_go(&self, now: Instant) -> bool {
        !self.own && self.flight.as_ref().is_none_or(|flight| !flight.is_held(now))
    }

    /// Everything that a mutation voids.
    pub(crate) fn void(&mut self) {
        self.flight = None;
        self.trouble = None;
        self.missing_until = None;
    }

    /// What belonged to an entry that is gone. While a flight is under way its tags stay: should
    /// one be invalidated, what the flight loads is refused.
    pub(crate) fn forget_entry(&mut self) {
        self.windows = None;
        self.own = false;
        if self.flight.is_none() {
            self.label = Label::default();
        }
    }

    /// A lower bound of when time alone changes this record.
    pub(crate) fn poll_at(&self) -> Instant {
        let missing = self.missing_until.unwrap_or(Instant::FAR_FUTURE);
        let trouble = self.trouble.as_ref().map_or(Instant::FAR_FUTURE, |t| t.retry_at);
        missing.min(trouble)
    }
}

/// The unbroken row of loads in progress for a key; nearly always of one.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// First ticket of the row: tickets of other rows never land here.
    pub(crate) chain: u64,
    /// Latest ticket of the row.
    pub(crate) newest: u64,
    /// The barrier: tickets up to this one have landed or come too late.
    pub(crate) landed: u64,
    /// Tickets up to this one began before something may have been missed: they do not land either.
    pub(crate) suspect: u64,
    /// Tickets of the row that have not ended.
    pub(crate) outstanding: u32,
    /// The newest ticket ended without landing; older ones may still land.
    pub(crate) ended: bool,
    pub(crate) started: Instant,
    pub(crate) until: Instant,
    pub(crate) lease: Duration,
    pub(crate) soft_at: Instant,
    pub(crate) hard_at: Instant,
}

impl Flight {
    /// Whether others must not load at `now`.
    pub(crate) const fn is_held(&self, now: Instant) -> bool {
        !self.ended && !now.has_reached(self.until)
    }

    pub(crate) const fn id(&self) -> FlightId {
        FlightId(self.newest)
    }

    /// Whether what a ticket of this row loads may land.
    pub(crate) const fn admits(&self, ticket: &Ticket) -> bool {
        ticket.id > self.landed && ticket.id > self.suspect
    }

    /// Whether a ticket may not land for the one reason that something may have been missed since it began.
    pub(crate) const fn suspects(&self, ticket: &Ticket) -> bool {
        self.chain == ticket.chain && ticket.id > self.landed && ticket.id <= self.suspect
    }
}

/// Failures in a row.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) failures: u32,
    pub(crate) retry_at: Instant,
    pub(crate) error: ErrorText,
}

/// Most bytes that are kept of an error's text.
const ERROR_BYTES: usize = 160;

/// The last error as bounded text; without a heap, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorText {
    #[cfg(feature = "alloc")]
    text: alloc::string::String,
}

impl ErrorText {
    #[cfg(feature = "alloc")]
    pub(crate) fn of(error: &dyn fmt::Display) -> Self {
        let mut text = Bounded(alloc::string::String::new());
        // An error from `write!` says that the text was cut: that is what is wanted.
        let _ = fmt::write(&mut text, format_args!("{error}"));
        Self { text: text.0 }
    }

    #[cfg(not(feature = "alloc"))]
    pub(crate) const fn of(_error: &dyn fmt::Display) -> Self {
        let _ = ERROR_BYTES;
        Self {}
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    #[cfg(not(feature = "alloc"))]
    pub(crate) const fn as_str(&self) -> &str {
        ""
    }
}

#[cfg(feature = "alloc")]
struct Bounded(alloc::string::String);

#[cfg(feature = "alloc")]
impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = ERROR_BYTES.saturating_sub(self.0.len());
        let mut end = piece.len().min(room);
        while !piece.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&piece[..end]);
        if end < piece.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let long = "ä".repeat(200);
        let text = ErrorText::of(&long);
        assert_eq!(text.as_str().len(), ERROR_BYTES);
        assert!(text.as_str().chars().all(|c| c == 'ä'));
        assert_eq!(ErrorText::of(&"short").as_str(), "short");
    }
}
