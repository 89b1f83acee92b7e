//! What a load has to do with the store behind the cache: before the loader, and after it.

use core::future::poll_fn;
use core::task::Poll;

use cache_core::store::Stored;

use super::*;
use crate::second::{self, Filled, Found, Second, Timer, Watch};
use crate::sync::many::Ended;

/// What the store behind the cache had for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// A fresh value: the flight has ended.
    Landed,
    /// An old value, which may serve while the flight goes on.
    Adopted,
    Nothing,
}

impl<K, V, S> Lead<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// The cache, if it is still there and has a store behind it.
    pub(crate) fn backed(&self) -> Option<Arc<Inner<K, V, S>>> {
        self.inner.upgrade().filter(|inner| inner.second.is_some())
    }

    /// Asks the store behind the cache, if it is to be asked, and then for the right to load. While
    /// another process has that, waits for what it loads.
    pub(crate) async fn prepare(&mut self, timer: &impl Timer) -> Looked {
        match self.try_to_prepare(timer, None, 0).await {
            Ok(looked) => looked,
            Err(watch) => self.prepare_after_others(timer, watch).await,
        }
    }

    /// Waits for what another process loads, or for the right to load it here.
    async fn prepare_after_others(&mut self, timer: &impl Timer, mut watch: Watch) -> Looked {
        let mut attempt = 0;
        loop {
            watch.moment(timer, attempt).await;
            (attempt, self.asks_store) = (attempt + 1, true);
            watch = match self.try_to_prepare(timer, None, attempt).await {
                Ok(looked) => return looked,
                Err(watch) => watch,
            }
        }
    }

    /// One attempt. `since` has watched what others do since the store was asked, if it was. Where another process
    /// has the right to load, what has watched since.
    async fn try_to_prepare(
        &mut self,
        timer: &impl Timer,
        since: Option<Watch>,
        attempt: u32,
    ) -> Result<Looked, Watch> {
        let Some(inner) = self.backed() else { return Ok(Looked::Nothing) };
        let Some(second) = &inner.second else { return Ok(Looked::Nothing) };
        let watch = since.unwrap_or_else(|| second.watch(self.hash));
        let looked = self.look_behind(timer).await;
        if looked == Looked::Landed || !self.must_ask_for_lease(second) {
            return Ok(looked);
        }
        match second.acquire(timer, &self.key, inner.now(), self.has_old).await {
            Ok(Some(lease)) => {
                self.lease = Some((self.key.clone(), lease));
                // Who had it before may have landed since the store was asked.
                let again = attempt > 0 || watch.is_told();
                if again && self.look_again(timer).await == Looked::Landed {
                    self.give_lease_back(timer).await;
                    return Ok(Looked::Landed);
                }
                Ok(looked)
            }
            Ok(None) if !self.is_late(&inner) => Err(watch),
            // The load goes on without, and nothing of it is left in the store.
            Ok(None) | Err(()) => {
                self.degraded = true;
                Ok(looked)
            }
        }
    }

    const fn must_ask_for_lease(&self, second: &Second<K, V>) -> bool {
        second.is_shared && second.terms.leases && !self.degraded && self.lease.is_none()
    }

    /// Whether those who wait have been told by now that they wait in vain.
    fn is_late(&self, inner: &Inner<K, V, S>) -> bool {
        let hard_at = self.ticket.as_ref().map(Ticket::hard_at);
        hard_at.is_none_or(|hard_at| inner.time.now_precisely().has_reached(hard_at))
    }

    async fn look_again(&mut self, timer: &impl Timer) -> Looked {
        self.asks_store = true;
        self.look_behind(timer).await
    }

    /// Asks the store behind the cache.
    async fn look_behind(&mut self, timer: &impl Timer) -> Looked {
        if !core::mem::take(&mut self.asks_store) {
            return Looked::Nothing;
        }
        let Some(inner) = self.backed() else { return Looked::Nothing };
        let Some(second) = &inner.second else { return Looked::Nothing };
        let found = second.get(timer, &self.key, inner.now(), self.has_old).await;
        self.found(found)
    }

    /// Takes what the store behind the cache had.
    fn found(&mut self, found: Found<V>) -> Looked {
        self.asks_store = false;
        match found {
            Found::Stored(stored) if self.has_as_good(&stored) => Looked::Nothing,
            Found::Stored(stored) if second::is_fresh(&stored) => {
                // Or as a failure: the value's own code has panicked.
                drop(self.land_from(Source::Store, stored.into_loaded()));
                Looked::Landed
            }
            Found::Stored(stored) => self.adopt(stored),
            Found::Nothing => Looked::Nothing,
            Found::Trouble => {
                self.degraded = true;
                Looked::Nothing
            }
        }
    }

    /// Whether what memory has is refreshed before its time, and is no older than this. What has come to memory since
    /// the flight began is an answer all the same.
    fn has_as_good(&self, stored: &Stored<V>) -> bool {
        let Some(inner) = self.inner.upgrade().filter(|_| self.is_early) else { return false };
        let now = inner.now();
        let desk = inner.tables.desk(self.hash);
        let own = desk.entry(&self.key, now).map(|entry| entry.lifetime(now));
        own.is_some_and(|life| life.matches(stored.lifetime.age))
    }

    /// Keeps an old value, which may serve those who wait; the flight goes on as another.
    fn adopt(&mut self, stored: Stored<V>) -> Looked {
        let (Some(inner), Some(ticket)) = (self.inner.upgrade(), &self.ticket) else {
            return Looked::Nothing;
        };
        let (value, age) = (stored.value.clone(), stored.lifetime.age);
        let tags = stored.tags().into();
        let loaded = stored.into_loaded();
        let weight = inner.weigh(&self.key, &loaded);
        let (now, next) = (inner.now(), self.flight.next());
        let mut spare = Spare::storing(self.key.clone(), &loaded);
        let mut leaving = inner.tables.leaving_of(&self.key);
        let mut desk = inner.tables.desk(self.hash);
        let ends = (&mut spare, &mut leaving);
        let handed_back = desk.adopt(&self.key, now, ticket, loaded, weight, ends);
        if handed_back.is_none() {
            desk.flights().insert(ticket.flight(), Arc::clone(&next));
        }
        desk.close(&mut leaving);
        if handed_back.is_some() {
            return Looked::Nothing;
        }
        self.has_old = true;
        self.previous = Previous { value: Some(value), age, etag: None, tags };
        let found = core::mem::replace(&mut self.flight, Arc::clone(&next));
        found.finish(End::Adopted(next));
        Looked::Adopted
    }

    /// Ends the flight with what the loader answered, in memory and in the store behind it. Returns what
    /// user code panicked with on the way, if it did; then the load has failed.
    pub(crate) async fn finish(
        &mut self,
        timer: &impl Timer,
        loaded: Loaded<V>,
    ) -> Result<(), Box<dyn Any + Send>> {
        let Some(inner) = self.backed() else { return self.land_from(Source::Origin, loaded) };
        let Some(second) = &inner.second else { return Ok(()) };
        let answer = match self.answer_caught(Source::Origin, loaded) {
            Ok(answer) => answer,
            Err(payload) => {
                self.give_lease_back(timer).await;
                return Err(payload);
            }
        };
        // To write to the store is a part of the load.
        let writing = self.place.clone();
        // In a shared store, the lease keeps apart what loads and mutations leave there.
        let keeps = matches!(answer.change, Change::Keep);
        let turns = !second.is_shared && !keeps;
        let turn = if turns { Some(second.turn(timer, self.hash).await) } else { None };
        let completed = self.complete_caught(Some(&inner), answer);
        let (follows, left, panicked) = match completed {
            Ok(Completed { follows, _left }) => (follows, _left, Ok(())),
            Err(payload) => (None, None, Err(payload)),
        };
        let done = self.follow(timer, second, follows).await;
        drop((turn, writing));
        drop((left, done));
        panicked
    }

    /// Leaves in the store what is in memory now, or gives back the right to do so. What is answered is
    /// to be dropped when no turn is held.
    async fn follow(
        &mut self,
        timer: &impl Timer,
        second: &Second<K, V>,
        follows: Option<Follows<V>>,
    ) -> Option<Change<V>> {
        let Some(Follows { change, now, as_of }) = follows else {
            self.give_lease_back(timer).await;
            return None;
        };
        let lease = self.lease.take().map(|(_, lease)| lease);
        let filled = second.follow(timer, (self.hash, &self.key), &change, lease, as_of, now).await;
        // Who began later here, because this one is not kept in memory, waits for it like any other process.
        second.news.tell(self.hash);
        if let (Filled::Refused, Some(inner)) = (filled, self.inner.upgrade()) {
            // Others know better, and memory may have missed what.
            inner.tables.invalidate(self.hash, &self.key, inner.now());
        }
        Some(change)
    }

    /// Whether the lease, if there is one, is in force still; renews it.
    async fn renews(&self, timer: &impl Timer) -> bool {
        let Some((_, lease)) = &self.lease else { return false };
        // When all who waited have been told that they wait in vain, another process may try.
        let Some(inner) = self.backed().filter(|inner| !self.is_late(inner)) else { return false };
        let Some(second) = &inner.second else { return false };
        second.renew(timer, &self.key, lease, inner.now()).await
    }

    /// The load has failed, and another process may try.
    pub(crate) async fn give_lease_back(&mut self, timer: &impl Timer) {
        let Some((_, lease)) = self.lease.take() else { return };
        let Some(inner) = self.inner.upgrade() else { return };
        if let Some(second) = &inner.second {
            second.release(timer, &self.key, lease, inner.now()).await;
        }
    }
}

