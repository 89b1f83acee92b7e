//! Locks between processes, wherever they live.

use core::fmt;
use core::time::Duration;

use super::{KeyBytes, StoreError};

/// How long a lock is to be held, and waited for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LockOptions {
    /// Time after which it ends by itself. At least a millisecond, at most ten years.
    pub ttl: Duration,
    /// Time to wait while somebody else holds it. None unless said.
    pub wait: Duration,
    /// Whether it is renewed at each third of the ttl, as long as it is held. Not unless said.
    pub renew: bool,
}

impl LockOptions {
    /// A lock that ends after `ttl`.
    pub const fn new(ttl: Duration) -> Self {
        Self { ttl, wait: Duration::ZERO, renew: false }
    }

    /// Waits while somebody else holds it, for so long.
    #[must_use]
    pub const fn wait(mut self, span: Duration) -> Self {
        self.wait = span;
        self
    }

    /// Renewed until it is released or dropped.
    #[must_use]
    pub const fn renew(mut self) -> Self {
        self.renew = true;
        self
    }

    /// How long a holder may count on a lock that is kept for `ttl` since it was asked for: less 1 % and
    /// 2 ms, for clocks of another speed.
    pub fn surely(ttl: Duration) -> Duration {
        ttl.saturating_sub(ttl / 100).saturating_sub(Duration::from_millis(2))
    }
}

/// What a release came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // there is nothing else
pub enum Released {
    /// It was held until now.
    Released,
    /// It had ended before, and somebody else may have held it since.
    AlreadyLost,
}

/// Locks for threads: code that takes any of these runs with a server, and in tests without one.
///
/// What all of them promise is mutual exclusion for efficiency: nobody counts on a lock for longer than
/// [`Lock::valid_for`], which others cannot have meanwhile as long as what keeps the locks forgets nothing. A thread
/// that is paused, a clock that jumps or a server that forgets can give two holders (Kleppmann, "How to do
/// distributed locking", 2016). Where that would corrupt data, hand [`Lock::fence`] to what is protected, and
/// have it refuse numbers below the largest that it has seen.
///
/// ```
/// use std::time::Duration;
/// use cache_core::store::{AcquireError, Lock, LockOptions, Locks};
///
/// /// Whether it was this one's turn.
/// fn write_report(locks: &impl Locks) -> Result<bool, AcquireError> {
///     let options = LockOptions::new(Duration::from_secs(10)).renew();
///     match locks.acquire("nightly report", options) {
///         Ok(lock) => {
///             println!("holder number {}", lock.fence());
///             Ok(true) // dropped, it is released
///         }
///         Err(AcquireError::Held) => Ok(false),
///         Err(error) => Err(error),
///     }
/// }
/// ```
pub trait Locks {
    /// A lock that is held. Dropped, it is released, at once or in the background.
    type Lock: Lock;

    /// The lock of this name, up to 64 KiB long.
    ///
    /// # Errors
    /// Somebody else holds it, all the time that was to be waited; or what keeps the locks did not answer.
    fn acquire<K>(&self, name: &K, options: LockOptions) -> Result<Self::Lock, AcquireError>
    where
        K: KeyBytes + Sync + ?Sized;
}

/// A lock that is held by a thread.
pub trait Lock {
    /// Grows with every holder of this name.
    fn fence(&self) -> u64;

    /// How long it is surely held. Zero once it is lost, and while nobody knows whether it is.
    fn valid_for(&self) -> Duration;

    /// Makes it last for `ttl` from now, and from each renewal on where it is renewed.
    ///
    /// # Errors
    /// It is lost, or what keeps it did not answer.
    fn extend(&self, ttl: Duration) -> Result<(), ExtendError>;

    /// Ends it, and no other holder's.
    ///
    /// # Errors
    /// What keeps it did not answer: it ends with its ttl at latest.
    fn release(self) -> Result<Released, StoreError>;
}

/// [`Locks`] for tasks. Futures are `Send`.
pub trait AsyncLocks {
    /// As [`Locks::Lock`].
    type Lock: AsyncLock;

    /// As [`Locks::acquire`]. When the future is dropped, a lock that nobody knows of may be held for its
    /// ttl.
    fn acquire<K>(
        &self,
        name: &K,
        options: LockOptions,
    ) -> impl Future<Output = Result<Self::Lock, AcquireError>> + Send
    where
        K: KeyBytes + Sync + ?Sized;
}

/// A lock that is held by a task.
pub trait AsyncLock: Send + Sync {
    /// As [`Lock::fence`].
    fn fence(&self) -> u64;

    /// As [`Lock::valid_for`].
    fn valid_for(&self) -> Duration;

    /// Ends when the time for which it was surely held is over, or when it is known to be lost.
    fn lost(&self) -> impl Future<Output = ()> + Send;

    /// As [`Lock::extend`].
    fn extend(&self, ttl: Duration) -> impl Future<Output = Result<(), ExtendError>> + Send;

    /// As [`Lock::release`].
    fn release(self) -> impl Future<Output = Result<Released, StoreError>> + Send;
}

/// Why a lock was not given.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcquireError {
    /// Somebody else holds it.
    Held,
    /// The caller is not on an asynchronous runtime, and one is needed.
    NoRuntime,
    /// What keeps the locks did not do it. A lock that nobody knows of may be held for the ttl.
    Store(StoreError),
}

/// Why a lock was not extended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExtendError {
    /// It had ended.
    Lost,
    /// What keeps it did not do it, or not in time to say so.
    Store(StoreError),
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("somebody else holds the lock"),
            Self::NoRuntime => f.write_str("the caller is on no asynchronous runtime"),
            Self::Store(error) => write!(f, "the lock was not given: {error}"),
        }
    }
}

impl fmt::Display for ExtendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the lock is lost"),
            Self::Store(error) => write!(f, "the lock was not extended: {error}"),
        }
    }
}

impl core::error::Error for AcquireError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}

impl core::error::Error for ExtendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_counts_on_less_than_is_kept() {
        let surely = LockOptions::surely;
        assert_eq!(surely(Duration::from_secs(10)), Duration::from_millis(9_898));
        assert_eq!(surely(Duration::from_millis(2)), Duration::ZERO);
        assert_eq!(surely(Duration::ZERO), Duration::ZERO);
        assert!(surely(Duration::MAX) < Duration::MAX);
    }
}
