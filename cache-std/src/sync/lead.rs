//! Leading a flight: running the loader, and ending the flight whatever happens.

use core::any::Any;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use cache_core::shard::Spare;
use cache_core::store::HeldLease;
use cache_core::{Completion, FlightId, Instant, Lifetime, Loaded, Policy, Ticket};

use super::cache::Inner;
use super::chore::holding_leases;
use super::outcome::Source;
use super::place::Place;
use super::tables::{Desk, Leaving};
use crate::error::Failure;
use crate::flight::{Arrival, End, Flight};
use crate::second::{Change, Mark, Second, ThreadTimer, shortened};

mod behind;

pub(crate) use behind::{Looked, finish_all, hold_leases, prepare_all};

/// The old value as a loader sees it: to ask the origin whether it still holds.
#[derive(Clone, Debug)]
pub struct Previous<V> {
    pub(crate) value: Option<V>,
    pub(crate) age: Duration,
    pub(crate) etag: Option<Box<str>>,
    pub(crate) tags: Box<[u64]>,
}

impl<V> Previous<V> {
    pub(crate) fn none() -> Self {
        Self { value: None, age: Duration::ZERO, etag: None, tags: Box::default() }
    }

    /// The old value, whose windows may have passed.
    pub const fn value(&self) -> Option<&V> {
        self.value.as_ref()
    }

    /// Time since the old value was stored; zero without one.
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// The origin's name for the old version.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }
}

/// The right and the duty to end one flight. Dropped without an end, it gives the flight up.
pub(crate) struct Lead<K: Eq, V, S>
where
    S: BuildHasher,
{
    pub(crate) inner: Weak<Inner<K, V, S>>,
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) flight: Arc<Flight<V>>,
    pub(crate) previous: Previous<V>,
    pub(crate) place: Option<Arc<Place>>,
    /// The policy by which what is loaded is kept, if not the cache's.
    pub(crate) kept_by: Option<Policy>,
    /// The store behind the cache, if there is one, is still to be asked.
    pub(crate) asks_store: bool,
    /// An old value is at hand that may serve if the load takes too long.
    pub(crate) has_old: bool,
    /// Memory had a fresh value when the flight began.
    pub(crate) is_early: bool,
    /// The right to leave in the store what is loaded, where others share it.
    pub(crate) lease: Option<(K, HeldLease)>,
    /// The store is in trouble.
    pub(crate) degraded: bool,
}

/// What a loader's answer comes to, with all user code behind it.
struct Answer<V> {
    loaded: Loaded<V>,
    /// For those who wait, whatever becomes of the one that is stored.
    copy: Option<V>,
    weight: u32,
    /// For the store behind the cache.
    change: Change<V>,
    source: Source,
}

/// What is to become of the entry in the store behind the cache, as of then.
struct Follows<V> {
    change: Change<V>,
    now: Instant,
    /// From before it was done in memory: what comes into doubt later does so for what came later.
    as_of: Mark,
}

/// A flight has ended in memory.
struct Completed<'a, K, V> {
    /// If the store is to follow.
    follows: Option<Follows<V>>,
    /// Dropped when no lock and no turn is held: it may run any code of keys and values.
    _left: Option<Left<'a, K, V>>,
}

type Left<'a, K, V> = (Spare<K>, Leaving<'a, K, V>, Option<V>);

/// A failure, and whether the old value may serve those who wait. One batch shares it.
#[derive(Clone)]
pub(crate) struct Failed {
    failure: Failure,
    serve_old: bool,
}

impl Failed {
    pub(crate) fn panic(payload: &(dyn Any + Send)) -> Self {
        Self { failure: Failure::of_panic(payload), serve_old: true }
    }
}

