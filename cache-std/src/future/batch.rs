//! A cache whose one loader loads many keys at a time.

use core::borrow::Borrow;
use core::fmt;
use core::future::poll_fn;
use core::hash::{BuildHasher, Hash};
use core::ops::Deref;
use core::task::Poll;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cache_core::{Instant, Loaded};

use super::builder::Builder;
use super::cache::Cache;
use super::drive::{unstarted, wait_out};
use super::hit_or::{HitOr, boxed};
use super::loading::Answer;
use super::many::start_batch;
use super::runtime::Runtime;
use super::task::Shared;
use super::wait::Until;
use crate::error::LoadError;
use crate::sync::DefaultHasher;
use crate::sync::builder::BuildError;
use crate::sync::cache::Inner;
use crate::sync::call::Call;
use crate::sync::lead::Lead;
use crate::sync::reading::{Next, Reading};
use crate::time::Signal;

type Loader<K, V, E> = dyn Fn(Vec<K>) -> Answer<HashMap<K, Loaded<V>>, E> + Send + Sync;

/// Builds a [`BatchCache`]; made by [`Builder::batch_loader`].
#[must_use = "a builder does nothing until `build`"]
pub struct BatchBuilder<K, V, R, S, E> {
    builder: Builder<K, V, R, S>,
    loader: Arc<Loader<K, V, E>>,
    most: usize,
    delay: Duration,
}

impl<K, V, R, S, E> BatchBuilder<K, V, R, S, E>
where
    K: Eq + Hash + 'static,
    V: 'static,
    E: 'static,
{
    pub(super) fn new<F, Fut, A, L>(builder: Builder<K, V, R, S>, loader: F) -> Self
    where
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
        A: IntoIterator<Item = (K, L)>,
        L: Into<Loaded<V>>,
    {
        let loader = move |keys: Vec<K>| -> Answer<HashMap<K, Loaded<V>>, E> {
            let load = loader(keys);
            Box::pin(async move {
                let answers = load.await?.into_iter();
                Ok(answers.map(|(key, answer)| (key, answer.into())).collect())
            })
        };
        Self { builder, loader: Arc::new(loader), most: 100, delay: Duration::from_millis(10) }
    }
}

impl<K, V, R, S, E> BatchBuilder<K, V, R, S, E> {
    /// Gathers refreshes until there are so many, or the first has waited so long: then one call of
    /// the loader makes them all. By default 100 and 10 ms. Who has to wait for one of them does not
    /// wait for more to come.
    pub const fn gather(mut self, most: usize, delay: Duration) -> Self {
        (self.most, self.delay) = (most, delay);
        self
    }
}

impl<K, V, R, S, E> BatchBuilder<K, V, R, S, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The cache.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build(self) -> Result<BatchCache<K, V, E, R, S>, BuildError> {
        if self.most == 0 {
            return Err(BuildError::Setting { field: "gather", mend: "give at least 1" });
        }
        let gather = Gather {
            loader: self.loader,
            most: self.most,
            delay: self.delay,
            current: Mutex::new(Weak::new()),
        };
        Ok(BatchCache { cache: self.builder.build()?, gather: Arc::new(gather) })
    }
}

impl<K, V, R, S, E> fmt::Debug for BatchBuilder<K, V, R, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("builder", &self.builder)
            .field("most", &self.most)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

/// A [`Cache`] whose loader loads many keys in one call. Clones share it.
pub struct BatchCache<K: Eq, V, E, R, S: BuildHasher = DefaultHasher> {
    cache: Cache<K, V, R, S>,
    gather: Arc<Gather<K, V, E, S>>,
}

/// Refreshes that wait for others, to be made with them in one call.
struct Gather<K: Eq, V, E, S: BuildHasher> {
    loader: Arc<Loader<K, V, E>>,
    most: usize,
    delay: Duration,
    /// Where the next refresh goes, if it is still open.
    current: Mutex<Weak<Gathering<K, V, S>>>,
}

/// The refreshes of one call to come; `None` once it has come. Dropped before, it gives them up.
struct Gathering<K: Eq, V, S: BuildHasher> {
    leads: Mutex<Option<Vec<Lead<K, V, S>>>>,
    /// It is to come now.
    signal: Arc<Signal>,
    /// When it is to come at the latest.
    until: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq, V, S: BuildHasher> Gathering<K, V, S> {
    fn take(&self) -> Vec<Lead<K, V, S>> {
        lock(&self.leads).take().unwrap_or_default()
    }

    /// One more, and how many there are now. Where the call has come already, it is not taken.
    fn push(&self, lead: &mut Option<Lead<K, V, S>>) -> Option<usize> {
        let mut leads = lock(&self.leads);
        let leads = leads.as_mut()?;
        leads.extend(lead.take());
        Some(leads.len())
    }
}

impl<K, V, E, S> Gather<K, V, E, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    /// Has a refresh made with others; whether it will be. One that cannot be is given up: the next
    /// reader may try.
    fn add<R: Runtime>(
        self: &Arc<Self>,
        inner: &Inner<K, V, S>,
        tasks: &Arc<Shared<R>>,
        lead: Lead<K, V, S>,
    ) -> bool {
        let mut current = lock(&self.current);
        let (flight, mut lead) = (Arc::clone(&lead.flight), Some(lead));
        // One whose time has passed waits for a runtime that nobody drives just now.
        let now = inner.time.now_precisely();
        if let Some(open) = current.upgrade().filter(|open| !now.has_reached(open.until)) {
            flight.nudge(&open.signal);
            if let Some(all) = open.push(&mut lead) {
                if all >= self.most {
                    open.signal.set();
                    *current = Weak::new();
                }
                return true;
            }
        }
        let signal = Arc::new(Signal::new());
        if self.most == 1 {
            signal.set();
        }
        flight.nudge(&signal);
        inner.tasks.tell(&signal);
        let (until, leads) = (now + self.delay, Mutex::new(Some(lead.into_iter().collect())));
        let new = Arc::new(Gathering { leads, signal, until });
        *current = Arc::downgrade(&new);
        drop(current);
        let until = Until::new(until);
        let comes = Comes { gather: Arc::clone(self), tasks: Arc::clone(tasks), new, until };
        // Without a runtime, it is dropped here with what it holds.
        tasks.runtime.spawn(comes.run(Arc::clone(&inner.time))).is_ok()
    }
}

