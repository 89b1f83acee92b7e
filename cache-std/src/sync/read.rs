//! Reads that state what they accept.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;

use cache_core::{Contract, Instant, Loaded, Policy};

use super::builder::DefaultHasher;
use super::cache::Cache;
use super::call::Call;
use super::lead::Previous;
use super::outcome::{Outcome, Served};
use super::run::{Detached, Here, Run};
use crate::error::LoadError;

/// One read with terms of its own; made by [`Cache::read`].
///
/// The terms narrow what the cache's windows allow; only [`max_stale`](Self::max_stale) on a read
/// that starts no load reaches further, to whatever is still kept. Reads on different terms share
/// one load.
///
/// ```
/// use std::time::Duration;
/// use cache_std::sync::{Cache, LoadError, LoadPart, Source};
/// use cache_std::ManualTime;
///
/// let (second, time) = (Duration::from_secs(1), ManualTime::new());
/// let cache: Cache<u64, u64> = Cache::builder()
///     .ttl(second)
///     .stale_while_revalidate(9 * second)
///     .time(time.clone())
///     .build()?;
/// let load = || Ok::<_, std::io::Error>(7);
///
/// let seen = cache.read(&1).outcome(load)?;
/// assert_eq!((seen.value, seen.source, seen.load), (7, Source::Origin, LoadPart::Started));
///
/// time.advance(3 * second);
/// assert_eq!(cache.read(&1).get(), None); // stale
/// assert_eq!(cache.read(&1).max_stale(3 * second).get(), Some(7));
/// assert_eq!(cache.read(&1).fresh().only_if_cached().get(), None);
///
/// let refused = cache.read(&2).only_if_cached().get_or_load(load);
/// assert!(matches!(refused, Err(LoadError::NotCached)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a read does nothing until `get`, `get_or_load` or `outcome`"]
pub struct Read<'a, Q: ?Sized, K, V, S = DefaultHasher> {
    cache: &'a Cache<K, V, S>,
    key: &'a Q,
    contract: Contract,
    wait: Option<Duration>,
    policy: Option<&'a Policy>,
}

/// A read that is to go on by asking the algorithm, and since when.
pub(crate) type Begun<'a, Q, K, V, S> = (Call<'a, Q, K, V, S>, Instant);

impl<K, V, S> Cache<K, V, S> {
    /// A read that may say what it accepts. Without any such word it is the read of the same name
    /// on the cache itself.
    pub const fn read<'a, Q: ?Sized>(&'a self, key: &'a Q) -> Read<'a, Q, K, V, S> {
        Read { cache: self, key, contract: Contract::new(), wait: None, policy: None }
    }
}

impl<'a, Q: ?Sized, K, V, S> Read<'a, Q, K, V, S> {
    /// Accepts fresh values only: neither a stale one while a refresh runs, nor one kept for errors.
    pub const fn fresh(self) -> Self {
        self.max_stale(Duration::ZERO)
    }

    /// Accepts nothing whose freshness ended longer ago than this.
    pub const fn max_stale(mut self, max_stale: Duration) -> Self {
        self.contract = self.contract.max_stale(max_stale);
        self
    }

    /// Starts no load and waits for none.
    pub const fn only_if_cached(mut self) -> Self {
        self.contract = self.contract.only_if_cached();
        self
    }

