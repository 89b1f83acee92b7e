//! One read that may load: asking the algorithm, and doing what it says.

use core::any::Any;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cache_core::shard::Spare;
use cache_core::{
    Action, Contract, Entry, FlightId, Freshness, Instant, Lifetime, Policy, Refusal, Ticket,
};

use super::cache::Inner;
use super::lead::{Lead, Previous};
use super::outcome::{LoadPart, Served};
use super::place::Place;
use super::reading::{Next, Reading};
use super::run::Run;
use super::tables::{Desk, Leaving};
use crate::error::LoadError;
use crate::flight::{CannotWait, End, Flight, Joined};
use crate::pool::Pool;
use crate::time::Signal;

/// One read: everything that its steps share.
pub(crate) struct Call<'a, Q: ?Sized, K, V, S> {
    pub(crate) inner: &'a Arc<Inner<K, V, S>>,
    pub(crate) hash: u64,
    pub(crate) key: &'a Q,
    pub(crate) contract: Contract,
    /// The policy by which what this read loads is kept, if not the cache's.
    pub(crate) kept_by: Option<&'a Policy>,
    /// The caller wants to know more than the value.
    pub(crate) tells: bool,
    /// The caller waits for loads.
    pub(crate) waits: bool,
}

/// What the algorithm said, with everything needed to follow it without the lock.
pub(crate) enum Step<K: Eq, V, S: BuildHasher> {
    Serve(Served<V>),
    Refresh(Served<V>, Lead<K, V, S>),
    Load(Lead<K, V, S>, Patience),
    /// Whether tags have changed since the flight began.
    Follow(Arc<Flight<V>>, Instant, bool),
    Missing,
    Fail(Instant, Refusal),
    Busy,
}

/// How long the leader of a flight waits for it.
pub(crate) struct Patience {
    /// When an old value serves instead; `None` without one.
    soft_at: Option<Instant>,
    hard_at: Instant,
    lease_until: Instant,
}

impl<'a, Q: ?Sized, K, V, S> Call<'a, Q, K, V, S> {
    /// A read that wants a value, and waits for it.
    pub(crate) const fn new(
        inner: &'a Arc<Inner<K, V, S>>,
        hash: u64,
        key: &'a Q,
        contract: Contract,
    ) -> Self {
        Self { inner, hash, key, contract, kept_by: None, tells: false, waits: true }
    }

    /// One on the cache's own terms.
    pub(crate) fn usual(
        inner: &'a Arc<Inner<K, V, S>>,
        hash: u64,
        key: &'a Q,
        now: Instant,
    ) -> Self {
        let hard = inner.policy.load().hard_timeout();
        Self::new(inner, hash, key, inner.contract().give_up(now + hard))
    }
}

