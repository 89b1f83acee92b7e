//! A store, the wires to it, and the troubles of both.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::tag_hash;
use cache_std::store::{
    AsyncSharedStore, AsyncStore, HeldLease, Mutation, Station, StoreError, Stored, TagChange,
};
use cache_std::{Clock, Freshness, Instant, Lifetime};

use super::lines::{Line, Message};
use super::tags::{Tags, Verdict};
use super::world::World;

mod leases;

pub(super) type Key = u8;
pub(super) type Value = u64;

/// The server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) world: World,
    state: Arc<Mutex<State>>,
    /// Entries are kept with their tags.
    keeps_tags: bool,
}

#[derive(Default)]
pub(super) struct State {
    entries: BTreeMap<Key, Entry>,
    /// Values that were put, until something changes them; to fill is no change.
    put_last: BTreeMap<Key, Value>,
    tags: Tags,
    leases: BTreeMap<Key, ([u8; 16], Instant)>,
    last_fence: u64,
    health: Health,
    /// What came while it hung, in its order.
    waiting: Vec<Box<dyn FnOnce() + Send>>,
    pub(super) lines: Vec<Line>,
    /// Requests and answers in a hundred that are lost.
    lossy: u64,
    /// Requests that were sent.
    asked: u64,
    /// When somebody last set out to change a key, or did, in milliseconds.
    stirred: BTreeMap<Key, u64>,
    /// The same for all keys.
    all_stirred: u64,
}

