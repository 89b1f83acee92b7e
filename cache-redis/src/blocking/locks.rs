//! Locks for threads.

use core::time::Duration;

use cache_core::store::{
    AcquireError, ExtendError, KeyBytes, Lock, LockOptions, Locks, Released, StoreError,
};

use super::{Blocking, wait};
use crate::{RedisLock, RedisLocks};

impl RedisLocks {
    /// The same locks for threads.
    pub fn blocking(&self) -> Blocking<Self> {
        Blocking(self.clone())
    }
}

/// ```no_run
/// use std::time::Duration;
/// use cache_redis::{LockOptions, RedisLocks, Server};
///
/// let locks = RedisLocks::new(&Server::open("redis://localhost")?, "shop")?.blocking();
/// let lock = locks.acquire("nightly report", LockOptions::new(Duration::from_secs(10)).renew())?;
/// println!("holder number {}", lock.fence());
/// lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Blocking<RedisLocks> {
    /// As [`RedisLocks::acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn acquire<K>(
        &self,
        name: &K,
        options: LockOptions,
    ) -> Result<Blocking<RedisLock>, AcquireError>
    where
        K: KeyBytes + ?Sized,
    {
        let lock = wait(self.0.acquire(name, options)).map_err(AcquireError::Store)?;
        lock.map(Blocking)
    }
}

/// [`valid_for`](Self::valid_for) is zero when it is lost. Dropped, it is released in the background,
/// unless the process ends first.
impl Blocking<RedisLock> {
    /// As [`RedisLock::fence`].
    pub fn fence(&self) -> u64 {
        self.0.fence()
    }

    /// As [`RedisLock::valid_for`].
    pub fn valid_for(&self) -> Duration {
        self.0.valid_for()
    }

    /// As [`RedisLock::extend`].
    ///
    /// # Errors
    /// As there.
    pub fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        wait(self.0.extend(ttl)).map_err(ExtendError::Store)?
    }

    /// As [`RedisLock::release`].
    ///
    /// # Errors
    /// As there.
    pub fn release(self) -> Result<Released, StoreError> {
        wait(self.0.release())?
    }
}

impl Locks for Blocking<RedisLocks> {
    type Lock = Blocking<RedisLock>;

    fn acquire<K>(
        &self,
        name: &K,
        options: LockOptions,
    ) -> Result<Blocking<RedisLock>, AcquireError>
    where
        K: KeyBytes + Sync + ?Sized,
    {
        self.acquire(name, options)
    }
}

impl Lock for Blocking<RedisLock> {
    fn fence(&self) -> u64 {
        self.fence()
    }

    fn valid_for(&self) -> Duration {
        self.valid_for()
    }

    fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.extend(ttl)
    }

    fn release(self) -> Result<Released, StoreError> {
        self.release()
    }
}
