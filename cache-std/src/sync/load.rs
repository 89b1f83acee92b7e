//! Reads that may load.

use core::any::Any;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cache_core::shard::Spare;
use cache_core::{Action, Contract, FlightId, Instant, Loaded, Refusal, Ticket};

use super::cache::{Cache, Inner};
use super::lead::{Lead, Previous};
use super::run::{Detached, Here, Run};
use super::tables::{Desk, Leaving};
use crate::error::LoadError;
use crate::flight::{Flight, Outcome};
use crate::pool::Pool;
use crate::time::Signal;

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value: from memory, from a load that is under way, or from `loader`. However many
    /// threads ask for a key at once, one load runs.
    ///
    /// A load runs on a worker thread, so that time-outs hold; where none is set, or inside another
    /// load, it runs here. A stale value is returned at once and refreshed behind the caller's back.
    ///
    /// # Errors
    /// See [`LoadError`]. An old value within its windows is returned instead of any of them.
    pub fn get_or_load<Q, F, E>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Result<V, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin(
            key,
            Detached { loader: |_: &Previous<V>| loader().map(Loaded::value), pins: false },
        )
    }

    /// As [`get_or_load`](Self::get_or_load), for a loader that wants to see the old value, or has
    /// more to say than a value: its own ttl, tags, "not modified", "missing".
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load); [`LoadError::Missing`] where the origin knows no such
    /// key.
    pub fn get_or_load_with<Q, F, E>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin(key, Detached { loader, pins: true })
    }

    /// As [`get_or_load`](Self::get_or_load), with a loader that may borrow and runs on this
    /// thread: there are no time-outs for this caller, and a refresh, if this caller is to make it,
    /// is waited for. A panic of the loader goes on in this thread.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub fn get_or_load_here<Q, F, E>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Result<V, E>,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin(key, Here { loader })
    }

    fn begin<Q, E, R: Run<K, V, S, E>>(&self, key: &Q, run: R) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin_with(key, || run)
    }

    /// The one entrance: a hit goes out at once, and `run` is made only if it is no hit.
    pub(super) fn begin_with<Q, E, R: Run<K, V, S, E>>(
        &self,
        key: &Q,
        run: impl FnOnce() -> R,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: fmt::Display + Send + Sync + 'static,
    {
        let inner = &self.inner;
        let (hash, now) = (inner.hash(key), inner.now());
        match inner.tables.hit(hash, key, now) {
            Some(value) => Ok(value),
            None => self.begin_slowly(key, hash, now, run),
        }
    }

    /// No hit: out of the way of what is one.
    #[cold]
    #[inline(never)]
    fn begin_slowly<Q, E, R: Run<K, V, S, E>>(
        &self,
        key: &Q,
        hash: u64,
        now: Instant,
        run: impl FnOnce() -> R,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: fmt::Display + Send + Sync + 'static,
    {
        let contract = Contract::new().give_up(now + self.inner.policy.hard_timeout());
        Call { inner: &self.inner, hash, key, contract }.drive(run())
    }
}

/// One read: everything that its steps share.
pub(super) struct Call<'a, Q: ?Sized, K, V, S> {
    pub(super) inner: &'a Arc<Inner<K, V, S>>,
    hash: u64,
    key: &'a Q,
    contract: Contract,
}

/// What the algorithm said, with everything needed to follow it without the lock.
enum Step<K: Eq, V, S: BuildHasher> {
    Serve(V),
    Refresh(V, Lead<K, V, S>),
    Load(Lead<K, V, S>, Patience),
    Follow(Arc<Flight<V>>, Instant),
    Missing,
    Fail(Instant, Refusal),
    Busy,
}

/// How long the leader of a flight waits for it.
pub(super) struct Patience {
    /// When an old value serves instead; `None` without one.
    soft_at: Option<Instant>,
    hard_at: Instant,
    lease_until: Instant,
}

