//! Locks in memory, for tasks.

use core::fmt;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use cache_core::Instant;
use cache_core::store::{
    AcquireError, AsyncLock, AsyncLocks, ExtendError, KeyBytes, LockOptions, Released, StoreError,
};

use super::runtime::{NoRuntime, Runtime};
use super::wait::Until;
use crate::locks::{Attempt, MemoryLocks, Right, Watch};
use crate::time::Time;

/// [`MemoryLocks`] for tasks. From [`MemoryLocks::tasks`].
#[derive(Clone)]
pub struct TaskLocks<R> {
    locks: MemoryLocks,
    runtime: R,
}

impl MemoryLocks {
    /// The same locks for tasks, which wait on this runtime; on [`ManualTime`](crate::ManualTime) by that alone.
    pub fn tasks<R: Runtime>(&self, runtime: R) -> TaskLocks<R> {
        TaskLocks { locks: self.clone(), runtime }
    }
}

impl<R: Runtime> AsyncLocks for TaskLocks<R> {
    type Lock = TaskLock<R>;

    async fn acquire<K>(&self, name: &K, options: LockOptions) -> Result<TaskLock<R>, AcquireError>
    where
        K: KeyBytes + Sync + ?Sized,
    {
        let (shared, name) = (&self.locks.shared, name.key_bytes());
        let deadline = shared.time.now_precisely() + options.wait;
        loop {
            let watch = shared.watch_for(&name)?;
            let until = match shared.attempt(&name, options)? {
                Attempt::Given(right) => {
                    return Ok(TaskLock { right, runtime: self.runtime.clone() });
                }
                Attempt::Held { .. } if shared.time.now_precisely().has_reached(deadline) => {
                    return Err(AcquireError::Held);
                }
                Attempt::Held { until } => until.min(deadline),
            };
            let waited = wait(&watch, until, &*shared.time, &self.runtime).await;
            waited.map_err(|NoRuntime| AcquireError::NoRuntime)?;
        }
    }
}

/// Waits until something has happened, or the time is over.
async fn wait<R: Runtime>(
    watch: &Watch,
    until: Instant,
    time: &dyn Time,
    runtime: &R,
) -> Result<(), NoRuntime> {
    let mut clock = Until::new(until);
    poll_fn(|context| match watch.signal().poll(context) {
        Poll::Ready(true) => Poll::Ready(Ok(())),
        // It may have been an alarm: the clock is asked.
        _ => clock.poll(time, runtime, watch.signal(), context),
    })
    .await
}

/// A lock of [`TaskLocks`] that is held. Dropped, it is released at once.
#[must_use = "a lock that is dropped is released"]
pub struct TaskLock<R> {
    right: Right,
    runtime: R,
}

impl<R: Runtime> AsyncLock for TaskLock<R> {
    fn fence(&self) -> u64 {
        self.right.fence()
    }

    fn valid_for(&self) -> Duration {
        self.right.valid_for()
    }

    /// Where the caller is on no runtime, and one is needed to wait, it ends at once.
    async fn lost(&self) {
        while let Some((watch, until)) = self.right.watched() {
            if wait(&watch, until, self.right.time(), &self.runtime).await.is_err() {
                return;
            }
        }
    }

    async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.right.extend(ttl)
    }

    async fn release(self) -> Result<Released, StoreError> {
        Ok(self.right.end())
    }
}

impl<R> fmt::Debug for TaskLocks<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLocks").finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for TaskLock<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLock")
            .field("fence", &self.right.fence())
            .field("valid_for", &self.right.valid_for())
            .finish()
    }
}
