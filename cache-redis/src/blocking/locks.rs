//! Locks for threads.

use core::time::Duration;

use cache_core::store::{KeyBytes, StoreError};

use super::{Blocking, wait};
use crate::{AcquireError, ExtendError, Lock, LockOptions, Locks, Released};

impl Locks {
    /// The same locks for threads.
    pub fn blocking(&self) -> Blocking<Self> {
        Blocking(self.clone())
    }
}

/// ```no_run
/// use std::time::Duration;
/// use cache_redis::{LockOptions, Locks, Server};
///
/// let locks = Locks::new(&Server::open("redis://localhost")?, "shop")?.blocking();
/// let lock = locks.acquire("nightly report", LockOptions::new(Duration::from_secs(10)).renew())?;
/// println!("holder number {}", lock.fence());
/// lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Blocking<Locks> {
    /// As [`Locks::acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn acquire<K>(&self, name: &K, options: LockOptions) -> Result<Blocking<Lock>, AcquireError>
    where
        K: KeyBytes + ?Sized,
    {
        let lock = wait(self.0.acquire(name, options)).map_err(AcquireError::Store)?;
        lock.map(Blocking)
    }
}

/// [`valid_for`](Self::valid_for) is zero when it is lost. Dropped, it is released in the background,
/// unless the process ends first.
impl Blocking<Lock> {
    /// As [`Lock::fence`].
    pub fn fence(&self) -> u64 {
        self.0.fence()
    }

    /// As [`Lock::valid_for`].
    pub fn valid_for(&self) -> Duration {
        self.0.valid_for()
    }

    /// As [`Lock::extend`].
    ///
    /// # Errors
    /// As there.
    pub fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        wait(self.0.extend(ttl)).map_err(ExtendError::Store)?
    }

    /// As [`Lock::release`].
    ///
    /// # Errors
    /// As there.
    pub fn release(self) -> Result<Released, StoreError> {
        wait(self.0.release())?
    }
}
