//! Reads.

use core::borrow::Borrow;
use core::time::Duration;

use super::{At, Open, Out, Shard, Spare};
use crate::action::{Action, Cause};
use crate::decide::Decision;
use crate::entry::{Entry, Freshness};
use crate::explain::Explanation;
use crate::slot::{Ask, Contract, Site, Slot};
use crate::table::{Places, Table};
use crate::tags::Verdict;
use crate::ticket::Ticket;
use crate::time::Instant;

/// A value served without a decision.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Hit<'a, V> {
    /// The value.
    pub value: &'a V,
    /// Fresh, or stale while another caller refreshes it.
    pub freshness: Freshness,
}

/// The old value as a loader sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Previous<'a, V> {
    /// The old value with its windows, which may have passed.
    pub entry: Entry<&'a V>,
    /// The origin's name for this version.
    pub etag: Option<&'a str>,
}

impl<V> Previous<'_, V> {
    /// Time since the value was stored.
    pub fn age(&self, now: Instant) -> Duration {
        self.entry.age(now)
    }
}

impl<K: Eq, V, T: Table<K, V>> Shard<K, V, T> {
    /// Where the value is if its next decision lies ahead. O(1), one comparison of time.
    pub(crate) fn covered<Q>(&self, here: At<'_, Q>) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let at = self.table.find(here.hash, here.key)?;
        self.table.get(at).is_some_and(|(_, _, entry)| entry.mark.covers(here.now)).then_some(at)
    }

    /// The fast way: a value whose next decision lies ahead. O(1), one comparison of time.
    pub fn hit<Q>(&mut self, here: At<'_, Q>) -> Option<Hit<'_, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let at = self.covered(here)?;
        self.serve(at)
    }