impl<Q, K, V, S> Call<'_, Q, K, V, S>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
    S: BuildHasher,
{
    /// Does what the algorithm says until there is an answer.
    pub(super) fn drive<E, R: Run<K, V, S, E>>(
        &self,
        run: R,
        mut now: Instant,
    ) -> Result<Served<V>, LoadError<E>>
    where
        E: fmt::Display + Send + Sync + 'static,
    {
        let mut reading = Reading::new();
        loop {
            let step = self.step(now, run.pins(), &mut None);
            match self.take(&mut reading, step) {
                Next::Done(answer) => return answer,
                Next::Refresh(old, lead) => return run.refresh(self, lead, old),
                Next::Load(lead, endless) => {
                    if let Some(end) = run.load(self, lead, endless) {
                        return self.deliver(end, LoadPart::Started);
                    }
                    return self.wait_out(&mut reading).unwrap_or(Err(LoadError::Busy));
                }
                Next::Wait => {
                    if let Some(answer) = self.wait_out(&mut reading) {
                        return answer;
                    }
                }
            }
            now = self.inner.now();
        }
    }

    /// Waits for whatever a reading waits for. `None` says to ask the algorithm again.
    pub(crate) fn wait_out<E>(
        &self,
        reading: &mut Reading<V>,
    ) -> Option<Result<Served<V>, LoadError<E>>>
    where
        E: Send + Sync + 'static,
    {
        while let Some((flight, until)) = reading.pending() {
            let waited =
                if self.waits { self.inner.wait(&flight, until) } else { Ok(flight.end()) };
            if let Some(answer) = self.waited(reading, waited) {
                return Some(answer);
            }
        }
        None
    }

    /// Asks the algorithm once, under the lock. A load takes `place`, or one of its own if that is
    /// none, which it leaves there.
    pub(crate) fn step(
        &self,
        now: Instant,
        pins: bool,
        place: &mut Option<Arc<Place>>,
    ) -> Step<K, V, S> {
        let inner = self.inner;
        let (key, mut spare) = (self.key.to_owned(), Spare::one(self.key.to_owned()));
        // What is to be dropped is declared before the locks, and so dropped after them.
        let (mut leaving, mut unserved) = (inner.tables.leaving(), None);
        let room = place.is_some() || inner.places.is_free();
        let mut desk = inner.tables.desk(self.hash);
        let contract = self.contract.room(room);
        let mut told = tell(desk.lookup(self.key, now, &mut spare, &contract, &mut leaving));
        if told.is_granted() && place.is_none() {
            *place = inner.places.take();
        }
        if told.is_granted() && place.is_none() {
            // The last place went to another key just now: decided once more, without a load.
            let (ticket, old) = told.into_ticket();
            unserved = old;
            if let Some(ticket) = ticket {
                desk.abandon(self.key, now, &mut spare, ticket, &mut leaving);
            }
            let contract = self.contract.room(false);
            told = tell(desk.lookup(self.key, now, &mut spare, &contract, &mut leaving));
        }
        let step = match told {
            Told::Serve(value, freshness) => Step::Serve(self.served(&desk, value, freshness, now)),
            Told::Refresh(old, ticket) => {
                // The key's `Eq` is called, and a ticket is out.
                let lifetime = match catch_unwind(AssertUnwindSafe(|| self.lifetime(&desk, now))) {
                    Ok(lifetime) => lifetime,
                    Err(payload) => {
                        self.give_up(desk, (ticket, payload), now, (&mut spare, &mut leaving))
                    }
                };
                let old = Served { lifetime, load: LoadPart::Started, ..Served::plain(old) };
                let lead = self.lead(&mut desk, (key, ticket), false, pins, now, place);
                Step::Refresh(old, lead)
            }
            Told::Load(ticket, fallback) => {
                let patience = Patience::of(&ticket, fallback, &self.contract);
                let lead = self.lead(&mut desk, (key, ticket), fallback, pins, now, place);
                Step::Load(lead, patience)
            }
            Told::Wait(flight, until) => {
                let changes = desk.tag_changes();
                match desk.flights().get(&flight) {
                    Some(flight) => {
                        Step::Follow(Arc::clone(flight), until, flight.is_older(changes))
                    }
                    None => Step::Busy,
                }
            }
            Told::Missing => Step::Missing,
            Told::Fail(retry_at, cause) => Step::Fail(retry_at, cause),
            Told::Busy => Step::Busy,
            Told::Panicked(payload, ticket) => {
                self.give_up(desk, (ticket, payload), now, (&mut spare, &mut leaving))
            }
        };
        desk.close(&mut leaving);
        drop(unserved);
        step
    }

    /// Gives a ticket back after a panic of user code, and lets that go on without any lock.
    fn give_up(
        &self,
        mut desk: Desk<'_, K, V>,
        (ticket, payload): (Ticket, Box<dyn Any + Send>),
        now: Instant,
        (spare, leaving): (&mut Spare<K>, &mut Leaving<'_, K, V>),
    ) -> ! {
        desk.abandon(self.key, now, spare, ticket, leaving);
        desk.close(leaving);
        resume_unwind(payload)
    }

    /// A value served from memory, with what the caller wants to know of it.
    fn served(
        &self,
        desk: &Desk<'_, K, V>,
        value: V,
        freshness: Freshness,
        now: Instant,
    ) -> Served<V> {
        let served = Served::plain(value);
        if !self.tells {
            return served;
        }
        let flight = || desk.explain(self.key, now, &self.contract).flight;
        let load = match freshness {
            Freshness::Fresh => LoadPart::None,
            _ if self.contract.only_if_cached => LoadPart::None,
            _ if flight().is_some_and(|flight| !flight.lease_left.is_zero()) => LoadPart::Joined,
            _ => LoadPart::Cooling,
        };
        let degraded = freshness == Freshness::Expired && !self.contract.only_if_cached;
        Served { lifetime: self.lifetime(desk, now), load, degraded, ..served }
    }

    fn lifetime(&self, desk: &Desk<'_, K, V>, now: Instant) -> Option<Lifetime> {
        let entry = if self.tells { desk.entry(self.key, now) } else { None };
        entry.map(|entry| entry.lifetime(now))
    }

    /// Registers a flight that was granted.
    fn lead(
        &self,
        desk: &mut Desk<'_, K, V>,
        (key, ticket): (K, Ticket),
        has_old: bool,
        pins: bool,
        now: Instant,
        place: &Option<Arc<Place>>,
    ) -> Lead<K, V, S> {
        let flight = Flight::bounded(self.inner.max_waiters_per_key, desk.tag_changes());
        desk.flights().insert(ticket.flight(), Arc::clone(&flight));
        // The lead ends the flight whatever panics, but takes this lock to do so: before it is
        // released nothing may panic here, so the key's `Eq` and the value's `Clone` are caught.
        let pin = || {
            let previous = desk.previous(self.key)?;
            let (age, etag) = (previous.age(now), previous.etag.map(Box::from));
            let (value, tags) = (Some(previous.entry.value.clone()), previous.tags.into());
            Some(Previous { value, age, etag, tags })
        };
        let previous = if pins { catch_unwind(AssertUnwindSafe(pin)).ok().flatten() } else { None };
        let is_fresh = || Some(desk.entry(self.key, now)?.freshness(now) == Freshness::Fresh);
        let is_early = self.inner.second.is_some()
            && catch_unwind(AssertUnwindSafe(is_fresh)).ok().flatten() == Some(true);
        Lead {
            inner: Arc::downgrade(self.inner),
            hash: self.hash,
            key,
            ticket: Some(ticket),
            flight,
            previous: previous.unwrap_or_else(Previous::none),
            place: place.clone(),
            kept_by: self.kept_by.cloned(),
            asks_store: self.inner.second.is_some()
                && !self.contract.refresh
                && !self.contract.bypass,
            has_old,
            is_early,
            lease: None,
            degraded: false,
        }
    }

    /// The old value that a flight has found, if it may serve as it is.
    pub(crate) fn adopted(&self, load: LoadPart) -> Option<Served<V>> {
        let now = self.inner.now();
        let desk = self.inner.tables.desk(self.hash);
        let entry = desk.fallback(self.key, now, &self.contract);
        let entry = entry.filter(|entry| entry.freshness(now) != Freshness::Expired)?.cloned();
        let lifetime = Some(entry.lifetime(now));
        Some(Served { lifetime, load, ..Served::plain(entry.value) })
    }

    /// What a caller who waited gets when the flight has ended.
    pub(crate) fn deliver<E: Send + Sync + 'static>(
        &self,
        end: End<V>,
        load: LoadPart,
    ) -> Result<Served<V>, LoadError<E>> {
        match end {
            End::Value(value, arrival) => Ok(Served::arrived(value, arrival, load)),
            End::Missing => Err(LoadError::Missing),
            End::Failed(failure) => self.fallback(load).ok_or_else(|| failure.told_to()),
            End::Abandoned | End::Adopted(_) => self.fallback(load).ok_or(LoadError::GivenUp),
        }
    }

    /// The old value, if it may serve now that the load has failed or is late.
    pub(crate) fn fallback(&self, load: LoadPart) -> Option<Served<V>> {
        let now = self.inner.now();
        let desk = self.inner.tables.desk(self.hash);
        let entry = desk.fallback(self.key, now, &self.contract).map(Entry::cloned)?;
        let lifetime = Some(entry.lifetime(now));
        Some(Served { lifetime, load, degraded: true, ..Served::plain(entry.value) })
    }

    /// No load may be started.
    pub(crate) fn busy<E>(&self) -> LoadError<E> {
        if self.inner.places.is_closed() { LoadError::ShutDown } else { LoadError::Busy }
    }

    pub(crate) fn refusal<E>(&self, retry_at: Instant, cause: Refusal) -> LoadError<E> {
        let retry_in = retry_at.remaining_at(self.inner.now());
        match cause {
            Refusal::CoolingDown => LoadError::CoolingDown { retry_in },
            Refusal::OnlyIfCached => LoadError::NotCached,
            _ => LoadError::TimedOut { retry_in },
        }
    }
}

