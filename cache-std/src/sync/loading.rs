//! A cache with one loader for all its keys.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::ops::Deref;
use std::sync::Arc;

use cache_core::Loaded;

use super::builder::{BuildError, Builder, DefaultHasher};
use super::cache::Cache;
use super::lead::Previous;
use super::run::Detached;
use super::warm::WarmUp;
use crate::error::LoadError;

type Loader<K, V, E> = Arc<dyn Fn(&K, &Previous<V>) -> Result<Loaded<V>, E> + Send + Sync>;

/// Builds a [`LoadingCache`]; made by [`Builder::loader`].
#[must_use = "a builder does nothing until `build`"]
pub struct LoadingBuilder<K, V, S, E> {
    builder: Builder<K, V, S>,
    loader: Loader<K, V, E>,
}

impl<K, V, S, E> LoadingBuilder<K, V, S, E> {
    pub(crate) fn new(
        builder: Builder<K, V, S>,
        loader: impl Fn(&K, &Previous<V>) -> Result<Loaded<V>, E> + Send + Sync + 'static,
    ) -> Self {
        Self { builder, loader: Arc::new(loader) }
    }
}

impl<K, V, S, E> LoadingBuilder<K, V, S, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The cache.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build(self) -> Result<LoadingCache<K, V, E, S>, BuildError> {
        Ok(LoadingCache { cache: self.builder.build()?, loader: self.loader })
    }
}

impl<K, V, S, E> fmt::Debug for LoadingBuilder<K, V, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadingBuilder").field(&self.builder).finish()
    }
}

/// A [`Cache`] that knows how to load every key. Clones share it.
///
/// ```
/// use std::time::Duration;
/// use cache_std::sync::Cache;
///
/// let squares = Cache::builder()
///     .ttl(Duration::from_secs(60))
///     .loader(|n: &u64| Ok::<u64, std::io::Error>(n * n))
///     .build()?;
/// assert_eq!(squares.load(&12)?, 144);
/// assert!(squares.contains(&12));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LoadingCache<K, V, E, S = DefaultHasher> {
    cache: Cache<K, V, S>,
    loader: Loader<K, V, E>,
}

impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    /// The value: from memory, from a load that is under way, or from the loader.
    ///
    /// # Errors
    /// As [`Cache::get_or_load_with`].
    pub fn load<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.cache.begin_with(key, || self.run(key))
    }

    /// Loads a new value behind the caller's back; see [`Cache::refresh`].
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.cache.start_refresh(key, || self.run(key))
    }

    /// Loads what is not fresh of these keys; see [`WarmUp`].
    pub fn warm_up<'a>(
        &'a self,
        keys: impl IntoIterator<Item = K, IntoIter: Send + 'a>,
    ) -> WarmUp<'a, K, V, E, S> {
        let load = |key: &K, old: &Previous<V>| (self.loader)(key, old);
        WarmUp::new(&self.cache, keys, Box::new(load), true)
    }

    fn run<Q>(
        &self,
        key: &Q,
    ) -> Detached<
        impl FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static + use<K, V, E, S, Q>,
    >
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let (loader, key) = (Arc::clone(&self.loader), key.to_owned());
        Detached { loader: move |old: &Previous<V>| loader(&key, old), pins: true }
    }
}

impl<K, V, E, S> Deref for LoadingCache<K, V, E, S> {
    type Target = Cache<K, V, S>;

    fn deref(&self) -> &Cache<K, V, S> {
        &self.cache
    }
}

impl<K, V, E, S> Clone for LoadingCache<K, V, E, S> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), loader: Arc::clone(&self.loader) }
    }
}

impl<K, V, E, S> fmt::Debug for LoadingCache<K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadingCache").field(&self.cache).finish()
    }
}
