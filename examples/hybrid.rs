//! Memory in each process, Redis behind all of them: one load for all, changes that all hear of, and values
//! also while Redis is gone.
//!
//! `cargo run --example hybrid` takes about five seconds. It starts a `redis-server` of its
//! own, kills it in the middle, checks what it promises, and exits with 1 if a promise did not hold. The two
//! processes are two caches here, each with a connection of its own.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use advanced_caching::Freshness;
use advanced_caching::future::{Cache, Outcome, Source};
use advanced_caching::redis::{Connection, RedisStore, Server};
use advanced_caching::store::Plain;
use tokio::time::sleep;

#[path = "support/redis.rs"]
mod redis;
use redis::{Promises, RedisServer, eventually};

const MINUTE: Duration = Duration::from_secs(60);

/// A process: its memory, and its connection to the Redis that all share.
struct Process {
    pages: Cache<String, String>,
    server: Server,
}

impl Process {
    async fn start(address: &str) -> Result<Self, Box<dyn Error>> {
        let server = Server::open(address)?;
        let store = RedisStore::new(&server, "example", Plain)?.namespace("pages");
        let pages = Cache::builder()
            .capacity(1_000)
            .ttl(MINUTE)
            .stale_while_revalidate(MINUTE) // the old value at once, and a load behind it
            .stale_if_error(60 * MINUTE)
            .l2(store.clone()) // asked before the origin
            .backplane(store.backplane()) // tells this memory what others change
            .build()?;
        let hears = store.backplane();
        if !eventually(async || hears.is_open()).await {
            return Err("the backplane did not open".into());
        }
        Ok(Self { pages, server })
    }

    async fn page(&self, name: &str, origin: &Origin) -> io::Result<Outcome<String>> {
        let (origin, page) = (origin.clone(), name.to_owned());
        let outcome = self.pages.read(name).outcome(|| async move { origin.fetch(&page).await });
        outcome.await.map_err(io::Error::other)
    }
}

/// A slow origin, which counts how often it is asked.
#[derive(Clone, Default)]
struct Origin(Arc<AtomicUsize>);

impl Origin {
    async fn fetch(&self, page: &str) -> io::Result<String> {
        let number = self.0.fetch_add(1, Relaxed) + 1;
        sleep(Duration::from_millis(200)).await;
        Ok(format!("<html>{page}, load {number}</html>"))
    }

    fn asked(&self) -> usize {
        self.0.load(Relaxed)
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
    let (mut redis, origin, mut promises) =
        (RedisServer::start()?, Origin::default(), Promises(true));
    println!("Redis    {}", redis.address());
    let [one, two] =
        [Process::start(&redis.address()).await?, Process::start(&redis.address()).await?];
    one_load(&one, &two, &origin, &mut promises).await?;
    one_change(&one, &two, &origin, &mut promises).await?;

    println!("\nRedis is killed");
    redis.kill();
    without_redis(&one, &two, &origin, &mut promises).await?;

    println!("\nRedis is back, and empty");
    redis.restart()?;
    redis_again(&one, &two, &origin, &mut promises).await?;
    Ok(promises.0)
}

async fn one_load(
    one: &Process,
    two: &Process,
    origin: &Origin,
    promises: &mut Promises,
) -> io::Result<()> {
    println!("\nBoth processes want the same page, which neither has");
    let (first, second) = tokio::join!(one.page("/home", origin), two.page("/home", origin));
    let (first, second) = (first?, second?);
    println!("Read     {} from {:?}, and from {:?}", first.value, first.source, second.source);
    promises.check("one of them has loaded it for both", origin.asked() == 1);
    promises.check("both have the same value", first.value == second.value);
    Ok(())
}

async fn one_change(
    one: &Process,
    two: &Process,
    origin: &Origin,
    promises: &mut Promises,
) -> io::Result<()> {
    println!("\nOne process invalidates it");
    // Both have it in memory by now: a hit asks nobody.
    eventually(async || one.page("/home", origin).await.is_ok_and(is_hit)).await;
    eventually(async || two.page("/home", origin).await.is_ok_and(is_hit)).await;
    let start = Instant::now();
    one.pages.invalidate("/home").await;
    let gone = eventually(async || two.pages.get("/home").is_none()).await;
    println!("Gone     from the other's memory after {:.1} ms", millis(start));
    promises.check("the other is told", gone);
    let seen = two.page("/home", origin).await?;
    println!("Read     {} from {:?}", seen.value, seen.source);
    promises.check("and loads what is true now", seen.source == Source::Origin);
    // Callers are answered before it is kept.
    eventually(async || two.page("/home", origin).await.is_ok_and(is_hit)).await;
    Ok(())
}

async fn without_redis(
    one: &Process,
    two: &Process,
    origin: &Origin,
    promises: &mut Promises,
) -> io::Result<()> {
    let start = Instant::now();
    let known = two.page("/home", origin).await?;
    println!("Known    {} from {:?}, in {:.1} ms", known.value, known.source, millis(start));
    promises.check("what is in memory is served from there", known.source == Source::Memory);
    let down = eventually(async || matches!(one.server.connection(), Connection::Down(_))).await;
    promises.check("the connection says that it is down", down);
    let new = one.page("/about", origin).await?;
    println!("New      {} from {:?}, degraded: {}", new.value, new.source, new.degraded);
    promises.check("what is in no memory comes from the origin", new.source == Source::Origin);
    promises.check("and says that the cache was in trouble", new.degraded);
    println!("Counted  {} operations of the store failed", one.pages.stats().store_errors);
    promises.check("no caller was told an error", one.pages.stats().store_errors > 0);
    Ok(())
}

async fn redis_again(
    one: &Process,
    two: &Process,
    origin: &Origin,
    promises: &mut Promises,
) -> io::Result<()> {
    let start = Instant::now();
    let mut pages = (1..).map(|n| format!("/news/{n}"));
    let used = eventually(async || {
        let page = pages.next().unwrap_or_default();
        // Loaded by one, and found by the other where nobody asks the origin.
        let loaded = one.page(&page, origin).await;
        let found = two.page(&page, origin).await;
        loaded.is_ok_and(|seen| !seen.degraded) && found.is_ok_and(is_stored)
    });
    let used = used.await;
    println!("Shared   again after {:.1} s", start.elapsed().as_secs_f64());
    promises.check("it is used again, without a restart of anything", used);
    promises.check("the connection is up", one.server.connection() == Connection::Up);
    Ok(())
}

fn is_hit(seen: Outcome<String>) -> bool {
    seen.source == Source::Memory && seen.freshness == Freshness::Fresh
}

fn is_stored(seen: Outcome<String>) -> bool {
    seen.source == Source::Store
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}
