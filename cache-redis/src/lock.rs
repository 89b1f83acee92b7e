//! Locks between processes.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use cache_core::store::{KeyBytes, StoreError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::desk::{Desk, Room};
use crate::error::BuildError;
use crate::key::{Kind, Names};
use crate::link::Link;
use crate::random::{self, Spread};
use crate::script::Script;
use crate::{Server, form};

/// Locks in a Redis server, shared by all processes that give the same prefix and namespace.
///
/// What they promise is mutual exclusion for efficiency: at most one holder while one and the same
/// server is up, and no holder counts on more than [`Lock::valid_for`]. A process that is paused, a clock
/// that jumps or a failover to a replica can give two holders (Kleppmann, "How to do distributed locking",
/// 2016). Where that would corrupt data, hand [`Lock::fence`] to what is protected, and have it refuse
/// numbers below the largest that it has seen.
///
/// ```no_run
/// use std::time::Duration;
/// use cache_redis::{LockOptions, Locks, Released, Server};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let locks = Locks::new(&Server::open("redis://localhost")?, "shop")?;
/// let options = LockOptions::new(Duration::from_secs(10)).wait(Duration::from_secs(2)).renew();
/// let lock = locks.acquire("nightly report", options).await?;
/// tokio::select! {
///     () = write_report(lock.fence()) => {}
///     () = lock.lost() => println!("somebody else may hold it now"),
/// }
/// assert_eq!(lock.release().await?, Released::Released);
/// # Ok(())
/// # }
/// # async fn write_report(fence: u64) {}
/// ```
#[derive(Clone)]
pub struct Locks {
    server: Server,
    prefix: Vec<u8>,
    names: Names,
}

const MAX_NAME: usize = 64 << 10;

/// How long a lock is to be held, and waited for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LockOptions {
    /// Time after which it ends by itself. At least a millisecond, at most ten years.
    pub ttl: Duration,
    /// Time to wait while somebody else holds it. None unless said.
    pub wait: Duration,
    /// Whether a task renews it at each third of the ttl, as long as it is held. Not unless said.
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

    /// Renewed by a task until it is released or dropped.
    #[must_use]
    pub const fn renew(mut self) -> Self {
        self.renew = true;
        self
    }
}

impl Locks {
    /// Locks whose names in Redis begin with `prefix` and a colon.
    ///
    /// # Errors
    /// The prefix is empty.
    pub fn new(server: &Server, prefix: impl AsRef<[u8]>) -> Result<Self, BuildError> {
        let prefix = prefix.as_ref().to_vec();
        if prefix.is_empty() {
            return Err(BuildError::EmptyPrefix);
        }
        let names = Names::new(&prefix, b"default", MAX_NAME);
        Ok(Self { server: server.clone(), prefix, names })
    }

    /// Keeps locks apart from those of other namespaces under the same prefix. Any bytes will do.
    #[must_use]
    pub fn namespace(mut self, name: impl AsRef<[u8]>) -> Self {
        self.names = Names::new(&self.prefix, name.as_ref(), MAX_NAME);
        self
    }

    /// The lock of this name, up to 64 KiB long.
    ///
    /// When the future is dropped, a lock that nobody knows of may be held for its ttl.
    ///
    /// # Errors
    /// Somebody else holds it, all the time that was to be waited; or the server did not answer.
    pub async fn acquire<K>(&self, name: &K, options: LockOptions) -> Result<Lock, AcquireError>
    where
        K: KeyBytes + ?Sized,
    {
        let name = name.key_bytes().into_owned();
        let runtime = Handle::try_current().map_err(|_| AcquireError::NoRuntime)?;
        let mut spread = Spread::new(random::seed());
        let until = Instant::now() + options.wait.min(form::FOR_EVER);
        loop {
            if let Some(lock) = self.attempt(&name, options, &runtime).await? {
                return Ok(lock);
            }
            let pause = Duration::from_micros(5_000 + spread.below(45_000));
            if timeout_at(until, sleep(pause)).await.is_err() {
                return Err(AcquireError::Held);
            }
        }
    }

    async fn attempt(
        &self,
        name: &[u8],
        options: LockOptions,
        runtime: &Handle,
    ) -> Result<Option<Lock>, AcquireError> {
        let asked = Instant::now();
        let lease = self.desk().acquire(name, options.ttl).await;
        let Some(lease) = lease.map_err(AcquireError::Store)? else { return Ok(None) };
        let hold = Hold {
            locks: self.clone(),
            name: name.to_vec(),
            token: *lease.token(),
            fence: lease.fence(),
            valid_until: watch::Sender::new(Some(valid_until(asked, options.ttl))),
            runtime: runtime.clone(),
        };
        let hold = Arc::new(hold);
        let renewal = options.renew.then(|| runtime.spawn(Arc::clone(&hold).renew(options.ttl)));
        Ok(Some(Lock { hold, renewal, held: true }))
    }

    const fn desk(&self) -> Desk<'_, Self> {
        Desk(self)
    }
}

