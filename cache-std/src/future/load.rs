//! Reads that may load: the public entrances.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};

use cache_core::Loaded;

use super::cache::Cache;
use super::drive::Drive;
use super::hit_or::{HitOr, boxed};
use super::runtime::Runtime;
use crate::error::LoadError;
use crate::sync::Previous;
use crate::sync::call::Call;

impl<K, V, R, S> Cache<K, V, R, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value: from memory, from a load that is under way, or from `loader`. However many tasks
    /// and threads ask for a key at once, one load runs.
    ///
    /// The load runs as a task of its own on the caller's runtime: a caller who is dropped, or not
    /// polled any more, harms nobody, and what is loaded lands all the same. A stale value is returned
    /// at once and refreshed behind the caller's back. A hit allocates nothing and does not touch the
    /// runtime.
    ///
    /// # Errors
    /// See [`LoadError`]. An old value within its windows is returned instead of any of them.
    #[inline]
    pub fn get_or_load<Q, F, Fut, E>(
        &self,
        key: &Q,
        loader: F,
    ) -> impl Future<Output = Result<V, LoadError<E>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        HitOr::Look(move || {
            let begun = self.cache.inner.begin(key);
            begun.map_err(|begun| boxed(self.slowly(key, begun, |_| loader(), false)))
        })
    }

    /// As [`get_or_load`](Self::get_or_load), for a loader that wants to see the old value, or has
    /// more to say than a value: its own ttl, tags, "not modified", "missing".
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load); [`LoadError::Missing`] where the origin knows no such
    /// key.
    #[inline]
    pub fn get_or_load_with<Q, F, Fut, E>(
        &self,
        key: &Q,
        loader: F,
    ) -> impl Future<Output = Result<V, LoadError<E>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(Previous<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        HitOr::Look(move || {
            let begun = self.cache.inner.begin(key);
            begun.map_err(|begun| boxed(self.slowly(key, begun, loader, true)))
        })
    }

    /// Loads a new value behind the caller's back, even if the one that is there is fresh; that one
    /// serves until then. Returns whether a load was started: not where one is under way, or has
    /// failed lately, or the caller is on no runtime.
    pub fn refresh<Q, F, Fut, E>(&self, key: &Q, loader: F) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.start_refresh(key, |_| loader(), false)
    }

    pub(super) fn start_refresh<Q, F, Fut, L, E>(&self, key: &Q, loader: F, pins: bool) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(Previous<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>> + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let inner = &self.cache.inner;
        let (hash, now) = (inner.hash(key), inner.now());
        let call = Call::new(inner, hash, key, inner.contract().refresh());
        Drive { call, shared: &self.tasks, loader, pins }.start(now)
    }

    /// No hit: out of the way of what is one.
    #[cold]
    pub(super) async fn slowly<Q, F, Fut, L, E>(
        &self,
        key: &Q,
        (hash, now): (u64, cache_core::Instant),
        loader: F,
        pins: bool,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(Previous<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>> + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let call = Call::usual(&self.cache.inner, hash, key, now);
        let drive = Drive { call, shared: &*self.tasks, loader, pins };
        drive.run(now).await.map(|served| served.value)
    }
}
