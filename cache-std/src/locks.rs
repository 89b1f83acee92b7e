//! Locks in this process's memory: for tests of code that takes locks, and as a stand-in where a server is
//! optional.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use cache_core::store::{
    AcquireError, ExtendError, KeyBytes, Lock, LockOptions, Locks, Released, StoreError,
};

use crate::time::{MonotonicTime, Time};

mod desk;

pub(crate) use desk::{Attempt, Right, Shared, Watch};

/// Locks of this process alone, for threads; [`tasks`](Self::tasks) are the same for tasks. Clones share them.
///
/// They do what those in a server do, by a clock of one's own: on [`ManualTime`](crate::ManualTime) a lock ends when
/// the test says so. One that is renewed cannot lapse here, since nobody has to be asked for it; what a server that
/// forgets does to it is [`take_away`](Self::take_away). At most 65,536 are held, and as many waited for, at a time.
///
/// ```
/// use std::time::Duration;
/// use cache_std::{ManualTime, MemoryLocks};
/// use cache_std::store::{AcquireError, Lock, LockOptions, Locks};
///
/// fn takes_its_turn(locks: &impl Locks) -> Result<u64, AcquireError> {
///     let lock = locks.acquire("report", LockOptions::new(Duration::from_secs(10)))?;
///     // .. work for as long as `lock.valid_for()` says ..
///     Ok(lock.fence())
/// }
///
/// let time = ManualTime::new();
/// let locks = MemoryLocks::with_time(time.clone());
/// let other = locks.acquire("report", LockOptions::new(Duration::from_secs(10)))?;
/// assert!(matches!(takes_its_turn(&locks), Err(AcquireError::Held)));
/// time.advance(Duration::from_secs(10));
/// assert!(takes_its_turn(&locks)? > other.fence());
/// # Ok::<(), AcquireError>(())
/// ```
#[derive(Clone)]
pub struct MemoryLocks {
    pub(crate) shared: Arc<Shared>,
}

impl MemoryLocks {
    /// Locks in real time, of which none is held.
    pub fn new() -> Self {
        Self::with_time(MonotonicTime::new())
    }

    /// Locks that end, and are waited for, by this clock.
    pub fn with_time(time: impl Time) -> Self {
        Self { shared: Arc::new(Shared::new(Arc::new(time))) }
    }

    /// Ends a lock without its holder, who is told at once: as a server that was restarted without its memory
    /// does. Whether somebody held it.
    pub fn take_away<K: KeyBytes + ?Sized>(&self, name: &K) -> bool {
        self.shared.take_away(&name.key_bytes())
    }
}

impl Default for MemoryLocks {
    fn default() -> Self {
        Self::new()
    }
}

impl Locks for MemoryLocks {
    type Lock = MemoryLock;

    fn acquire<K>(&self, name: &K, options: LockOptions) -> Result<MemoryLock, AcquireError>
    where
        K: KeyBytes + Sync + ?Sized,
    {
        let (shared, name) = (&self.shared, name.key_bytes());
        let deadline = shared.time.now_precisely() + options.wait;
        loop {
            let watch = shared.watch_for(&name)?;
            match shared.attempt(&name, options)? {
                Attempt::Given(right) => return Ok(MemoryLock { right }),
                Attempt::Held { .. } if shared.time.now_precisely().has_reached(deadline) => {
                    return Err(AcquireError::Held);
                }
                Attempt::Held { until } => {
                    shared.time.wait(watch.signal(), until.min(deadline));
                }
            }
        }
    }
}

/// A lock of [`MemoryLocks`] that is held. Dropped, it is released at once.
#[must_use = "a lock that is dropped is released"]
pub struct MemoryLock {
    right: Right,
}

impl Lock for MemoryLock {
    fn fence(&self) -> u64 {
        self.right.fence()
    }

    fn valid_for(&self) -> Duration {
        self.right.valid_for()
    }

    fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.right.extend(ttl)
    }

    fn release(self) -> Result<Released, StoreError> {
        Ok(self.right.end())
    }
}

impl fmt::Debug for MemoryLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLocks").finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid_for = self.valid_for();
        f.debug_struct("MemoryLock")
            .field("fence", &self.fence())
            .field("valid_for", &valid_for)
            .finish()
    }
}
