//! Reads of many keys at once.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::{Instant, Loaded};

use super::cache::{Cache, Inner};
use super::call::Call;
use super::chore::holding_leases;
use super::lead::{Failed, Lead, finish_all, prepare_all};
use super::reading::{Next, Reading};
use crate::error::LoadError;
use crate::pool::{self, Job};
use crate::second::ThreadTimer;

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// A copy of each fresh value, in the order of the keys. Starts no load.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'q,
    {
        keys.into_iter().map(|key| self.get(key)).collect()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The values of many keys, in their order; `None` for those that the origin does not know.
    ///
    /// What is not in memory is loaded by one call of `loader`, which gets the keys that are to be
    /// loaded, each once. It answers pairs of a key and a value (or a [`Loaded`]) in any order; a key
    /// that it leaves out is missing. Keys that are being loaded already are not asked for: this waits
    /// for their loads, after its own. Stale values are returned at once; they are loaded in the same
    /// call, or, if nothing else is missing, behind the caller's back. The whole call counts as one
    /// load. `loader` is called again only for keys whose load by another caller was given up.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cache_std::sync::Cache;
    ///
    /// let names: Cache<u64, String> = Cache::builder().ttl(Duration::from_secs(60)).build()?;
    /// names.put(1, "Ada".to_owned());
    /// let found = names.get_or_load_many(&[1, 2, 3], |missing| {
    ///     assert_eq!(missing, [2, 3]);
    ///     Ok::<_, std::io::Error>([(2, "Grace".to_owned())]) // SELECT .. WHERE id IN (..)
    /// })?;
    /// assert_eq!(found, [Some("Ada".to_owned()), Some("Grace".to_owned()), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first key that has no answer gives its [`LoadError`] to all;
    /// [`get_or_load_each`](Self::get_or_load_each) gives each its own.
    pub fn get_or_load_many<'q, Q, F, A, R, E>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        loader: F,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
        F: Fn(Vec<K>) -> Result<A, E> + Send + Sync + 'static,
        A: IntoIterator<Item = (K, R)>,
        R: Into<Loaded<V>>,
        E: fmt::Display + Send + Sync + 'static,
    {
        let (inner, mut keys) = (&self.inner, keys.into_iter());
        let now = inner.now();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        while let Some(key) = keys.next() {
            let hash = inner.hash(key);
            match inner.hit(hash, key, now) {
                Some(value) => values.push(Some(value)),
                None => return self.load_rest(values, (hash, key), keys, now, loader),
            }
        }
        Ok(values)
    }

    /// The values that were hits, and those from the first that was none on: out of the way of hits.
    #[cold]
    #[inline(never)]
    fn load_rest<'q, Q, F, A, R, E>(
        &self,
        mut values: Vec<Option<V>>,
        first: (u64, &'q Q),
        rest: impl Iterator<Item = &'q Q>,
        now: Instant,
        loader: F,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
        F: Fn(Vec<K>) -> Result<A, E> + Send + Sync + 'static,
        A: IntoIterator<Item = (K, R)>,
        R: Into<Loaded<V>>,
        E: fmt::Display + Send + Sync + 'static,
    {
        let hashed = rest.map(|key| (self.inner.hash(key), key));
        for answer in self.load_each(core::iter::once(first).chain(hashed), now, loader) {
            match answer {
                Ok(value) => values.push(Some(value)),
                Err(LoadError::Missing) => values.push(None),
                Err(error) => return Err(error),
            }
        }
        Ok(values)
    }

    /// As [`get_or_load_many`](Self::get_or_load_many), with an answer of its own for each key.
    pub fn get_or_load_each<'q, Q, F, A, R, E>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        loader: F,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
        F: Fn(Vec<K>) -> Result<A, E> + Send + Sync + 'static,
        A: IntoIterator<Item = (K, R)>,
        R: Into<Loaded<V>>,
        E: fmt::Display + Send + Sync + 'static,
    {
        let hashed = keys.into_iter().map(|key| (self.inner.hash(key), key));
        self.load_each(hashed, self.inner.now(), loader)
    }

    fn load_each<'q, Q, F, A, R, E>(
        &self,
        keys: impl Iterator<Item = (u64, &'q Q)>,
        mut now: Instant,
        loader: F,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
        F: Fn(Vec<K>) -> Result<A, E> + Send + Sync + 'static,
        A: IntoIterator<Item = (K, R)>,
        R: Into<Loaded<V>>,
        E: fmt::Display + Send + Sync + 'static,
    {
        let mut batch = Batch::new();
        for (hash, key) in keys {
            let hit = self.inner.hit(hash, key, now);
            let call = Call::usual(&self.inner, hash, key, now);
            batch.add(call, hit);
        }
        let loader = Arc::new(loader);
        // Who waited for a load that was given up comes round again.
        while batch.ask(now) {
            batch.load(&loader);
            batch.wait();
            now = self.inner.now();
        }
        batch.into_answers()
    }
}

/// One key, and how far its read has come.
pub(crate) type Asked<'a, Q, K, V, S> = (Call<'a, Q, K, V, S>, Reading<V>);

/// The keys of one call, as far as they are answered.
pub(crate) struct Batch<'a, Q: ?Sized, K: Eq, V, S: BuildHasher, E> {
    pub(crate) calls: Vec<Asked<'a, Q, K, V, S>>,
    pub(crate) answers: Vec<Option<Result<V, LoadError<E>>>>,
    /// Loads that were granted in this round: somebody waits for the first, nobody for the second.
    loads: Vec<Lead<K, V, S>>,
    refreshes: Vec<Lead<K, V, S>>,
    /// All who wait for the loads of this round do so to their end.
    endless: bool,
}

