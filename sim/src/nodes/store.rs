//! A store, the wires to it, and the troubles of both.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cache_std::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, Backplane, HeldLease, Mutation, Receiver, Station,
    StoreError, Stored,
};
use cache_std::{Clock, Instant, Lifetime};

use super::world::World;

pub(super) type Key = u8;
pub(super) type Value = u64;

/// How long it takes until the loss of a wire is noticed, at most, in milliseconds.
pub(super) const NOTICED: u64 = 700;

/// The server.
#[derive(Clone)]
pub(super) struct Server {
    world: World,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, (Value, Lifetime, Instant)>,
    leases: BTreeMap<Key, ([u8; 16], Instant)>,
    last_fence: u64,
    health: Health,
    /// What came while it hung, in its order.
    waiting: Vec<Box<dyn FnOnce() + Send>>,
    lines: Vec<Line>,
    /// Requests and answers in a hundred that are lost.
    lossy: u64,
    /// Requests that were sent.
    asked: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Up,
    /// Whoever asks is told so.
    Down,
    /// It takes everything, and does it when it wakes.
    Hangs,
}

/// The wire by which one node hears.
struct Line {
    receiver: Weak<dyn Receiver<Key>>,
    cut: bool,
    waiting: Vec<Message>,
}

#[derive(Clone, Copy, Debug)]
enum Message {
    Changed(Key),
    Filled(Key),
    Expired(Key),
    Cleared,
}

impl Server {
    pub(super) fn new(world: &World) -> Self {
        Self { world: world.clone(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests were sent so far.
    pub(super) fn asked(&self) -> u64 {
        self.state().asked
    }

    pub(super) fn lossy(&self, percent: u64) {
        self.state().lossy = percent;
    }

    pub(super) fn set_health(&self, health: Health) {
        self.world.note(|| format!("the store is {health:?}"));
        let waiting = {
            let mut state = self.state();
            state.health = health;
            if health == Health::Hangs { vec![] } else { core::mem::take(&mut state.waiting) }
        };
        waiting.into_iter().for_each(|work| work());
    }

    /// It forgets everything.
    pub(super) fn forget(&self) {
        self.world.note(|| "the store forgets".into());
        let mut state = self.state();
        state.entries.clear();
        state.leases.clear();
    }

    /// Cuts a node's line, which it notices after a while.
    pub(super) async fn cut(&self, line: usize) {
        let receiver = {
            let mut state = self.state();
            let Some(line) = state.lines.get_mut(line) else { return };
            line.cut = true;
            line.waiting.clear();
            line.receiver.clone()
        };
        self.world.note(|| format!("line {line} is cut"));
        self.world.sleep_ms(self.world.below(NOTICED)).await;
        if let Some(receiver) = receiver.upgrade() {
            self.world.note(|| format!("line {line} is closed"));
            receiver.closed();
        }
    }

    pub(super) fn mend(&self, line: usize) {
        let receiver = {
            let mut state = self.state();
            let Some(line) = state.lines.get_mut(line) else { return };
            if !core::mem::take(&mut line.cut) {
                return;
            }
            line.receiver.clone()
        };
        self.world.note(|| format!("line {line} is open"));
        receiver.upgrade().into_iter().for_each(|receiver| receiver.opened());
    }

    /// How long something is on its way: not long, as a rule.
    fn delay(&self) -> Duration {
        let most = if self.world.percent(10) { 40_000 } else { 2_000 };
        Duration::from_micros(self.world.below(most))
    }

    fn tell(&self, by: Station, message: Message) {
        let lines = self.state().lines.len();
        for line in 0..lines {
            if by.number() == line as u128 + 1 {
                continue;
            }
            let mut state = self.state();
            if state.lines[line].cut {
                continue;
            }
            state.lines[line].waiting.push(message);
            drop(state);
            let (server, delay) = (self.clone(), self.delay());
            self.world.spawn(async move {
                server.world.sleep(delay).await;
                server.deliver(line);
            });
        }
    }

    /// Delivers the oldest message.
    fn deliver(&self, number: usize) {
        let (receiver, message) = {
            let mut state = self.state();
            let line = &mut state.lines[number];
            if line.waiting.is_empty() {
                return;
            }
            (line.receiver.upgrade(), line.waiting.remove(0))
        };
        self.world.note(|| format!("line {number}: {message:?}"));
        let Some(receiver) = receiver else { return };
        match message {
            Message::Changed(key) => receiver.changed(key),
            Message::Filled(key) => receiver.filled(key),
            Message::Expired(key) => receiver.expired(key),
            Message::Cleared => receiver.cleared(),
        }
    }

    /// Sends work to the server, which does it whether or not anybody still waits for the answer.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let answer = Arc::new(Answer { value: Mutex::new(None), signal: cache_std::Signal::new() });
        let (server, place) = (self.clone(), Arc::clone(&answer));
        let (there, back) = (self.delay(), self.delay());
        let lossy = {
            let mut state = self.state();
            state.asked += 1;
            state.lossy
        };
        let (lost, unanswered) = (self.world.percent(lossy), self.world.percent(lossy));
        self.world.spawn(async move {
            server.world.sleep(there).await;
            if lost {
                return;
            }
            let does = server.clone();
            let work = move || {
                let health = does.state().health;
                let value = (health != Health::Down).then(|| work(&does));
                does.world.note(|| format!("store: {what}"));
                let (world, then) = (does.world.clone(), does);
                world.spawn(async move {
                    then.world.sleep(back).await;
                    if !unanswered {
                        place.set(value.ok_or_else(|| StoreError::unavailable("it is down")));
                    }
                });
            };
            let mut state = server.state();
            if state.health == Health::Hangs {
                state.waiting.push(Box::new(work));
            } else {
                drop(state);
                work();
            }
        });
        answer.get().await
    }
}

/// An answer to come.
struct Answer<T> {
    value: Mutex<Option<Result<T, StoreError>>>,
    signal: cache_std::Signal,
}

impl<T> Answer<T> {
    fn set(&self, value: Result<T, StoreError>) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.signal.set();
    }

    async fn get(&self) -> Result<T, StoreError> {
        core::future::poll_fn(|context| self.signal.poll(context)).await;
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.unwrap_or_else(|| Err(StoreError::unavailable("no answer")))
    }
}

impl State {
    fn get(&self, key: Key, now: Instant) -> Option<Stored<Value>> {
        let (value, lifetime, at) = self.entries.get(&key)?;
        let lifetime = lifetime.aged(lifetime.age + now.saturating_since(*at));
        (!lifetime.remaining().is_zero()).then(|| Stored::new(*value, lifetime))
    }

