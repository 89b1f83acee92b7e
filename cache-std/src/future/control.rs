//! What is done to a cache as a whole while it is in use.

use core::fmt;
use core::future::poll_fn;
use core::ops::Deref;
use core::task::Poll;
use core::time::Duration;

use super::cache::Cache;
use super::runtime::{NoRuntime, Runtime};
use super::task::Shared;
use super::wait::Until;
use crate::sync::{self, DefaultHasher, StillLoading};

/// A cache as a whole; made by [`Cache::control`]. All but [`shutdown`](Self::shutdown) is as with
/// threads.
pub struct Control<'a, K, V, R, S = DefaultHasher> {
    control: sync::Control<'a, K, V, S>,
    cache: &'a sync::Cache<K, V, S>,
    tasks: &'a Shared<R>,
}

impl<K, V, R, S> Cache<K, V, R, S> {
    /// The cache as a whole, to be changed while it is in use.
    pub fn control(&self) -> Control<'_, K, V, R, S> {
        Control { control: self.cache.control(), cache: &self.cache, tasks: &self.tasks }
    }
}

impl<K, V, R: Runtime, S> Control<'_, K, V, R, S> {
    /// Starts no more loads, and waits up to `patience` for those under way or queued.
    ///
    /// From then on, reads serve what is there, stale values too as their windows allow, and those
    /// that find nothing end with [`LoadError::ShutDown`](sync::LoadError::ShutDown). A cache that is
    /// dropped without this waits for nothing, and ends its loads. Awaited inside a loader, this waits
    /// for itself, to the end of its patience.
    ///
    /// # Errors
    /// Says how many loads were still under way when the time was over.
    pub async fn shutdown(&self, patience: Duration) -> Result<(), StillLoading> {
        let inner = &self.cache.inner;
        let mut until = Until::new(inner.time.now_precisely() + patience);
        inner.places.close();
        let drained = inner.places.watch();
        let waited = poll_fn(|context| match drained.poll(context) {
            Poll::Ready(true) => Poll::Ready(Ok(())),
            _ => until.poll(&*inner.time, &self.tasks.runtime, &drained, context),
        });
        // Without a runtime there is nobody to wait by.
        let _: Result<(), NoRuntime> = waited.await;
        match inner.places.taken() {
            0 => Ok(()),
            loads => Err(StillLoading { loads }),
        }
    }
}

impl<'a, K, V, R, S> Deref for Control<'a, K, V, R, S> {
    type Target = sync::Control<'a, K, V, S>;

    fn deref(&self) -> &Self::Target {
        &self.control
    }
}

impl<K, V, R, S> fmt::Debug for Control<'_, K, V, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.fmt(f)
    }
}