impl<Q, K, V, S> Call<'_, Q, K, V, S>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
    S: BuildHasher,
{
    /// Does what the algorithm says until there is an answer. Only who waited for a flight that
    /// was given up, or outwaited its lease, comes round again.
    fn drive<E, R: Run<K, V, S, E>>(&self, run: R) -> Result<V, LoadError<E>>
    where
        E: fmt::Display + Send + Sync + 'static,
    {
        loop {
            match self.step(run.pins()) {
                Step::Serve(value) => return Ok(value),
                Step::Refresh(old, lead) => return run.refresh(self, lead, old),
                Step::Load(lead, patience) => return run.load(self, lead, patience),
                Step::Follow(flight, _) if flight.is_mine() => return Err(LoadError::Recursive),
                Step::Follow(flight, until) => match self.inner.wait(&flight, until) {
                    Ok(None | Some(Outcome::Abandoned)) => {}
                    Ok(Some(outcome)) => return self.deliver(outcome),
                    Err(TooManyWait) => return self.fallback().ok_or(LoadError::Busy),
                },
                Step::Missing => return Err(LoadError::Missing),
                Step::Fail(retry_at, cause) => return Err(self.refusal(retry_at, cause)),
                Step::Busy => return Err(LoadError::Busy),
            }
        }
    }

    /// Asks the algorithm once, under the lock.
    fn step(&self, pins: bool) -> Step<K, V, S> {
        let inner = self.inner;
        let (key, mut spare) = (self.key.to_owned(), Spare::one(self.key.to_owned()));
        // What is to be dropped is declared before the locks, and so dropped after them.
        let (mut leaving, mut unserved) = (Leaving::new(), None);
        let now = inner.now();
        let mut desk = inner.tables.desk(self.hash);
        let contract = self.contract.room(inner.loads.load(Ordering::Relaxed) < inner.max_loads);
        let mut told = tell(desk.lookup(self.key, now, &mut spare, &contract, &mut leaving));
        if told.is_granted() && !inner.take_place() {
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
            Told::Serve(value) => Step::Serve(value),
            Told::Refresh(old, ticket) => {
                Step::Refresh(old, self.lead(&mut desk, key, ticket, pins, now))
            }
            Told::Load(ticket, fallback) => {
                let patience = Patience::of(&ticket, fallback);
                Step::Load(self.lead(&mut desk, key, ticket, pins, now), patience)
            }
            Told::Wait(flight, until) => match desk.flights().get(&flight) {
                Some(flight) => Step::Follow(Arc::clone(flight), until),
                None => Step::Busy,
            },
            Told::Missing => Step::Missing,
            Told::Fail(retry_at, cause) => Step::Fail(retry_at, cause),
            Told::Busy => Step::Busy,
            Told::Panicked(payload, ticket) => {
                inner.loads.fetch_sub(1, Ordering::Relaxed);
                desk.abandon(self.key, now, &mut spare, ticket, &mut leaving);
                desk.close(&mut leaving);
                resume_unwind(payload)
            }
        };
        desk.close(&mut leaving);
        drop(unserved);
        step
    }

    /// Registers a flight that was granted.
    fn lead(
        &self,
        desk: &mut Desk<'_, K, V>,
        key: K,
        ticket: Ticket,
        pins: bool,
        now: Instant,
    ) -> Lead<K, V, S> {
        let flight = Flight::new();
        desk.flights().insert(ticket.flight(), Arc::clone(&flight));
        // The lead ends the flight whatever panics, but takes this lock to do so: before it is
        // released nothing may panic here, so the key's `Eq` and the value's `Clone` are caught.
        let pin = || {
            let previous = desk.previous(self.key)?;
            let (age, etag) = (previous.age(now), previous.etag.map(Box::from));
            Some(Previous { value: Some(previous.entry.value.clone()), age, etag })
        };
        let previous = if pins { catch_unwind(AssertUnwindSafe(pin)).ok().flatten() } else { None };
        Lead {
            inner: Arc::downgrade(self.inner),
            hash: self.hash,
            key,
            ticket: Some(ticket),
            flight,
            previous: previous.unwrap_or_else(Previous::none),
        }
    }

    /// What a caller who waited gets when the flight has ended.
    pub(super) fn deliver<E: Send + Sync + 'static>(
        &self,
        outcome: Outcome<V>,
    ) -> Result<V, LoadError<E>> {
        match outcome {
            Outcome::Value(value) => Ok(value),
            Outcome::Missing => Err(LoadError::Missing),
            Outcome::Failed(failure) => self.fallback().ok_or_else(|| failure.told_to()),
            Outcome::Abandoned => self.fallback().ok_or(LoadError::Busy),
        }
    }

    /// The old value, if it may serve now that the load has failed or is late.
    fn fallback(&self) -> Option<V> {
        let now = self.inner.now();
        let desk = self.inner.tables.desk(self.hash);
        desk.fallback(self.key, now, &self.contract).cloned()
    }

    fn refusal<E>(&self, retry_at: Instant, cause: Refusal) -> LoadError<E> {
        let retry_in = retry_at.remaining_at(self.inner.now());
        match cause {
            Refusal::CoolingDown => LoadError::CoolingDown { retry_in },
            _ => LoadError::TimedOut { retry_in },
        }
    }

    /// Waits, as its leader, for a flight that runs elsewhere.
    pub(super) fn await_own<E>(
        &self,
        flight: &Flight<V>,
        patience: &Patience,
    ) -> Result<V, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        if let Some(soft_at) = patience.soft_at {
            if let Ok(Some(outcome)) = self.inner.wait(flight, soft_at) {
                return self.deliver(outcome);
            }
            if let Some(old) = self.fallback() {
                return Ok(old);
            }
        }
        match self.inner.wait(flight, patience.hard_at) {
            Ok(Some(outcome)) => self.deliver(outcome),
            Ok(None) => Err(self.refusal(patience.lease_until, Refusal::TimedOut)),
            Err(TooManyWait) => Err(LoadError::Busy),
        }
    }
}

