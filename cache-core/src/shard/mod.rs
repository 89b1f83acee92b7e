//! The seam between the algorithm and who drives it: operations on a table and its book, with the
//! hash and the time as arguments.
//!
//! [`local::Cache`](crate::local::Cache) owns one table and one book; the threaded cache keeps many
//! tables and fewer books, each behind a small lock. What needs no record needs no book: see
//! [`plain`]. Nothing here calls user code but the key's `Eq`; values and keys that leave go out
//! through a closure, so that a driver can drop them outside its lock.

use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;

use crate::action::Cause;
use crate::entry::Windows;
use crate::policy::Policy;
use crate::record::Record;
use crate::resting::{Mark, Resting, Times};
use crate::slot::{Site, Slot};
use crate::stats::Stats;
use crate::table::{Places, Sweep, Table};
use crate::tags::{TagLog, Verdict};
use crate::ticket::Tickets;
use crate::time::Instant;

mod arguments;
mod expire;
pub mod plain;
mod read;
mod reform;
mod room;
mod rules;
mod sweep;
mod view;
mod write;

pub use arguments::{At, Limits, Spare};
pub use expire::expire_all;
pub use read::{Hit, Previous};
pub use reform::carry_over;
pub use rules::{Rest, Rules, Timing};

pub use crate::tags::Verdict as TagVerdict;

/// Where values that leave a shard go: why, the key if it left too, and the value.
pub type Out<'a, K, V> = &'a mut dyn FnMut(Cause, Option<K>, V);

/// All that is kept beside the entries: flights, failures and missing keys, tags, tickets, counters.
///
/// One book serves one table, or several whose keys are told apart by their hashes.
pub struct Book<K, R> {
    records: R,
    /// Records that must stay as long as their entry.
    own_records: usize,
    tags: TagLog,
    tickets: Tickets,
    limits: Limits,
    rules: Rules,
    stats: Stats,
    sweep: Sweep,
    record_cursor: usize,
    /// A record that was dropped while its entry lay in another table.
    displaced: Option<Displaced<K>>,
    /// Keys of records that are gone, to be dropped outside any lock.
    #[cfg(feature = "alloc")]
    dropped: alloc::vec::Vec<K>,
    /// An operation has begun. Still set when the next one begins, it says that a key's `Eq`
    /// panicked half-way.
    unsettled: bool,
}

/// An entry that has lost its record: its key, and the deadline that it gets back, or why it has
/// to go.
#[derive(Debug)]
pub struct Displaced<K> {
    hash: u64,
    key: K,
    deadline: Result<Instant, Cause>,
}

impl<K, R: Places<K, Record>> Book<K, R> {
    /// An empty book. `seed` decides which keys' ttls jitter shortens by how much.
    pub fn new(records: R, policy: Policy, limits: Limits, seed: u64) -> Self {
        Self {
            records,
            own_records: 0,
            tags: TagLog::default(),
            tickets: Tickets::new(limits.flights),
            limits,
            rules: Rules::new(policy, seed),
            stats: Stats::default(),
            sweep: Sweep::default(),
            record_cursor: 0,
            displaced: None,
            #[cfg(feature = "alloc")]
            dropped: alloc::vec::Vec::new(),
            unsettled: false,
        }
    }

    /// The policy and the seed.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What happened to records; what happened to entries, their [`Tally`](crate::table::Tally)
    /// says.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Flights under way, lapsed ones included.
    pub const fn flights(&self) -> usize {
        self.tickets.flights
    }
}

/// One operation's view of a table and its book; see the module.
pub struct Shard<'a, K, V, T, R> {
    table: &'a mut T,
    book: &'a mut Book<K, R>,
    values: PhantomData<V>,
}

/// A view that only looks.
pub struct View<'a, K, V, T, R> {
    table: &'a T,
    book: &'a Book<K, R>,
    values: PhantomData<V>,
}

/// A key's slot while an operation runs on it.
struct Open {
    hash: u64,
    now: Instant,
    at: Option<usize>,
    record_at: Option<usize>,
    was_own: bool,
    slot: Slot,
    /// One of its tags was invalidated.
    untagged: bool,
}

