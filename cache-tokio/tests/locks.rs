//! Locks in memory for tasks: on paused time, and on a clock that the test moves.

use core::time::Duration;
use std::sync::Arc;

use cache_core::conformance::{self, Harness, LockHarness};
use cache_core::store::{
    AcquireError, AsyncLock, AsyncLocks, ExtendError, KeyBytes, Lock, LockOptions, Locks, Released,
    StoreError,
};
use cache_std::{Clock, Instant as CacheInstant, ManualTime, MemoryLocks};
use cache_tokio::future::{TaskLock, TaskLocks};
use cache_tokio::{Tokio, TokioTime};
use tokio::runtime::Runtime;
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep, timeout};

const MINUTE: Duration = Duration::from_secs(60);

/// Code of a user's: it works as long as it has the lock, wherever that lives.
async fn works(locks: &impl AsyncLocks, work: Duration) -> Result<bool, AcquireError> {
    let lock = locks.acquire("report", LockOptions::new(MINUTE).renew()).await?;
    let done = tokio::select! {
        () = sleep(work) => true,
        () = lock.lost() => false,
    };
    Ok(done && matches!(lock.release().await, Ok(Released::Released)))
}

#[tokio::test(start_paused = true)]
async fn code_that_takes_locks_runs_without_a_server_on_virtual_time() {
    let locks = MemoryLocks::with_time(TokioTime::new());
    let tasks = locks.tasks(Tokio);
    assert!(works(&tasks, 10 * MINUTE).await.unwrap());
    let working = tokio::spawn({
        let tasks = tasks.clone();
        async move { works(&tasks, 10 * MINUTE).await }
    });
    sleep(5 * MINUTE).await;
    assert!(matches!(works(&tasks, MINUTE).await, Err(AcquireError::Held)));
    assert!(locks.take_away("report"));
    assert!(!working.await.unwrap().unwrap(), "it was told");
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_lost_when_its_time_is_over_and_not_before_it_was_to_be() {
    let tasks = MemoryLocks::with_time(TokioTime::new()).tasks(Tokio);
    let (began, options) = (Instant::now(), LockOptions::new(MINUTE));
    let lock = tasks.acquire("a", options).await.unwrap();
    advance(MINUTE / 2).await;
    lock.extend(MINUTE).await.unwrap();
    lock.lost().await;
    let lost = began.elapsed();
    assert!(lost >= MINUTE / 2 + LockOptions::surely(MINUTE) && lost < MINUTE * 3 / 2, "{lost:?}");
    assert_eq!(lock.valid_for(), Duration::ZERO);
    assert!(matches!(tasks.acquire("a", options).await, Err(AcquireError::Held)));
    let next = tasks.acquire("a", options.wait(MINUTE)).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 90);
    assert!(next.fence() > lock.fence());
    assert!(matches!(lock.extend(MINUTE).await, Err(ExtendError::Lost)));
    assert_eq!(lock.release().await.unwrap(), Released::AlreadyLost);
    assert_eq!(next.release().await.unwrap(), Released::Released);
}

#[tokio::test]
async fn who_waits_has_it_when_another_is_dropped_or_its_time_is_over() {
    let time = ManualTime::new();
    let tasks = MemoryLocks::with_time(time.clone()).tasks(Tokio);
    for by_time in [false, true] {
        let held = tasks.acquire("a", LockOptions::new(MINUTE)).await.unwrap();
        let other = tasks.clone();
        let waits = tokio::spawn(async move {
            other.acquire("a", LockOptions::new(MINUTE).wait(2 * MINUTE)).await.map(|l| l.fence())
        });
        while time.parked() == 0 {
            yield_now().await;
        }
        if by_time {
            time.advance(MINUTE);
        } else {
            drop(held);
        }
        let fence = timeout(MINUTE, waits).await.expect("it is woken").unwrap();
        assert!(fence.is_ok());
    }
    assert_eq!(time.parked(), 0);
}