/// An action without the borrow.
enum Told<V> {
    Serve(V, Freshness),
    Refresh(V, Ticket),
    Load(Ticket, bool),
    Wait(FlightId, Instant),
    Missing,
    Fail(Instant, Refusal),
    Busy,
    /// The value's `Clone` panicked while there was a ticket to give back.
    Panicked(Box<dyn Any + Send>, Ticket),
}

fn tell<V: Clone>(action: Action<'_, V>) -> Told<V> {
    match action {
        Action::Serve { value, freshness } => Told::Serve(value.clone(), freshness),
        Action::ServeAndRefresh { value, ticket, .. } => {
            match catch_unwind(AssertUnwindSafe(|| value.clone())) {
                Ok(value) => Told::Refresh(value, ticket),
                Err(payload) => Told::Panicked(payload, ticket),
            }
        }
        Action::Load { ticket, fallback } => Told::Load(ticket, fallback.is_some()),
        Action::Wait { flight, until, .. } => Told::Wait(flight, until),
        Action::Missing => Told::Missing,
        Action::Fail { retry_at, cause } => Told::Fail(retry_at, cause),
        Action::Busy => Told::Busy,
    }
}

impl Patience {
    fn of(ticket: &Ticket, fallback: bool, contract: &Contract) -> Self {
        let give_up = contract.give_up;
        Self {
            soft_at: fallback.then(|| ticket.soft_at().min(give_up)),
            hard_at: ticket.hard_at().min(give_up),
            lease_until: ticket.lease_until(),
        }
    }

