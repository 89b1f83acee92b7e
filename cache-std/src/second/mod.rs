//! The store behind a cache's memory: one logic for threads and tasks, for stores of this process and
//! for those that others share.
//!
//! - A load asks the store before the origin, and leaves there what the origin answers.
//! - Memory and store change for a key in one [turn](Turns), so that neither keeps what the other has
//!   lost. Within it, a mutation changes the store first. A flight that read the store before that is
//!   voided by the change in memory; one that begins later finds the store changed.
//! - A key whose mutation did not reach the store is in [doubt](Doubts): it is not read from there until
//!   it was removed from it, or something else was written.
//! - Who loads a key of a shared store holds its lease, and leaves nothing in the store without.
//! - What others do to a shared store is heard by a [line](Line), and changes memory, and voids turns.

use core::hash::Hash;
use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use cache_core::store::{HeldLease, Mutation, StoreError, Stored, TagChange};
use cache_core::{Freshness, Instant, Lifetime, Loaded, Policy, Stats};

mod doubts;
mod left;
mod line;
mod news;
mod reads;
mod settle;
mod store;
mod tagging;
mod terms;
mod timer;
mod turns;
mod untold;

pub(crate) use doubts::Mark;
use doubts::{Doubted, Doubts};
use left::{Left, Leftover};
use line::Line;
use news::News;
pub(crate) use news::Watch;
use store::caught;
pub(crate) use store::{Asking, Behind, Later};
pub(crate) use terms::{Terms, shortened};
pub(crate) use timer::{ThreadTimer, Timer, beside, within};
pub(crate) use turns::{Turn, Turns};
use untold::Untold;

/// The store behind a cache's memory, and what keeps the two in step.
pub(crate) struct Second<K, V> {
    store: Box<dyn Behind<K, V>>,
    pub(crate) is_shared: bool,
    keeps_tags: bool,
    pub(crate) terms: Terms,
    pub(crate) turns: Turns,
    pub(crate) line: Line<K>,
    pub(crate) news: Arc<News>,
    doubts: Doubts<K>,
    untold: Untold,
    left: Left<K>,
    /// Has what is in doubt removed from the store, when it answers again.
    mender: OnceLock<Box<dyn Fn() + Send + Sync>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
    refused: AtomicU64,
}

/// What is to become of a key's entry in the store.
pub(crate) enum Change<V> {
    /// It stays.
    Keep,
    /// With the hashes of its tags.
    Put(V, Lifetime, Vec<u64>),
    Expire,
    Remove,
}

/// What the store has for a key.
pub(crate) enum Found<V> {
    Stored(Stored<V>),
    Nothing,
    /// It cannot be asked.
    Trouble,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It said so, or panicked.
    Failed,
    /// It has not answered in time.
    Late,
    /// The entry cannot be read, or the value not be written. Nothing has changed.
    Unfit,
    /// It never does that.
    Unsupported,
}

/// How far a mutation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// As far as it goes: memory, and the store behind it with all who share that, if there is one.
    Everywhere,
    /// This cache alone. The store behind it could not be reached; it is told as soon as it can be, that the
    /// value is gone.
    Queued,
    /// This cache alone: the store that others share cannot tell them.
    Here,
}

/// What became of a value that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// It is in the store, or nothing was to be done.
    Done,
    /// Others have changed the key meanwhile: it is not to be kept in memory either.
    Refused,
    /// What the store has is older, and no less true.
    Failed,
}

impl<V> Change<V> {
    fn mutation(&self) -> Option<Mutation<'_, V>> {
        Some(match self {
            Self::Keep => return None,
            Self::Put(value, lifetime, tags) => Mutation::put(value, *lifetime).tagged(tags),
            Self::Expire => Mutation::Expire,
            Self::Remove => Mutation::Remove,
        })
    }
}

