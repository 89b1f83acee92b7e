//! The settings that only tasks have.

use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use std::sync::Arc;

use cache_core::Loaded;
use cache_core::store::AsyncStore;

use super::batch::BatchBuilder;
use super::cache::Cache;
use super::loading::LoadingBuilder;
use super::mend::mend_by_tasks;
use super::runtime::Runtime;
use super::task::Shared;
use crate::second::Later;
use crate::sync::builder::BuildError;
use crate::sync::{self, DefaultHasher, Previous};

/// Builds a [`Cache`]: the builder of the cache for threads, with a few settings more.
///
/// | setting | default |
/// |---|---|
/// | `runtime` | the one of the driver's crate |
/// | `max_refreshes` | 64 at a time, and 1,024 that wait for their turn |
/// | `load_limit` | ten leases |
/// | `abandon_unwatched` | no |
///
/// and those of [`sync::Builder`].
pub type Builder<K, V, R, S = DefaultHasher> = sync::Builder<K, V, S, Tasks<R>>;

/// Callers wait as tasks, and loads run as tasks of `R`.
#[derive(Clone)]
pub struct Tasks<R> {
    pub(super) runtime: R,
    pub(super) max_refreshes: usize,
    pub(super) load_limit: Option<Duration>,
    pub(super) abandons: bool,
}

impl<R> Tasks<R> {
    pub(super) const fn on(runtime: R) -> Self {
        Self { runtime, max_refreshes: 64, load_limit: None, abandons: false }
    }
}

impl<K, V, R, S> Builder<K, V, R, S> {
    /// Runs loads, and waits, by another handle on the runtime.
    pub fn runtime(mut self, runtime: R) -> Self {
        self.driver.runtime = runtime;
        self
    }

    /// Most refreshes of this cache at a time, that is loads which nobody waits for. More of them wait
    /// for their turn, or for somebody to need them; where 1,024 wait, or half as many as `max_loads`, more are
    /// not begun.
    pub const fn max_refreshes(mut self, refreshes: usize) -> Self {
        self.driver.max_refreshes = refreshes;
        self
    }

    /// Longest that a load may run: then its future is dropped, and its place is free for others. Who led
    /// it is told that it was given up; of those who followed, one loads again. The default is ten times
    /// the lease that the cache is built with. It is looked at when the load is polled, so on a runtime
    /// that nobody drives it does not come.
    pub const fn load_limit(mut self, limit: Duration) -> Self {
        self.driver.load_limit = Some(limit);
        self
    }

    /// With `true`, a load ends when the last who waits for it has gone. Otherwise it goes on, and
    /// lands.
    pub const fn abandon_unwatched(mut self, abandon: bool) -> Self {
        self.driver.abandons = abandon;
        self
    }
}

impl<K, V, R, S> Builder<K, V, R, S>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Puts a store behind the memory, as the [builder for threads](sync::Builder::l2) does. For a
    /// blocking store, see [`Ready`](cache_core::store::Ready).
    ///
    /// A mutation that is dropped before its end may have reached the store or not: the key is gone from
    /// memory, and not read from the store before it was removed from it. (A `put` that is dropped while
    /// another mutation of the key is under way has changed nothing.)
    ///
    /// Where other processes share the store, one of them at a time loads a key, by a lease that it renews
    /// meanwhile, and a load that began before another changed the key leaves nothing there. Their
    /// changes are heard by a [`backplane`](Self::backplane).
    pub fn l2(mut self, store: impl AsyncStore<K, V> + Send + Sync + 'static) -> Self {
        self.second = Some(Box::new(Later::new(store)));
        self
    }
}

impl<K, V, R, S> Builder<K, V, R, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The cache.
    ///
    /// # Errors
    /// A setting that is zero, contradicts another, or is not said: the error names the field and
    /// how to mend it.
    pub fn build(self) -> Result<Cache<K, V, R, S>, BuildError> {
        let wrong = |field| Err(BuildError::Setting { field, mend: "give at least 1" });
        if self.driver.max_refreshes == 0 {
            return wrong("max_refreshes");
        }
        if self.driver.load_limit == Some(Duration::ZERO) {
            return wrong("load_limit");
        }
        let most = self.max_loads;
        let (cache, tasks) = self.assemble()?;
        let lease = cache.inner.policy.load().lease();
        mend_by_tasks(&cache.inner, &tasks.runtime);
        Ok(Cache { cache, tasks: Arc::new(Shared::new(tasks, lease, most)) })
    }

    /// Gives the cache one loader for all keys, and with it
    /// [`load`](super::LoadingCache::load).
    pub fn loader<F, Fut, L, E>(self, loader: F) -> LoadingBuilder<K, V, R, S, E>
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>> + 'static,
        E: 'static,
    {
        LoadingBuilder::new(self, move |key: K, _: Previous<V>| {
            let load = loader(key);
            async move { load.await.map(Into::into) }
        })
    }

    /// The same, for a loader that sees the old value.
    pub fn loader_with<F, Fut, E>(self, loader: F) -> LoadingBuilder<K, V, R, S, E>
    where
        F: Fn(K, Previous<V>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
        E: 'static,
    {
        LoadingBuilder::new(self, loader)
    }
}

impl<K, V, R, S> Builder<K, V, R, S>
where
    K: Eq + Hash + 'static,
    V: 'static,
{
    /// Gives the cache one loader that loads many keys at a time, and with it
    /// [`load`](super::BatchCache::load). It answers pairs of a key and a value, or a [`Loaded`], in
    /// any order; a key that it leaves out is missing.
    pub fn batch_loader<F, Fut, A, L, E>(self, loader: F) -> BatchBuilder<K, V, R, S, E>
    where
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
        A: IntoIterator<Item = (K, L)>,
        L: Into<Loaded<V>>,
        E: 'static,
    {
        BatchBuilder::new(self, loader)
    }
}

impl<R> fmt::Debug for Tasks<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("max_refreshes", &self.max_refreshes)
            .field("load_limit", &self.load_limit)
            .field("abandon_unwatched", &self.abandons)
            .finish_non_exhaustive()
    }
}