impl<K, V, S> Lead<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// Asks the store behind the cache, if there is one and it was not asked before, and else runs
    /// the loader; ends the flight. Returns what the loader panicked with, if it did.
    pub(crate) fn run<E>(
        &mut self,
        loader: impl FnOnce(&Previous<V>) -> Result<Loaded<V>, E>,
    ) -> Option<Box<dyn Any + Send>>
    where
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.prepare_here() {
            Looked::Landed => None,
            Looked::Adopted | Looked::Nothing => self.ask(loader),
        }
    }

    /// Gets ready to load on this thread, where there is a store behind the cache.
    pub(crate) fn prepare_here(&mut self) -> Looked {
        let inner = self.inner.upgrade().filter(|inner| inner.second.is_some());
        inner.map_or(Looked::Nothing, |inner| {
            let timer = ThreadTimer::new(&*inner.time);
            timer.block_on(self.prepare(&timer))
        })
    }

    /// Runs the loader here and ends the flight.
    pub(crate) fn ask<E>(
        &mut self,
        loader: impl FnOnce(&Previous<V>) -> Result<Loaded<V>, E>,
    ) -> Option<Box<dyn Any + Send>>
    where
        E: fmt::Display + Send + Sync + 'static,
    {
        self.flight.runs_here();
        let loaded = holding_leases(core::slice::from_mut(self), |leads| {
            catch_unwind(AssertUnwindSafe(|| match leads {
                [lead] => loader(&lead.previous).map_err(|error| lead.failed(error)),
                _ => Err(Failed::panic(&"a load without its lead")),
            }))
        });
        match loaded {
            Ok(Ok(loaded)) => self.land_here(loaded).err(),
            Ok(Err(failed)) => {
                self.fail_here(failed);
                None
            }
            Err(payload) => {
                self.fail_here(Failed::panic(&*payload));
                Some(payload)
            }
        }
    }

    fn land_here(&mut self, loaded: Loaded<V>) -> Result<(), Box<dyn Any + Send>> {
        match self.inner.upgrade().filter(|inner| inner.second.is_some()) {
            Some(inner) => {
                let timer = ThreadTimer::new(&*inner.time);
                timer.block_on(self.finish(&timer, loaded))
            }
            None => self.land_from(Source::Origin, loaded),
        }
    }

    fn fail_here(&mut self, failed: Failed) {
        self.fail(failed);
        if let Some(inner) = self.inner.upgrade().filter(|_| self.lease.is_some()) {
            let timer = ThreadTimer::new(&*inner.time);
            timer.block_on(self.give_lease_back(&timer));
        }
    }

    /// Ends the flight with what the loader answered, where no store is behind the cache.
    pub(crate) fn land_in_memory(&mut self, loaded: Loaded<V>) {
        drop(self.land_from(Source::Origin, loaded));
    }

    /// Ends the flight with what was loaded, in memory alone. Returns what user code panicked with on
    /// the way, if it did; then the load has failed.
    fn land_from(&mut self, source: Source, loaded: Loaded<V>) -> Result<(), Box<dyn Any + Send>> {
        let answer = self.answer_caught(source, loaded)?;
        let inner = self.inner.upgrade();
        self.complete_caught(inner.as_deref(), answer).map(drop)
    }

    fn answer_caught(
        &mut self,
        source: Source,
        loaded: Loaded<V>,
    ) -> Result<Answer<V>, Box<dyn Any + Send>> {
        let answer = catch_unwind(AssertUnwindSafe(|| self.answer(source, loaded)));
        answer.inspect_err(|payload| self.fail(Failed::panic(&**payload)))
    }

    /// The user code between a loader's answer and the table: the value's `Clone`, the weigher.
    fn answer(&self, source: Source, loaded: Loaded<V>) -> Answer<V> {
        let loaded = match &self.kept_by {
            Some(policy) => loaded.kept_by(policy),
            None => loaded,
        };
        let unmodified = self.previous.value().filter(|_| loaded.is_not_modified());
        // The old value may have been evicted by then, and come in again.
        let value = loaded.as_value().or(unmodified);
        let copy = value.cloned();
        // Only now: a load that hangs must not keep a cache alive that everybody else has dropped.
        let inner = self.inner.upgrade();
        let weighed = inner.as_ref().zip(value);
        let weight = weighed.map_or(1, |(inner, value)| inner.weigh_value(&self.key, value));
        let Some((inner, second)) = inner.as_ref().and_then(|i| Some((i, i.second.as_ref()?)))
        else {
            return Answer { loaded, copy, weight, change: Change::Keep, source };
        };
        let change = match source {
            Source::Origin => self.change(inner, second, &loaded, copy.as_ref()),
            _ => Change::Keep,
        };
        let loaded = shortened(loaded, second.near_ttl(), &inner.policy.load());
        Answer { loaded, copy, weight, change, source }
    }

    /// What becomes of the entry in the store behind the cache.
    fn change(
        &self,
        inner: &Inner<K, V, S>,
        second: &Second<K, V>,
        loaded: &Loaded<V>,
        copy: Option<&V>,
    ) -> Change<V> {
        let policy = inner.policy.load();
        match copy.filter(|_| loaded.is_not_modified()) {
            Some(value) => second.renewed(value, (loaded, &self.previous.tags), &policy),
            None => second.change_by(loaded, &policy),
        }
    }

    /// An error as those who wait are told it: its text, and whether it lets the old value serve.
    pub(crate) fn failed<E>(&self, error: E) -> Failed
    where
        E: fmt::Display + Send + Sync + 'static,
    {
        let serve_old = self.inner.upgrade().and_then(|inner| inner.serve_old.clone());
        let serve_old = serve_old.is_none_or(|serve_old| serve_old(&error));
        Failed { failure: Failure::of(error), serve_old }
    }

    /// The key's own code may panic: then the flight is given up.
    fn complete_caught<'a>(
        &mut self,
        inner: Option<&'a Inner<K, V, S>>,
        answer: Answer<V>,
    ) -> Result<Completed<'a, K, V>, Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(|| self.complete(inner, answer)))
    }

    /// Ends the flight in this cache, if it is there still.
    fn complete<'a>(
        &mut self,
        inner: Option<&'a Inner<K, V, S>>,
        answer: Answer<V>,
    ) -> Completed<'a, K, V> {
        let Answer { mut loaded, copy, weight, change, source } = answer;
        let lifetime = Lifetime::fresh_for(Duration::ZERO);
        let mut arrival = Arrival { source, lifetime, degraded: self.degraded, superseded: false };
        let missing = loaded.is_missing();
        let end = move |arrival| match copy {
            Some(value) => End::Value(value, arrival),
            None if missing => End::Missing,
            None => End::Failed(Failure::NothingToRenew),
        };
        let Some((inner, ticket)) = inner.zip(self.ticket.take()) else {
            // The cache is gone; those who waited are answered all the same.
            self.flight.finish(end(arrival));
            return Completed { follows: None, _left: None };
        };
        let Previous { value, etag, tags, .. } =
            core::mem::replace(&mut self.previous, Previous::none());
        let pinned = value.filter(|_| loaded.is_not_modified());
        let mut ending = Ending::of(inner, self.hash, &ticket, self.place.take());
        let as_of = inner.second.as_ref().map(|second| second.mark());
        let now = inner.now();
        let mut spare = Spare::storing(self.key.clone(), &loaded);
        let mut leaving = inner.tables.leaving_of(&self.key);
        let mut desk = inner.tables.desk(self.hash);
        if pinned.is_some() && desk.previous(&self.key).is_none() {
            // The entry was evicted meanwhile, but the flight kept its value, its name and its tags.
            loaded = loaded.or_unmodified(pinned);
            loaded = etag.iter().fold(loaded, |loaded, etag| loaded.or_etag(etag));
            if loaded.tag_hashes().is_empty() {
                loaded = tags.iter().fold(loaded, |loaded, tag| loaded.tag_hash(*tag));
            }
        }
        // Messages may have been missed meanwhile, and none of them concerned this key as far as is known here. If
        // one did, its change has ended the lease.
        let leased = self.lease.is_some() && desk.is_suspect(&self.key, &ticket);
        let done = desk.complete(&self.key, now, &mut spare, ticket, loaded, weight, &mut leaving);
        let landed = matches!(done, Completion::Applied(_));
        arrival.superseded = matches!(done, Completion::Superseded(_));
        let counts = match done {
            Completion::Superseded(_) => leased,
            Completion::NothingToRenew => false,
            _ => true,
        };
        let handed_back = match done {
            Completion::Superseded(value) => value,
            Completion::NotKept(value) => Some(value),
            Completion::Applied(_) | Completion::Missing | Completion::NothingToRenew => None,
        };
        if let Some(entry) = desk.entry(&self.key, now).filter(|_| landed) {
            arrival.lifetime = entry.lifetime(now);
        }
        ending.unregister(&mut desk);
        desk.tick(now, &mut leaving);
        desk.close(&mut leaving);
        self.flight.finish(end(arrival));
        inner.tables.sweep_next(now);
        let follows = as_of.filter(|_| counts).map(|as_of| Follows { change, now, as_of });
        Completed { follows, _left: Some((spare, leaving, handed_back)) }
    }

    pub(crate) fn fail(&mut self, failed: Failed) {
        let Failed { failure, serve_old } = failed;
        if let Some((inner, ticket)) = self.inner.upgrade().zip(self.ticket.take()) {
            let mut ending = Ending::of(&inner, self.hash, &ticket, self.place.take());
            let (now, text) = (inner.now(), failure.text());
            let mut spare = Spare::one(self.key.clone());
            let mut leaving = inner.tables.leaving();
            let mut desk = inner.tables.desk(self.hash);
            let ends = (&mut spare, &mut leaving);
            desk.fail(&self.key, now, ticket, &text, serve_old, ends);
            ending.unregister(&mut desk);
            desk.close(&mut leaving);
            drop((spare, leaving));
        }
        self.flight.finish(End::Failed(failure));
    }
}

