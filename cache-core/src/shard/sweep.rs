//! Bounded housekeeping: entries and records go when their time has passed, read or not.

use super::{Book, Out, Shard, View, plain};
use crate::action::Cause;
use crate::record::Record;
use crate::table::{Places, Table};
use crate::tags::Verdict;
use crate::time::Instant;

impl<K, V, T, R> View<'_, K, V, T, R>
where
    T: Table<K, V>,
    R: Places<K, Record>,
{
    /// When [`tick`](Shard::tick) next has something to do: a lower bound; `None` for never.
    pub fn poll_at(self) -> Option<Instant> {
        let low = self.table.house().sweep.low().min(self.book.sweep.low());
        Some(low).filter(|low| *low != Instant::FAR_FUTURE)
    }

    /// Whether [`tick`](Shard::tick) has something to do at `now`.
    pub fn is_due(self, now: Instant) -> bool {
        self.table.house().is_due(now) || self.book.is_due(now)
    }
}

impl<'a, K, V: 'a, T, R> Shard<'a, K, V, T, R>
where
    K: Eq,
    T: Table<K, V>,
    R: Places<K, Record>,
{
    /// Looks at up to `budget` positions of the table, then of the book, and removes what has
    /// passed; returns how many entries went. Does nothing before [`poll_at`](View::poll_at);
    /// calling early or often is harmless. Ends early at an entry of another table; see
    /// [`Book::take_displaced`].
    pub fn tick(&mut self, now: Instant, budget: usize, out: Out<'_, K, V>) -> usize {
        let (looked_at, removed) = self.tick_table(now, budget, out);
        removed + self.tick_book(now, budget - looked_at, out)
    }

    /// The table's part of [`tick`](Self::tick): how many positions it looked at, and how many
    /// entries went.
    pub fn tick_table(
        &mut self,
        now: Instant,
        budget: usize,
        out: Out<'_, K, V>,
    ) -> (usize, usize) {
        let (mut looked_at, mut removed) = (0, 0);
        if self.book.unsettled {
            self.repair();
        }
        while looked_at < budget && self.table.house().sweep.is_due(now) {
            looked_at += 1;
            removed += usize::from(self.entry_step(now, out));
        }
        (looked_at, removed)
    }

    /// Evicts up to `budget` entries that are beyond the table's bound, with what their records hold of
    /// them; returns how many went. Flights of their keys go on, and may land.
    pub fn evict(&mut self, budget: usize, out: Out<'_, K, V>) -> usize {
        if self.book.unsettled {
            self.repair();
        }
        let Self { table, book, .. } = self;
        book.unsettled = true; // a key's `Eq` may panic
        let went = table.evict(budget, &mut |hash, key: K, entry| {
            book.forget_evicted(hash, &key, &entry);
            out(Cause::Capacity, Some(key), entry.value);
        });
        book.unsettled = false;
        went
    }

    /// The book's part of [`tick`](Self::tick).
    pub fn tick_book(&mut self, now: Instant, budget: usize, out: Out<'_, K, V>) -> usize {
        let mut removed = 0;
        for _ in 0..budget {
            if !self.book.sweep.is_due(now) || self.book.displaced.is_some() {
                break;
            }
            removed += usize::from(self.record_step(now, out));
        }
        removed
    }

    /// Looks at one position of the table; returns whether its entry went.
    fn entry_step(&mut self, now: Instant, out: Out<'_, K, V>) -> bool {
        let slots = self.table.slots();
        let Some(at) = self.table.house_mut().sweep.position(slots) else { return false };
        match self.entry_stays(at, now) {
            Ok(until) => {
                let sweep = &mut self.table.house_mut().sweep;
                sweep.saw(until);
                sweep.advance();
                false
            }
            Err(cause) => {
                let went = self.sweep_entry(at, cause, out);
                plain::pass_gap(self.table, at);
                went
            }
        }
    }

    /// Until when the entry at a position stays, or why it goes.
    fn entry_stays(&self, at: usize, now: Instant) -> Result<Instant, Cause> {
        let forever = Ok(Instant::FAR_FUTURE);
        let Some((hash, key, entry)) = self.table.get(at) else { return forever };
        let record = if entry.mark.has_record() {
            self.book.records.find(hash, key).and_then(|at| self.book.records.get(at))
        } else {
            None
        };
        let record = record.map(|(_, _, record)| record);
        let Some(mut windows) = self.view().windows_at(at, record) else { return forever };
        let verdict =
            record.map(|record| self.book.tags.verdict(record.label.tags(), record.tags_seen));
        if let Some(Verdict::Expired(at)) = verdict {
            windows.expire(at);
        }
        if verdict == Some(Verdict::Invalidated) {
            return Err(Cause::Invalidated);
        }
        if !now.has_reached(windows.gone_at()) {
            return Ok(windows.gone_at());
        }
        // The old value of a flight stays until that ends: the origin may say that it still holds.
        let flight = record.and_then(|record| record.flight.as_ref());
        let held = flight.filter(|flight| flight.is_held(now));
        held.map(|flight| flight.until).ok_or(Cause::Expired)
    }

    fn sweep_entry(&mut self, at: usize, cause: Cause, out: Out<'_, K, V>) -> bool {
        let Some((hash, key, entry)) = self.table.get(at) else { return false };
        // Looked for before anything is taken out: the key's `Eq` may panic.
        let recorded = entry.mark.has_record();
        let linked = if recorded { self.book.records.find(hash, key) } else { None };
        if let Some(record_at) = linked {
            self.part_from_entry(record_at);
        }
        plain::expire(self.table, at, cause, out)
    }

    /// A record whose entry leaves: most have nothing else in them and leave as well.
    fn part_from_entry(&mut self, record_at: usize) {
        let Some(record) = self.book.records.get_mut(record_at) else { return };
        self.book.own_records -= usize::from(record.own);
        record.forget_entry();
        if record.is_idle() {
            let removed = self.book.records.remove(record_at);
            self.book.let_go(removed.map(|(key, _)| key));
            self.book.sweep.disturb();
        } else {
            self.book.sweep.expect(Instant::ORIGIN);
        }
    }

    /// Looks at one record; returns whether an entry of this table went with it.
    fn record_step(&mut self, now: Instant, out: Out<'_, K, V>) -> bool {
        let slots = self.book.records.slots();
        let Some(at) = self.book.sweep.position(slots) else { return false };
        let (tagged_until, cause) = self.tagged_until(at);
        if now.has_reached(tagged_until) {
            return self.drop_tagged_out(at, cause, out);
        }
        self.book.sweep.saw(tagged_until);
        if self.book.record_stays(at, now) {
            self.book.sweep.advance();
        } else {
            self.drop_record(at);
        }
        false
    }

    /// When a tag puts an end to the entry of a record, and what that is to be called.
    fn tagged_until(&self, at: usize) -> (Instant, Cause) {
        let windows = self.book.records.get(at).and_then(|(_, _, record)| {
            let verdict = self.book.tags.verdict(record.label.tags(), record.tags_seen);
            record.windows.map(|windows| (windows, verdict))
        });
        match windows {
            None | Some((_, Verdict::Untouched)) => (Instant::FAR_FUTURE, Cause::Expired),
            Some((_, Verdict::Invalidated)) => (Instant::ORIGIN, Cause::Invalidated),
            Some((mut windows, Verdict::Expired(at))) => {
                windows.expire(at);
                (windows.gone_at(), Cause::Expired)
            }
        }
    }

    /// Removes a record and its entry, whose tag was invalidated: here, or by way of
    /// [`Book::take_displaced`].
    fn drop_tagged_out(&mut self, record_at: usize, cause: Cause, out: Out<'_, K, V>) -> bool {
        let at = self.book.records.get(record_at).and_then(|(hash, key, _)| {
            if self.table.owns(hash) { self.table.find(hash, key) } else { None }
        });
        let Some(displaced) = self.book.drop_record(record_at) else { return false };
        let Some(at) = at else {
            self.book.displaced = Some(super::Displaced { deadline: Err(cause), ..displaced });
            return false;
        };
        self.book.let_go(Some(displaced.key));
        plain::expire(self.table, at, cause, out)
    }

    /// Puts right what an operation left behind when a key's `Eq` panicked in it: records of
    /// entries that are gone, and the counts. O(records).
    pub(super) fn repair(&mut self) {
        for at in 0..self.book.records.slots() {
            let Some((hash, key, _)) = self.book.records.get(at) else { continue };
            if !self.table.owns(hash) {
                continue;
            }
            let entry = self.table.find(hash, key).and_then(|at| self.table.entry(at));
            let linked = entry.is_some_and(|entry| entry.mark.has_record());
            if let Some(record) = self.book.records.get_mut(at).filter(|_| !linked) {
                record.forget_entry();
            }
        }
        self.book.recount();
        self.table.house_mut().sweep.expect(Instant::ORIGIN);
        self.book.unsettled = false;
    }
}

