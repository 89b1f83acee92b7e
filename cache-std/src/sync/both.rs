//! Mutations of memory and of the store behind it.

use core::hash::{BuildHasher, Hash};

use cache_core::shard::Spare;
use cache_core::store::TagChange;
use cache_core::{Instant, Loaded, Put};

use super::cache::{Cache, Inner};
use super::tables::Leaving;
use crate::second::{self, Change, Found, Reach, Second, Timer, Turn, shortened};

/// What is to be dropped when no lock is held.
type Left<'a, K, V> = (Leaving<'a, K, V>, Spare<K>, Option<K>);

/// What memory has taken of the store, or has not: likewise.
type Brought<'a, K, V> = (Option<(K, Loaded<V>)>, Option<(Option<Put<V>>, Option<Left<'a, K, V>>)>);

/// What a mutation found, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mutated {
    /// There was a value in memory.
    pub found: bool,
    /// Who knows of it.
    pub reach: Reach,
}

impl Mutated {
    /// Of memory alone.
    pub(crate) const fn here(found: bool) -> Self {
        Self { found, reach: Reach::Everywhere }
    }
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher> Inner<K, V, S> {
    /// Changes the values with a tag, in memory and in the store behind it.
    pub(crate) async fn change_tag(
        &self,
        timer: &impl Timer,
        tag: &str,
        change: TagChange,
    ) -> Reach {
        let here = || match change {
            TagChange::Expire => self.tables.expire_tag(tag, self.now()),
            TagChange::Invalidate => self.tables.invalidate_tag(tag),
        };
        match &self.second {
            Some(second) => second.change_tag(timer, (tag, change), here, self.now()).await,
            None => {
                here();
                Reach::Everywhere
            }
        }
    }
}

/// A mutation whose operation on the store is under way. If that is dropped before its end, nobody knows
/// whether it was done: the key is gone from memory, and in doubt.
struct UnderWay<'a, K: Clone + Eq + Hash, V, S: BuildHasher> {
    inner: &'a Inner<K, V, S>,
    second: &'a Second<K, V>,
    hash: u64,
    key: &'a K,
    over: bool,
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher> UnderWay<'_, K, V, S> {
    /// The store's part is over.
    fn over(mut self) {
        self.over = true;
    }
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher> Drop for UnderWay<'_, K, V, S> {
    fn drop(&mut self) {
        if !self.over {
            self.second.doubt(self.hash, self.key);
            self.inner.tables.invalidate(self.hash, self.key, self.inner.now());
        }
    }
}

/// The store is being emptied. If that is dropped before its end, memory is empty, and all of the store in
/// doubt.
struct Clearing<'a, K: Clone + Eq + Hash, V, S> {
    inner: &'a Inner<K, V, S>,
    second: &'a Second<K, V>,
    over: bool,
}

impl<K: Clone + Eq + Hash, V, S> Drop for Clearing<'_, K, V, S> {
    fn drop(&mut self) {
        if !self.over {
            self.second.doubt_all();
        }
        self.inner.tables.clear();
    }
}