    fn is_held(&self, key: Key, token: &[u8; 16], now: Instant) -> bool {
        self.leases.get(&key).is_some_and(|(held, until)| held == token && !now.has_reached(*until))
    }
}

/// A mutation that owns what it needs.
enum Does {
    Put(Value, Lifetime, Option<[u8; 16]>),
    Remove(Option<[u8; 16]>),
    Expire,
}

impl Does {
    const fn lease(&self) -> Option<&[u8; 16]> {
        match self {
            Self::Put(_, _, lease) | Self::Remove(lease) => lease.as_ref(),
            Self::Expire => None,
        }
    }
}

impl Server {
    fn mutate_now(&self, key: Key, does: &Does, by: Station) -> bool {
        let now = self.world.now();
        let mut state = self.state();
        if does.lease().is_some_and(|token| !state.is_held(key, token, now)) {
            return false;
        }
        state.leases.remove(&key);
        let found = state.get(key, now);
        let message = match does {
            Does::Put(value, lifetime, lease) => {
                state.entries.insert(key, (*value, *lifetime, now));
                if lease.is_some() { Message::Filled(key) } else { Message::Changed(key) }
            }
            Does::Remove(_) => {
                state.entries.remove(&key);
                Message::Changed(key)
            }
            Does::Expire => {
                if let Some(Stored { value, mut lifetime, .. }) = found {
                    lifetime.ttl = lifetime.ttl.min(lifetime.age);
                    state.entries.insert(key, (value, lifetime, now));
                }
                Message::Expired(key)
            }
        };
        drop(state);
        self.tell(by, message);
        found.is_some() || matches!(does, Does::Put(..))
    }
}

impl AsyncStore<Key, Value> for Server {
    async fn get(&self, key: &Key, _: Instant) -> Result<Option<Stored<Value>>, StoreError> {
        let key = *key;
        self.ask("get", move |server| server.state().get(key, server.world.now())).await
    }