    fn serve(&mut self, at: usize) -> Option<Hit<'_, V>> {
        let entry = self.table.get_mut(at)?;
        entry.note_use();
        let stale = entry.mark.is_stale();
        self.stats.hits += u64::from(!stale);
        self.stats.stale_hits += u64::from(stale);
        let freshness = if stale { Freshness::Stale } else { Freshness::Fresh };
        Some(Hit { value: &entry.value, freshness })
    }

    /// A fresh value, or within `max_stale` a stale one. Starts no load.
    pub fn get<Q>(&mut self, here: At<'_, Q>, contract: &Contract, out: Out<'_, K, V>) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        let Some(at) = self.table.find(hash, key) else {
            // A key known to be missing has no entry and answers as any other miss.
            self.stats.misses += 1;
            return None;
        };
        if self.is_plain_hit(at, now) {
            self.stats.hits += 1;
            let entry = self.table.get_mut(at)?;
            entry.note_use();
            return Some(&entry.value);
        }
        let mut open = self.open(here);
        let site = Site { policy: &self.policy, hash: self.spread(hash), now };
        let decision = open.slot.lookup(site, Ask::Look, contract, &mut self.tickets, false);
        let freshness = open.slot.windows.map(|windows| windows.freshness(now));
        let at = self.close_read(open, &mut Spare::none(), out);
        let at = at.filter(|_| matches!(decision, Decision::Serve));
        let Some(entry) = at.and_then(|at| self.table.get_mut(at)) else {
            self.stats.misses += 1;
            return None;
        };
        entry.note_use();
        let fresh = freshness == Some(Freshness::Fresh);
        self.stats.hits += u64::from(fresh);
        self.stats.stale_hits += u64::from(!fresh);
        Some(&entry.value)
    }

    fn is_plain_hit(&self, at: usize, now: Instant) -> bool {
        self.table.get(at).is_some_and(|(_, _, e)| e.mark.covers(now) && !e.mark.is_stale())
    }

    /// Decides a read that may load. `spare` should hold one key, used if a flight is granted.
    pub fn lookup<Q>(
        &mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        contract: &Contract,
        out: Out<'_, K, V>,
    ) -> Action<'_, V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let covered = self.covered(here).filter(|_| contract.max_stale.is_none());
        if let Some(at) = covered {
            return self.serve(at).map_or(Action::Busy, |hit| Action::Serve {
                value: hit.value,
                freshness: hit.freshness,
            });
        }
        let At { hash, key, now } = here;
        let known = self.records.find(hash, key).is_some();
        let room = contract.room && (known || self.make_room(now));
        let mut open = self.open(here);
        let site = Site { policy: &self.policy, hash: self.spread(hash), now };
        let decision = open.slot.lookup(site, Ask::Load, contract, &mut self.tickets, room);
        let freshness = open.slot.windows.map(|windows| windows.freshness(now));
        let at = self.close_read(open, spare, out);
        self.count(&decision, freshness);
        let tags_seen = self.tags.sequence();
        if let Some(entry) = at.and_then(|at| self.table.get_mut(at)) {
            entry.note_use();
        }
        let value = at.and_then(|at| self.table.get(at)).map(|(_, _, entry)| &entry.value);
        action(decision, value.zip(freshness), tags_seen)
    }

    /// Puts the slot back after a read, and removes an entry that nothing can serve any more. While
    /// a flight is under way such an entry stays: the origin may say that it still holds.
    fn close_read(
        &mut self,
        mut open: Open,
        spare: &mut Spare<K>,
        out: Out<'_, K, V>,
    ) -> Option<usize> {
        let invalidated = open.at.is_some() && open.slot.windows.is_none();
        let cause = if invalidated { Cause::Invalidated } else { Cause::Expired };
        let gone = open.slot.windows.is_some_and(|w| open.now.has_reached(w.gone_at()));
        if gone && open.slot.record.flight.is_none() {
            open.slot.forget_entry();
        }
        self.close(open, spare, cause, out)
    }

    fn count(&mut self, decision: &Decision<Ticket>, freshness: Option<Freshness>) {
        let stats = &mut self.stats;
        match decision {
            Decision::Serve | Decision::ServeDegraded | Decision::ServeAndRefresh(_) => {
                let stale = matches!(freshness, Some(Freshness::Stale | Freshness::Expired));
                stats.stale_hits += u64::from(stale);
                stats.hits += u64::from(!stale);
            }
            _ => stats.misses += 1,
        }
        let granted = matches!(decision, Decision::ServeAndRefresh(_) | Decision::Load { .. });
        stats.loads += u64::from(granted);
        stats.busy += u64::from(matches!(decision, Decision::Busy));
    }

    /// The old value of a key, whatever its windows say: for the loader, never for a caller.
    pub fn previous<Q>(&self, hash: u64, key: &Q) -> Option<Previous<'_, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let at = self.table.find(hash, key)?;
        let record = self.record(hash, key);
        let (_, _, entry) = self.table.get(at)?;
        let windows = self.windows_at(at, record)?;
        let etag = record.and_then(|record| record.label.etag());
        Some(Previous { entry: Entry::new(&entry.value, windows), etag })
    }

    /// The entry of a key while anything may serve it, with its freshness and age. Counts as no
    /// use, starts no load.
    pub fn entry<Q>(&self, here: At<'_, Q>) -> Option<Entry<&V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        let slot = self.view(here);
        let windows = slot.windows.filter(|windows| !now.has_reached(windows.gone_at()))?;
        let (_, _, entry) = self.table.get(self.table.find(hash, key)?)?;
        Some(Entry::new(&entry.value, windows))
    }

    /// The value for a caller whose load failed: whatever the windows and the contract still allow.
    /// Counts as no use, starts no load.
    pub fn fallback<Q>(&self, here: At<'_, Q>, contract: &Contract) -> Option<Entry<&V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let now = here.now;
        let entry = self.entry(here)?;
        let accepted = |most| !now.has_reached(entry.fresh_until() + most);
        (entry.is_fresh(now) || contract.max_stale.is_none_or(accepted)).then_some(entry)
    }

    /// The fresh value of a key. Counts as no use, starts no load.
    pub fn peek<Q>(&self, here: At<'_, Q>) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let now = here.now;
        self.entry(here).filter(|entry| entry.is_fresh(now)).map(|entry| entry.value)
    }

    /// What the cache knows of a key and would decide now. Counts as no use, starts no load.
    pub fn explain<Q>(&self, here: At<'_, Q>) -> Explanation
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, now, .. } = here;
        let slot = self.view(here);
        let site = Site { policy: &self.policy, hash: self.spread(hash), now };
        Explanation::of(&slot, site, self.tickets.flights < self.tickets.limit)
    }

    /// A copy of a key's slot as it stands at `now`, tags applied, for reads of metadata.
    fn view<Q>(&self, here: At<'_, Q>) -> Slot
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        let record = self.record(hash, key);
        let windows = self.table.find(hash, key).and_then(|at| self.windows_at(at, record));
        let mut slot = Slot { windows, record: record.cloned().unwrap_or_default() };
        match self.tags.verdict(slot.record.label.tags(), slot.record.tags_seen) {
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
        slot.record.settle(now, self.policy.longest_cool_down());
        slot
    }

    fn record<Q>(&self, hash: u64, key: &Q) -> Option<&crate::record::Record>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (_, _, record) = self.records.get(self.records.find(hash, key)?)?;
        Some(record)
    }

    /// Visits the entries that may still be served, from position `from` on, until `visit` says
    /// `false`; returns where to go on, or `None` at the end. Counts as no use.
    pub fn visit(
        &self,
        from: usize,
        now: Instant,
        mut visit: impl FnMut(&K, Entry<&V>) -> bool,
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

/// Joins a decision with the value it speaks of.
fn action<V>(
    decision: Decision<Ticket>,
    value: Option<(&V, Freshness)>,
    tags_seen: u64,
) -> Action<'_, V> {
    let fallback = |wanted: bool| value.filter(|_| wanted).map(|(value, _)| value);
    let seen = |ticket| Ticket { tags_seen, ..ticket };
    match (decision, value) {
        (Decision::Serve | Decision::ServeDegraded, Some((value, freshness))) => {
            Action::Serve { value, freshness }
        }
        (Decision::ServeAndRefresh(ticket), Some((value, freshness))) => {
            Action::ServeAndRefresh { value, freshness, ticket: seen(ticket) }
        }
        (Decision::Load { ticket, fallback: old }, _) => {
            Action::Load { ticket: seen(ticket), fallback: fallback(old) }
        }
        (Decision::Wait { flight, until, fallback: old }, _) => {
            Action::Wait { flight, until, fallback: fallback(old) }
        }
        (Decision::Fail { retry_at, cause }, _) => Action::Fail { retry_at, cause },
        (Decision::Busy, _) => Action::Busy,
        // A refresh of an entry that has just been lost is an ordinary load.
        (Decision::ServeAndRefresh(ticket), None) => {
            Action::Load { ticket: seen(ticket), fallback: None }
        }
        // Fresh without a value: known to be missing.
        (Decision::Serve | Decision::ServeDegraded | Decision::Nothing, _) => Action::Missing,
    }
}
