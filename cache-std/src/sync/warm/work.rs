//! The threads of a warm-up.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::Fuse;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use cache_core::{Contract, Instant, Loaded};

use super::tally::Tally;
use super::{Keys, Loader, WarmUp, WarmedUp};
use crate::error::LoadError;
use crate::flight::End;
use crate::sync::cache::Cache;
use crate::sync::call::Call;
use crate::sync::lead::{Lead, Previous};
use crate::sync::outcome::{LoadPart, Served};
use crate::sync::run::Run;

/// Most threads of one warm-up.
const THREADS: usize = 512;

/// What the threads of a warm-up share.
pub(super) struct Work<'a, K, V, E, S> {
    cache: &'a Cache<K, V, S>,
    loader: Loader<'a, K, V, E>,
    pins: bool,
    every: Duration,
    at_once: usize,
    gate: Mutex<Gate<'a, K>>,
    tally: Tally<'a, E>,
}

/// Held by the thread that takes the next key and waits for its time.
struct Gate<'a, K> {
    keys: Fuse<Keys<'a, K>>,
    next_at: Instant,
    /// There are no more keys.
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, K, V, E, S> Work<'a, K, V, E, S>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
    E: fmt::Display + Send + Sync + 'static,
{
    pub(super) fn new(warm_up: WarmUp<'a, K, V, E, S>) -> Self {
        let WarmUp { cache, keys, loader, pins, every, at_once, on_progress } = warm_up;
        let (least, most) = keys.size_hint();
        let total = most.filter(|most| *most == least).map(|total| total as u64);
        let keys = keys.fuse();
        let (next_at, tally) = (cache.inner.time.now(), Tally::new(total, on_progress));
        cache.inner.places.tell_when_closed(tally.over());
        Self {
            cache,
            loader,
            pins,
            every,
            at_once: at_once.min(most.unwrap_or(THREADS)).min(THREADS),
            gate: Mutex::new(Gate { keys, next_at, ended: false }),
            tally,
        }
    }

    pub(super) fn run(self) -> WarmedUp<E> {
        thread::scope(|scope| {
            for _ in 1..self.at_once {
                let thread = thread::Builder::new().name("cache-warm-up".into());
                // Without it there are fewer at once.
                drop(thread.spawn_scoped(scope, || self.work()));
            }
            self.work();
        });
        let ended = lock(&self.gate).ended;
        self.tally.finish(ended)
    }

    fn work(&self) {
        let work = || {
            while let Some(key) = self.next() {
                self.load(&key);
            }
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            self.tally.panicked(payload);
        }
    }

    /// The next key that is to be loaded, when its time has come. One thread waits for that, and the
    /// others for it.
    fn next(&self) -> Option<K> {
        let mut gate = lock(&self.gate);
        while !self.tally.over().is_set() {
            let Some(key) = gate.keys.next() else {
                gate.ended = true;
                break;
            };
            if self.tally.wants(&self.cache.explain(&key)) {
                return self.comes(&mut gate).then_some(key);
            }
        }
        None
    }

    /// Waits for the time of the next load; `false` if that is not to begin any more.
    fn comes(&self, gate: &mut Gate<'_, K>) -> bool {
        let time = &self.cache.inner.time;
        if time.wait(self.tally.over(), gate.next_at) {
            return false;
        }
        gate.next_at = time.now().max(gate.next_at) + self.every;
        true
    }

    fn load(&self, key: &K) {
        let inner = &self.cache.inner;
        let (hash, now) = (inner.hash(key), inner.now());
        let contract = Contract::new().max_stale(Duration::ZERO);
        let contract = contract.give_up(now + inner.policy.load().hard_timeout());
        let call = Call::new(inner, hash, key, contract);
        let load = |old: &Previous<V>| (self.loader)(key, old);
        self.tally.record(call.drive(Ahead { load, pins: self.pins }, now));
    }
}

/// A loader that runs on the warm-up's own thread, and whose panic is a failure.
struct Ahead<F> {
    load: F,
    pins: bool,
}

impl<K, V, S, E, F> Run<K, V, S, E> for Ahead<F>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
    F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E>,
    E: fmt::Display + Send + Sync + 'static,
{
    fn pins(&self) -> bool {
        self.pins
    }

    fn refresh<Q>(
        self,
        call: &Call<'_, Q, K, V, S>,
        lead: Lead<K, V, S>,
        _: Served<V>,
    ) -> Result<Served<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        call.deliver(self.run(lead), LoadPart::Started)
    }

    fn load<Q>(self, _: &Call<'_, Q, K, V, S>, lead: Lead<K, V, S>, _: bool) -> Option<End<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Some(self.run(lead))
    }
}

impl<F> Ahead<F> {
    fn run<K, V, S, E>(self, mut lead: Lead<K, V, S>) -> End<V>
    where
        K: Clone + Eq + Hash,
        V: Clone,
        S: BuildHasher,
        F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E>,
        E: fmt::Display + Send + Sync + 'static,
    {
        drop(lead.run(self.load));
        lead.flight.end().unwrap_or(End::Abandoned)
    }
}