#[test]
fn without_a_runtime_a_lock_is_given_and_who_must_wait_is_told() {
    let locks = MemoryLocks::new();
    let tasks = locks.tasks(Tokio);
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    let mut ready = |future: &mut (dyn Future<Output = Option<bool>> + Unpin)| {
        match core::pin::Pin::new(future).poll(&mut context) {
            core::task::Poll::Ready(answer) => answer,
            core::task::Poll::Pending => panic!("it waits"),
        }
    };
    let held = locks.acquire("a", LockOptions::new(MINUTE)).unwrap();
    let options = LockOptions::new(MINUTE).wait(MINUTE);
    let mut waits = Box::pin(async {
        Some(matches!(tasks.acquire("a", options).await, Err(AcquireError::NoRuntime)))
    });
    assert_eq!(ready(&mut waits), Some(true));
    drop(held);
    let mut given = Box::pin(async {
        let lock = tasks.acquire("a", options).await.ok()?;
        lock.lost().await;
        Some(true)
    });
    assert_eq!(ready(&mut given), Some(true));
}

/// Threads and tasks take the same locks.
#[tokio::test]
async fn threads_and_tasks_share_them() {
    let time = ManualTime::new();
    let locks = MemoryLocks::with_time(Arc::new(time.clone()));
    let held = locks.acquire("a", LockOptions::new(MINUTE)).unwrap();
    let tasks = locks.tasks(Tokio);
    assert!(matches!(tasks.acquire("a", LockOptions::new(MINUTE)).await, Err(AcquireError::Held)));
    drop(held);
    let mine = tasks.acquire("a", LockOptions::new(MINUTE)).await.unwrap();
    assert!(locks.acquire("a", LockOptions::new(MINUTE)).is_err());
    let before = time.now();
    assert!(mine.valid_for() < MINUTE && time.now() == before);
}

/// A clock that who waits moves, and a runtime on which threads wait for tasks.
struct Virtual(ManualTime, Arc<Runtime>);

struct Waited<T>(T, Arc<Runtime>);

impl Harness for Virtual {
    type Key = str;

    fn key(&self, n: u64) -> String {
        n.to_string()
    }

    fn now(&self) -> CacheInstant {
        self.0.now()
    }

    fn advance(&self, span: Duration) -> CacheInstant {
        self.0.advance(span);
        self.0.now()
    }
}

impl LockHarness for Virtual {
    type Locks = Waited<(MemoryLocks, TaskLocks)>;

    fn make(&self) -> Self::Locks {
        let locks = MemoryLocks::with_time(self.0.leaping());
        Waited((locks.clone(), locks.tasks(Tokio)), Arc::clone(&self.1))
    }

    fn take_away(&self, locks: &Self::Locks, name: &str) -> bool {
        locks.0.0.take_away(name)
    }
}

impl Locks for Waited<(MemoryLocks, TaskLocks)> {
    type Lock = Waited<TaskLock>;

    fn acquire<K>(&self, name: &K, options: LockOptions) -> Result<Waited<TaskLock>, AcquireError>
    where
        K: KeyBytes + Sync + ?Sized,
    {
        let lock = self.1.block_on(self.0.1.acquire(name, options))?;
        Ok(Waited(lock, Arc::clone(&self.1)))
    }
}

impl Lock for Waited<TaskLock> {
    fn fence(&self) -> u64 {
        self.0.fence()
    }

    fn valid_for(&self) -> Duration {
        self.0.valid_for()
    }

    fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.1.block_on(self.0.extend(ttl))
    }

    fn release(self) -> Result<Released, StoreError> {
        self.1.block_on(self.0.release())
    }
}

#[test]
fn the_locks_of_tasks_conform() {
    let harness = Virtual(ManualTime::new(), Arc::new(Runtime::new().unwrap()));
    let report = conformance::locks(&harness).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(report.not_applicable().count(), 0, "{report}");
}
