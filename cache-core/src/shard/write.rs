//! Ends of flights, and mutations by hand.

use core::borrow::Borrow;
use core::fmt;

use super::{At, Book, Open, Out, Shard, Spare, UNPLACED, plain};
use crate::action::{Cause, Completion, Put};
use crate::loaded::{Answer, Loaded, Terms};
use crate::record::Record;
use crate::resting::Resting;
use crate::slot::{Kind, Landing, Site};
use crate::table::{Places, Sweep, Table};
use crate::tags::Verdict;
use crate::ticket::{FlightId, Ticket};
use crate::time::Instant;

/// Where a slot's value came to rest, or the value if it did not.
struct Placed<V> {
    at: Option<usize>,
    handed_back: Option<V>,
}

impl<'a, K, V: 'a, T, R> Shard<'a, K, V, T, R>
where
    K: Eq,
    T: Table<K, V>,
    R: Places<K, Record>,
{
    /// Ends a flight with the loader's answer. `spare` should hold what [`Spare::storing`] makes.
    pub fn complete<Q>(
        mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        ticket: Ticket,
        loaded: Loaded<V>,
        weight: u32,
        out: Out<'_, K, V>,
    ) -> Completion<'a, V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let mut open = self.open(here);
        let (kind, value, terms) = parts(loaded);
        let verdict = self.book.tags.verdict(terms.label.tags(), ticket.tags_seen);
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        let tags_hold = verdict == Verdict::Untouched;
        let tickets = &mut self.book.tickets;
        let landing = open.slot.complete(site, &ticket, kind, terms, tags_hold, tickets);
        match landing {
            Landing::Superseded => self.book.stats.superseded += 1,
            Landing::NothingToRenew => self.book.stats.failures += 1,
            _ => self.book.stats.landed += 1,
        }
        let Placed { at, handed_back } = self.settle(open, &landing, value, weight, spare, out);
        let table: &'a T = self.table;
        let resting = at.and_then(|at| table.entry(at)).map(|entry| &entry.value);
        match (landing, resting, handed_back) {
            (Landing::Superseded, _, value) => Completion::Superseded(value),
            (Landing::NothingToRenew, ..) => Completion::NothingToRenew,
            (Landing::Missing, ..) => Completion::Missing,
            (_, _, Some(value)) => Completion::NotKept(value),
            (_, Some(value), None) => Completion::Applied(value),
            (_, None, None) => Completion::NothingToRenew,
        }
    }

    /// Stores an old value that a flight has found elsewhere, in a store behind the cache, say; the
    /// flight goes on, and the value serves meanwhile as its age allows. `spare` as for `complete`.
    /// Hands the value back where the flight is void, a tag of the value has changed since it began, the
    /// value here is no older, or nothing could be served from it.
    pub fn adopt<Q>(
        mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        ticket: &Ticket,
        loaded: Loaded<V>,
        weight: u32,
        out: Out<'_, K, V>,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let mut open = self.open(here);
        let (_, value, terms) = parts(loaded);
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        let verdict = self.book.tags.verdict(terms.label.tags(), ticket.tags_seen);
        let landing = match verdict {
            Verdict::Untouched => open.slot.adopt(site, ticket, terms),
            _ => Landing::Superseded,
        };
        self.settle(open, &landing, value, weight, spare, out).handed_back
    }

    /// Ends a flight that failed, and starts or lengthens the cool-down. Returns the old value if
    /// it may still serve.
    pub fn fail<Q>(
        mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        ticket: Ticket,
        error: &dyn fmt::Display,
        out: Out<'_, K, V>,
    ) -> Option<&'a V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let mut open = self.open(here);
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        open.slot.fail(site, &ticket, error, &mut self.book.tickets);
        self.book.stats.failures += 1;
        let fallback = open.slot.has_fallback(site);
        let at = self.close(open, spare, Cause::Expired, out);
        let at = at.filter(|_| fallback);
        let table: &'a T = self.table;
        at.and_then(|at| table.entry(at)).map(|entry| &entry.value)
    }

    /// Ends a flight whose error says that the old value must not serve any more: the old value is
    /// removed, and the next caller may load.
    pub fn reject<Q>(
        &mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        ticket: Ticket,
        error: &dyn fmt::Display,
        out: Out<'_, K, V>,
    ) where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let mut open = self.open(here);
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        if open.slot.fail(site, &ticket, error, &mut self.book.tickets) {
            open.slot.forget_entry();
        }
        self.book.stats.failures += 1;
        self.close(open, spare, Cause::Invalidated, out);
    }

    /// Ends a flight as if it had not been; the next caller may load at once.
    pub fn abandon<Q>(
        &mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        ticket: Ticket,
        out: Out<'_, K, V>,
    ) where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut open = self.open(here);
        open.slot.give_back(&ticket, &mut self.book.tickets);
        self.book.stats.abandoned += 1;
        self.close(open, spare, Cause::Expired, out);
    }

    /// Lengthens the lease of a flight to `until`; `false` if another flight has the key now.
    pub fn renew<Q>(
        &mut self,
        here: At<'_, Q>,
        ticket: &mut Ticket,
        until: Instant,
        out: Out<'_, K, V>,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut open = self.open(here);
        let renewed = open.slot.renew(ticket, until);
        self.close(open, &mut Spare::none(), Cause::Expired, out);
        renewed
    }

    /// Stores a value by hand; voids the key's flights. `spare` as for `complete`.
    pub fn put<Q>(
        &mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        loaded: Loaded<V>,
        weight: u32,
        out: Out<'_, K, V>,
    ) -> Put<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let mut open = self.open(here);
        let (kind, value, terms) = parts(loaded);
        if kind == Kind::NotModified && open.slot.windows.is_none() {
            self.close(open, spare, Cause::Expired, out);
            return Put::Missing;
        }
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        let landing = open.slot.put(site, kind, terms, &mut self.book.tickets);
        let missing = landing == Landing::Missing;
        let placed = self.settle(open, &landing, value, weight, spare, out);
        match placed.handed_back {
            Some(value) => Put::NotKept(value),
            None if missing => Put::Missing,
            None => Put::Stored,
        }
    }

    /// Stores a value unless a fresh one is there; if it stores, it voids the key's flights.
    pub fn put_if_absent<Q>(
        &mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        loaded: Loaded<V>,
        weight: u32,
        out: Out<'_, K, V>,
    ) -> Put<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match (self.view().peek(here).is_some(), loaded.answer) {
            (true, Answer::Value(value)) => Put::Present(value),
            (true, _) => Put::Missing,
            (false, answer) => {
                let loaded = Loaded { answer, terms: loaded.terms };
                self.put(here, spare, loaded, weight, out)
            }
        }
    }

    /// Places the value that an operation ended with, and puts the slot back.
    fn settle(
        &mut self,
        mut open: Open,
        landing: &Landing,
        value: Option<V>,
        weight: u32,
        spare: &mut Spare<K>,
        out: Out<'_, K, V>,
    ) -> Placed<V> {
        let (cause, mut handed_back) = match landing {
            Landing::Store => {
                let value = value.and_then(|v| self.place(&mut open, v, weight, spare, out));
                (Cause::Capacity, value)
            }
            Landing::Renew => (Cause::Expired, None),
            Landing::Missing => (Cause::Invalidated, value),
            _ => (Cause::Replaced, value),
        };
        self.book.stats.not_kept += u64::from(
            handed_back.is_some() && matches!(landing, Landing::Store | Landing::NotKept),
        );
        let mut lost = None;
        let stored = *landing == Landing::Store && handed_back.is_none();
        let at = self.close(open, spare, cause, &mut |cause, key, value| {
            // The entry just placed can leave again only if its own windows found no room.
            if stored && cause == Cause::Capacity {
                lost = Some(value);
            } else {
                out(cause, key, value);
            }
        });
        handed_back = handed_back.or(lost);
        Placed { at, handed_back }
    }

    /// Puts `value` into the table; hands it back if there is no room, and then the slot holds
    /// nothing.
    fn place(
        &mut self,
        open: &mut Open,
        value: V,
        weight: u32,
        spare: &mut Spare<K>,
        out: Out<'_, K, V>,
    ) -> Option<V> {
        if let Some(at) = open.at.filter(|at| self.table.weight_at(*at) == weight)
            && let Some(entry) = self.table.get_mut(at)
        {
            let old = core::mem::replace(&mut entry.value, value);
            out(Cause::Replaced, None, old);
            return None;
        }
        // Another weight: the old entry makes room first.
        if let Some((key, entry)) = open.at.take().and_then(|at| self.table.remove(at)) {
            out(Cause::Replaced, None, entry.value);
            spare.give(key);
        }
        let Some(key) = spare.take() else {
            open.slot.forget_entry();
            return Some(value);
        };
        let Self { table, book, .. } = self;
        let mut evicted = |hash, key: K, entry: Resting<V>| {
            book.forget_evicted(hash, &key, &entry);
            out(Cause::Capacity, Some(key), entry.value);
        };
        match table.insert(open.hash, key, Resting::new(value, UNPLACED), weight, &mut evicted) {
            Ok(at) => {
                open.at = Some(at);
                None
            }
            Err((key, entry)) => {
                spare.give(key);
                open.slot.forget_entry();
                Some(entry.value)
            }
        }
    }

    /// Makes a key's value stale from now on and keeps it as fallback; voids the key's flights.
    /// `spare` should hold one key. Returns whether there was a value.
    pub fn expire<Q>(&mut self, here: At<'_, Q>, spare: &mut Spare<K>, out: Out<'_, K, V>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let mut open = self.open(here);
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        open.slot.expire(site, &mut self.book.tickets);
        let useful = open.slot.has_fallback(site);
        let found = open.slot.windows.is_some();
        if !useful {
            open.slot.forget_entry();
        }
        self.close(open, spare, Cause::Expired, out);
        found
    }

    /// Removes all that is known of a key; voids its flights. Returns whether there was a value.
    pub fn invalidate<Q>(&mut self, here: At<'_, Q>, out: Out<'_, K, V>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut open = self.open(here);
        let found = open.slot.windows.is_some_and(|w| !open.now.has_reached(w.gone_at()));
        open.slot.invalidate(&mut self.book.tickets);
        self.close(open, &mut Spare::none(), Cause::Invalidated, out);
        found
    }

    /// Removes all entries, and voids all flights. O(entries + records).
    pub fn clear(self, out: Out<'_, K, V>) {
        self.book.clear();
        plain::clear(self.table, out);
    }
}