impl<'a, Q, K, V, S, E> Batch<'a, Q, K, V, S, E>
where
    K: Borrow<Q> + Clone + Eq + Hash + Send + Sync + 'static,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    pub(crate) const fn new() -> Self {
        Self {
            calls: Vec::new(),
            answers: Vec::new(),
            loads: Vec::new(),
            refreshes: Vec::new(),
            endless: true,
        }
    }

    pub(crate) fn add(&mut self, call: Call<'a, Q, K, V, S>, hit: Option<V>) {
        self.calls.push((call, Reading::new()));
        self.answers.push(hit.map(Ok));
    }

    /// Asks the algorithm for every key without an answer. Returns whether there was one.
    pub(crate) fn ask(&mut self, now: Instant) -> bool {
        let (mut place, mut open) = (None, false);
        self.endless = true;
        for ((call, reading), answer) in self.calls.iter_mut().zip(&mut self.answers) {
            if answer.is_some() {
                continue;
            }
            open = true;
            match call.take(reading, call.step(now, false, &mut place)) {
                Next::Done(done) => *answer = Some(done.map(|served| served.value)),
                Next::Refresh(old, lead) => {
                    self.refreshes.push(lead);
                    *answer = Some(Ok(old.value));
                }
                Next::Load(lead, endless) => {
                    self.endless &= endless;
                    self.loads.push(lead);
                }
                Next::Wait => {}
            }
        }
        open
    }

    /// Whether somebody waits for one of the loads of this round.
    pub(crate) const fn somebody_waits(&self) -> bool {
        !self.loads.is_empty()
    }

    /// The loads of this round.
    pub(crate) fn take_leads(&mut self) -> Vec<Lead<K, V, S>> {
        let mut leads = core::mem::take(&mut self.loads);
        leads.append(&mut self.refreshes);
        leads
    }

    /// Each key's answer, once none is open.
    pub(crate) fn into_answers(self) -> Vec<Result<V, LoadError<E>>> {
        let answers = self.answers.into_iter();
        answers.map(|answer| answer.unwrap_or(Err(LoadError::Busy))).collect()
    }

    /// Runs all loads of this round in one call of the loader.
    fn load<F, A, R>(&mut self, loader: &Arc<F>)
    where
        F: Fn(Vec<K>) -> Result<A, E> + Send + Sync + 'static,
        A: IntoIterator<Item = (K, R)>,
        R: Into<Loaded<V>>,
    {
        let (somebody_waits, leads) = (self.somebody_waits(), self.take_leads());
        let Some((call, _)) = self.calls.first().filter(|_| !leads.is_empty()) else { return };
        let (pool, loader) = (call.inner.pool(), Arc::clone(loader));
        if !somebody_waits {
            return drop(pool.refresh(queued(call.inner, leads, loader)));
        }
        if self.endless || pool::on_worker() {
            load_all(leads, &*loader);
        } else {
            let job: Job = Box::new(move || load_all(leads, &*loader));
            pool.load(job).unwrap_or_else(|job| job());
        }
    }

    /// Waits for this round's own loads, then for those of others.
    fn wait(&mut self) {
        for own in [true, false] {
            for ((call, reading), answer) in self.calls.iter_mut().zip(&mut self.answers) {
                if answer.is_none() && (reading.leads() || !own) {
                    let waited = call.wait_out(reading);
                    *answer = waited.map(|answer| answer.map(|served| served.value));
                }
            }
        }
    }
}

