//! Reads.

use core::borrow::Borrow;
use core::time::Duration;

use super::{At, Open, Out, Shard, Spare, plain};
use crate::action::{Action, Cause};
use crate::contract::Contract;
use crate::decide::{Decision, Refusal, Standing};
use crate::entry::{Entry, Freshness};
use crate::record::Record;
use crate::slot::{Ask, Site};
use crate::table::{Places, Table};
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
    /// The [hashes](crate::tag_hash) of its tags.
    pub tags: &'a [u64],
}

impl<V> Previous<'_, V> {
    /// Time since the value was stored.
    pub fn age(&self, now: Instant) -> Duration {
        self.entry.age(now)
    }
}

impl<'a, K, V: 'a, T, R> Shard<'a, K, V, T, R>
where
    K: Eq,
    T: Table<K, V>,
    R: Places<K, Record>,
{
    fn covered<Q>(&self, here: At<'_, Q>) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        plain::covered(self.table, here)
    }

    /// A fresh value, or within `max_stale` a stale one. Starts no load.
    pub fn get<Q>(
        mut self,
        here: At<'_, Q>,
        contract: &Contract,
        out: Out<'_, K, V>,
    ) -> Option<&'a V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let At { hash, key, now } = here;
        let Some(at) = self.table.find(hash, key) else {
            // A key known to be missing has no entry and answers as any other miss.
            self.table.count_miss();
            return None;
        };
        if self.is_plain_hit(at, now) && !contract.bypass {
            return Some(plain::serve(self.table, at)?.value);
        }
        let mut open = self.open(here);
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        let decision = open.slot.lookup(site, Ask::Look, contract, &mut self.book.tickets, false);
        let freshness = open.slot.windows.map(|windows| windows.freshness(now));
        let at = self.close_read(open, &mut Spare::none(), out);
        let at = at.filter(|_| matches!(decision, Decision::Serve));
        let Some(at) = at else {
            self.table.count_miss();
            return None;
        };
        plain::count_hit(self.table, freshness != Some(Freshness::Fresh));
        self.table.note_use(at);
        Some(&self.table.entry(at)?.value)
    }

    fn is_plain_hit(&self, at: usize, now: Instant) -> bool {
        self.table.entry(at).is_some_and(|e| e.mark.covers(now) && !e.mark.is_stale())
    }

    /// Decides a read that may load. `spare` should hold one key, used if a flight is granted.
    pub fn lookup<Q>(
        mut self,
        here: At<'_, Q>,
        spare: &mut Spare<K>,
        contract: &Contract,
        out: Out<'_, K, V>,
    ) -> Action<'a, V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let covered = self.covered(here).filter(|_| contract.is_easy());
        if let Some(at) = covered {
            return plain::serve(self.table, at).map_or(Action::Busy, |hit| Action::Serve {
                value: hit.value,
                freshness: hit.freshness,
            });
        }
        let At { hash, key, now } = here;
        let known = self.book.records.find(hash, key).is_some();
        let room = contract.room && (known || self.make_room(now));
        let mut open = self.open(here);
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        let flies = open.slot.record.flight.is_some() || contract.only_if_cached;
        if room && !flies && open.slot.standing(site, Ask::Load, contract) != Standing::Fresh {
            self.give_up_lapsed(now);
        }
        let site = Site { policy: &self.book.rules.policy, hash: self.spread(hash), now };
        let decision = open.slot.lookup(site, Ask::Load, contract, &mut self.book.tickets, room);
        let freshness = open.slot.windows.map(|windows| windows.freshness(now));
        let at = self.close_read(open, spare, out);
        self.count(&decision, freshness);
        let tags_seen = self.book.tags.sequence();
        if let Some(at) = at {
            self.table.note_use(at);
        }
        let table: &'a T = self.table;
        let value = at.and_then(|at| table.entry(at)).map(|entry| &entry.value);
        action(decision, value.zip(freshness), tags_seen, now)
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
        match decision {
            Decision::Serve | Decision::ServeDegraded | Decision::ServeAndRefresh(_) => {
                let stale = matches!(freshness, Some(Freshness::Stale | Freshness::Expired));
                plain::count_hit(self.table, stale);
            }
            _ => self.table.count_miss(),
        }
        let stats = &mut self.book.stats;
        let granted = matches!(decision, Decision::ServeAndRefresh(_) | Decision::Load { .. });
        stats.loads += u64::from(granted);
        stats.busy += u64::from(matches!(decision, Decision::Busy));
    }
}

/// Joins a decision with the value it speaks of.
fn action<V>(
    decision: Decision<Ticket>,
    value: Option<(&V, Freshness)>,
    tags_seen: u64,
    now: Instant,
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
        (Decision::Nothing, _) => Action::Fail { retry_at: now, cause: Refusal::OnlyIfCached },
        // Fresh without a value: known to be missing.
        (Decision::Serve | Decision::ServeDegraded, _) => Action::Missing,
    }
}
