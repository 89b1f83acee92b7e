//! A lock that processes share: who holds it, how long that is sure, and what one who comes too late can still do.
//!
//! `cargo run --example distributed_lock` takes about two seconds. It starts a
//! `redis-server` of its own, checks what it promises, and exits with 1 if a promise did not hold.
//!
//! The usual mistake is to ask who holds a lock, and to delete it if that is oneself: between the two steps it may
//! have passed to another, whose lock is deleted then. Here it cannot be written: a lock is released by what
//! `acquire` answered, in one step of the server, and that ends no other holder's.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use advanced_caching::redis::{AcquireError, LockOptions, RedisLocks, Released, Server};
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

async fn show() -> Result<bool, Box<dyn Error>> {
    let (redis, mut promises) = (RedisServer::start()?, Promises(true));
    println!("Redis    {}", redis.address());
    let process = || RedisLocks::new(&Server::open(&redis.address())?, "example");
    let (one, two) = (process()?, process()?);
    one_at_a_time(&one, &two, &mut promises).await?;
    too_late(&one, &two, &mut promises).await?;
    renewed(&one, &two, &mut promises).await?;
    Ok(promises.0)
}

async fn one_at_a_time(
    one: &RedisLocks,
    two: &RedisLocks,
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
    one: &RedisLocks,
    two: &RedisLocks,
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
    one: &RedisLocks,
    two: &RedisLocks,
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
