//! Reads of metadata: they count as no use and change nothing.

use core::borrow::Borrow;

use super::{At, Book, Previous, View};
use crate::contract::Contract;
use crate::entry::{Entry, Windows};
use crate::explain::Explanation;
use crate::record::Record;
use crate::slot::{Site, Slot};
use crate::table::{Places, Table};
use crate::tags::Verdict;
use crate::ticket::Ticket;
use crate::time::Instant;

impl<K, V, T, R> Clone for View<'_, K, V, T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, T, R> Copy for View<'_, K, V, T, R> {}

impl<'a, K, V, T, R> View<'a, K, V, T, R> {
    /// A look at `table`, whose records are in `book`.
    pub const fn new(table: &'a T, book: &'a Book<K, R>) -> Self {
        Self { table, book, values: core::marker::PhantomData }
    }
}

impl<'a, K, V: 'a, T, R> View<'a, K, V, T, R>
where
    K: Eq,
    T: Table<K, V>,
    R: Places<K, Record>,
{
    /// The windows of the entry at a position, given its record if there is one.
    pub(super) fn windows_at(self, at: usize, record: Option<&Record>) -> Option<Windows> {
        let (hash, _, entry) = self.table.get(at)?;
        if entry.mark.has_record() {
            // Without them a panic has cost the record its windows, and the entry goes.
            return record?.windows;
        }
        Some(self.book.rules.windows(entry.mark, self.table.times(at), hash))
    }

    /// The old value of a key, whatever its windows say: for the loader, never for a caller.
    pub fn previous<Q>(self, hash: u64, key: &Q) -> Option<Previous<'a, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let at = self.table.find(hash, key)?;
        let record = self.record(hash, key);
        let (_, _, entry) = self.table.get(at)?;
        let windows = self.windows_at(at, record)?;
        let label = record.map(|record| &record.label);
        let tags = label.map_or(&[][..], |label| label.tags());
        let etag = label.and_then(|label| label.etag());
        Some(Previous { entry: Entry::new(&entry.value, windows), etag, tags })
    }

    /// The entry of a key while anything may serve it, with its freshness and age. Counts as no
    /// use, starts no load.
    pub fn entry<Q>(self, here: At<'_, Q>) -> Option<Entry<&'a V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        let slot = self.slot(here);
        let windows = slot.windows.filter(|windows| !now.has_reached(windows.gone_at()))?;
        let (_, _, entry) = self.table.get(self.table.find(hash, key)?)?;
        Some(Entry::new(&entry.value, windows))
    }

    /// The value for a caller whose load failed: whatever the windows and the contract still allow.
    /// Counts as no use, starts no load.
    pub fn fallback<Q>(self, here: At<'_, Q>, contract: &Contract) -> Option<Entry<&'a V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let now = here.now;
        let entry = self.entry(here).filter(|_| !contract.bypass)?;
        let accepted = |most| !now.has_reached(entry.fresh_until() + most);
        (entry.is_fresh(now) || contract.max_stale.is_none_or(accepted)).then_some(entry)
    }

    /// The fresh value of a key. Counts as no use, starts no load.
    pub fn peek<Q>(self, here: At<'_, Q>) -> Option<&'a V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let now = here.now;
        self.entry(here).filter(|entry| entry.is_fresh(now)).map(|entry| entry.value)
    }

    /// Whether what `ticket` loads does not land for the one reason that [something may have been
    /// missed](Book::expire_all) since it began: the key was not changed here, and no later load of it has
    /// landed. Who can ask elsewhere whether it was changed may keep it there.
    pub fn is_suspect<Q>(self, hash: u64, key: &Q, ticket: &Ticket) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let flight = self.record(hash, key).and_then(|record| record.flight.as_ref());
        flight.is_some_and(|flight| flight.suspects(ticket))
    }

    /// What the cache knows of a key and would decide now for a read on this contract. Counts as no
    /// use, starts no load.
    pub fn explain<Q>(self, here: At<'_, Q>, contract: &Contract) -> Explanation
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let slot = self.slot(here);
        let site =
            Site { policy: &self.book.rules.policy, hash: self.book.rules.spread(hash), now };
        let room = contract.room && self.book.tickets.flights < self.book.tickets.limit;
        Explanation::of(&slot, site, contract, room)
    }

    /// A copy of a key's slot as it stands at `now`, tags applied, for reads of metadata.
    fn slot<Q>(self, here: At<'_, Q>) -> Slot
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        let record = self.record(hash, key);
        let windows = self.table.find(hash, key).and_then(|at| self.windows_at(at, record));
        let mut slot = Slot { windows, record: record.cloned().unwrap_or_default() };
        match self.book.tags.verdict(slot.record.label.tags(), slot.record.tags_seen) {
            Verdict::Untouched => {}
            Verdict::Expired(at) => {
                slot.record.void();
                slot.windows = slot.windows.map(|mut windows| {
                    windows.expire(at);
                    windows
                });
            }
            Verdict::Invalidated => slot = Slot::default(),
        }
        slot.record.settle(now, self.book.rules.policy.longest_cool_down());
        slot
    }

    fn record<Q>(self, hash: u64, key: &Q) -> Option<&'a Record>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (_, _, record) = self.book.records.get(self.book.records.find(hash, key)?)?;
        Some(record)
    }

    /// Visits the entries that may still be served, from position `from` on, until `visit` says
    /// `false`; returns where to go on, or `None` at the end. Counts as no use.
    pub fn visit(
        self,
        from: usize,
        now: Instant,
        mut visit: impl FnMut(&'a K, Entry<&'a V>) -> bool,
    ) -> Option<usize> {
        for at in from..self.table.slots() {
            let Some((hash, key, _)) = self.table.get(at) else { continue };
            let Some(entry) = self.entry(At { hash, key, now }) else { continue };
            if !visit(key, entry) {
                return Some(at + 1);
            }
        }
        None
    }
}
