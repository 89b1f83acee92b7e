//! Removing what has passed from a cache that nobody writes to.

use core::fmt;
use core::hash::BuildHasher;
use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use cache_core::schedule::Job;

use super::cache::Inner;
use crate::background::{Scheduler, StartError};

/// A job that sweeps one cache; it ends when this is dropped.
pub(super) struct Sweeper {
    scheduler: Scheduler,
    name: Arc<str>,
}

impl Sweeper {
    pub(super) fn start<K, V, S>(
        cache: Weak<Inner<K, V, S>>,
        every: Duration,
        scheduler: Scheduler,
    ) -> Result<Self, StartError>
    where
        K: Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name: Arc<str> = format!("sweep of cache {number}").into();
        let job = Job::every(every).build()?;
        let run = move || {
            if let Some(cache) = cache.upgrade() {
                cache.tables.purge_if_due(cache.now());
            }
            true
        };
        scheduler.add(&name, job, Arc::new(run))?;
        Ok(Self { scheduler, name })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.scheduler.remove(&self.name);
    }
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sweeper").field(&self.name).finish()
    }
}
