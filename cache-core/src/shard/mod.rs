//! The single-threaded cache that every driver is made of: table, records, tags and tickets under
//! one `&mut self`, with the hash and the time as arguments.
//!
//! [`local::Cache`](crate::local::Cache) is a shard that hashes its own keys; the threaded cache
//! keeps many, each behind a small lock. Nothing here calls user code but the key's `Eq`; values
//! and keys that leave go out through a closure, so that a driver can drop them outside its lock.

use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;

use crate::action::Cause;
use crate::entry::Windows;
use crate::loaded::Loaded;
use crate::policy::{Policy, mix};
use crate::record::Record;
use crate::resting::Mark;
use crate::slot::{Site, Slot};
use crate::stats::Stats;
use crate::table::{Places, Table};
use crate::tags::{TagLog, Verdict};
use crate::ticket::Tickets;
use crate::time::Instant;

mod read;
mod sweep;
mod write;

pub use read::{Hit, Previous};

/// Where values that leave a shard go: why, the key if it left too, and the value.
pub type Out<'a, K, V> = &'a mut dyn FnMut(Cause, Option<K>, V);

/// How much a shard remembers besides its entries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Most flights at a time.
    pub flights: usize,
    /// Most failures and missing keys that are remembered.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flights: 1_024, remembered: 1_024 }
    }
}

/// Which key an operation is about, and when it happens.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // the seam's three plain arguments, always together
pub struct At<'a, Q: ?Sized> {
    /// The key's hash, always from the same hasher.
    pub hash: u64,
    /// The key.
    pub key: &'a Q,
    /// The time.
    pub now: Instant,
}

impl<Q: ?Sized> Clone for At<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for At<'_, Q> {}

/// Owned keys that an operation may use up: made before it, dropped after it, outside any lock.
#[derive(Debug)]
pub struct Spare<K>([Option<K>; 2]);

impl<K> Spare<K> {
    /// No key: for operations on keys that have an entry or a record.
    pub const fn none() -> Self {
        Self([None, None])
    }

    /// One key: enough for a read, and for a value with the cache's own windows.
    pub const fn one(key: K) -> Self {
        Self([Some(key), None])
    }

    /// Two keys: for a value with windows or labels of its own.
    pub const fn two(first: K, second: K) -> Self {
        Self([Some(first), Some(second)])
    }

    /// The keys that storing `loaded` under `key` may use up.
    pub fn storing<V>(key: K, loaded: &Loaded<V>) -> Self
    where
        K: Clone,
    {
        if loaded.is_plain() { Self::one(key) } else { Self::two(key.clone(), key) }
    }

    fn take(&mut self) -> Option<K> {
        self.0[0].take().or_else(|| self.0[1].take())
    }

    fn give(&mut self, key: K) {
        let place = usize::from(self.0[0].is_some());
        self.0[place] = Some(key);
    }
}

/// A single-threaded bounded cache; see the module.
pub struct Shard<K, V, T: Table<K, V>> {
    pub(crate) table: T,
    records: T::Records,
    /// Records that must stay as long as their entry.
    own_records: usize,
    tags: TagLog,
    tickets: Tickets,
    limits: Limits,
    policy: Policy,
    seed: u64,
    stats: Stats,
    sweep: sweep::Sweep,
    /// An operation has begun. Still set when the next one begins, it says that a key's `Eq`
    /// panicked half-way.
    unsettled: bool,
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
}