/// The task that waits for the time of one call.
struct Comes<K: Eq, V, E, R: Runtime, S: BuildHasher> {
    gather: Arc<Gather<K, V, E, S>>,
    tasks: Arc<Shared<R>>,
    new: Arc<Gathering<K, V, S>>,
    until: Until<R>,
}

impl<K, V, E, R, S> Comes<K, V, E, R, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    async fn run(self, time: Arc<dyn crate::time::Time>) {
        let Self { gather, tasks, new, mut until } = self;
        let timed = poll_fn(|context| match new.signal.poll(context) {
            Poll::Ready(true) => Poll::Ready(Ok(())),
            _ => until.poll(&*time, &tasks.runtime, &new.signal, context),
        });
        // Without a timer, it comes at once.
        let _ = timed.await;
        let leads = new.take();
        let inner = leads.first().and_then(|lead| lead.inner.upgrade());
        if let Some(inner) = inner {
            // One that cannot be started is given up: the next reader may try.
            let _ = start_batch(&*inner, &*tasks, leads, false, &gather.loader);
        }
    }
}

impl<K, V, E, R, S> BatchCache<K, V, E, R, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    /// The value: from memory, from a load that is under way, or from the loader, which is called for
    /// this key alone. A stale value is returned at once, and its refresh is gathered with others.
    ///
    /// # Errors
    /// As [`Cache::get_or_load_with`].
    #[inline]
    pub fn load<Q>(&self, key: &Q) -> impl Future<Output = Result<V, LoadError<E>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        HitOr::Look(move || {
            let begun = self.cache.cache.inner.begin(key);
            begun.map_err(|(hash, now)| boxed(self.slowly(key, hash, now)))
        })
    }

    async fn slowly<Q>(&self, key: &Q, hash: u64, mut now: Instant) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (inner, tasks) = (&self.cache.cache.inner, &self.cache.tasks);
        let call = Call::usual(inner, hash, key, now);
        let (mut reading, mut _watcher) = (Reading::new(), None);
        loop {
            match call.take(&mut reading, call.step(now, false, &mut None)) {
                Next::Done(answer) => return answer.map(|served| served.value),
                Next::Refresh(old, lead) => {
                    self.gather.add(inner, tasks, lead);
                    return Ok(old.value);
                }
                Next::Load(lead, _) => {
                    match start_batch(inner, tasks, vec![lead], true, &self.gather.loader) {
                        Ok(watcher) => _watcher = watcher,
                        Err(why) => return unstarted(&call, why).map(|served| served.value),
                    }
                }
                Next::Wait => {}
            }
            let answer: Option<Result<_, LoadError<E>>> =
                wait_out(&call, tasks, &mut reading).await;
            if let Some(answer) = answer {
                return answer.map(|served| served.value);
            }
            now = inner.now();
        }
    }

    /// The values of many keys; see [`Cache::get_or_load_many`].
    ///
    /// # Errors
    /// As there.
    pub async fn load_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
    {
        let loader = Arc::clone(&self.gather.loader);
        self.cache.get_or_load_many(keys, move |keys| loader(keys)).await
    }

    /// Loads a new value behind the caller's back, gathered with others, even if the one that is there
    /// is fresh. Returns whether that is to come: not where a load is under way, or has failed lately.
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &self.cache.cache.inner;
        let (hash, now) = (inner.hash(key), inner.now());
        let call = Call::new(inner, hash, key, inner.contract().refresh());
        match call.take::<E>(&mut Reading::new(), call.step(now, false, &mut None)) {
            Next::Refresh(_, lead) | Next::Load(lead, _) => {
                self.gather.add(inner, &self.cache.tasks, lead)
            }
            _ => false,
        }
    }
}

impl<K: Eq, V, E, R, S: BuildHasher> Deref for BatchCache<K, V, E, R, S> {
    type Target = Cache<K, V, R, S>;

    fn deref(&self) -> &Self::Target {
        &self.cache
    }
}

impl<K: Eq, V, E, R, S: BuildHasher> Clone for BatchCache<K, V, E, R, S> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), gather: Arc::clone(&self.gather) }
    }
}

impl<K: Eq, V, E, R, S: BuildHasher> fmt::Debug for BatchCache<K, V, E, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchCache").field(&self.cache).finish()
    }
}