impl Room for Locks {
    async fn run(
        &self,
        script: &'static Script,
        name: &[u8],
        arguments: &[&[u8]],
    ) -> Result<redis::Value, StoreError> {
        let names = [Kind::Lock, Kind::LockFence];
        let [lock, fence] = names.map(|kind| self.names.of(kind, name));
        let keys: [&[u8]; 2] = [&lock?, &fence?];
        let operation = self
            .server
            .operate(|mut link: Link| async move { script.run(&mut link, &keys, arguments).await });
        Ok(operation.await?)
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").finish_non_exhaustive()
    }
}

/// The holder's own end of it: counted from before it was asked for, less what clocks may differ in speed.
fn valid_until(asked: Instant, ttl: Duration) -> Instant {
    let ttl = Duration::from_millis(form::millis(ttl));
    asked + ttl.saturating_sub(ttl / 100 + Duration::from_millis(2))
}

/// A right as its holder knows it.
struct Hold {
    locks: Locks,
    name: Vec<u8>,
    token: [u8; 16],
    fence: u64,
    /// `None` once it is known to be lost.
    valid_until: watch::Sender<Option<Instant>>,
    /// On which it was acquired.
    runtime: Handle,
}

impl Hold {
    async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        let asked = Instant::now();
        let renewed = self.locks.desk().renew(&self.name, &self.token, ttl).await;
        if renewed.map_err(ExtendError::Store)? {
            self.valid_until.send_replace(Some(valid_until(asked, ttl)));
            Ok(())
        } else {
            self.valid_until.send_replace(None);
            Err(ExtendError::Lost)
        }
    }

    /// Renews it at each third, and tries again soon where the server does not answer.
    async fn renew(self: Arc<Self>, ttl: Duration) {
        let third = (ttl / 3).max(Duration::from_millis(1));
        let mut pause = third;
        loop {
            sleep(pause.min(form::FOR_EVER)).await;
            pause = match self.extend(ttl).await {
                Ok(()) => third,
                Err(ExtendError::Lost) => return,
                Err(_) => (third / 4).clamp(Duration::from_millis(1), Duration::from_secs(1)),
            };
        }
    }

    async fn lost(&self) {
        let mut changes = self.valid_until.subscribe();
        loop {
            let Some(until) = *changes.borrow_and_update() else { return };
            match timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) if changes.has_changed().unwrap_or(false) => {}
                Err(_) => return,
            }
        }
    }
}

/// A lock that is held. Dropping it releases it in the background: on the tokio runtime where it is
/// dropped, or else on the one where it was acquired. If that has ended, it is left to its ttl.
#[must_use = "a lock that is dropped is released"]
pub struct Lock {
    hold: Arc<Hold>,
    renewal: Option<JoinHandle<()>>,
    held: bool,
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

impl Lock {
    /// Grows with every holder of this name, even if the server forgets everything in between, unless
    /// its clock was set back meanwhile.
    pub fn fence(&self) -> u64 {
        self.hold.fence
    }

    /// How long it is surely held: what is left of the ttl since before it was asked for, less 1 % and
    /// 2 ms for clocks of another speed. Zero once it is lost.
    pub fn valid_for(&self) -> Duration {
        let until = *self.hold.valid_until.borrow();
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Ends when [`valid_for`](Self::valid_for) is over, or when the server says that it is lost.
    pub async fn lost(&self) {
        self.hold.lost().await;
    }

    /// Makes it last for `ttl` from now.
    ///
    /// # Errors
    /// It is lost, or the server did not answer.
    pub async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.hold.extend(ttl).await
    }

    /// Ends it, and no other holder's.
    ///
    /// # Errors
    /// The server did not answer: it ends with its ttl at latest.
    pub async fn release(mut self) -> Result<Released, StoreError> {
        self.held = false;
        self.stop_renewal();
        let hold = &self.hold;
        let released = hold.locks.desk().release(&hold.name, &hold.token).await?;
        Ok(if released { Released::Released } else { Released::AlreadyLost })
    }

    fn stop_renewal(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.stop_renewal();
        if self.held {
            let hold = Arc::clone(&self.hold);
            let runtime = Handle::try_current().unwrap_or_else(|_| hold.runtime.clone());
            runtime.spawn(async move {
                let _ = hold.locks.desk().release(&hold.name, &hold.token).await;
            });
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid_for = self.valid_for();
        f.debug_struct("Lock").field("fence", &self.fence()).field("valid_for", &valid_for).finish()
    }
}

/// Why a lock was not given.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcquireError {
    /// Somebody else holds it.
    Held,
    /// The caller is not on a tokio runtime.
    NoRuntime,
    /// The server did not do it. A lock that nobody knows of may be held for the ttl.
    Store(StoreError),
}

/// Why a lock was not extended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExtendError {
    /// It had ended.
    Lost,
    /// The server did not do it, or not in time to say so.
    Store(StoreError),
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("somebody else holds the lock"),
            Self::NoRuntime => f.write_str("the caller is not on a tokio runtime"),
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
    fn a_holder_counts_on_less_than_the_server_keeps() {
        let asked = Instant::now();
        let counted = |ttl| valid_until(asked, ttl).duration_since(asked);
        assert_eq!(counted(Duration::from_secs(10)), Duration::from_millis(9_898));
        assert_eq!(counted(Duration::from_millis(2)), Duration::ZERO);
        assert_eq!(counted(Duration::ZERO), Duration::ZERO);
        assert!(counted(Duration::MAX) < form::FOR_EVER);
    }
}