impl<K: Eq, V, T: Table<K, V>> Shard<K, V, T> {
    /// An empty shard. `seed` decides which keys' ttls jitter shortens by how much.
    pub fn new(table: T, policy: Policy, limits: Limits, seed: u64) -> Self {
        Self {
            records: table.records(),
            table,
            own_records: 0,
            tags: TagLog::default(),
            tickets: Tickets::new(limits.flights),
            limits,
            policy,
            seed,
            stats: Stats::default(),
            sweep: sweep::Sweep::default(),
            unsettled: false,
            values: PhantomData,
        }
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Entries held, whatever their freshness.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of all entries held.
    pub fn weight(&self) -> u64 {
        self.table.weight()
    }

    /// The counters.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Flights under way, lapsed ones included.
    pub const fn flights(&self) -> usize {
        self.tickets.flights
    }

    const fn spread(&self, hash: u64) -> u64 {
        mix(hash ^ self.seed)
    }

    /// The windows of the entry at a position, given its record if there is one.
    fn windows_at(&self, at: usize, record: Option<&Record>) -> Option<Windows> {
        let (hash, _, entry) = self.table.get(at)?;
        if entry.mark.has_record() {
            // Without them a panic has cost the record its windows, and the entry goes.
            return record?.windows;
        }
        Some(self.policy.windows_of_resting(entry.mark.deadline(), self.spread(hash)))
    }

    /// Takes a key's slot out, with invalidated tags applied.
    fn open<Q>(&mut self, here: At<'_, Q>) -> Open
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        if self.unsettled {
            self.repair();
        }
        let at = self.table.find(hash, key);
        let record_at = self.records.find(hash, key);
        self.unsettled = true;
        let record = record_at.and_then(|record_at| self.records.get_mut(record_at));
        let mut record = record.map(core::mem::take).unwrap_or_default();
        let was_own = record.own;
        record.settle(now, self.policy.longest_cool_down());
        let windows = at.and_then(|at| self.windows_at(at, Some(&record)));
        let mut slot = Slot { windows, record };
        let site = Site { policy: &self.policy, hash: mix(hash ^ self.seed), now };
        match self.tags.verdict(slot.record.label.tags(), slot.record.tags_seen) {
            Verdict::Untouched => {}
            Verdict::Expired(at) => slot.expire(Site { now: at, ..site }, &mut self.tickets),
            Verdict::Invalidated => slot.invalidate(&mut self.tickets),
        }
        slot.record.tags_seen = self.tags.sequence();
        Open { hash, now, at, record_at, was_own, slot }
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
        let Open { hash, now, mut at, record_at, was_own, mut slot } = open;
        if slot.windows.is_none() {
            slot.record.forget_entry();
            self.remove_entry(at.take(), cause, out);
        }
        if let Some(windows) = slot.windows {
            self.sweep.expect(windows.gone_at());
        }
        slot.record.windows = slot.windows;
        let (deadline, stale) = self.next_decision(&slot, hash, now);
        let tagged = !slot.record.label.tags().is_empty();
        self.own_records -= usize::from(was_own);
        let kept = self.keep_record(slot.record, record_at, hash, now, spare);
        self.unsettled = false;
        if kept == Kept::Lost {
            // Windows of its own and no room for them: the entry would be served by the wrong ones.
            self.stats.not_kept += 1;
            self.remove_entry(at.take(), Cause::Capacity, out);
        }
        let entry = self.table.get_mut(at?)?;
        entry.mark = entry.mark.moved(deadline, kept == Kept::Yes, stale, tagged);
        at
    }

    /// What the resting entry keeps: with a record, the end of its present state; without, the
    /// number from which the policy gives all windows back.
    fn next_decision(&self, slot: &Slot, hash: u64, now: Instant) -> (Instant, bool) {
        let Some(windows) = &slot.windows else { return (Instant::ORIGIN, false) };
        if slot.record.is_idle() {
            return (self.policy.resting_deadline(windows), false);
        }
        slot.rest(Site { policy: &self.policy, hash: self.spread(hash), now })
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
            if let Some((key, _)) = record_at.and_then(|record_at| self.records.remove(record_at)) {
                spare.give(key);
            }
            return Kept::No;
        }
        let own = record.own;
        self.sweep.expect(record.poll_at());
        if let Some(place) = record_at.and_then(|record_at| self.records.get_mut(record_at)) {
            *place = record;
            self.own_records += usize::from(own);
            return Kept::Yes;
        }
        let room = own || self.make_room(now);
        let Some(key) = spare.take().filter(|_| room) else { return self.lose_record(record) };
        match self.records.insert(hash, key, record) {
            Ok(_) => {
                self.own_records += usize::from(own);
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
        self.stats.forgotten += 1;
        if record.flight.take().is_some() {
            self.tickets.flights = self.tickets.flights.saturating_sub(1);
        }
        if own { Kept::Lost } else { Kept::No }
    }

    fn remove_entry(&mut self, at: Option<usize>, cause: Cause, out: Out<'_, K, V>) {
        let Some((key, entry)) = at.and_then(|at| self.table.remove(at)) else { return };
        if cause == Cause::Expired {
            self.stats.expirations += 1;
        }
        out(cause, Some(key), entry.value);
    }

    /// Room for one more record that is not bound to an entry, made if need be by dropping one that
    /// only spares a question to the origin.
    fn make_room(&mut self, now: Instant) -> bool {
        let transient = self.records.len() - self.own_records.min(self.records.len());
        let most = self.limits.flights.saturating_add(self.limits.remembered);
        if transient < most && self.records.len() < self.records.capacity() {
            return true;
        }
        let slots = self.records.slots();
        for _ in 0..slots.min(64) {
            let at = self.sweep.next_record(slots);
            if self.records.get(at).is_some_and(|(_, _, record)| record.may_go(now)) {
                self.drop_record(at);
                self.stats.forgotten += 1;
                return true;
            }
        }
        false
    }

    /// Drops a record that its entry can do without, and gives the entry its own deadline back.
    fn drop_record(&mut self, record_at: usize) {
        let Some((hash, key, record)) = self.records.get(record_at) else { return };
        if let Some(windows) = &record.windows {
            let deadline = self.policy.resting_deadline(windows);
            if let Some(entry) = self.table.find(hash, key).and_then(|at| self.table.get_mut(at)) {
                entry.mark = entry.mark.moved(deadline, false, false, false);
            }
        }
        if self.records.remove(record_at).is_some_and(|(_, record)| record.flight.is_some()) {
            self.tickets.flights = self.tickets.flights.saturating_sub(1);
        }
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

/// Forgets what a record held of an entry that has left. The record itself goes with a sweep:
/// removing it here could move others.
fn forget_entry_of<K: Eq, R: Places<K, Record>>(
    records: &mut R,
    own_records: &mut usize,
    hash: u64,
    key: &K,
) {
    let at = records.find(hash, key);
    if let Some(record) = at.and_then(|at| records.get_mut(at)) {
        *own_records -= usize::from(record.own);
        record.forget_entry();
    }
}

/// The deadline of an entry that is about to be placed; `close` sets the real one.
const UNPLACED: Mark = Mark::new(Instant::ORIGIN);

impl<K, V, T: Table<K, V> + fmt::Debug> fmt::Debug for Shard<K, V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("table", &self.table)
            .field("records", &self.records.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
