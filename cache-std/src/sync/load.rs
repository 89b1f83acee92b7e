//! Reads that may load: the public entrances.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};

use cache_core::{Instant, Loaded};

use super::cache::Cache;
use super::call::{Call, Step};
use super::lead::Previous;
use super::run::{Detached, Here, Run};
use crate::error::LoadError;

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value: from memory, from a load that is under way, or from `loader`. However many
    /// threads ask for a key at once, one load runs.
    ///
    /// A load runs on a worker thread, so that time-outs hold; where none is set, or inside another
    /// load, it runs here. A stale value is returned at once and refreshed behind the caller's back.
    ///
    /// # Errors
    /// See [`LoadError`]. An old value within its windows is returned instead of any of them.
    pub fn get_or_load<Q, F, E>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Result<V, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin(
            key,
            Detached { loader: |_: &Previous<V>| loader().map(Loaded::value), pins: false },
        )
    }

    /// As [`get_or_load`](Self::get_or_load), for a loader that wants to see the old value, or has
    /// more to say than a value: its own ttl, tags, "not modified", "missing".
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load); [`LoadError::Missing`] where the origin knows no such
    /// key.
    pub fn get_or_load_with<Q, F, E>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin(key, Detached { loader, pins: true })
    }

    /// As [`get_or_load`](Self::get_or_load), with a loader that may borrow and runs on this
    /// thread: there are no time-outs for this caller, and a refresh, if this caller is to make it,
    /// is waited for. A panic of the loader goes on in this thread.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub fn get_or_load_here<Q, F, E>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Result<V, E>,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin(key, Here { loader })
    }

    /// Loads a new value behind the caller's back, even if the one that is there is fresh; that one
    /// serves until then. Returns whether a load was started: not where one is under way, or has
    /// failed lately.
    pub fn refresh<Q, F, E>(&self, key: &Q, loader: F) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Result<V, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let loader = |_: &Previous<V>| loader().map(Loaded::value);
        self.start_refresh(key, || Detached { loader, pins: false })
    }

    pub(super) fn start_refresh<Q, F, E>(&self, key: &Q, run: impl FnOnce() -> Detached<F>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let inner = &self.inner;
        let (hash, now) = (inner.hash(key), inner.now());
        let contract = inner.contract().refresh();
        let call = Call::new(inner, hash, key, contract);
        match call.step(now, true, &mut None) {
            Step::Refresh(_, lead) | Step::Load(lead, _) => {
                run().queue(inner, lead);
                true
            }
            _ => false,
        }
    }

    fn begin<Q, E, R: Run<K, V, S, E>>(&self, key: &Q, run: R) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.begin_with(key, || run)
    }

    /// The one entrance: a hit goes out at once, and `run` is made only if it is no hit.
    pub(super) fn begin_with<Q, E, R: Run<K, V, S, E>>(
        &self,
        key: &Q,
        run: impl FnOnce() -> R,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.inner.begin(key) {
            Ok(value) => Ok(value),
            Err((hash, now)) => self.begin_slowly(key, hash, now, run),
        }
    }

    /// No hit: out of the way of what is one.
    #[cold]
    #[inline(never)]
    fn begin_slowly<Q, E, R: Run<K, V, S, E>>(
        &self,
        key: &Q,
        hash: u64,
        now: Instant,
        run: impl FnOnce() -> R,
    ) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: fmt::Display + Send + Sync + 'static,
    {
        Call::usual(&self.inner, hash, key, now).drive(run(), now).map(|served| served.value)
    }
}