    async fn put(
        &self,
        key: &Key,
        value: &Value,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mutation = Mutation::put(value, lifetime);
        self.mutate(key, mutation, Station::NOBODY, now).await.map(drop)
    }

    async fn remove(&self, key: &Key, now: Instant) -> Result<bool, StoreError> {
        self.mutate(key, Mutation::Remove, Station::NOBODY, now).await
    }

    fn shared(&self) -> Option<impl AsyncSharedStore<Key, Value> + Send + Sync> {
        Some(self)
    }
}

impl AsyncSharedStore<Key, Value> for Server {
    async fn mutate(
        &self,
        key: &Key,
        mutation: Mutation<'_, Value>,
        by: Station,
        _: Instant,
    ) -> Result<bool, StoreError> {
        let key = *key;
        let (what, does) = match mutation {
            Mutation::Put { value, lifetime, .. } => ("put", Does::Put(*value, lifetime, None)),
            Mutation::Fill { value, lifetime, lease, .. } => {
                ("fill", Does::Put(*value, lifetime, Some(*lease.token())))
            }
            Mutation::Vacate { lease, .. } => ("vacate", Does::Remove(Some(*lease.token()))),
            Mutation::Expire => ("expire", Does::Expire),
            _ => ("remove", Does::Remove(None)),
        };
        self.ask(what, move |server| server.mutate_now(key, &does, by)).await
    }

    async fn clear_all(&self, by: Station, _: Instant) -> Result<(), StoreError> {
        let clear = move |server: &Self| {
            let mut state = server.state();
            state.entries.clear();
            state.leases.clear();
            drop(state);
            server.tell(by, Message::Cleared);
        };
        self.ask("clear", clear).await
    }
}

impl AsyncLeases<Key> for Server {
    async fn acquire(
        &self,
        key: &Key,
        ttl: Duration,
        _: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        let key = *key;
        let acquire = move |server: &Self| {
            let now = server.world.now();
            let mut state = server.state();
            if state.leases.get(&key).is_some_and(|(_, until)| !now.has_reached(*until)) {
                return None;
            }
            state.last_fence += 1;
            let fence = state.last_fence;
            let token = u128::from(fence).to_be_bytes();
            state.leases.insert(key, (token, now + ttl));
            Some(HeldLease::new(token, fence))
        };
        self.ask("acquire", acquire).await
    }

    async fn renew(
        &self,
        key: &Key,
        lease: &HeldLease,
        ttl: Duration,
        _: Instant,
    ) -> Result<bool, StoreError> {
        let (key, token) = (*key, *lease.token());
        let renew = move |server: &Self| {
            let now = server.world.now();
            let mut state = server.state();
            let held = state.is_held(key, &token, now);
            if held {
                state.leases.insert(key, (token, now + ttl));
            }
            held
        };
        self.ask("renew", renew).await
    }

    async fn release(&self, key: &Key, lease: HeldLease, _: Instant) -> Result<bool, StoreError> {
        let (key, token) = (*key, *lease.token());
        let release = move |server: &Self| {
            let now = server.world.now();
            let mut state = server.state();
            let held = state.is_held(key, &token, now);
            if held {
                state.leases.remove(&key);
            }
            held
        };
        self.ask("release", release).await
    }
}

impl Backplane<Key> for Server {
    fn attach(&self, receiver: Weak<dyn Receiver<Key>>) -> Station {
        let mut state = self.state();
        state.lines.push(Line { receiver: receiver.clone(), cut: false, waiting: vec![] });
        let station = Station::new(state.lines.len() as u128);
        drop(state);
        receiver.upgrade().into_iter().for_each(|receiver| receiver.opened());
        station
    }
}
