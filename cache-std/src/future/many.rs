//! Reads of many keys at once.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::collections::HashMap;
use std::sync::Arc;

use cache_core::{Instant, Loaded};

use super::cache::Cache;
use super::drive::{unstarted, wait_out};
use super::runtime::Runtime;
use super::task::{NotStarted, Shared, Work, failed};
use crate::error::LoadError;
use crate::flight::Watcher;
use crate::sync::cache::Inner;
use crate::sync::call::Call;
use crate::sync::lead::{Failed, Lead, finish_all};
use crate::sync::many::{Batch, answers_of};

impl<K, V, R, S> Cache<K, V, R, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The values of many keys, in their order; `None` for those that the origin does not know.
    ///
    /// What is not in memory is loaded by one call of `loader`, which gets the keys that are to be
    /// loaded, each once; see [`sync::Cache::get_or_load_many`](crate::sync::Cache::get_or_load_many).
    /// It runs as a task of its own, as single loads do.
    ///
    /// # Errors
    /// The first key that has no answer gives its [`LoadError`] to all;
    /// [`get_or_load_each`](Self::get_or_load_each) gives each its own.
    pub async fn get_or_load_many<'q, Q, F, Fut, A, L, E>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        loader: F,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
        A: IntoIterator<Item = (K, L)> + 'static,
        L: Into<Loaded<V>> + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let answers = self.get_or_load_each(keys, loader).await;
        let values = answers.into_iter().map(|answer| match answer {
            Ok(value) => Ok(Some(value)),
            Err(LoadError::Missing) => Ok(None),
            Err(error) => Err(error),
        });
        values.collect()
    }

    /// As [`get_or_load_many`](Self::get_or_load_many), with an answer of its own for each key.
    pub async fn get_or_load_each<'q, Q, F, Fut, A, L, E>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        loader: F,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
        A: IntoIterator<Item = (K, L)> + 'static,
        L: Into<Loaded<V>> + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let inner = &self.cache.inner;
        let now = inner.now();
        let mut batch = Batch::new();
        for key in keys {
            let hash = inner.hash(key);
            batch.add(Call::usual(inner, hash, key, now), inner.hit(hash, key, now));
        }
        // Nothing is kept across a point of waiting where all keys are hits.
        if batch.answers.iter().all(Option::is_some) {
            return batch.into_answers();
        }
        Box::pin(self.load_rest(batch, now, loader)).await
    }

    async fn load_rest<Q, F, Fut, A, L, E>(
        &self,
        mut batch: Batch<'_, Q, K, V, S, E>,
        mut now: Instant,
        loader: F,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
        A: IntoIterator<Item = (K, L)> + 'static,
        L: Into<Loaded<V>> + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let (inner, loader) = (&self.cache.inner, Arc::new(loader));
        // Who waited for a load that was given up comes round again.
        while batch.ask(now) {
            let (somebody_waits, leads) = (batch.somebody_waits(), batch.take_leads());
            let started = match leads.is_empty() {
                true => Ok(None),
                false => start_batch(inner, &self.tasks, leads, somebody_waits, &loader),
            };
            let _watcher = started.unwrap_or_else(|not_started| {
                tell_leaders(&mut batch, not_started);
                None
            });
            for own in [true, false] {
                for at in 0..batch.calls.len() {
                    let (call, reading) = &mut batch.calls[at];
                    if batch.answers[at].is_none() && (reading.leads() || !own) {
                        let waited = wait_out(call, &self.tasks, reading).await;
                        batch.answers[at] = waited.map(|answer| answer.map(|served| served.value));
                    }
                }
            }
            now = inner.now();
        }
        batch.into_answers()
    }
}

/// Answers the keys whose load was not started.
fn tell_leaders<Q, K, V, S, E>(batch: &mut Batch<'_, Q, K, V, S, E>, not_started: NotStarted)
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
    S: BuildHasher,
{
    for ((call, reading), answer) in batch.calls.iter().zip(&mut batch.answers) {
        if answer.is_none() && reading.leads() {
            *answer = Some(unstarted(call, not_started).map(|served| served.value));
        }
    }
}

/// Starts one load for many keys. What cannot be started is given up.
pub(super) fn start_batch<K, V, R, S, F, Fut, A, L, E>(
    inner: &Inner<K, V, S>,
    tasks: &Shared<R>,
    leads: Vec<Lead<K, V, S>>,
    somebody_waits: bool,
    loader: &Arc<F>,
) -> Result<Option<Watcher>, NotStarted>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + ?Sized + 'static,
    Fut: Future<Output = Result<A, E>> + Send + 'static,
    A: IntoIterator<Item = (K, L)> + 'static,
    L: Into<Loaded<V>> + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    let flights: Vec<_> = leads.iter().map(|lead| Arc::clone(&lead.flight)).collect();
    let loader = Arc::clone(loader);
    let load = |work| load_many(leads, loader, work);
    if somebody_waits {
        return tasks.load(inner, &flights, load);
    }
    tasks.refresh(inner, &flights, load).map(|()| None)
}

/// Loads many keys.
async fn load_many<K, V, R, S, F, Fut, A, L, E>(
    leads: Vec<Lead<K, V, S>>,
    loader: Arc<F>,
    work: Work<R>,
) where
    K: Clone + Eq + Hash,
    V: Clone,
    R: Runtime,
    S: BuildHasher,
    F: Fn(Vec<K>) -> Fut + ?Sized,
    Fut: Future<Output = Result<A, E>>,
    A: IntoIterator<Item = (K, L)>,
    L: Into<Loaded<V>>,
    E: fmt::Display + Send + Sync + 'static,
{
    let leads = work.prepare(leads).await;
    let Some(first) = leads.first() else { return };
    let keys: Vec<K> = leads.iter().map(|lead| lead.key.clone()).collect();
    let load = async move {
        let answers = loader(keys).await?;
        let answers = answers.into_iter().map(|(key, answer)| (key, answer.into()));
        Ok::<HashMap<K, Loaded<V>>, E>(answers.collect())
    };
    let answers = match work.ask(&leads, load).await {
        Ok(Ok(answers)) => Ok(answers),
        Ok(Err(error)) => Err(failed(first, error)),
        Err(payload) => Err(Failed::panic(&*payload)),
    };
    finish_all(&work.timer, answers_of(leads, answers)).await;
}