/// Whether what a store has is as good as what the origin would answer.
pub(crate) fn is_fresh<V>(stored: &Stored<V>) -> bool {
    stored.lifetime.freshness() == Freshness::Fresh
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl<K, V> Second<K, V> {
    /// A lease that nobody needs any more is given back later.
    pub(crate) fn leave_lease(&self, key: K, lease: HeldLease) {
        self.leave(key, lease, false);
    }

    fn leave(&self, key: K, lease: HeldLease, outdated: bool) {
        self.left.add(Leftover { key, lease, outdated, tries: 0 });
        self.mend();
    }

    /// Has `mend` called whenever something has come into doubt.
    pub(crate) fn mend_by(&self, mend: impl Fn() + Send + Sync + 'static) {
        let _ = self.mender.set(Box::new(mend));
    }

    fn mend(&self) {
        if let Some(mend) = self.mender.get() {
            mend();
        }
    }
}

impl<K: Clone + Eq + Hash, V> Second<K, V> {
    pub(crate) fn new(store: Box<dyn Behind<K, V>>, terms: Terms) -> Self {
        Self {
            is_shared: store.is_shared(),
            keeps_tags: store.keeps_tags(),
            store,
            terms,
            turns: Turns::new(),
            line: Line::new(),
            news: Arc::default(),
            doubts: Doubts::new(),
            untold: Untold::default(),
            left: Left::default(),
            mender: OnceLock::new(),
            counts: Counts::default(),
        }
    }

    /// What a load's answer, or what is put, means for the store. Where that keeps no tags, what has some stays
    /// in memory: it would outlive them there.
    pub(crate) fn change_by(&self, loaded: &Loaded<V>, policy: &Policy) -> Change<V>
    where
        V: Clone,
    {
        let fits = self.keeps_tags || !loaded.is_tagged();
        let lifetime = self.terms.far_lifetime(loaded, policy).filter(|_| fits);
        match (loaded.as_value(), lifetime) {
            _ if loaded.is_not_modified() => Change::Keep,
            (Some(value), Some(lifetime)) => {
                Change::Put(value.clone(), lifetime, loaded.tag_hashes().to_vec())
            }
            _ => Change::Remove,
        }
    }

    /// The same of a load's answer that the old value, which has these tags, still holds.
    pub(crate) fn renewed(
        &self,
        value: &V,
        (loaded, tags): (&Loaded<V>, &[u64]),
        policy: &Policy,
    ) -> Change<V>
    where
        V: Clone,
    {
        let all: Vec<_> = tags.iter().chain(loaded.tag_hashes()).copied().collect();
        match self.terms.far_lifetime(loaded, policy) {
            Some(lifetime) if self.keeps_tags || all.is_empty() => {
                Change::Put(value.clone(), lifetime, all)
            }
            _ => Change::Keep,
        }
    }

    /// How long memory may count as fresh what is stored there now.
    pub(crate) fn near_ttl(&self) -> Option<Duration> {
        self.terms.near_ttl(self.is_shared, self.line.hears())
    }

    /// Follows a mutation, before it is done in memory.
    pub(crate) async fn change(
        &self,
        timer: &impl Timer,
        (hash, key): (u64, &K),
        change: &Change<V>,
        now: Instant,
    ) -> Reach {
        // What is there in doubt is not made stale, and trusted: it goes.
        let doubtful = matches!(change, Change::Expire) && self.doubts.has(key);
        let change = if doubtful { &Change::Remove } else { change };
        let Some(mutation) = change.mutation() else { return Reach::Everywhere };
        let as_of = self.doubts.mark();
        let mut done = self.mutate(timer, key, mutation, now).await;
        // A value may be refused: then nothing is better than what was there. Who did not answer in time
        // is not asked again.
        if matches!(done, Err(Trouble::Failed | Trouble::Unfit | Trouble::Unsupported))
            && !matches!(change, Change::Remove)
        {
            done = self.mutate(timer, key, Mutation::Remove, now).await;
        }
        if done.is_ok() {
            self.doubts.settle(key, as_of);
            return Reach::Everywhere;
        }
        self.doubt(hash, key);
        Reach::Queued
    }

    /// A moment, for who changes memory now and the store later.
    pub(crate) fn mark(&self) -> Mark {
        self.doubts.mark()
    }

    /// Follows a load that has landed in memory after the moment `as_of`.
    pub(crate) async fn follow(
        &self,
        timer: &impl Timer,
        (hash, key): (u64, &K),
        change: &Change<V>,
        lease: Option<HeldLease>,
        as_of: Mark,
        now: Instant,
    ) -> Filled {
        let mutation = match (change, lease) {
            (Change::Keep, None) => return Filled::Done,
            (Change::Keep, Some(lease)) => {
                self.release(timer, key, lease, now).await;
                return Filled::Done;
            }
            // Without a lease, others may have changed what this load knows nothing of.
            (_, None) if self.is_shared => return Filled::Failed,
            (Change::Put(value, lifetime, tags), Some(lease)) => {
                Mutation::fill(value, *lifetime, lease).tagged(tags)
            }
            (Change::Expire | Change::Remove, Some(lease)) => Mutation::vacate(lease),
            (change, None) => match change.mutation() {
                Some(mutation) => mutation,
                None => return Filled::Done,
            },
        };
        let must_be_held = mutation.lease().is_some();
        let held = mutation.lease().map(|held| HeldLease::new(*held.token(), held.fence()));
        match self.mutate(timer, key, mutation, now).await {
            Ok(false) if must_be_held => {
                add_one(&self.counts.refused);
                Filled::Refused
            }
            Ok(_) => {
                self.doubts.settle(key, as_of);
                Filled::Done
            }
            // Nothing has changed, so there is nothing to be told to others.
            Err(Trouble::Unfit | Trouble::Unsupported) => {
                if let Some(lease) = held {
                    self.release(timer, key, lease, now).await;
                }
                Filled::Failed
            }
            Err(_) => {
                match (held, change) {
                    // It may be in force still, and others wait for its end.
                    (Some(lease), Change::Put(..)) => self.leave(key.clone(), lease, true),
                    // What has gone must go for all, whoever loads by then.
                    (Some(_), _) => self.doubt(hash, key),
                    (None, _) => {}
                }
                Filled::Failed
            }
        }
    }

    /// Empties the store. To be called in all turns.
    pub(crate) async fn clear(&self, timer: &impl Timer, now: Instant) -> Reach {
        if self.clear_again(timer, now).await {
            return Reach::Everywhere;
        }
        self.doubt_all();
        Reach::Queued
    }

    /// The store may have anything.
    pub(crate) fn doubt_all(&self) {
        self.doubts.add_all();
        self.mend();
    }

    /// The lease of a key: `None` where another holds it. An error where nobody can tell, which who has
    /// an old value does not wait long to learn.
    pub(crate) async fn acquire(
        &self,
        timer: &impl Timer,
        key: &K,
        now: Instant,
        has_old: bool,
    ) -> Result<Option<HeldLease>, ()> {
        let acquiring = self.store.acquire(key, self.terms.lease, now);
        self.ask_within(timer, self.limit(has_old), acquiring).await.map_err(drop)
    }

    const fn limit(&self, has_old: bool) -> Duration {
        if has_old { self.terms.soft } else { self.terms.hard }
    }

    /// Has a lease last for longer. `false` where it is lost.
    pub(crate) async fn renew(
        &self,
        timer: &impl Timer,
        key: &K,
        lease: &HeldLease,
        now: Instant,
    ) -> bool {
        let renewing = self.store.renew(key, lease, self.terms.lease, now);
        self.ask(timer, renewing).await != Ok(false)
    }

    /// Gives a lease back, now or when the store answers again.
    pub(crate) async fn release(
        &self,
        timer: &impl Timer,
        key: &K,
        lease: HeldLease,
        now: Instant,
    ) {
        if !self.end_lease(timer, (key, &lease), now).await {
            self.leave_lease(key.clone(), lease);
        }
    }

    /// `false` where it may be in force still.
    async fn end_lease(
        &self,
        timer: &impl Timer,
        (key, lease): (&K, &HeldLease),
        now: Instant,
    ) -> bool {
        let lease = HeldLease::new(*lease.token(), lease.fence());
        let ended = self.ask(timer, self.store.release(key, lease, now)).await;
        !matches!(ended, Err(Trouble::Failed | Trouble::Late))
    }

    /// Watches for what others do with a key. From before the store is asked who loads it, or what it
    /// tells in between is missed.
    pub(crate) fn watch(&self, hash: u64) -> Watch {
        self.news.watch(hash)
    }

    /// Something may have happened to the store that it should not have kept.
    pub(crate) fn doubt(&self, hash: u64, key: &K) {
        self.doubts.add(hash, key);
        self.mend();
    }

    /// A turn to change a key. Who is not polled any more keeps it no longer than a mutation of the store
    /// may take.
    pub(crate) async fn turn(&self, timer: &impl Timer, hash: u64) -> Turn<'_> {
        let turn = within(self.turns.turn(hash), timer.after(self.patience())).await;
        turn.unwrap_or_else(|| self.turns.take_over(hash))
    }

    /// A mutation asks the store twice at most. Who is blocked by a store goes on when that answers.
    fn patience(&self) -> Duration {
        if self.store.blocks() { Duration::MAX } else { self.terms.hard.saturating_mul(2) }
    }

    /// Turns to change every key, likewise.
    pub(crate) async fn all_turns(&self, timer: &impl Timer) -> Vec<Turn<'_>> {
        let mut turns = Vec::with_capacity(Turns::PLACES);
        let taking = async {
            for place in 0..Turns::PLACES {
                turns.push(self.turns.at(place).await);
            }
        };
        if within(taking, timer.after(self.patience())).await.is_none() {
            let rest = turns.len()..Turns::PLACES;
            turns.extend(rest.map(|place| self.turns.take_over_at(place)));
        }
        turns
    }

    pub(crate) fn add_counts(&self, stats: &mut Stats) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        stats.store_hits += of(&self.counts.hits);
        stats.store_misses += of(&self.counts.misses);
        stats.store_errors += of(&self.counts.errors);
        stats.store_refusals += of(&self.counts.refused);
    }

    async fn mutate(
        &self,
        timer: &impl Timer,
        key: &K,
        mutation: Mutation<'_, V>,
        now: Instant,
    ) -> Result<bool, Trouble> {
        let by = self.line.station();
        self.ask(timer, self.store.mutate(key, mutation, by, now)).await
    }

    async fn ask<T>(&self, timer: &impl Timer, asking: Asking<'_, T>) -> Result<T, Trouble> {
        self.ask_within(timer, self.terms.hard, asking).await
    }

    /// An error, a panic of the store, and an answer that does not come in time are counted; the cache
    /// goes on without.
    async fn ask_within<T>(
        &self,
        timer: &impl Timer,
        limit: Duration,
        asking: Asking<'_, T>,
    ) -> Result<T, Trouble> {
        let answer = match within(caught(asking), timer.after(limit)).await {
            Some(Some(Ok(answer))) => Ok(answer),
            Some(Some(Err(StoreError::Unsupported { .. }))) => Err(Trouble::Unsupported),
            Some(Some(Err(StoreError::Corrupt(_) | StoreError::TooLarge { .. }))) => {
                Err(Trouble::Unfit)
            }
            Some(Some(Err(_)) | None) => Err(Trouble::Failed),
            None => Err(Trouble::Late),
        };
        answer.inspect_err(|_| add_one(&self.counts.errors))
    }
}
