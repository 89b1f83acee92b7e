//! Room for records: how many there may be, and which are dropped for others.

use super::{Book, Shard};
use crate::record::Record;
use crate::table::{Places, Table};
use crate::time::Instant;

/// Records that are looked at for one to be dropped.
const LOOKS: usize = 64;

impl<K, V, T, R> Shard<'_, K, V, T, R>
where
    K: Eq,
    T: Table<K, V>,
    R: Places<K, Record>,
{
    /// Room for one more record that is not bound to an entry, made if need be by dropping one that
    /// only spares a question to the origin.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        if self.book.has_room(self.book.tickets.flights) {
            return true;
        }
        let mut dropped = 0;
        let slots = self.book.records.slots();
        for _ in 0..slots.min(LOOKS) {
            let at = self.book.next_record(slots);
            if self.may_drop(at, now) {
                self.drop_record(at);
                self.book.stats.forgotten += 1;
                dropped += 1;
                // A second one where flights that have failed left too many.
                if dropped == 2 || self.book.has_room(self.book.tickets.flights) {
                    break;
                }
            }
        }
        // Where those looked at are all needed, others may be forgotten later.
        dropped > 0 || self.book.has_room(self.book.limits.flights)
    }

    /// Gives up a flight whose lease has ended, if as many as may be are under way, so that one can begin.
    /// (What it loads would have landed, had nobody needed its place.)
    pub(super) fn give_up_lapsed(&mut self, now: Instant) {
        if self.book.tickets.flights < self.book.tickets.limit {
            return;
        }
        let slots = self.book.records.slots();
        for _ in 0..slots.min(LOOKS) {
            let at = self.book.next_record(slots);
            let Some(record) = self.book.records.get_mut(at) else { continue };
            if record.flight.as_ref().is_some_and(|flight| !flight.is_held(now)) {
                record.flight = None;
                self.book.tickets.flights -= 1;
                self.book.stats.forgotten += 1;
                self.book.sweep.expect(now);
                return;
            }
        }
    }

    /// Whether a record may be dropped now. One operation displaces at most one entry of another
    /// table.
    fn may_drop(&self, at: usize, now: Instant) -> bool {
        let Some((hash, _, record)) = self.book.records.get(at) else { return false };
        let elsewhere = record.windows.is_some() && !self.table.owns(hash);
        record.may_go(now) && !(elsewhere && self.book.displaced.is_some())
    }

    /// Drops a record that its entry can do without, and gives the entry its own deadline back:
    /// here, or, where the entry lies in another table, by way of [`Book::take_displaced`].
    pub(super) fn drop_record(&mut self, record_at: usize) {
        let at = self.book.records.get(record_at).and_then(|(hash, key, _)| {
            if self.table.owns(hash) { self.table.find(hash, key) } else { None }
        });
        let Some(displaced) = self.book.drop_record(record_at) else { return };
        match at.and_then(|at| self.table.get_mut(at)).zip(displaced.deadline.ok()) {
            Some((entry, deadline)) => {
                entry.mark = entry.mark.moved(deadline, false, false);
                self.book.let_go(Some(displaced.key));
            }
            None => self.book.displaced = Some(displaced),
        }
    }
}

impl<K, R: Places<K, Record>> Book<K, R> {
    /// Whether one more record may come that is not bound to an entry, besides those of so many flights.
    fn has_room(&self, flights: usize) -> bool {
        let transient = self.records.len().saturating_sub(self.own_records);
        transient < flights.saturating_add(self.limits.remembered)
            && self.records.len() < self.records.capacity()
    }

    const fn next_record(&mut self, slots: usize) -> usize {
        self.record_cursor += 1;
        if self.record_cursor >= slots {
            self.record_cursor = 0;
        }
        self.record_cursor
    }
}