/// As many threads wait as may.
struct TooManyWait;

/// An action without the borrow.
enum Told<V> {
    Serve(V),
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
        Action::Serve { value, .. } => Told::Serve(value.clone()),
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
    fn of(ticket: &Ticket, fallback: bool) -> Self {
        Self {
            soft_at: fallback.then(|| ticket.soft_at()),
            hard_at: ticket.hard_at(),
            lease_until: ticket.lease_until(),
        }
    }

    /// Whether the caller waits to the end, whenever that is: then it may as well load itself.
    pub(super) fn is_endless(&self) -> bool {
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

impl<K, V, S> Inner<K, V, S> {
    /// Takes one of the places for loads, if there is one; its lead gives it back.
    fn take_place(&self) -> bool {
        let most = self.max_loads;
        let take = |loads| (loads < most).then_some(loads + 1);
        self.loads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(super) fn pool(&self) -> &Pool {
        self.pool.get_or_init(Pool::shared)
    }

    /// Waits for a flight; `None` when `until` came first. A load that is still queued is pulled
    /// forward: nobody waits for what only waits itself.
    fn wait(&self, flight: &Flight<V>, until: Instant) -> Result<Option<Outcome<V>>, TooManyWait>
    where
        V: Clone,
    {
        if self.waiters.fetch_add(1, Ordering::Relaxed) >= self.max_waiters {
            self.waiters.fetch_sub(1, Ordering::Relaxed);
            return Err(TooManyWait);
        }
        let signal = Arc::new(Signal::new());
        if flight.join(&signal) {
            if let Some(job) = flight.take_queued() {
                self.pool().load(job).unwrap_or_else(|job| job());
            }
            self.time.wait(&signal, until);
            flight.leave(&signal);
        }
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        Ok(flight.outcome())
    }
}
