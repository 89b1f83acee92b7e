//! A cache with one loader for all its keys.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::ops::Deref;
use core::pin::Pin;
use std::sync::Arc;

use cache_core::Loaded;

use super::builder::Builder;
use super::cache::Cache;
use super::hit_or::{HitOr, boxed};
use super::runtime::Runtime;
use super::warm::WarmUp;
use crate::error::LoadError;
use crate::sync::builder::BuildError;
use crate::sync::{DefaultHasher, Previous};

/// What a loader answers, later.
pub(super) type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

type Loader<K, V, E> = Arc<dyn Fn(K, Previous<V>) -> Answer<Loaded<V>, E> + Send + Sync>;

/// A loader that a cache was given once.
pub(super) type DynLoader<K, V, E> =
    Box<dyn Fn(K, Previous<V>) -> Answer<Loaded<V>, E> + Send + Sync>;

/// Builds a [`LoadingCache`]; made by [`Builder::loader`].
#[must_use = "a builder does nothing until `build`"]
pub struct LoadingBuilder<K, V, R, S, E> {
    builder: Builder<K, V, R, S>,
    loader: Loader<K, V, E>,
}

impl<K, V, R, S, E: 'static> LoadingBuilder<K, V, R, S, E> {
    pub(super) fn new<F, Fut>(builder: Builder<K, V, R, S>, loader: F) -> Self
    where
        F: Fn(K, Previous<V>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        Self { builder, loader: Arc::new(move |key, old| Box::pin(loader(key, old))) }
    }
}

impl<K, V, R, S, E> LoadingBuilder<K, V, R, S, E>
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
    pub fn build(self) -> Result<LoadingCache<K, V, E, R, S>, BuildError> {
        Ok(LoadingCache { cache: self.builder.build()?, loader: self.loader })
    }
}

impl<K, V, R, S, E> fmt::Debug for LoadingBuilder<K, V, R, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadingBuilder").field(&self.builder).finish()
    }
}

/// A [`Cache`] that knows how to load every key. Clones share it.
pub struct LoadingCache<K, V, E, R, S = DefaultHasher> {
    cache: Cache<K, V, R, S>,
    loader: Loader<K, V, E>,
}

impl<K, V, E, R, S> LoadingCache<K, V, E, R, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    /// The value: from memory, from a load that is under way, or from the loader.
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
            begun.map_err(|begun| boxed(self.cache.slowly(key, begun, self.run(key), true)))
        })
    }

    /// Loads a new value behind the caller's back; see [`Cache::refresh`].
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.cache.start_refresh(key, self.run(key), true)
    }

    /// Loads what is not fresh of these keys; see [`WarmUp`].
    pub fn warm_up<'a>(
        &'a self,
        keys: impl IntoIterator<Item = K, IntoIter: Send + 'a>,
    ) -> WarmUp<'a, K, V, DynLoader<K, V, E>, R, S> {
        WarmUp::new(
            &self.cache,
            keys,
            Arc::new(Box::new({
                let loader = Arc::clone(&self.loader);
                move |key, old| loader(key, old)
            })),
            true,
        )
    }

    fn run<Q>(
        &self,
        key: &Q,
    ) -> impl FnOnce(Previous<V>) -> Answer<Loaded<V>, E> + Send + 'static + use<K, V, E, R, S, Q>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let (loader, key) = (Arc::clone(&self.loader), key.to_owned());
        move |old| loader(key, old)
    }
}

impl<K, V, E, R, S> Deref for LoadingCache<K, V, E, R, S> {
    type Target = Cache<K, V, R, S>;

    fn deref(&self) -> &Self::Target {
        &self.cache
    }
}

impl<K, V, E, R, S> Clone for LoadingCache<K, V, E, R, S> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), loader: Arc::clone(&self.loader) }
    }
}

impl<K, V, E, R, S> fmt::Debug for LoadingCache<K, V, E, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadingCache").field(&self.cache).finish()
    }
}