struct Entry {
    value: Value,
    lifetime: Lifetime,
    /// Since when it has this lifetime.
    at: Instant,
    tags: Vec<u64>,
    /// The last change of tags that came before the value.
    seen: u64,
    /// Since when there has been a fresh value, this one or others before it.
    fresh_since: Instant,
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

impl Server {
    pub(super) fn new(world: &World) -> Self {
        let keeps_tags = !world.percent(20);
        Self { world: world.clone(), state: Arc::default(), keeps_tags }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nodes may have this value of a key, because it was put, and nothing has changed it since. What has
    /// tags may be in memory alone, if the store keeps none.
    pub(super) fn may_have(&self, key: Key, value: Option<Value>) -> bool {
        !self.keeps_tags || self.state().put_last.get(&key) == value.as_ref()
    }

    /// Since when, in milliseconds, a fresh value of a key has been there, and nobody was about to change it; none
    /// where there is none.
    pub(super) fn offered_since(&self, key: Key) -> Option<u64> {
        let state = self.state();
        let since = state.fresh_since(key, self.world.now())?.as_nanos() / 1_000_000;
        let stirred = state.stirred.get(&key).copied().unwrap_or(0);
        Some(since.max(stirred).max(state.all_stirred))
    }

    fn stir(&self, key: Key) {
        let now = self.world.millis();
        self.state().stirred.insert(key, now);
    }

    fn stir_all(&self) {
        let now = self.world.millis();
        self.state().all_stirred = now;
    }

    /// How many requests were sent so far.
    pub(super) fn asked(&self) -> u64 {
        self.state().asked
    }

    /// Whether who is no cache can put a value that all will know to be outdated one day.
    pub(super) fn takes_of_others(&self, key: Key) -> bool {
        self.state().health == Health::Up && (self.keeps_tags || super::tags::of(key).is_empty())
    }

    /// What is put there without a cache: all hear that something has happened to the key.
    pub(super) fn put_by_others(&self, key: Key, value: Value) {
        let tags = super::tags::of(key).iter().map(|tag| tag_hash(tag)).collect();
        let put = Does::Put(value, Lifetime::fresh_for(Duration::from_secs(60)), tags);
        let _ = self.state().mutate(key, put, self.world.now());
        self.tell(Station::NOBODY, Message::Expired(key));
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
        self.stir_all();
        let mut state = self.state();
        state.entries.clear();
        state.leases.clear();
        state.tags.lose();
    }

    /// It forgets what has happened to tags.
    pub(super) fn forget_tags(&self) {
        self.world.note(|| "the store forgets its tags".into());
        self.stir_all();
        self.state().tags.lose();
    }

    /// How long something is on its way: not long, as a rule.
    pub(super) fn delay(&self) -> Duration {
        let most = if self.world.percent(10) { 40_000 } else { 2_000 };
        Duration::from_micros(self.world.below(most))
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
    /// What is there, as its tags allow.
    fn get(&self, key: Key, now: Instant) -> Option<Stored<Value>> {
        let Entry { value, lifetime, at, tags, seen, .. } = self.entries.get(&key)?;
        let mut lifetime = lifetime.aged(lifetime.age + now.saturating_since(*at));
        match self.tags.verdict(tags, *seen) {
            Verdict::Untouched => {}
            Verdict::StaleFrom(from) => {
                let age = lifetime.age.saturating_sub(now.saturating_since(from));
                lifetime = lifetime.stale_since(age);
            }
            Verdict::Gone => return None,
        }
        let stored = Stored::new(*value, lifetime).tagged(tags.iter().copied());
        (!lifetime.remaining().is_zero()).then_some(stored)
    }

    fn fresh_since(&self, key: Key, now: Instant) -> Option<Instant> {
        let fresh = self.get(key, now)?.lifetime.freshness() == Freshness::Fresh;
        self.entries.get(&key).filter(|_| fresh).map(|entry| entry.fresh_since)
    }

    fn is_held(&self, key: Key, token: &[u8; 16], now: Instant) -> bool {
        self.leases.get(&key).is_some_and(|(held, until)| held == token && !now.has_reached(*until))
    }
}

/// A mutation that owns what it needs.
enum Does {
    Put(Value, Lifetime, Vec<u64>),
    Fill(Value, Lifetime, Vec<u64>, HeldLease),
    Vacate(HeldLease),
    Remove,
    Expire,
}

impl Does {
    fn new(mutation: Mutation<'_, Value>, keeps_tags: bool) -> Self {
        let kept = |tags: &[u64]| if keeps_tags { tags.to_vec() } else { vec![] };
        match mutation {
            Mutation::Put { value, lifetime, tags, .. } => Self::Put(*value, lifetime, kept(tags)),
            Mutation::Fill { value, lifetime, tags, lease, .. } => {
                Self::Fill(*value, lifetime, kept(tags), lease)
            }
            Mutation::Vacate { lease, .. } => Self::Vacate(lease),
            Mutation::Expire => Self::Expire,
            _ => Self::Remove,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Put(..) => "put",
            Self::Fill(..) => "fill",
            Self::Vacate(_) => "vacate",
            Self::Expire => "expire",
            Self::Remove => "remove",
        }
    }

    const fn lease(&self) -> Option<&HeldLease> {
        match self {
            Self::Fill(.., lease) | Self::Vacate(lease) => Some(lease),
            _ => None,
        }
    }
}

impl State {
    /// Whether the value was put; not where one of its tags has ended since the change `seen`.
    fn put(&mut self, key: Key, mut entry: Entry) -> bool {
        entry.fresh_since = self.fresh_since(key, entry.at).unwrap_or(entry.at);
        self.tags.used(&entry.tags);
        entry.seen = entry.seen.min(self.tags.last());
        let put = self.tags.verdict(&entry.tags, entry.seen) != Verdict::Gone;
        if put {
            self.entries.insert(key, entry);
        }
        put
    }

    /// Whether anything was there, and what is to be told.
    fn mutate(&mut self, key: Key, does: Does, now: Instant) -> (bool, Option<Message>) {
        if does.lease().is_some_and(|lease| !self.is_held(key, lease.token(), now)) {
            return (false, None);
        }
        self.leases.remove(&key);
        if !matches!(does, Does::Fill(..)) {
            self.put_last.remove(&key);
        }
        let found = self.get(key, now);
        let entry = |value, lifetime, tags, seen| Entry {
            value,
            lifetime,
            at: now,
            tags,
            seen,
            fresh_since: now,
        };
        match does {
            Does::Put(value, lifetime, tags) => {
                self.put_last.insert(key, value);
                self.put(key, entry(value, lifetime, tags, u64::MAX));
                (true, Some(Message::Changed(key)))
            }
            Does::Fill(value, lifetime, tags, lease) => {
                let put = self.put(key, entry(value, lifetime, tags, lease.tags_seen()));
                (put, put.then_some(Message::Filled(key)))
            }
            Does::Vacate(_) | Does::Remove => {
                self.entries.remove(&key);
                let done = found.is_some() || matches!(does, Does::Vacate(_));
                (done, Some(Message::Changed(key)))
            }
            Does::Expire => {
                if let (Some(Stored { mut lifetime, .. }), Some(there)) =
                    (found, self.entries.get_mut(&key))
                {
                    lifetime = lifetime.stale_since(lifetime.age);
                    (there.lifetime, there.at) = (lifetime, now);
                    return (true, Some(Message::Expired(key)));
                }
                (false, Some(Message::Expired(key)))
            }
        }
    }
}

impl AsyncStore<Key, Value> for Server {
    async fn get(&self, key: &Key, _: Instant) -> Result<Option<Stored<Value>>, StoreError> {
        let key = *key;
        self.ask("get", move |server| server.state().get(key, server.world.now())).await
    }

    async fn get_many(
        &self,
        keys: &[&Key],
        _: Instant,
        found: &mut (dyn FnMut(usize, Stored<Value>) + Send),
    ) -> Result<(), StoreError> {
        let keys: Vec<Key> = keys.iter().map(|key| **key).collect();
        let get = move |server: &Self| {
            let (state, now) = (server.state(), server.world.now());
            keys.iter().map(|key| state.get(*key, now)).collect::<Vec<_>>()
        };
        for (at, stored) in self.ask("get_many", get).await?.into_iter().enumerate() {
            stored.into_iter().for_each(|stored| found(at, stored));
        }
        Ok(())
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
        let (key, does) = (*key, Does::new(mutation, self.keeps_tags));
        let name = does.name();
        self.stir(key);
        let mutate = move |server: &Self| {
            server.stir(key);
            let (done, message) = server.state().mutate(key, does, server.world.now());
            message.into_iter().for_each(|message| server.tell(by, message));
            done
        };
        self.ask(name, mutate).await
    }

    async fn clear_all(&self, by: Station, _: Instant) -> Result<(), StoreError> {
        self.stir_all();
        let clear = move |server: &Self| {
            server.stir_all();
            let mut state = server.state();
            state.entries.clear();
            state.put_last.clear();
            state.leases.clear();
            drop(state);
            server.tell(by, Message::Cleared);
        };
        self.ask("clear", clear).await
    }

    fn keeps_tags(&self) -> bool {
        self.keeps_tags
    }

    async fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        _: Instant,
    ) -> Result<(), StoreError> {
        let tag = super::tags::named(tag).ok_or(StoreError::unsupported("another tag"))?;
        self.stir_all();
        let change_tag = move |server: &Self| {
            server.stir_all();
            let mut state = server.state();
            state.tags.change(tag, change, server.world.now());
            state.put_last.retain(|key, _| !super::tags::of(*key).contains(&tag));
            drop(state);
            server.tell(by, Message::Tag(tag, change));
        };
        self.ask("change_tag", change_tag).await
    }
}
