//! The cache for tokio's tasks.

use cache_std::sync::DefaultHasher;

pub use cache_std::future::{NoRuntime, Runtime};
pub use cache_std::sync::{
    BuildError, CapacityError, LoadError, LoadPart, Mutated, Outcome, Previous, Progress, Reach,
    Source, StillLoading, WarmUpEnd, WarmedUp,
};

pub use crate::background::{
    Background, BackgroundBuilder, JobError, Look, MissedTick, NotReady, Scheduler, StartError,
    Status, StillRunning, Stopped, Watcher,
};

use crate::Tokio;

/// A bounded cache for tasks, on tokio. Clones share it. See [`cache_std::future::Cache`].
pub type Cache<K, V, S = DefaultHasher> = cache_std::future::Cache<K, V, Tokio, S>;

/// Builds a [`Cache`]; see [`cache_std::future::Builder`] and [`cache_std::sync::Builder`].
pub type Builder<K, V, S = DefaultHasher> = cache_std::future::Builder<K, V, Tokio, S>;

/// A [`Cache`] that knows how to load every key; see [`cache_std::future::LoadingCache`].
pub type LoadingCache<K, V, E, S = DefaultHasher> =
    cache_std::future::LoadingCache<K, V, E, Tokio, S>;

/// A [`Cache`] whose one loader loads many keys at a time; see [`cache_std::future::BatchCache`].
pub type BatchCache<K, V, E, S = DefaultHasher> = cache_std::future::BatchCache<K, V, E, Tokio, S>;

/// Loads many keys ahead of their readers; see [`cache_std::future::WarmUp`].
pub type WarmUp<'a, K, V, F, S = DefaultHasher> = cache_std::future::WarmUp<'a, K, V, F, Tokio, S>;

/// A read with terms of its own; see [`cache_std::future::Read`].
pub type Read<'a, Q, K, V, S = DefaultHasher> = cache_std::future::Read<'a, Q, K, V, Tokio, S>;

/// A cache as a whole; see [`cache_std::future::Control`].
pub type Control<'a, K, V, S = DefaultHasher> = cache_std::future::Control<'a, K, V, Tokio, S>;

/// Locks in memory, for tasks; see [`cache_std::future::TaskLocks`].
pub type TaskLocks = cache_std::future::TaskLocks<Tokio>;

/// A lock of [`TaskLocks`]; see [`cache_std::future::TaskLock`].
pub type TaskLock = cache_std::future::TaskLock<Tokio>;