/// Gets many loads ready, and returns those that the origin is to be asked for.
pub(crate) async fn prepare_all<K, V, S>(
    timer: &impl Timer,
    leads: Vec<Lead<K, V, S>>,
) -> Vec<Lead<K, V, S>>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    let Some(inner) = leads.first().and_then(Lead::backed) else { return leads };
    let Some(second) = &inner.second else { return leads };
    let watches: Vec<_> = leads.iter().map(|lead| second.watch(lead.hash)).collect();
    let keys: Vec<_> = leads.iter().map(|lead| &lead.key).collect();
    let found = second.get_many(timer, &keys, inner.now()).await;
    drop(keys);
    let mut left = Vec::with_capacity(leads.len());
    let mut since = Vec::with_capacity(left.capacity());
    for ((mut lead, found), watch) in leads.into_iter().zip(found).zip(watches) {
        if lead.found(found) != Looked::Landed {
            left.push(lead);
            since.push(watch);
        }
    }
    drop(inner);
    let mut tried: Vec<_> = left.iter().map(|_| Ok(Looked::Nothing)).collect();
    let leads = left.iter_mut().zip(since);
    let trying = leads.zip(&mut tried).map(|((lead, since), tried)| async move {
        *tried = lead.try_to_prepare(timer, Some(since), 0).await;
    });
    all(AT_ONCE, trying).await;
    // All that are loaded elsewhere are waited for at the same time.
    let waiting = left.iter_mut().zip(&mut tried).filter(|(_, tried)| tried.is_err());
    let waiting = waiting.map(|(lead, tried)| async move {
        if let Err(watch) = core::mem::replace(tried, Ok(Looked::Nothing)) {
            *tried = Ok(lead.prepare_after_others(timer, watch).await);
        }
    });
    all(usize::MAX, waiting).await;
    let mut tried = tried.into_iter();
    left.retain(|_| !matches!(tried.next(), Some(Ok(Looked::Landed))));
    left
}