impl<'a, K, V: 'a, T, R> Shard<'a, K, V, T, R>
where
    K: Eq,
    T: Table<K, V>,
    R: Places<K, Record>,
{
    /// An operation on `table`, whose records are in `book`.
    pub const fn new(table: &'a mut T, book: &'a mut Book<K, R>) -> Self {
        Self { table, book, values: PhantomData }
    }

    const fn view(&self) -> View<'_, K, V, T, R> {
        View::new(self.table, self.book)
    }

    const fn spread(&self, hash: u64) -> u64 {
        self.book.rules.spread(hash)
    }

    /// Takes a key's slot out, with invalidated tags applied.
    fn open<Q>(&mut self, here: At<'_, Q>) -> Open
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        if self.book.unsettled {
            self.repair();
        }
        let at = self.table.find(hash, key);
        let record_at = self.book.records.find(hash, key);
        self.book.unsettled = true;
        let record = record_at.and_then(|record_at| self.book.records.get_mut(record_at));
        let mut record = record.map(core::mem::take).unwrap_or_default();
        let was_own = record.own;
        let mark = at.and_then(|at| self.table.entry(at)).map(|entry| entry.mark);
        record.own |= mark.is_some_and(Mark::has_own_times);
        record.settle(now, self.book.rules.policy.longest_cool_down());
        let windows = at.and_then(|at| self.view().windows_at(at, Some(&record)));
        let mut slot = Slot { windows, record };
        let site =
            Site { policy: &self.book.rules.policy, hash: self.book.rules.spread(hash), now };
        let verdict = self.book.tags.verdict(slot.record.label.tags(), slot.record.tags_seen);
        let untagged = verdict == Verdict::Invalidated;
        match verdict {
            Verdict::Untouched => {}
            Verdict::Expired(at) => slot.expire(Site { now: at, ..site }, &mut self.book.tickets),
            Verdict::Invalidated => slot.invalidate(&mut self.book.tickets),
        }
        slot.record.tags_seen = self.book.tags.sequence();
        Open { hash, now, at, record_at, was_own, slot, untagged }
    }

    /// Puts a key's slot back: keeps or drops its record, sets the entry's next decision, removes
    /// an entry that has no windows any more. Returns where the entry is.
    fn close(
        &mut self,
        open: Open,
        spare: &mut Spare<K>,
        cause: Cause,
        out: Out<'_, K, V>,
    ) -> Option<usize> {
        let Open { hash, now, mut at, record_at, was_own, mut slot, untagged } = open;
        if slot.windows.is_none() {
            let cause = if untagged { Cause::Invalidated } else { cause };
            slot.record.forget_entry();
            self.remove_entry(at.take(), cause, out);
        }
        if let Some(windows) = slot.windows {
            self.table.house_mut().sweep.expect(windows.gone_at());
        }
        slot.record.windows = slot.windows;
        let own_times = self.rest_own_times(&mut slot, at);
        let (deadline, stale) = self.next_decision(&slot, hash, now, own_times);
        self.book.own_records -= usize::from(was_own);
        let kept = self.keep_record(slot.record, record_at, hash, now, spare);
        self.book.unsettled = false;
        if kept == Kept::Lost {
            // Windows of its own and no room for them: the entry would be served by the wrong ones.
            self.book.stats.not_kept += 1;
            self.remove_entry(at.take(), Cause::Capacity, out);
        }
        let entry = self.table.get_mut(at?)?;
        entry.mark = entry.mark.moved(deadline, kept == Kept::Yes, stale);
        if own_times {
            entry.mark = entry.mark.with_own_times();
        }
        at
    }

    /// Puts an entry's own times to rest in the table, if they are all that a record would be kept
    /// for and the table has a place for them.
    fn rest_own_times(&mut self, slot: &mut Slot, at: Option<usize>) -> bool {
        let policy = &self.book.rules.policy;
        let Some((at, windows)) = at.zip(slot.windows) else { return false };
        let usual = (windows.swr, windows.sie) == (policy.swr(), policy.sie());
        if !usual || !slot.record.holds_only_times() {
            return false;
        }
        let Windows { stored_at, fresh_until, .. } = windows;
        let rests = self.table.set_times(at, Times { stored_at, fresh_until });
        slot.record.own &= !rests;
        rests
    }

    /// What the resting entry keeps: with a record, the end of its present state; without, the
    /// number from which the policy gives all windows back, or, with times of its own, when they
    /// next matter.
    fn next_decision(
        &self,
        slot: &Slot,
        hash: u64,
        now: Instant,
        own_times: bool,
    ) -> (Instant, bool) {
        let Some(windows) = &slot.windows else { return (Instant::ORIGIN, false) };
        if own_times {
            return (windows.early_at(self.book.rules.policy.early_percent()), false);
        }
        if slot.record.is_idle() {
            return (self.book.rules.policy.resting_deadline(windows), false);
        }
        slot.rest(Site { policy: &self.book.rules.policy, hash: self.spread(hash), now })
    }

    fn keep_record(
        &mut self,
        record: Record,
        record_at: Option<usize>,
        hash: u64,
        now: Instant,
        spare: &mut Spare<K>,
    ) -> Kept {
        if record.is_idle() {
            if let Some((key, _)) = record_at.and_then(|at| self.book.records.remove(at)) {
                self.book.sweep.disturb();
                spare.give(key);
            }
            return Kept::No;
        }
        let own = record.own;
        self.book.sweep.expect(record.poll_at());
        if let Some(place) = record_at.and_then(|record_at| self.book.records.get_mut(record_at)) {
            *place = record;
            self.book.own_records += usize::from(own);
            return Kept::Yes;
        }
        let room = own || self.make_room(now);
        let Some(key) = spare.take().filter(|_| room) else { return self.lose_record(record) };
        self.book.sweep.disturb();
        match self.book.records.insert(hash, key, record) {
            Ok(_) => {
                self.book.own_records += usize::from(own);
                Kept::Yes
            }
            Err((key, record)) => {
                spare.give(key);
                self.lose_record(record)
            }
        }
    }

    fn lose_record(&mut self, mut record: Record) -> Kept {
        let own = record.own;
        self.book.stats.forgotten += 1;
        if record.flight.take().is_some() {
            self.book.tickets.flights = self.book.tickets.flights.saturating_sub(1);
        }
        if own { Kept::Lost } else { Kept::No }
    }

    fn remove_entry(&mut self, at: Option<usize>, cause: Cause, out: Out<'_, K, V>) {
        let Some((key, entry)) = at.and_then(|at| self.table.remove(at)) else { return };
        if cause == Cause::Expired {
            self.table.house_mut().tally.expirations += 1;
        }
        out(cause, Some(key), entry.value);
    }
}

