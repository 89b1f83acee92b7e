//! The cache driven by hand, with callers who wait as the documents say that they should.

use std::hash::BuildHasher;
use std::time::Duration;

use advanced_caching::local::Cache;
use advanced_caching::shard::Limits;
use advanced_caching::table::{Bound, HashTable};
use advanced_caching::{
    Action, Contract, Explanation, FlightId, Freshness, Instant, Loaded, Refusal, Stats, Ticket,
};

use super::{Answer, Driver, Key, KeyHash, Origin, Reply, Setup, Told, Value, within_a_minute};

pub(crate) struct Hand {
    cache: Cache<Key, Value, HashTable<Key, Value, KeyHash>>,
    now: Instant,
    max_loads: usize,
    loads: Vec<Load>,
    callers: Vec<Caller>,
}

struct Load {
    key: Key,
    ticket: Option<Ticket>,
    /// The old value when the load began, for "not modified".
    pinned: Option<Value>,
}

#[derive(Clone)]
struct Caller {
    key: Key,
    give_up: Instant,
    state: State,
}

#[derive(Clone)]
enum State {
    Leads { flight: FlightId, soft_at: Option<Instant>, hard_at: Instant, lease_until: Instant },
    Follows { flight: FlightId, until: Instant },
    Told(Told),
}

/// What the cache said to one question.
enum Asked {
    Served(Value, Freshness),
    Told(Told),
    Waits(State),
}

impl Hand {
    fn ask(&mut self, key: Key, give_up: Instant) -> Asked {
        let room = self.running().len() < self.max_loads;
        let contract = Contract::new().give_up(give_up).room(room);
        match self.cache.lookup_within(&key, &contract, self.now) {
            Action::Serve { value, freshness } => Asked::Served(*value, freshness),
            Action::ServeAndRefresh { value, freshness, ticket } => {
                let value = *value;
                self.begin(key, ticket);
                Asked::Served(value, freshness)
            }
            Action::Load { ticket, fallback } => {
                let state = State::Leads {
                    flight: ticket.flight(),
                    soft_at: fallback.map(|_| ticket.soft_at()),
                    hard_at: ticket.hard_at(),
                    lease_until: ticket.lease_until(),
                };
                self.begin(key, ticket);
                Asked::Waits(state)
            }
            Action::Wait { flight, until, .. } => Asked::Waits(State::Follows { flight, until }),
            Action::Fail { retry_at, cause } => Asked::Told(self.refused(retry_at, cause)),
            Action::Missing => Asked::Told(Told::Missing),
            Action::Busy => Asked::Told(Told::Busy),
        }
    }

    fn begin(&mut self, key: Key, ticket: Ticket) {
        let pinned = self.cache.previous(&key).map(|previous| *previous.entry.value);
        self.loads.push(Load { key, ticket: Some(ticket), pinned });
    }

    fn refused(&self, retry_at: Instant, cause: Refusal) -> Told {
        let retry_in = retry_at.remaining_at(self.now);
        match cause {
            Refusal::CoolingDown => Told::CoolingDown { retry_in },
            _ => Told::TimedOut { retry_in },
        }
    }

    /// The old value, if it may serve now that a load has failed or is late.
    fn fallback(&self, key: Key) -> Option<Value> {
        self.cache.entry(&key, self.now).map(|entry| *entry.value)
    }

    /// The load that a test is to end in a way of its own.
    pub(crate) fn take_ticket(&mut self, load: usize) -> Ticket {
        self.loads[load - 1].ticket.take().expect("the load runs")
    }

    pub(crate) fn cache(&mut self) -> &mut Cache<Key, Value, HashTable<Key, Value, KeyHash>> {
        &mut self.cache
    }

    /// Ends the flight with an answer; returns what those who wait for it are told.
    fn complete(&mut self, load: usize, ticket: Ticket, mut loaded: Loaded<Value>) -> Told {
        let Load { key, pinned, .. } = self.loads[load - 1];
        let unmodified = pinned.filter(|_| loaded.is_not_modified());
        let told = match loaded.as_value().copied().or(unmodified) {
            Some(value) => Told::Value(value),
            None if loaded.is_missing() => Told::Missing,
            None => Told::NothingToRenew,
        };
        if self.cache.previous(&key).is_none() {
            loaded = loaded.or_unmodified(unmodified);
        }
        let _ = self.cache.complete(&key, ticket, loaded, self.now);
        told
    }

    fn fail(&mut self, key: Key, ticket: Ticket, error: &str) {
        self.cache.fail(&key, ticket, &error, self.now);
    }

    /// Tells all who wait for `flight`; who has a right to the old value gets that for an error.
    fn deliver(&mut self, flight: FlightId, told: &Told) {
        let answered = matches!(told, Told::Value(_) | Told::Missing);
        for n in 0..self.callers.len() {
            if self.callers[n].state.flight() == Some(flight) {
                let old = self.fallback(self.callers[n].key).filter(|_| !answered);
                self.callers[n].state = State::Told(old.map_or_else(|| told.clone(), Told::Value));
            }
        }
    }