/// Ends many flights: all callers are answered before the store behind the cache is told.
pub(crate) async fn finish_all<K, V, S>(timer: &impl Timer, loads: Vec<Ended<K, V, S>>)
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    let inner = loads.first().and_then(|(lead, _)| lead.backed());
    let second = inner.as_ref().and_then(|inner| inner.second.as_ref());
    let is_shared = second.is_some_and(|second| second.is_shared);
    let mut ended = Vec::with_capacity(loads.len());
    for (mut lead, loaded) in loads {
        match loaded {
            // One after another: those that share a turn must not wait for each other.
            Ok(loaded) if !is_shared => drop(lead.finish(timer, loaded).await),
            Ok(loaded) => {
                let answer = lead.answer_caught(Source::Origin, loaded).ok();
                let completed =
                    answer.and_then(|answer| lead.complete_caught(inner.as_deref(), answer).ok());
                let follows = completed.and_then(|completed| completed.follows);
                ended.push((lead, follows));
            }
            Err(failed) => {
                lead.fail(failed);
                ended.push((lead, None));
            }
        }
    }
    let Some(second) = second else { return };
    let following = ended.iter_mut().map(|(lead, follows)| {
        let follows = follows.take();
        async move { drop(lead.follow(timer, second, follows).await) }
    });
    all(AT_ONCE, following).await;
}

/// Renews leases at each third of their time, until they are lost. Then, or without any, it ends.
pub(crate) async fn hold_leases<K, V, S>(timer: &impl Timer, leads: &[Lead<K, V, S>])
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    let mut held: Vec<_> = leads.iter().filter(|lead| lead.lease.is_some()).collect();
    let span = |inner: Arc<Inner<K, V, S>>| Some(inner.second.as_ref()?.terms.lease);
    // The cache may go meanwhile.
    while let Some(span) = held.first().and_then(|lead| lead.backed()).and_then(span) {
        timer.after(span / 3).await;
        let mut keeps = vec![false; held.len()];
        let renewing = held.iter().zip(&mut keeps).map(|(lead, keeps)| async move {
            *keeps = lead.renews(timer).await;
        });
        all(AT_ONCE, renewing).await;
        let mut keeps = keeps.into_iter();
        held.retain(|_| keeps.next() == Some(true));
    }
}

/// Operations of one batch on the store at the same time, so that one batch does not take what others need of
/// a connection.
const AT_ONCE: usize = 64;

/// Waits for all, of which so many go on at the same time.
async fn all(most: usize, works: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut works = works.map(Box::pin);
    let mut under_way: Vec<_> = works.by_ref().take(most).collect();
    poll_fn(|context| {
        let mut at = 0;
        while let Some(work) = under_way.get_mut(at) {
            if work.as_mut().poll(context).is_pending() {
                at += 1;
            } else if let Some(next) = works.next() {
                under_way[at] = next;
            } else {
                under_way.swap_remove(at);
            }
        }
        if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