impl<K, V, S> Inner<K, V, S>
where
    K: Clone + Eq + Hash,
    S: BuildHasher,
{
    /// Changes the store, in a turn; memory is to follow.
    async fn change(
        &self,
        (second, timer): (&Second<K, V>, &impl Timer),
        _: &Turn<'_>,
        (hash, key): (u64, &K),
        change: &Change<V>,
        now: Instant,
    ) -> Reach {
        let under_way = UnderWay { inner: self, second, hash, key, over: false };
        let reach = second.change(timer, (hash, key), change, now).await;
        under_way.over();
        reach
    }

    /// Changes the store as memory was changed before: who is dropped while it waits for its turn has begun.
    async fn take_a_turn_to(
        &self,
        (second, timer): (&Second<K, V>, &impl Timer),
        (hash, key): (u64, &K),
        change: &Change<V>,
    ) -> Reach {
        let under_way = UnderWay { inner: self, second, hash, key, over: false };
        let _turn = second.turn(timer, hash).await;
        let reach = second.change(timer, (hash, key), change, self.now()).await;
        under_way.over();
        reach
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// In the store, then in memory.
    pub(crate) async fn store_in_both(
        &self,
        (second, timer): (&Second<K, V>, &impl Timer),
        key: K,
        loaded: Loaded<V>,
        if_absent: bool,
    ) -> Put<V> {
        let inner = &*self.inner;
        let hash = inner.hash(&key);
        // The weigher may panic: nothing has changed yet.
        let weight = inner.weigh(&key, &loaded);
        // Dropped after the turn, as all that may run any code of values.
        let (change, mut own, _brought);
        let turn = second.turn(timer, hash).await;
        let policy = inner.policy.load_full();
        // From before the store is asked: what it has, or was given, may be of before what happens to a tag then.
        let (told, changes) = (second.tags_told(), inner.tables.desk(hash).tag_changes());
        let ends = (second, timer);
        if if_absent {
            let is_present;
            (is_present, _brought) = self.has_fresh(ends, &turn, (hash, &key), changes).await;
            if is_present {
                return loaded.as_value().cloned().map_or(Put::Missing, Put::Present);
            }
        }
        change = second.change_by(&loaded, &policy);
        let reach = inner.change(ends, &turn, (hash, &key), &change, inner.now()).await;
        let outdated = reach == Reach::Everywhere && second.is_outdated(&change, told);
        own = Some((key, shortened(loaded, second.near_ttl(), &policy)));
        // Whatever has landed meanwhile: the store has this one.
        let keep = || (!outdated).then(|| self.keep(hash, &mut own, (weight, false), changes));
        let kept = turn.unless_void(keep).flatten();
        if let Some((key, _)) = &own {
            // Others have changed it since in the store, or a tag of it, which knows what is the newest. What was
            // read from there before this put is none of it.
            inner.tables.invalidate(hash, key, inner.now());
        }
        drop(turn);
        let (put, left) = kept.unzip();
        drop(left); // which may run any code of values
        put.flatten().unwrap_or(Put::Stored)
    }

    /// Whether memory or the store has a fresh value. What the store has comes to memory. What is answered besides
    /// is to be dropped without the turn, as it may run any code of values.
    async fn has_fresh(
        &self,
        (second, timer): (&Second<K, V>, &impl Timer),
        turn: &Turn<'_>,
        (hash, key): (u64, &K),
        since: u64,
    ) -> (bool, Brought<'_, K, V>) {
        let inner = &*self.inner;
        let is_here = || inner.tables.desk(hash).peek(key, inner.now()).is_some();
        let (mut own, mut kept) = (None, None);
        if is_here() {
            return (true, (own, kept));
        }
        let found = second.get(timer, key, inner.now(), false).await;
        let mut is_fresh = false;
        if let Found::Stored(found) = found {
            is_fresh = second::is_fresh(&found);
            let loaded = shortened(found.into_loaded(), second.near_ttl(), &inner.policy.load());
            let weight = inner.weigh(key, &loaded);
            own = Some((key.clone(), loaded));
            if is_fresh {
                kept = turn.unless_void(|| self.keep(hash, &mut own, (weight, true), since));
            }
        }
        // A load may have landed meanwhile.
        (is_fresh || is_here(), (own, kept))
    }

    /// Stores a value of this weight, unless one of its tags has changed after the first `since` changes: then it is
    /// left. What is to be dropped when no lock is held is answered, too.
    pub(super) fn keep(
        &self,
        hash: u64,
        own: &mut Option<(K, Loaded<V>)>,
        (weight, if_absent): (u32, bool),
        since: u64,
    ) -> (Option<Put<V>>, Option<Left<'_, K, V>>) {
        let inner = &*self.inner;
        let Some((key, loaded)) = own.take() else { return (None, None) };
        let now = inner.now();
        let mut spare = Spare::storing(key.clone(), &loaded);
        let mut leaving = inner.tables.leaving_of(&key);
        let mut desk = inner.tables.desk(hash);
        let (put, left) = if desk.has_changed(loaded.tag_hashes(), since) {
            *own = Some((key, loaded));
            (None, None)
        } else {
            let how = (weight, if_absent);
            (Some(desk.put(&key, now, &mut spare, loaded, how, &mut leaving)), Some(key))
        };
        desk.tick(now, &mut leaving);
        desk.close(&mut leaving);
        (put, Some((leaving, spare, left)))
    }

    /// In memory, in the store, and in memory once more: what was read from the store in between is
    /// outdated. What leaves memory is dropped without the turn, as it may run any code of values.
    pub(crate) async fn expire_in_both(
        &self,
        (second, timer): (&Second<K, V>, &impl Timer),
        key: &K,
    ) -> Mutated {
        let inner = &*self.inner;
        let hash = inner.hash(key);
        let found = inner.expire(hash, key);
        let reach = inner.take_a_turn_to((second, timer), (hash, key), &Change::Expire).await;
        inner.expire(hash, key);
        Mutated { found, reach }
    }

    /// As [`expire_in_both`](Self::expire_in_both).
    pub(crate) async fn invalidate_in_both(
        &self,
        (second, timer): (&Second<K, V>, &impl Timer),
        key: &K,
    ) -> Mutated {
        let inner = &*self.inner;
        let hash = inner.hash(key);
        let found = inner.tables.invalidate(hash, key, inner.now());
        let reach = inner.take_a_turn_to((second, timer), (hash, key), &Change::Remove).await;
        inner.tables.invalidate(hash, key, inner.now());
        Mutated { found, reach }
    }

    /// Empties the store, then memory; meanwhile nobody changes any key.
    pub(crate) async fn clear_both(&self, (second, timer): (&Second<K, V>, &impl Timer)) -> Reach {
        let turns = second.all_turns(timer).await;
        let mut clearing = Clearing { inner: &self.inner, second, over: false };
        let reach = second.clear(timer, self.inner.now()).await;
        clearing.over = true;
        drop(turns);
        drop(clearing);
        reach
    }
}