    /// When the wait is over.
    pub(crate) fn until(&self) -> Instant {
        self.soft_at.unwrap_or(self.hard_at)
    }

    /// Whether an old value may serve then.
    pub(crate) const fn is_soft(&self) -> bool {
        self.soft_at.is_some()
    }

    /// The same without an old value.
    pub(crate) const fn hard(mut self) -> Self {
        self.soft_at = None;
        self
    }

    pub(crate) const fn lease_until(&self) -> Instant {
        self.lease_until
    }

    /// Whether the caller waits to the end, whenever that is: then it may as well load itself.
    pub(crate) fn is_endless(&self) -> bool {
        self.hard_at == Instant::FAR_FUTURE
            && self.soft_at.is_none_or(|soft_at| soft_at == Instant::FAR_FUTURE)
    }
}

impl<V> Told<V> {
    const fn is_granted(&self) -> bool {
        matches!(self, Self::Refresh(..) | Self::Load(..) | Self::Panicked(..))
    }

    /// The ticket, and the value that was to be served with it.
    fn into_ticket(self) -> (Option<Ticket>, Option<V>) {
        match self {
            Self::Refresh(old, ticket) => (Some(ticket), Some(old)),
            Self::Load(ticket, _) | Self::Panicked(_, ticket) => (Some(ticket), None),
            _ => (None, None),
        }
    }
}

/// Somebody waits; given back when it is dropped.
pub(crate) struct Seat<'a>(&'a AtomicUsize);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<K, V, S> Inner<K, V, S> {
    pub(crate) fn pool(&self) -> &Pool {
        self.pool.get_or_init(Pool::shared)
    }

    /// One more who waits, if there may be one.
    pub(crate) fn seat(&self) -> Result<Seat<'_>, CannotWait> {
        let taken = Seat(&self.waiters);
        if self.waiters.fetch_add(1, Ordering::Relaxed) < self.max_waiters {
            return Ok(taken);
        }
        Err(CannotWait::TooMany)
    }

    /// Runs a load that is still queued, as somebody waits for it: nobody waits for what only waits
    /// itself.
    pub(crate) fn pull_forward(&self, flight: &Flight<V>) {
        if let Some(job) = flight.take_queued() {
            self.pool().load(job).unwrap_or_else(|job| job());
        }
        if let Some(signal) = flight.take_nudge() {
            signal.set();
        }
    }

    /// Waits for a flight; `None` when `until` came first.
    fn wait(&self, flight: &Flight<V>, until: Instant) -> Result<Option<End<V>>, CannotWait>
    where
        V: Clone,
    {
        if let Some(end) = flight.end() {
            return Ok(Some(end));
        }
        if flight.would_hang() {
            return Err(CannotWait::Hangs);
        }
        let _seat = self.seat()?;
        let signal = Arc::new(Signal::new());
        match flight.join(&signal) {
            Joined::Waits => {
                self.pull_forward(flight);
                self.time.wait(&signal, until);
                flight.leave(&signal);
            }
            Joined::Ended => {}
            Joined::Full => return Err(CannotWait::TooMany),
        }
        Ok(flight.end())
    }
}
