//! Locks between processes.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use cache_core::store::{
    AcquireError, AsyncLock, AsyncLocks, ExtendError, KeyBytes, LockOptions, Released, StoreError,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::desk::{Desk, Room};
use crate::error::BuildError;
use crate::key::{Kind, Names};
use crate::link::Link;
use crate::random::{self, Spread};
use crate::script::Script;
use crate::{Server, form};

mod hold;

use hold::Hold;

/// Locks in a Redis server, shared by all processes that give the same prefix and namespace.
///
/// What they promise is mutual exclusion for efficiency: at most one holder while one and the same
/// server is up, and no holder counts on more than [`RedisLock::valid_for`]. A process that is paused, a clock
/// that jumps or a failover to a replica can give two holders (Kleppmann, "How to do distributed locking",
/// 2016). Where that would corrupt data, hand [`RedisLock::fence`] to what is protected, and have it refuse
/// numbers below the largest that it has seen.
///
/// Code that takes any [`AsyncLocks`] is tested with [`MemoryLocks`](https://docs.rs/cache-std) and no server.
///
/// ```no_run
/// use std::time::Duration;
/// use cache_redis::{LockOptions, RedisLocks, Released, Server};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let locks = RedisLocks::new(&Server::open("redis://localhost")?, "shop")?;
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
pub struct RedisLocks {
    server: Server,
    prefix: Vec<u8>,
    names: Names,
}

const MAX_NAME: usize = 64 << 10;

impl RedisLocks {
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
    pub async fn acquire<K>(
        &self,
        name: &K,
        options: LockOptions,
    ) -> Result<RedisLock, AcquireError>
    where
        K: KeyBytes + ?Sized,
    {
        let name = name.key_bytes().into_owned();
        self.acquire_bytes(name, options).await
    }

    async fn acquire_bytes(
        &self,
        name: Vec<u8>,
        options: LockOptions,
    ) -> Result<RedisLock, AcquireError> {
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
    ) -> Result<Option<RedisLock>, AcquireError> {
        let asked = self.asked();
        let lease = self.desk().acquire(name, options.ttl).await;
        let Some(lease) = lease.map_err(AcquireError::Store)? else { return Ok(None) };
        let hold = Hold::new(self.clone(), name, &lease, runtime, asked.kept(options.ttl));
        let guard = runtime.spawn(Arc::clone(&hold).guard(options.renew));
        Ok(Some(RedisLock { hold, guard, held: true }))
    }

    const fn desk(&self) -> Desk<'_, Self> {
        Desk(self)
    }
}

impl AsyncLocks for RedisLocks {
    type Lock = RedisLock;

    fn acquire<K>(
        &self,
        name: &K,
        options: LockOptions,
    ) -> impl Future<Output = Result<RedisLock, AcquireError>> + Send
    where
        K: KeyBytes + Sync + ?Sized,
    {
        self.acquire_bytes(name.key_bytes().into_owned(), options)
    }
}

impl Room for RedisLocks {
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

impl fmt::Debug for RedisLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLocks").finish_non_exhaustive()
    }
}

/// A lock that is held. Dropping it releases it in the background: on the tokio runtime where it is
/// dropped, or else on the one where it was acquired. If that has ended, it is left to its ttl.
///
/// A server that was killed may come back without its memory, and give the lock to another. So whenever a
/// connection to it ends, nobody knows whether the lock is held: [`valid_for`](Self::valid_for) is zero until the
/// server, on the next connection, has said that it still is. What else it forgets, by `FLUSHALL` or by eviction, is
/// found out with the next renewal.
#[must_use = "a lock that is dropped is released"]
pub struct RedisLock {
    hold: Arc<Hold>,
    /// Renews it, and asks for it when the connection has ended.
    guard: JoinHandle<()>,
    held: bool,
}

impl RedisLock {
    /// Grows with every holder of this name, even if the server forgets everything in between, unless
    /// its clock was set back meanwhile.
    pub fn fence(&self) -> u64 {
        self.hold.fence()
    }

    /// How long it is surely held: what is left of the ttl since before it was asked for, less 1 % and
    /// 2 ms for clocks of another speed. Zero once it is lost; and from when a connection to the server has ended
    /// until the server has confirmed it, since it may have forgotten it. In a cluster, that is any of the
    /// connections.
    pub fn valid_for(&self) -> Duration {
        self.hold.valid_for()
    }

    /// Ends when the time for which it was surely held is over, or when the server says that it is lost: asked as
    /// soon as there is another connection, where one has ended. Then that takes one
    /// [`operation_timeout`](crate::ServerBuilder::operation_timeout) at most, beside the time to connect.
    pub async fn lost(&self) {
        self.hold.lost().await;
    }

    /// Makes it last for `ttl` from now, and from each renewal on where it is renewed.
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
        self.guard.abort();
        // If this is dropped, or nobody answers, it is given back as one that is dropped is.
        let released = self.hold.release().await?;
        self.held = false;
        Ok(if released { Released::Released } else { Released::AlreadyLost })
    }
}

impl AsyncLock for RedisLock {
    fn fence(&self) -> u64 {
        self.fence()
    }

    fn valid_for(&self) -> Duration {
        self.valid_for()
    }

    async fn lost(&self) {
        self.lost().await;
    }

    async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.extend(ttl).await
    }

    async fn release(self) -> Result<Released, StoreError> {
        self.release().await
    }
}

impl Drop for RedisLock {
    fn drop(&mut self) {
        self.guard.abort();
        if self.held {
            let hold = Arc::clone(&self.hold);
            let runtime = Handle::try_current().unwrap_or_else(|_| hold.runtime().clone());
            runtime.spawn(async move { hold.give_back().await });
        }
    }
}

impl fmt::Debug for RedisLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid_for = self.valid_for();
        f.debug_struct("RedisLock")
            .field("fence", &self.fence())
            .field("valid_for", &valid_for)
            .finish()
    }
}