impl<K, R: Places<K, Record>> Book<K, R> {
    /// Voids a flight known by its id alone: for a driver whose key's `Eq` panicked while it ended
    /// the flight, so that the ticket is lost. O(records).
    pub fn void_flight(&mut self, flight: FlightId) {
        for at in 0..self.records.slots() {
            let Some(record) = self.records.get_mut(at) else { continue };
            record.flight = record.flight.take().filter(|own| own.id() != flight);
        }
        self.recount();
    }

    /// How many changes of tags there were.
    pub const fn tag_changes(&self) -> u64 {
        self.tags.sequence()
    }

    /// What happened to any of the tags with these hashes after the first `since` changes: the worst of it. O(tags).
    #[cfg(feature = "alloc")]
    pub fn tags_since(&self, tags: &[u64], since: u64) -> Verdict {
        self.tags.verdict(tags, since)
    }

    /// Forgets all records, and voids all flights. O(records).
    pub fn clear(&mut self) {
        // A removal may move others to where it has been.
        while !self.records.is_empty() {
            for at in (0..self.records.slots()).rev() {
                let removed = self.records.remove(at);
                self.let_go(removed.map(|(key, _)| key));
            }
        }
        (self.own_records, self.tickets.flights) = (0, 0);
        (self.sweep, self.displaced) = (Sweep::default(), None);
    }

    /// Makes every value with this tag stale from now on; voids their flights. O(log tags).
    #[cfg(feature = "alloc")]
    pub fn expire_tag(&mut self, tag: &str, now: Instant) {
        self.tags.expire(crate::tags::tag_hash(tag), now);
        self.sweep.expect(Instant::ORIGIN);
    }

    /// Removes every value with this tag; voids their flights. O(log tags).
    #[cfg(feature = "alloc")]
    pub fn invalidate_tag(&mut self, tag: &str) {
        self.tags.invalidate(crate::tags::tag_hash(tag));
        self.sweep.expect(Instant::ORIGIN);
    }
}

fn parts<V>(loaded: Loaded<V>) -> (Kind, Option<V>, Terms) {
    match loaded.answer {
        Answer::Value(value) => (Kind::Value, Some(value), loaded.terms),
        Answer::NotModified => (Kind::NotModified, None, loaded.terms),
        Answer::Missing => (Kind::Missing, None, loaded.terms),
    }
}
