//! A store that processes share, as far away and as troubled as a test wants it.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use advanced_caching::future::{Builder, Cache, TokioTime};
use advanced_caching::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, HeldLease, Leases, Mutation, SharedStore, Station,
    Store, StoreError, Stored, TagChange,
};
use advanced_caching::{Instant, Lifetime, MemoryStore};
use tokio::time::sleep;

use crate::tasks::calls::Users;
use crate::world::secs;

/// A store in memory behind a wire.
#[derive(Clone)]
pub(crate) struct Far {
    pub(crate) store: Arc<MemoryStore<u8, u32>>,
    wire: Arc<Mutex<Wire>>,
    shared: bool,
    /// It cannot tell of tags.
    mute: bool,
    /// The time of all who share it, by which the store tells ages.
    time: TokioTime,
}

#[derive(Default)]
struct Wire {
    /// How long an operation takes, half of it on the way there.
    takes: Duration,
    state: State,
    /// The answer to the next mutation is lost, and what it did is done.
    loses_answer: bool,
    log: Vec<&'static str>,
    /// Operations that go on at this time, and the most that ever did.
    at_once: (usize, usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Up,
    Down,
    /// It takes everything, and answers nothing.
    Hangs,
    /// It cannot read what it has.
    Unreadable,
    /// What is put there is too large for it.
    Small,
    /// It ends no lease that is given back.
    Clinging,
}

impl Far {
    pub(crate) fn new() -> Self {
        let (store, wire) = (Arc::new(MemoryStore::new(1_000)), Arc::default());
        Self { store, wire, shared: true, mute: false, time: TokioTime::new() }
    }

    /// The same store, which cannot tell of tags.
    pub(crate) fn mute() -> Self {
        Self { mute: true, ..Self::new() }
    }

    /// The same store for one process alone.
    pub(crate) fn private() -> Self {
        Self { shared: false, ..Self::new() }
    }

    pub(crate) fn takes(&self, takes: Duration) {
        self.wire.lock().unwrap().takes = takes;
    }

    pub(crate) fn is(&self, state: State) {
        self.wire.lock().unwrap().state = state;
    }

    pub(crate) fn loses_answer(&self) {
        self.wire.lock().unwrap().loses_answer = true;
    }

    /// The operations that were asked for since this was last called.
    pub(crate) fn log(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.wire.lock().unwrap().log)
    }

    /// The most operations that went on at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.wire.lock().unwrap().at_once.1
    }

    /// A process that shares this.
    pub(crate) fn process(&self) -> Builder<u8, u32> {
        let builder = Cache::builder().ttl(secs(60)).jitter_percent(0).time(self.time);
        let builder = builder.l2(self.clone());
        if self.shared { builder.backplane(Arc::clone(&self.store)) } else { builder }
    }

    /// What is in the store.
    pub(crate) fn value(&self, cache: &Users, key: u8) -> Option<u32> {
        Store::<u8, u32>::get(&*self.store, &key, cache.time().now()).unwrap().map(|s| s.value)
    }

    async fn goes<T>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (takes, state) = {
            let mut wire = self.wire.lock().unwrap();
            wire.log.push(what);
            wire.at_once.0 += 1;
            wire.at_once.1 = wire.at_once.1.max(wire.at_once.0);
            (wire.takes, wire.state)
        };
        let _ends = Ends(&self.wire);
        match state {
            State::Unreadable if what == "get" => return Err(StoreError::corrupt("on purpose")),
            State::Small if ["put", "fill"].contains(&what) => {
                return Err(StoreError::too_large(9, 8));
            }
            State::Clinging if what == "release" => {
                return Err(StoreError::unavailable("on purpose"));
            }
            State::Up | State::Unreadable | State::Small | State::Clinging => {}
            State::Down => return Err(StoreError::unavailable("on purpose")),
            State::Hangs => pending().await,
        }
        if !takes.is_zero() {
            sleep(takes / 2).await;
        }
        let done = work();
        let lost = what != "get" && std::mem::take(&mut self.wire.lock().unwrap().loses_answer);
        if lost {
            pending().await
        }
        if !takes.is_zero() {
            sleep(takes / 2).await;
        }
        done
    }
}

/// An operation goes on until this is dropped.
struct Ends<'a>(&'a Mutex<Wire>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().at_once.0 -= 1;
    }
}

fn name(mutation: &Mutation<'_, u32>) -> &'static str {
    match mutation {
        Mutation::Put { .. } => "put",
        Mutation::Fill { .. } => "fill",
        Mutation::Vacate { .. } => "vacate",
        Mutation::Expire => "expire",
        _ => "remove",
    }
}

impl AsyncStore<u8, u32> for Far {
    async fn get(&self, key: &u8, now: Instant) -> Result<Option<Stored<u32>>, StoreError> {
        self.goes("get", || Store::<u8, u32>::get(&*self.store, key, now)).await
    }

    async fn put(&self, key: &u8, v: &u32, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.goes("put", || self.store.put(key, v, life, now)).await
    }

    async fn remove(&self, key: &u8, now: Instant) -> Result<bool, StoreError> {
        self.goes("remove", || Store::<u8, u32>::remove(&*self.store, key, now)).await
    }

    async fn get_many(
        &self,
        keys: &[&u8],
        now: Instant,
        found: &mut (dyn FnMut(usize, Stored<u32>) + Send),
    ) -> Result<(), StoreError> {
        self.goes("get_many", || self.store.get_many(keys, now, found)).await
    }

    async fn clear(&self, now: Instant) -> Result<(), StoreError> {
        self.goes("clear", || Store::<u8, u32>::clear(&*self.store, now)).await
    }

    fn shared(&self) -> Option<impl AsyncSharedStore<u8, u32> + Send + Sync> {
        self.shared.then_some(self)
    }
}

impl AsyncSharedStore<u8, u32> for Far {
    async fn mutate(
        &self,
        key: &u8,
        mutation: Mutation<'_, u32>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.goes(name(&mutation), || self.store.mutate(key, mutation, by, now)).await
    }

    async fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
        self.goes("clear", || SharedStore::<u8, u32>::clear_all(&*self.store, by, now)).await
    }

    fn keeps_tags(&self) -> bool {
        !self.mute
    }

    async fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Result<(), StoreError> {
        if self.mute {
            return Err(StoreError::unsupported("change_tag"));
        }
        let change = || SharedStore::<u8, u32>::change_tag(&*self.store, tag, change, by, now);
        self.goes("change_tag", change).await
    }
}

impl AsyncLeases<u8> for Far {
    async fn acquire(
        &self,
        key: &u8,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        self.goes("acquire", || Leases::<u8>::acquire(&*self.store, key, ttl, now)).await
    }

    async fn renew(
        &self,
        key: &u8,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.goes("renew", || Leases::<u8>::renew(&*self.store, key, lease, ttl, now)).await
    }

    async fn release(&self, key: &u8, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        self.goes("release", || Leases::<u8>::release(&*self.store, key, lease, now)).await
    }
}