impl<K, R: Places<K, Record>> Book<K, R> {
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
        let longest = self.rules.policy.longest_cool_down();
        let Some(record) = self.records.get_mut(at) else { return true };
        record.settle(now, longest);
        if record.is_idle() {
            return false;
        }
        let next = record.poll_at();
        self.sweep.saw(if now.has_reached(next) { now + longest } else { next });
        true
    }

    /// Whether the records have something to do at `now`.
    pub const fn is_due(&self, now: Instant) -> bool {
        self.sweep.is_due(now)
    }
}

impl<K, V, T, R> View<'_, K, V, T, R>
where
    K: Eq,
    T: Table<K, V>,
    R: Places<K, Record>,
{
    /// Checks that table, records and counters agree. For tests. O(entries).
    ///
    /// # Panics
    /// If they do not.
    #[doc(hidden)]
    pub fn check_invariants(self) {
        assert!(!self.book.unsettled, "an operation has not ended");
        let records = &self.book.records;
        let (mut own, mut flights) = (0, 0);
        for (hash, key, record) in (0..records.slots()).filter_map(|at| records.get(at)) {
            own += usize::from(record.own);
            flights += usize::from(record.flight.is_some());
            assert!(record.windows.is_some() || !record.own, "windows of an entry that is gone");
            if !self.table.owns(hash) {
                continue;
            }
            let entry = self.table.find(hash, key).and_then(|at| self.table.entry(at));
            let linked = entry.is_some_and(|entry| entry.mark.has_record());
            assert_eq!(record.windows.is_some(), linked, "a record and its entry disagree");
        }
        assert_eq!(own, self.book.own_records, "records that must stay are miscounted");
        assert_eq!(flights, self.book.tickets.flights, "flights are miscounted");
        for (hash, key, entry) in (0..self.table.slots()).filter_map(|at| self.table.get(at)) {
            let recorded = records.find(hash, key).is_some();
            assert!(recorded || !entry.mark.has_record(), "an entry without its record");
        }
    }
}
