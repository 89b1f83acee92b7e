//! One key under both locks, in whichever arrangement it lies.

use core::borrow::Borrow;
use core::fmt;
use std::collections::HashMap;
use std::sync::Arc;

use cache_core::shard::{At, Previous, Spare, TagVerdict};
use cache_core::table::{HeapSet, WAYS};
use cache_core::{
    Action, Cause, Completion, Contract, Entry, Explanation, FlightId, Instant, Loaded, Put, Ticket,
};

use super::unlocked::{PlainSet, SeqSet};
use super::{Growing, Leaving, ParkGrowing, ParkSet, SpinGrowing, SpinSet, cells};
use crate::flight::Flight;

/// The same expression for whichever arrangement it is.
macro_rules! each {
    ($desk:expr, $name:ident => $work:expr) => {
        match $desk {
            Self::Plain($name) => $work,
            Self::Sets($name) => $work,
            Self::ParkedSets($name) => $work,
            Self::One($name) => $work,
            Self::Growing($name) => $work,
        }
    };
}

/// Both locks of one key; see [`cells`].
pub(in crate::sync) enum Desk<'a, K, V> {
    Plain(cells::Desk<'a, K, V, PlainSet<K, V>, SeqSet<K, V>>),
    Sets(cells::Desk<'a, K, V, HeapSet<K, V>, SpinSet<K, V>>),
    ParkedSets(cells::Desk<'a, K, V, HeapSet<K, V>, ParkSet<K, V>>),
    One(cells::Desk<'a, K, V, Growing<K, V>, SpinGrowing<K, V>>),
    Growing(cells::Desk<'a, K, V, Growing<K, V>, ParkGrowing<K, V>>),
}

/// The operations of `cache_core::shard`, on this key and with what leaves collected.
impl<K: Eq, V> Desk<'_, K, V> {
    pub(in crate::sync) fn flights(&mut self) -> &mut HashMap<FlightId, Arc<Flight<V>>> {
        each!(self, desk => &mut desk.ledger.flights)
    }

    pub(in crate::sync) fn void_flight(&mut self, flight: FlightId) {
        each!(self, desk => desk.ledger.book.void_flight(flight));
    }

    /// Lets go of the locks.
    pub(in crate::sync) fn close(self, leaving: &mut Leaving<'_, K, V>) {
        each!(self, desk => desk.close(leaving));
    }

    pub(in crate::sync) fn get<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        contract: &Contract,
        leaving: &mut Leaving<'_, K, V>,
    ) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let out = &mut out(leaving);
        each!(self, desk => {
            let hash = desk.hash;
            desk.shard().get(At { hash, key, now }, contract, out)
        })
    }

    pub(in crate::sync) fn lookup<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        spare: &mut Spare<K>,
        contract: &Contract,
        leaving: &mut Leaving<'_, K, V>,
    ) -> Action<'_, V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let out = &mut out(leaving);
        each!(self, desk => {
            let hash = desk.hash;
            desk.shard().lookup(At { hash, key, now }, spare, contract, out)
        })
    }

    #[allow(clippy::too_many_arguments)] // one operation, whole
    pub(in crate::sync) fn complete<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        spare: &mut Spare<K>,
        ticket: Ticket,
        loaded: Loaded<V>,
        weight: u32,
        leaving: &mut Leaving<'_, K, V>,
    ) -> Completion<'_, V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let out = &mut out(leaving);
        each!(self, desk => {
            let here = At { hash: desk.hash, key, now };
            desk.fit(weight);
            desk.shard().complete(here, spare, ticket, loaded, weight, out)
        })
    }

    /// Keeps an old value that a flight has found elsewhere, or hands it back.
    pub(in crate::sync) fn adopt<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        ticket: &Ticket,
        loaded: Loaded<V>,
        weight: u32,
        ends: (&mut Spare<K>, &mut Leaving<'_, K, V>),
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (spare, out) = (ends.0, &mut out(ends.1));
        each!(self, desk => {
            let here = At { hash: desk.hash, key, now };
            desk.fit(weight);
            desk.shard().adopt(here, spare, ticket, loaded, weight, out)
        })
    }

    /// Ends a flight that failed; `serve_old` says whether the old value may serve on.
    pub(in crate::sync) fn fail<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        ticket: Ticket,
        error: &dyn fmt::Display,
        serve_old: bool,
        ends: (&mut Spare<K>, &mut Leaving<'_, K, V>),
    ) where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (spare, out) = (ends.0, &mut out(ends.1));
        each!(self, desk => {
            let here = At { hash: desk.hash, key, now };
            if serve_old {
                desk.shard().fail(here, spare, ticket, error, out);
            } else {
                desk.shard().reject(here, spare, ticket, error, out);
            }
        });
    }

    pub(in crate::sync) fn abandon<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        spare: &mut Spare<K>,
        ticket: Ticket,
        leaving: &mut Leaving<'_, K, V>,
    ) where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let out = &mut out(leaving);
        each!(self, desk => {
            let here = At { hash: desk.hash, key, now };
            desk.shard().abandon(here, spare, ticket, out);
        });
    }

    /// Stores a value; if told so, only where no fresh one is.
    pub(in crate::sync) fn put<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        spare: &mut Spare<K>,
        loaded: Loaded<V>,
        how: (u32, bool),
        leaving: &mut Leaving<'_, K, V>,
    ) -> Put<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (weight, if_absent) = how;
        let out = &mut out(leaving);
        each!(self, desk => {
            let here = At { hash: desk.hash, key, now };
            desk.fit(weight);
            if if_absent {
                desk.shard().put_if_absent(here, spare, loaded, weight, out)
            } else {
                desk.shard().put(here, spare, loaded, weight, out)
            }
        })
    }

    pub(in crate::sync) fn expire<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        spare: &mut Spare<K>,
        leaving: &mut Leaving<'_, K, V>,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let out = &mut out(leaving);
        each!(self, desk => {
            let here = At { hash: desk.hash, key, now };
            desk.shard().expire(here, spare, out)
        })
    }

    pub(super) fn invalidate<Q>(
        &mut self,
        key: &Q,
        now: Instant,
        leaving: &mut Leaving<'_, K, V>,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let out = &mut out(leaving);
        each!(self, desk => {
            let here = At { hash: desk.hash, key, now };
            desk.shard().invalidate(here, out)
        })
    }

    /// Sweeps this key's table and book a little.
    pub(in crate::sync) fn tick(&mut self, now: Instant, leaving: &mut Leaving<'_, K, V>) {
        let out = &mut out(leaving);
        each!(self, desk => desk.shard().tick(now, 2 * WAYS, out));
    }

    pub(in crate::sync) fn peek<Q>(&self, key: &Q, now: Instant) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        each!(self, desk => desk.view().peek(At { hash: desk.hash, key, now }))
    }

    pub(in crate::sync) fn entry<Q>(&self, key: &Q, now: Instant) -> Option<Entry<&V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        each!(self, desk => desk.view().entry(At { hash: desk.hash, key, now }))
    }

    pub(in crate::sync) fn is_suspect<Q>(&self, key: &Q, ticket: &Ticket) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        each!(self, desk => desk.view().is_suspect(desk.hash, key, ticket))
    }

    /// How many changes of tags there were.
    pub(in crate::sync) fn tag_changes(&self) -> u64 {
        each!(self, desk => desk.ledger.book.tag_changes())
    }

    /// Whether one of the tags with these hashes may have changed since.
    pub(in crate::sync) fn has_changed(&self, tags: &[u64], since: u64) -> bool {
        each!(self, desk => desk.ledger.book.tags_since(tags, since) != TagVerdict::Untouched)
    }

    pub(in crate::sync) fn previous<Q>(&self, key: &Q) -> Option<Previous<'_, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        each!(self, desk => desk.view().previous(desk.hash, key))
    }

    pub(in crate::sync) fn fallback<Q>(
        &self,
        key: &Q,
        now: Instant,
        contract: &Contract,
    ) -> Option<Entry<&V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        each!(self, desk => {
            desk.view().fallback(At { hash: desk.hash, key, now }, contract)
        })
    }

    pub(in crate::sync) fn explain<Q>(
        &self,
        key: &Q,
        now: Instant,
        contract: &Contract,
    ) -> Explanation
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        each!(self, desk => desk.view().explain(At { hash: desk.hash, key, now }, contract))
    }
}

/// What leaves, as the core hands it out.
fn out<K, V>(leaving: &mut Leaving<'_, K, V>) -> impl FnMut(Cause, Option<K>, V) {
    |cause, key, value| leaving.take(cause, key, value)
}
