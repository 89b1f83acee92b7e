//! A lock that processes share: who holds it, how long that is sure, and what one who comes too late can still do.
//!
//! `cargo run --example distributed_lock` takes about three seconds. It starts a
//! `redis-server` of its own, checks what it promises, and exits with 1 if a promise did not hold. All of it but the
//! last part runs on locks in memory first, as a test without a server would.
//!
//! The usual mistake is to ask who holds a lock, and to delete it if that is oneself: between the two steps it may
//! have passed to another, whose lock is deleted then. Here it cannot be written: a lock is released by what
//! `acquire` answered, in one step of the server, and that ends no other holder's.

use std::error::Error;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use advanced_caching::MemoryLocks;
use advanced_caching::future::Tokio;
use advanced_caching::redis::{RedisLocks, Server};
use advanced_caching::store::{AcquireError, AsyncLock, AsyncLocks, LockOptions, Released};
use tokio::time::sleep;

#[path = "support/redis.rs"]
mod redis;
use redis::{PATIENCE, Promises, RedisServer, eventually};

const SHORT: Duration = Duration::from_millis(300);
const MINUTE: Duration = Duration::from_secs(60);

/// What the lock protects: a report that two writers would spoil. It refuses whoever came before the last writer.
#[derive(Default)]
struct Report {
    text: String,
    last_fence: u64,
}

impl Report {
    fn write(&mut self, fence: u64, text: &str) -> bool {
        if fence < self.last_fence {
            return false;
        }
        (self.last_fence, self.text) = (fence, text.to_owned());
        true
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match show().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the example could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Locks of any kind, which can be shown.
trait AnyLocks: AsyncLocks<Lock: Debug> {}

impl<L: AsyncLocks<Lock: Debug>> AnyLocks for L {}

async fn show() -> Result<bool, Box<dyn Error>> {
    let (mut redis, mut promises) = (RedisServer::start()?, Promises(true));
    println!("Locks in memory");
    let memory = MemoryLocks::new().tasks(Tokio);
    show_on(&memory, &memory.clone(), &mut promises).await?;
    println!("\nRedis    {}", redis.address());
    let process = || RedisLocks::new(&Server::open(&redis.address())?, "example");
    let (one, two) = (process()?, process()?);
    show_on(&one, &two, &mut promises).await?;
    forgotten(&one, &two, &mut redis, &mut promises).await?;
    Ok(promises.0)
}

async fn show_on(
    one: &impl AnyLocks,
    two: &impl AnyLocks,
    promises: &mut Promises,
) -> Result<(), Box<dyn Error>> {
    one_at_a_time(one, two, promises).await?;
    too_late(one, two, promises).await?;
    renewed(one, two, promises).await
}

async fn one_at_a_time(
    one: &impl AnyLocks,
    two: &impl AnyLocks,
    promises: &mut Promises,
) -> Result<(), Box<dyn Error>> {
    println!("\nTwo processes want the same lock");
    let held = one.acquire("report", LockOptions::new(MINUTE)).await?;
    println!("Held     {held:?}");
    let refused = two.acquire("report", LockOptions::new(MINUTE)).await;
    promises.check("one has it", matches!(refused, Err(AcquireError::Held)));
    let sure = held.valid_for();
    promises.check("less than its ttl is sure", sure > MINUTE / 2 && sure < MINUTE);
    let waits = two.acquire("report", LockOptions::new(MINUTE).wait(PATIENCE));
    let releases = async {
        sleep(Duration::from_millis(50)).await;
        let fence = held.fence();
        held.release().await.map(|released| (fence, released))
    };
    let (next, released) = tokio::join!(waits, releases);
    let (next, (fence, released)) = (next?, released?);
    println!("Held     {next:?}");
    promises.check("it is released", released == Released::Released);
    promises.check("who waited has it, with a larger number", next.fence() > fence);
    drop(next); // released in the background
    Ok(())
}

async fn too_late(
    one: &impl AnyLocks,
    two: &impl AnyLocks,
    promises: &mut Promises,
) -> Result<(), Box<dyn Error>> {
    println!("\nA holder works for longer than its lock lasts");
    let mut report = Report::default();
    let late = one.acquire("report", LockOptions::new(SHORT).wait(PATIENCE)).await?;
    let work = sleep(MINUTE);
    let told = tokio::select! {
        () = work => false,
        () = late.lost() => true,
    };
    promises.check("it is told", told && late.valid_for().is_zero());
    let next = two.acquire("report", LockOptions::new(MINUTE).wait(PATIENCE)).await?;
    println!("Held     {next:?}");
    promises.check("another has it now", report.write(next.fence(), "by the second"));
    let spoiled = report.write(late.fence(), "by the first");
    println!("Report   {:?}", report.text);
    promises.check("what is protected refuses the late one's number", !spoiled);
    let released = late.release().await?;
    println!("Release  {released:?}");
    promises.check("a late release says so", released == Released::AlreadyLost);
    let third = one.acquire("report", LockOptions::new(MINUTE)).await;
    promises.check("and has not ended the other's", matches!(third, Err(AcquireError::Held)));
    promises.check("who holds it still does", next.release().await? == Released::Released);
    Ok(())
}

async fn renewed(
    one: &impl AnyLocks,
    two: &impl AnyLocks,
    promises: &mut Promises,
) -> Result<(), Box<dyn Error>> {
    println!("\nA holder that has it renewed, at each third of its time");
    let long = one.acquire("report", LockOptions::new(SHORT).wait(PATIENCE).renew()).await?;
    sleep(3 * SHORT).await;
    println!("Held     {long:?}");
    let refused = two.acquire("report", LockOptions::new(SHORT)).await;
    promises.check("outlasts its ttl", matches!(refused, Err(AcquireError::Held)));
    drop(long);
    let free = eventually(async || two.acquire("report", LockOptions::new(SHORT)).await.is_ok());
    promises.check("dropped, it is released", free.await);
    Ok(())
}

/// A server that keeps nothing on disk is killed, and comes back empty.
async fn forgotten(
    one: &RedisLocks,
    two: &RedisLocks,
    redis: &mut RedisServer,
    promises: &mut Promises,
) -> Result<(), Box<dyn Error>> {
    println!("\nThe server forgets who holds the lock");
    let first = one.acquire("report", LockOptions::new(MINUTE).wait(PATIENCE)).await?;
    redis.kill();
    let told = eventually(async || first.valid_for().is_zero());
    promises.check("its holder does not count on it when the server is gone", told.await);
    redis.restart()?;
    let again = eventually(async || two.acquire("other", LockOptions::new(SHORT)).await.is_ok());
    promises.check("the server is used again", again.await);
    let second = two.acquire("report", LockOptions::new(MINUTE)).await?;
    println!("Held     {second:?}");
    let lost = tokio::time::timeout(PATIENCE, first.lost()).await;
    promises.check("the first is told that it has lost it", lost.is_ok());
    promises.check("the second has a larger number", second.fence() > first.fence());
    let (late, last) = (first.release().await?, second.release().await?);
    promises
        .check("and has not lost it", (late, last) == (Released::AlreadyLost, Released::Released));
    Ok(())
}
