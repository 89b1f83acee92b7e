//! Reads that state what they accept.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;

use cache_core::{Loaded, Policy};

use super::cache::Cache;
use super::drive::Drive;
use super::runtime::Runtime;
use super::task::Shared;
use crate::error::LoadError;
use crate::sync::outcome::Served;
use crate::sync::{self, DefaultHasher, Outcome, Previous};

/// One read with terms of its own; made by [`Cache::read`]. The terms are those of [`sync::Read`].
#[must_use = "a read does nothing until `get`, `get_or_load` or `outcome`"]
pub struct Read<'a, Q: ?Sized, K, V, R, S = DefaultHasher> {
    read: sync::Read<'a, Q, K, V, S>,
    tasks: &'a Shared<R>,
}

impl<K, V, R, S> Cache<K, V, R, S> {
    /// A read that may say what it accepts. Without any such word it is the read of the same name
    /// on the cache itself.
    pub fn read<'a, Q: ?Sized>(&'a self, key: &'a Q) -> Read<'a, Q, K, V, R, S> {
        Read { read: self.cache.read(key), tasks: &self.tasks }
    }
}

impl<'a, Q: ?Sized, K, V, R, S> Read<'a, Q, K, V, R, S> {
    /// Accepts fresh values only; see [`sync::Read::fresh`].
    pub const fn fresh(self) -> Self {
        self.max_stale(Duration::ZERO)
    }

    /// Accepts nothing whose freshness ended longer ago than this.
    pub const fn max_stale(mut self, max_stale: Duration) -> Self {
        self.read = self.read.max_stale(max_stale);
        self
    }

    /// Starts no load and waits for none.
    pub const fn only_if_cached(mut self) -> Self {
        self.read = self.read.only_if_cached();
        self
    }

    /// Waits for a load no longer than this, nor than the hard time-out. The load goes on and lands.
    pub const fn wait_at_most(mut self, wait: Duration) -> Self {
        self.read = self.read.wait_at_most(wait);
        self
    }

    /// Keeps what this read loads by another policy than the cache's; see [`sync::Read::policy`].
    pub const fn policy(mut self, policy: &'a Policy) -> Self {
        self.read = self.read.policy(policy);
        self
    }
}

impl<Q, K, V, R, S> Read<'_, Q, K, V, R, S>
where
    K: Borrow<Q> + Clone + Eq + Hash + Send + Sync + 'static,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value, if one is there that may be served; see [`sync::Read::get`]. Starts no load.
    pub fn get(self) -> Option<V> {
        self.read.get()
    }

    async fn drive<F, Fut, L, E>(
        self,
        loader: F,
        (pins, tells): (bool, bool),
    ) -> Result<Served<V>, LoadError<E>>
    where
        F: FnOnce(Previous<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>> + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.read.begin(tells) {
            Ok(served) => Ok(served),
            Err((call, now)) => {
                let drive = Drive { call, shared: self.tasks, loader, pins };
                Box::pin(drive.run(now)).await
            }
        }
    }

    /// As [`Cache::get_or_load`], on these terms.
    ///
    /// # Errors
    /// See [`LoadError`]: [`TimedOut`](LoadError::TimedOut) when the wait is over,
    /// [`NotCached`](LoadError::NotCached) where no load was to be started or waited for.
    pub async fn get_or_load<F, Fut, E>(self, loader: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(|_| loader(), (false, false)).await.map(|served| served.value)
    }

    /// As [`Cache::get_or_load_with`], on these terms.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_with<F, Fut, E>(self, loader: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce(Previous<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(loader, (true, false)).await.map(|served| served.value)
    }

    /// As [`get_or_load`](Self::get_or_load), and tells what is known of the value; see
    /// [`sync::Read::outcome`].
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn outcome<F, Fut, E>(self, loader: F) -> Result<Outcome<V>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(|_| loader(), (false, true)).await.map(Served::into_outcome)
    }

    /// As [`outcome`](Self::outcome), with a loader that sees the old value and has more to say.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn outcome_with<F, Fut, E>(self, loader: F) -> Result<Outcome<V>, LoadError<E>>
    where
        F: FnOnce(Previous<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(loader, (true, true)).await.map(Served::into_outcome)
    }
}

impl<Q: ?Sized, K, V, R, S> fmt::Debug for Read<'_, Q, K, V, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read.fmt(f)
    }
}