    /// Waits for a load no longer than this, nor than the hard time-out. The load goes on and lands.
    pub const fn wait_at_most(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Keeps what this read loads by another policy than the cache's: its windows, without jitter,
    /// its missing-ttl, or not at all. Its hard time-out holds for this caller. A read that joins
    /// another's load gets what that one's policy says.
    pub const fn policy(mut self, policy: &'a Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    fn contract(&self, now: Instant) -> Contract {
        let usual = || self.cache.inner.policy.load().hard_timeout();
        let hard = self.policy.map_or_else(usual, Policy::hard_timeout);
        let wait = hard.min(self.wait.unwrap_or(Duration::MAX));
        let contract = self.contract.bypass(self.cache.inner.is_bypassed());
        // Who does not wait may still start a load.
        contract.give_up(now + wait.max(Duration::from_nanos(1)))
    }
}

impl<'a, Q, K, V, S> Read<'a, Q, K, V, S>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
    S: BuildHasher,
{
    /// The value, if one is there that may be served: a fresh one; a stale one within
    /// [`max_stale`](Self::max_stale); with [`only_if_cached`](Self::only_if_cached) alone, one within
    /// stale-while-revalidate, too. Starts no load.
    pub fn get(self) -> Option<V> {
        let inner = &self.cache.inner;
        let (hash, now) = (inner.hash(self.key), inner.now());
        let contract = self.contract.bypass(inner.is_bypassed());
        if !contract.bypass && !contract.only_if_cached && contract.max_stale.is_none() {
            return inner.tables.get(hash, self.key, now);
        }
        if let Some(value) = inner.fresh_hit(hash, self.key, now) {
            return Some(value);
        }
        inner.tables.look_within(hash, self.key, now, &contract)
    }

    /// A value that satisfies every contract; or the call to go on with, and since when.
    pub(crate) fn begin(self, tells: bool) -> Result<Served<V>, Begun<'a, Q, K, V, S>> {
        let inner = &self.cache.inner;
        let (hash, now) = (inner.hash(self.key), inner.now());
        if let Some(value) = if tells { None } else { inner.fresh_hit(hash, self.key, now) } {
            return Ok(Served::plain(value));
        }
        let (contract, kept_by) = (self.contract(now), self.policy);
        let waits = self.wait != Some(Duration::ZERO);
        Err((Call { inner, hash, key: self.key, contract, kept_by, tells, waits }, now))
    }

    fn drive<E, R>(self, run: impl FnOnce() -> R, tells: bool) -> Result<Served<V>, LoadError<E>>
    where
        E: fmt::Display + Send + Sync + 'static,
        R: Run<K, V, S, E>,
    {
        match self.begin(tells) {
            Ok(served) => Ok(served),
            Err((call, now)) => call.drive(run(), now),
        }
    }

    /// As [`Cache::get_or_load_here`], on these terms. The loader runs on this thread, so
    /// [`wait_at_most`](Self::wait_at_most) bounds only the wait for another's load.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub fn get_or_load_here<F, E>(self, loader: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Result<V, E>,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(|| Here { loader }, false).map(|served| served.value)
    }
}

impl<Q, K, V, S> Read<'_, Q, K, V, S>
where
    K: Borrow<Q> + Clone + Eq + Hash + Send + Sync + 'static,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`Cache::get_or_load`], on these terms.
    ///
    /// # Errors
    /// See [`LoadError`]: [`TimedOut`](LoadError::TimedOut) when the wait is over,
    /// [`NotCached`](LoadError::NotCached) where no load was to be started or waited for.
    pub fn get_or_load<F, E>(self, loader: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Result<V, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(|| plain(loader), false).map(|served| served.value)
    }

    /// As [`Cache::get_or_load_with`], on these terms.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub fn get_or_load_with<F, E>(self, loader: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(|| Detached { loader, pins: true }, false).map(|served| served.value)
    }

    /// As [`get_or_load`](Self::get_or_load), and tells how fresh the value is, where it is from and
    /// what part this read had in a load. Looks at the entry's record, so it costs more than a plain
    /// hit.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub fn outcome<F, E>(self, loader: F) -> Result<Outcome<V>, LoadError<E>>
    where
        F: FnOnce() -> Result<V, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(|| plain(loader), true).map(Served::into_outcome)
    }

    /// As [`outcome`](Self::outcome), with a loader that sees the old value and has more to say.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub fn outcome_with<F, E>(self, loader: F) -> Result<Outcome<V>, LoadError<E>>
    where
        F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        self.drive(|| Detached { loader, pins: true }, true).map(Served::into_outcome)
    }
}

/// A loader of values only.
fn plain<V, F, E>(
    loader: F,
) -> Detached<impl FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static>
where
    F: FnOnce() -> Result<V, E> + Send + 'static,
{
    Detached { loader: |_: &Previous<V>| loader().map(Loaded::value), pins: false }
}

impl<Q: ?Sized, K, V, S> fmt::Debug for Read<'_, Q, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read")
            .field("contract", &self.contract)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