impl<K: Eq, V, S: BuildHasher> Drop for Lead<K, V, S> {
    fn drop(&mut self) {
        if let Some((inner, ticket)) = self.inner.upgrade().zip(self.ticket.take()) {
            let mut ending = Ending::of(&inner, self.hash, &ticket, self.place.take());
            let now = inner.now();
            let mut leaving = inner.tables.leaving();
            let mut desk = inner.tables.desk(self.hash);
            desk.abandon(&self.key, now, &mut Spare::none(), ticket, &mut leaving);
            ending.unregister(&mut desk);
            desk.close(&mut leaving);
        }
        self.flight.finish(End::Abandoned);
        if let (Some((key, lease)), Some(inner)) = (self.lease.take(), self.inner.upgrade())
            && let Some(second) = &inner.second
        {
            second.leave_lease(key, lease);
        }
    }
}

/// What a flight holds besides its record: its place among the loads, and its entry among the
/// flights. Given back whatever panics on the way; made before the lock is taken, so that it goes
/// after it.
struct Ending<'a, K: Eq, V, S: BuildHasher> {
    inner: &'a Inner<K, V, S>,
    hash: u64,
    flight: FlightId,
    place: Option<Arc<Place>>,
    registered: bool,
}

impl<'a, K: Eq, V, S: BuildHasher> Ending<'a, K, V, S> {
    const fn of(
        inner: &'a Inner<K, V, S>,
        hash: u64,
        ticket: &Ticket,
        place: Option<Arc<Place>>,
    ) -> Self {
        Self { inner, hash, flight: ticket.flight(), place, registered: true }
    }

    /// The ordinary end, under the lock that is held already.
    fn unregister(&mut self, desk: &mut Desk<'_, K, V>) {
        desk.flights().remove(&self.flight);
        self.place = None;
        self.registered = false;
    }
}

impl<K: Eq, V, S: BuildHasher> Drop for Ending<'_, K, V, S> {
    fn drop(&mut self) {
        if self.registered {
            let inner = self.inner;
            let mut desk = inner.tables.desk(self.hash);
            self.unregister(&mut desk);
            desk.void_flight(self.flight);
        }
    }
}
