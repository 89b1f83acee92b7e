//! The threads of a warm-up.

use core::any::Any;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::Fuse;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use cache_core::{Contract, Freshness, Instant, Loaded};

use super::{Keys, Loader, OnProgress, Progress, WarmUp, WarmUpEnd, WarmedUp};
use crate::error::LoadError;
use crate::flight::End;
use crate::sync::cache::Cache;
use crate::sync::call::Call;
use crate::sync::lead::{Lead, Previous};
use crate::sync::outcome::{LoadPart, Served};
use crate::sync::run::Run;
use crate::time::Signal;

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
    tally: Mutex<Tally<'a, E>>,
    /// Nothing more is to begin.
    over: Arc<Signal>,
}

/// Held by the thread that takes the next key and waits for its time.
struct Gate<'a, K> {
    keys: Fuse<Keys<'a, K>>,
    next_at: Instant,
    /// There are no more keys.
    ended: bool,
}

struct Tally<'a, E> {
    progress: Progress,
    error: Option<LoadError<E>>,
    end: Option<WarmUpEnd>,
    on_progress: Option<OnProgress<'a>>,
    panicked: Option<Box<dyn Any + Send>>,
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
        let (keys, over) = (keys.fuse(), Arc::new(Signal::new()));
        let next_at = cache.inner.time.now();
        cache.inner.places.tell_when_closed(&over);
        Self {
            cache,
            loader,
            pins,
            every,
            at_once: at_once.min(most.unwrap_or(THREADS)).min(THREADS),
            gate: Mutex::new(Gate { keys, next_at, ended: false }),
            tally: Mutex::new(Tally {
                progress: Progress { total, ..Progress::default() },
                error: None,
                end: None,
                on_progress,
                panicked: None,
            }),
            over,
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
        let mut tally = lock(&self.tally);
        if let Some(payload) = tally.panicked.take() {
            drop(tally);
            resume_unwind(payload);
        }
        let unsaid = if ended { WarmUpEnd::Finished } else { WarmUpEnd::ShutDown };
        let (progress, end) = (tally.progress, tally.end.unwrap_or(unsaid));
        WarmedUp { progress, end, error: tally.error.take() }
    }

    fn work(&self) {
        let work = || {
            while let Some(key) = self.next() {
                self.load(&key);
            }
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            lock(&self.tally).panicked.get_or_insert(payload);
            self.over.set();
        }
    }

    /// The next key that is to be loaded, when its time has come. One thread waits for that, and the
    /// others for it.
    fn next(&self) -> Option<K> {
        let mut gate = lock(&self.gate);
        while !self.over.is_set() {
            let Some(key) = gate.keys.next() else {
                gate.ended = true;
                break;
            };
            let known = self.cache.explain(&key);
            if known.freshness == Some(Freshness::Fresh) {
                self.count(|progress| progress.present += 1);
            } else if known.missing_for.is_some() {
                self.count(|progress| progress.missing += 1);
            } else {
                return self.comes(&mut gate).then_some(key);
            }
        }
        None
    }

    /// Waits for the time of the next load; `false` if that is not to begin any more.
    fn comes(&self, gate: &mut Gate<'_, K>) -> bool {
        let time = &self.cache.inner.time;
        if time.wait(&self.over, gate.next_at) {
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
        match call.drive(Ahead { load, pins: self.pins }, now) {
            Ok(served) if served.load == LoadPart::None => self.count(|now| now.present += 1),
            Ok(_) => self.count(|now| now.loaded += 1),
            Err(LoadError::Missing) => self.count(|now| now.missing += 1),
            Err(LoadError::ShutDown) => self.end(WarmUpEnd::ShutDown),
            Err(error) => {
                lock(&self.tally).error.get_or_insert(error);
                self.count(|now| now.failed += 1);
            }
        }
    }

    /// Counts a key that is done, and tells of it.
    fn count(&self, count: impl FnOnce(&mut Progress)) {
        let mut tally = lock(&self.tally);
        count(&mut tally.progress);
        tally.progress.done += 1;
        // Gone while it is called: one that panics is called no more.
        let Some(mut on_progress) = tally.on_progress.take() else { return };
        if on_progress(tally.progress).is_continue() {
            tally.on_progress = Some(on_progress);
        } else {
            drop(tally);
            self.end(WarmUpEnd::Stopped);
        }
    }

    fn end(&self, end: WarmUpEnd) {
        lock(&self.tally).end.get_or_insert(end);
        self.over.set();
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