/// The leads of a batch that waits in a queue, until somebody takes them all.
struct Queued<K: Eq, V, S: BuildHasher>(Mutex<Option<Vec<Lead<K, V, S>>>>);

impl<K: Eq, V, S: BuildHasher> Queued<K, V, S> {
    fn take(&self) -> Vec<Lead<K, V, S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

/// A batch's place in the queue. Dropped unused, it gives the loads up.
struct Turn<K: Eq, V, S: BuildHasher>(Arc<Queued<K, V, S>>);

impl<K: Eq, V, S: BuildHasher> Drop for Turn<K, V, S> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// A batch for the queue of refreshes. It lies in each of its flights as well: whoever needs one of
/// its keys first takes all of it.
fn queued<K, V, S, F, A, R, E>(
    inner: &Inner<K, V, S>,
    leads: Vec<Lead<K, V, S>>,
    loader: Arc<F>,
) -> Job
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Result<A, E> + Send + Sync + 'static,
    A: IntoIterator<Item = (K, R)>,
    R: Into<Loaded<V>>,
    E: fmt::Display + Send + Sync + 'static,
{
    let flights: Vec<_> = leads.iter().map(|lead| Arc::clone(&lead.flight)).collect();
    let queued = Arc::new(Queued(Mutex::new(Some(leads))));
    for flight in flights {
        let (queued, loader) = (Arc::clone(&queued), Arc::clone(&loader));
        if flight.queue(Box::new(move || load_all(queued.take(), &*loader))) {
            // Somebody has come to wait for it before it was there to be taken.
            inner.pull_forward(&flight);
        }
    }
    let turn = Turn(queued);
    Box::new(move || load_all(turn.0.take(), &*loader))
}

/// Calls the loader for all keys at once, and ends each one's flight.
fn load_all<K, V, S, F, A, R, E>(leads: Vec<Lead<K, V, S>>, loader: &F)
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
    F: Fn(Vec<K>) -> Result<A, E>,
    A: IntoIterator<Item = (K, R)>,
    R: Into<Loaded<V>>,
    E: fmt::Display + Send + Sync + 'static,
{
    let inner = leads.first().and_then(|lead| lead.backed());
    let timer = inner.as_ref().map(|inner| ThreadTimer::new(&*inner.time));
    let mut leads = match &timer {
        Some(timer) => timer.block_on(prepare_all(timer, leads)),
        None => leads,
    };
    leads.iter().for_each(|lead| lead.flight.runs_here());
    let answers = holding_leases(&mut leads, |leads| {
        let [first, ..] = leads else { return Ok(HashMap::new()) };
        let keys = || leads.iter().map(|lead| lead.key.clone()).collect();
        let own = |(key, answer): (K, R)| (key, answer.into());
        let ask = || match loader(keys()) {
            Ok(answers) => Ok(answers.into_iter().map(own).collect()),
            Err(error) => Err(first.failed(error)),
        };
        catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|payload| Err(Failed::panic(&*payload)))
    });
    let loads = answers_of(leads, answers);
    match &timer {
        Some(timer) => timer.block_on(finish_all(timer, loads)),
        None => land_all(loads),
    }
}

/// A load, and what it came to.
pub(crate) type Ended<K, V, S> = (Lead<K, V, S>, Result<Loaded<V>, Failed>);

/// What the loader answered for each key; what it left out is missing.
pub(crate) fn answers_of<K, V, S>(
    leads: Vec<Lead<K, V, S>>,
    answers: Result<HashMap<K, Loaded<V>>, Failed>,
) -> Vec<Ended<K, V, S>>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    match answers {
        Ok(mut answers) => {
            // The key's own `Hash` and `Eq` may panic: then this lead is given up, not the others.
            let mut find = |lead: Lead<K, V, S>| {
                let answer = catch_unwind(AssertUnwindSafe(|| answers.remove(&lead.key))).ok()?;
                Some((lead, Ok(answer.unwrap_or_else(Loaded::missing))))
            };
            leads.into_iter().filter_map(&mut find).collect()
        }
        Err(failed) => leads.into_iter().map(|lead| (lead, Err(failed.clone()))).collect(),
    }
}

/// Ends the flight of each key, where no store is behind the cache.
pub(crate) fn land_all<K, V, S>(loads: Vec<Ended<K, V, S>>)
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    for (mut lead, loaded) in loads {
        match loaded {
            Ok(loaded) => lead.land_in_memory(loaded),
            Err(failed) => lead.fail(failed),
        }
    }
}