impl<K, R: Places<K, Record>> Book<K, R> {
    fn drop_record(&mut self, at: usize) -> Option<Displaced<K>> {
        let (hash, _, record) = self.records.get(at)?;
        let windows = record.windows.as_ref();
        let deadline = windows.map(|windows| self.rules.policy.resting_deadline(windows));
        let (key, record) = self.records.remove(at)?;
        self.sweep.disturb();
        self.own_records -= usize::from(record.own);
        self.tickets.flights -= usize::from(record.flight.is_some()).min(self.tickets.flights);
        let Some(deadline) = deadline else {
            self.let_go(Some(key));
            return None;
        };
        Some(Displaced { hash, key, deadline: Ok(deadline) })
    }

    /// Without a heap there is nowhere to keep a key, and no lock that its drop could be under.
    #[cfg_attr(
        not(feature = "alloc"),
        allow(clippy::unused_self, clippy::needless_pass_by_ref_mut)
    )]
    fn let_go(&mut self, key: Option<K>) {
        #[cfg(feature = "alloc")]
        self.dropped.extend(key);
        #[cfg(not(feature = "alloc"))]
        drop(key);
    }

    /// Keys that left with records during the last operations, to be dropped where that may run
    /// any code. A driver asks for them after each operation, or they stay.
    #[cfg(feature = "alloc")]
    pub fn take_dropped(&mut self) -> alloc::vec::Vec<K> {
        core::mem::take(&mut self.dropped)
    }

    /// What the last operation did to an entry of another table. A driver with several tables asks
    /// for it after each operation and passes it on with [`Displaced::settle`], before it lets go
    /// of the book.
    pub const fn take_displaced(&mut self) -> Option<Displaced<K>> {
        self.displaced.take()
    }
}

impl<K: Eq> Displaced<K> {
    /// The hash of the entry's key: it says in which table the entry is.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Gives the entry its own deadline back, or removes it. Returns the key, to be dropped where
    /// that may run any code.
    pub fn settle<V, T: Table<K, V>>(self, table: &mut T, out: Out<'_, K, V>) -> K {
        let found = table.find(self.hash, &self.key);
        // Without the mark of a record the entry is a newer one: somebody has put it meanwhile.
        let is_it = |at: &usize| table.entry(*at).is_some_and(|entry| entry.mark.has_record());
        let Some(at) = found.filter(is_it) else { return self.key };
        match (self.deadline, table.get_mut(at)) {
            (Ok(deadline), Some(entry)) => entry.mark = entry.mark.moved(deadline, false, false),
            (Err(cause), _) => {
                plain::expire(table, at, cause, out);
            }
            (Ok(_), None) => {}
        }
        self.key
    }
}

/// What became of a record that was to be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
    /// It held windows of the entry's own, and there was no room.
    Lost,
}

impl<K: Eq, R: Places<K, Record>> Book<K, R> {
    /// Forgets what the record, if there is one, of an entry that was evicted held of it. The record
    /// itself goes with a sweep: removing it here could move others.
    fn forget_evicted<V>(&mut self, hash: u64, key: &K, entry: &Resting<V>) {
        if !entry.mark.has_record() {
            return;
        }
        let at = self.records.find(hash, key);
        if let Some(record) = at.and_then(|at| self.records.get_mut(at)) {
            self.own_records -= usize::from(record.own);
            record.forget_entry();
        }
        self.sweep.expect(Instant::ORIGIN);
    }
}

/// The deadline of an entry that is about to be placed; `close` sets the real one.
const UNPLACED: Mark = Mark::new(Instant::ORIGIN);

impl<K, R: Places<K, Record>> fmt::Debug for Book<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("records", &self.records.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "hashbrown"))]
mod tests;
