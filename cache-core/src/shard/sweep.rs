//! Bounded housekeeping: entries and records go when their time has passed, read or not.

use super::{Out, Shard};
use crate::action::Cause;
use crate::table::{Places, Table};
use crate::tags::Verdict;
use crate::time::Instant;

/// Where the sweep stands and when it is next worth while.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Position in the table, and beyond its end in the records.
    cursor: usize,
    record_cursor: usize,
    /// Nothing goes before this.
    low: Instant,
    /// The same for what the present pass has seen so far.
    pass_low: Instant,
}

impl Default for Sweep {
    fn default() -> Self {
        let never = Instant::FAR_FUTURE;
        Self { cursor: 0, record_cursor: 0, low: never, pass_low: never }
    }
}

impl Sweep {
    /// Something may go at `at`.
    pub(super) fn expect(&mut self, at: Instant) {
        self.low = self.low.min(at);
        self.pass_low = self.pass_low.min(at);
    }

    pub(super) const fn next_record(&mut self, slots: usize) -> usize {
        self.record_cursor += 1;
        if self.record_cursor >= slots {
            self.record_cursor = 0;
        }
        self.record_cursor
    }

    /// What is seen in a pass counts for the next one.
    fn saw(&mut self, at: Instant) {
        self.pass_low = self.pass_low.min(at);
    }
}

impl<K: Eq, V, T: Table<K, V>> Shard<K, V, T> {
    /// When [`tick`](Self::tick) next has something to do: a lower bound; `None` for never.
    pub fn poll_at(&self) -> Option<Instant> {
        Some(self.sweep.low).filter(|low| *low != Instant::FAR_FUTURE)
    }

    /// Whether [`tick`](Self::tick) has something to do at `now`.
    pub const fn is_due(&self, now: Instant) -> bool {
        now.has_reached(self.sweep.low)
    }

    /// Looks at up to `budget` positions and removes what has passed; returns how many entries
    /// went. Does nothing before [`poll_at`](Self::poll_at); calling early or often is harmless.
    pub fn tick(&mut self, now: Instant, budget: usize, out: Out<'_, K, V>) -> usize {
        let mut removed = 0;
        if self.unsettled {
            self.repair();
        }
        for _ in 0..budget {
            if !self.is_due(now) && self.sweep.cursor == 0 {
                break;
            }
            removed += usize::from(self.step(now, out));
        }
        removed
    }

    /// One position; returns whether an entry went.
    fn step(&mut self, now: Instant, out: Out<'_, K, V>) -> bool {
        let (at, entries) = (self.sweep.cursor, self.table.slots());
        if at == 0 {
            self.sweep.pass_low = Instant::FAR_FUTURE;
        }
        if at >= entries + self.records.slots() {
            self.sweep.cursor = 0;
            self.sweep.low = self.sweep.pass_low;
            return false;
        }
        let (stays, removed) = if at < entries {
            let stays = self.entry_stays(at, now);
            (stays, !stays && self.sweep_entry(at, out))
        } else {
            (self.record_stays(at - entries, now), false)
        };
        // A removal may have moved another item to this position.
        self.sweep.cursor += usize::from(stays);
        removed
    }

    fn entry_stays(&mut self, at: usize, now: Instant) -> bool {
        let Some((hash, key, entry)) = self.table.get(at) else { return true };
        let record = if entry.mark.has_record() {
            self.records.find(hash, key).and_then(|at| self.records.get(at))
        } else {
            None
        };
        let record = record.map(|(_, _, record)| record);
        let Some(mut windows) = self.windows_at(at, record) else { return true };
        let verdict = record.map(|record| self.tags.verdict(record.label.tags(), record.tags_seen));
        if let Some(Verdict::Expired(at)) = verdict {
            windows.expire(at);
        }
        let invalidated = verdict == Some(Verdict::Invalidated);
        if !invalidated && !now.has_reached(windows.gone_at()) {
            self.sweep.saw(windows.gone_at());
            return true;
        }
        // The old value of a flight stays until that ends: the origin may say that it still holds.
        let flight = record.and_then(|record| record.flight.as_ref());
        let Some(flight) = flight.filter(|flight| !invalidated && flight.is_held(now)) else {
            return false;
        };
        self.sweep.saw(flight.until);
        true
    }

    fn sweep_entry(&mut self, at: usize, out: Out<'_, K, V>) -> bool {
        let Some((hash, key, entry)) = self.table.get(at) else { return false };
        // Looked for before anything is taken out: the key's `Eq` may panic.
        let linked = entry.mark.has_record().then(|| self.records.find(hash, key)).flatten();
        if let Some(record) = linked.and_then(|at| self.records.get_mut(at)) {
            self.own_records -= usize::from(record.own);
            record.forget_entry();
        }
        let Some((key, entry)) = self.table.remove(at) else { return false };
        self.stats.expirations += 1;
        out(Cause::Expired, Some(key), entry.value);
        true
    }

    /// Puts right what an operation left behind when a key's `Eq` panicked in it: records of
    /// entries that are gone, and the counts. O(records).
    pub(super) fn repair(&mut self) {
        for at in 0..self.records.slots() {
            let Some((hash, key, _)) = self.records.get(at) else { continue };
            let entry = self.table.find(hash, key).and_then(|at| self.table.get(at));
            let linked = entry.is_some_and(|(_, _, entry)| entry.mark.has_record());
            if let Some(record) = self.records.get_mut(at).filter(|_| !linked) {
                record.forget_entry();
            }
        }
        self.recount();
        self.unsettled = false;
    }

    pub(super) fn recount(&mut self) {
        let (mut own, mut flights) = (0, 0);
        for (_, _, record) in (0..self.records.slots()).filter_map(|at| self.records.get(at)) {
            own += usize::from(record.own);
            flights += usize::from(record.flight.is_some());
        }
        (self.own_records, self.tickets.flights) = (own, flights);
        self.sweep.expect(Instant::ORIGIN);
    }

    fn record_stays(&mut self, at: usize, now: Instant) -> bool {
        let longest = self.policy.longest_cool_down();
        let Some(record) = self.records.get_mut(at) else { return true };
        record.settle(now, longest);
        if !record.is_idle() {
            let next = record.poll_at();
            self.sweep.saw(if now.has_reached(next) { now + longest } else { next });
            return true;
        }
        self.drop_record(at);
        false
    }

    /// Checks that table, records and counters agree. For tests. O(entries).
    ///
    /// # Panics
    /// If they do not.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        assert!(!self.unsettled, "an operation has not ended");
        let (mut own, mut flights) = (0, 0);
        for (hash, key, record) in (0..self.records.slots()).filter_map(|at| self.records.get(at)) {
            own += usize::from(record.own);
            flights += usize::from(record.flight.is_some());
            let entry = self.table.find(hash, key).and_then(|at| self.table.get(at));
            let linked = entry.is_some_and(|(_, _, entry)| entry.mark.has_record());
            assert_eq!(record.windows.is_some(), linked, "a record and its entry disagree");
            assert!(record.windows.is_some() || !record.own, "windows of an entry that is gone");
        }
        assert_eq!(own, self.own_records, "records that must stay are miscounted");
        assert_eq!(flights, self.tickets.flights, "flights are miscounted");
        for (hash, key, entry) in (0..self.table.slots()).filter_map(|at| self.table.get(at)) {
            let recorded = self.records.find(hash, key).is_some();
            assert!(recorded || !entry.mark.has_record(), "an entry without its record");
        }
    }
}
