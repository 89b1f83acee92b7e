//! A background value that several processes share.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_std::store::AsyncStore;

use crate::TokioTime;
use crate::future::{Cache, LoadError};

/// Longest that a run waits for one answer of the store: as long as for a process that has ended while it held the
/// lease. Nobody waits for the run, and to go on without the store is a load of each process.
const STORE: Duration = Duration::from_secs(5);

/// Loads a value where no other process has lately: a cache of one entry in front of the store, which
/// knows how to wait for others and what to do without the store.
pub(super) struct OneWriter<T, F> {
    name: String,
    cache: Cache<String, T>,
    loader: Arc<F>,
    /// A run has had an answer.
    ready: AtomicBool,
}

impl<T, E, F, L> OneWriter<T, F>
where
    T: Clone + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
    F: Fn() -> L + Send + Sync + 'static,
    L: Future<Output = Result<T, E>> + Send + 'static,
{
    pub(super) fn new(
        name: &str,
        period: Duration,
        store: impl AsyncStore<String, T> + Send + Sync + 'static,
        loader: F,
    ) -> Self {
        // Every run asks the store: memory is only where its answer passes through.
        let cache = Cache::builder()
            .capacity(1)
            .ttl((period / 4).saturating_mul(3).max(Duration::from_millis(2)))
            .jitter_percent(0)
            .stale_if_error(Duration::MAX)
            .hard_timeout(Duration::MAX)
            .soft_timeout(Duration::MAX)
            .load_limit(Duration::MAX)
            .l2_soft_timeout(STORE)
            .l2_hard_timeout(STORE)
            .l1_ttl(Duration::from_millis(1))
            .time(TokioTime::new())
            .l2(store)
            .build();
        #[allow(clippy::expect_used)]
        let cache = cache.expect("the settings contradict nothing");
        let (name, loader) = (name.to_owned(), Arc::new(loader));
        Self { name, cache, loader, ready: AtomicBool::new(false) }
    }

    /// One run.
    pub(super) async fn run(self: Arc<Self>) -> Result<T, String> {
        let load = Arc::clone(&self.loader);
        let read = self.cache.read(&self.name).max_stale(Duration::ZERO);
        let answer: Result<T, LoadError<E>> = read.get_or_load(move || load()).await;
        let kept = || self.cache.entry(&self.name).map(|entry| entry.value);
        match answer {
            Ok(value) => {
                self.ready.store(true, Ordering::Relaxed);
                Ok(value)
            }
            // An old value is better than none, and no news to who has one.
            Err(error) if self.ready.load(Ordering::Relaxed) => Err(error.to_string()),
            Err(error) => kept().ok_or_else(|| error.to_string()),
        }
    }
}