    /// Does what a caller who waits does when its time has come; `true` if it has.
    fn look_again(&mut self, n: usize) -> bool {
        let now = self.now;
        let Caller { key, give_up, state } = self.callers[n].clone();
        let next = match state {
            State::Leads { flight, soft_at: Some(soft_at), hard_at, lease_until }
                if now.has_reached(soft_at) =>
            {
                let no_more = State::Leads { flight, soft_at: None, hard_at, lease_until };
                self.fallback(key).map_or(no_more, |old| State::Told(Told::Value(old)))
            }
            State::Leads { hard_at, lease_until, .. } if now.has_reached(hard_at) => {
                State::Told(self.refused(lease_until, Refusal::TimedOut))
            }
            State::Follows { until, .. } if now.has_reached(until) => {
                match self.ask(key, give_up) {
                    Asked::Served(value, _) => State::Told(Told::Value(value)),
                    Asked::Told(told) => State::Told(told),
                    Asked::Waits(state) => state,
                }
            }
            _ => return false,
        };
        self.callers[n].state = next;
        true
    }
}

impl State {
    const fn flight(&self) -> Option<FlightId> {
        match self {
            Self::Leads { flight, .. } | Self::Follows { flight, .. } => Some(*flight),
            Self::Told(_) => None,
        }
    }
}

impl Driver for Hand {
    fn new(Setup { policy, capacity, max_loads }: Setup) -> Self {
        let policy = policy.build().expect("a policy that can be");
        let table = HashTable::new(Bound::Entries(capacity), KeyHash::default());
        let mut limits = Limits::default();
        limits.flights = max_loads;
        // The seed that the builder of the threads' cache makes with this hasher.
        let seed = KeyHash::default().hash_one("any text");
        Self {
            cache: Cache::with_limits(policy, table, limits, seed),
            now: Instant::from_secs(1_000_000_000),
            max_loads,
            loads: Vec::new(),
            callers: Vec::new(),
        }
    }

    fn watch(body: impl FnOnce() + Send + 'static) {
        within_a_minute(body);
    }

    fn read(&mut self, key: Key) -> Reply {
        let give_up = self.now + self.cache.policy().hard_timeout();
        let (reply, state) = match self.ask(key, give_up) {
            Asked::Served(value, freshness) => {
                (Reply::Served(value, freshness), State::Told(Told::Value(value)))
            }
            Asked::Told(told) => (Reply::Told(told.clone()), State::Told(told)),
            Asked::Waits(state) => (Reply::Waits(self.callers.len() + 1), state),
        };
        self.callers.push(Caller { key, give_up, state });
        reply
    }

    fn end(&mut self, load: usize, answer: impl Into<Answer>) {
        let (key, ticket) = (self.loads[load - 1].key, self.take_ticket(load));
        let flight = ticket.flight();
        let told = match answer.into() {
            Answer::Loaded(loaded) => self.complete(load, ticket, loaded),
            Answer::Error(text) => {
                self.fail(key, ticket, text);
                Told::Failed(Origin(text))
            }
            Answer::Panic(text) => {
                self.fail(key, ticket, text);
                Told::Panicked(text.into())
            }
        };
        self.deliver(flight, &told);
    }

    fn advance(&mut self, span: Duration) {
        self.now = self.now + span;
        for n in 0..self.callers.len() {
            while self.look_again(n) {}
        }
    }

    fn get(&mut self, key: Key) -> Option<Value> {
        self.cache.get(&key, self.now).copied()
    }

    fn put(&mut self, key: Key, loaded: Loaded<Value>) -> bool {
        self.cache.put(key, loaded, self.now).is_stored()
    }

    fn put_if_absent(&mut self, key: Key, loaded: Loaded<Value>) -> bool {
        self.cache.put_if_absent(key, loaded, self.now).is_stored()
    }

    fn expire(&mut self, key: Key) -> bool {
        self.cache.expire(&key, self.now)
    }

    fn invalidate(&mut self, key: Key) -> bool {
        self.cache.invalidate(&key, self.now)
    }

    fn clear(&mut self) {
        self.cache.clear();
    }

    fn expire_tag(&mut self, tag: &str) {
        self.cache.expire_tag(tag, self.now);
    }

    fn invalidate_tag(&mut self, tag: &str) {
        self.cache.invalidate_tag(tag);
    }

    fn purge(&mut self) -> usize {
        let mut gone = 0;
        loop {
            gone += self.cache.tick(self.now, 256);
            if !self.cache.poll_at().is_some_and(|at| self.now.has_reached(at)) {
                return gone;
            }
        }
    }

    fn contains(&self, key: Key) -> bool {
        self.cache.contains(&key, self.now)
    }

    fn peek(&self, key: Key) -> Option<Value> {
        self.cache.peek(&key, self.now).copied()
    }

    fn explain(&self, key: Key) -> Explanation {
        let contract = Contract::new().room(self.running().len() < self.max_loads);
        self.cache.explain_within(&key, &contract, self.now)
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn stats(&self) -> Stats {
        self.cache.stats()
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn told(&self, caller: usize) -> Option<Told> {
        match &self.callers[caller - 1].state {
            State::Told(told) => Some(told.clone()),
            _ => None,
        }
    }

    fn loads(&self) -> usize {
        self.loads.len()
    }

    fn running(&self) -> Vec<usize> {
        let runs = |n: &usize| self.loads[n - 1].ticket.is_some();
        (1..=self.loads.len()).filter(runs).collect()
    }
}
