//! Readers and writers of two processes, while everything goes wrong that can, in an order by a seed.
//!
//! A short run is a part of the tests. `cargo xtask soak` runs it for ten minutes, as fast as servers
//! are asked, and prints what each kind of trouble cost.
//!
//! The first process makes all changes, and must never read what was before them. The second hears of them:
//! what it takes for fresh must not have been changed longer ago than `docs/REDIS.md` promises, and what
//! it takes for stale must be within its windows.

#[path = "soak/changes.rs"]
mod changes;
mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant as Clock};

use cache_core::Freshness;
use cache_core::store::Plain;
use cache_redis::{RedisStore, Server};
use cache_tokio::future::{Cache, LoadError, Outcome, Reach};
use changes::Changes;
use support::{Proxy, Random, RedisServer, Way, eventually};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, sleep};

type Texts = RedisStore<String, Plain>;
type Memory = Cache<u64, String>;

const KEYS: u64 = 1_000;
const TTL: Duration = ms(15_000);
const SWR: Duration = ms(20_000);
const SIE: Duration = ms(30_000);

/// A loss of messages is noticed after two heartbeats and an answer's time-out, and nothing is fresh for
/// longer than a second after that.
const SEEN_AFTER: Duration = ms(2 * 250 + 200 + 1_000);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What reads came to since the last look.
#[derive(Default)]
struct Tally {
    reads: AtomicU64,
    errors: AtomicU64,
    wrong: AtomicU64,
    loads: AtomicU64,
    slowest_micros: AtomicU64,
    /// How many took longer than a millisecond.
    slow: AtomicU64,
    /// For how long at most the second process took something for fresh that had been changed.
    late_millis: AtomicU64,
}

/// The same as numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    times: u64,
    reads: u64,
    errors: u64,
    wrong: u64,
    loads: u64,
    slowest_micros: u64,
    slow: u64,
    late_millis: u64,
    back: Duration,
}

impl Tally {
    fn take(&self) -> Came {
        Came {
            times: 1,
            reads: self.reads.swap(0, Relaxed),
            errors: self.errors.swap(0, Relaxed),
            wrong: self.wrong.swap(0, Relaxed),
            loads: self.loads.swap(0, Relaxed),
            slowest_micros: self.slowest_micros.swap(0, Relaxed),
            slow: self.slow.swap(0, Relaxed),
            late_millis: self.late_millis.swap(0, Relaxed),
            back: Duration::ZERO,
        }
    }
}

impl Came {
    fn add(&mut self, other: Self) {
        self.times += other.times;
        self.reads += other.reads;
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.loads += other.loads;
        self.slowest_micros = self.slowest_micros.max(other.slowest_micros);
        self.slow += other.slow;
        self.late_millis = self.late_millis.max(other.late_millis);
        self.back = self.back.max(other.back);
    }
}

/// What all share.
struct World {
    /// What the origin has of each key, and what of it a mutation has made known here.
    origin: Vec<AtomicU64>,
    known: Vec<AtomicU64>,
    /// When others were told.
    told: Vec<Changes>,
    began: Clock,
    /// So much later than promised nothing counts as late: for the machine.
    slack: Duration,
    tally: Tally,
    stop: AtomicBool,
}

/// A process, whose connections go by a proxy.
fn process(address: &str) -> Memory {
    let store = Texts::new(&Server::open(address).unwrap(), "soak", Plain).unwrap();
    let builder = Cache::builder().ttl(TTL).capacity(2 * KEYS as usize);
    let builder = builder.stale_while_revalidate(SWR).stale_if_error(SIE);
    builder.l2(store.clone()).backplane(store.backplane()).build().unwrap()
}

/// A value of 1 KiB that says whose it is, how new, and when that was.
fn value(key: u64, version: u64, since: Duration) -> String {
    format!("{key} {version} {} {:1000}", since.as_millis(), "")
}

/// What a value says: its version, and when it was loaded.
fn told_by(value: &str, key: u64) -> Option<(u64, Duration)> {
    let mut words = value.split(' ').map(|word| word.parse::<u64>().ok());
    let (of, version, since) = (words.next()??, words.next()??, words.next()??);
    (of == key).then_some((version, ms(since)))
}

impl World {
    /// Whether a read that began then may have come to this. `least` is what it must see in any case.
    fn may_see(&self, key: u64, seen: &Outcome<String>, least: Option<u64>, at: Clock) -> bool {
        let Some((version, since)) = told_by(&seen.value, key) else { return false };
        let age = at.saturating_duration_since(self.began).saturating_sub(since);
        let fresh = seen.freshness == Freshness::Fresh;
        let window = if fresh { TTL } else { TTL + SWR.max(SIE) };
        let in_time = match least {
            Some(least) => version >= least,
            None if fresh => {
                let late = self.told[key as usize].outdated_for(version, at);
                self.tally.late_millis.fetch_max(late.as_millis() as u64, Relaxed);
                late <= SEEN_AFTER + self.slack
            }
            None => true,
        };
        if !in_time || age > window + self.slack {
            eprintln!("{key}: {version} of {age:?} ago, least {least:?}, {:?}", seen.freshness);
        }
        in_time && age <= window + self.slack
    }
}

async fn read(world: Arc<World>, cache: Memory, key: u64, at_once: bool) {
    let at = key as usize;
    // Only what was known before the read began must be seen.
    let least = at_once.then(|| world.known[at].load(Relaxed));
    let loader = {
        let world = Arc::clone(&world);
        move || async move {
            world.tally.loads.fetch_add(1, Relaxed);
            let (version, since) = (world.origin[at].load(Relaxed), world.began.elapsed());
            sleep(ms(5)).await;
            Ok::<_, String>(value(key, version, since))
        }
    };
    let began = Clock::now();
    let answer: Result<_, LoadError<String>> = cache.read(&key).outcome(loader).await;
    let micros = began.elapsed().as_micros() as u64;
    let tally = &world.tally;
    tally.reads.fetch_add(1, Relaxed);
    tally.slowest_micros.fetch_max(micros, Relaxed);
    tally.slow.fetch_add(u64::from(micros > 1_000), Relaxed);
    match answer {
        Ok(seen) => {
            let right = world.may_see(key, &seen, least, began);
            tally.wrong.fetch_add(u64::from(!right), Relaxed);
        }
        Err(error) => {
            eprintln!("an error: {error}");
            tally.errors.fetch_add(1, Relaxed);
        }
    }
}

#[derive(Clone, Copy)]
struct Reads {
    per_second: u64,
    seed: u64,
    /// These are of the writer's own process, which knows at once; another does when it is told.
    at_once: bool,
}

/// Reads so many times a second, whether or not those before have been answered.
async fn readers(world: Arc<World>, cache: Memory, reads: Reads) {
    let Reads { per_second, seed, at_once } = reads;
    let mut random = Random(seed);
    let mut ticks = interval(ms(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !world.stop.load(Relaxed) {
        ticks.tick().await;
        for _ in 0..per_second.div_ceil(1_000) {
            tokio::spawn(read(Arc::clone(&world), cache.clone(), random.below(KEYS), at_once));
        }
    }
}

/// Changes the origin so many times a second, and says so to the process that reads what is known.
async fn writer(world: Arc<World>, cache: Memory, per_second: u64, seed: u64) {
    let mut random = Random(seed);
    while per_second > 0 && !world.stop.load(Relaxed) {
        sleep(ms(1_000) / per_second as u32).await;
        let key = random.below(KEYS);
        let version = world.origin[key as usize].fetch_add(1, Relaxed) + 1;
        let reach = cache.invalidate(&key).await.reach;
        world.known[key as usize].store(version, Relaxed);
        if reach == Reach::Everywhere {
            world.told[key as usize].told(version);
        } else {
            tokio::spawn(tell_later(Arc::clone(&world), cache.clone(), key, version));
        }
    }
}

/// Others are told when Redis is back. By itself the cache would not say when that was.
async fn tell_later(world: Arc<World>, cache: Memory, key: u64, version: u64) {
    while !world.stop.load(Relaxed) {
        sleep(ms(50)).await;
        if cache.invalidate(&key).await.reach == Reach::Everywhere {
            return world.told[key as usize].told(version);
        }
    }
}

/// Memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

const TROUBLES: [&str; 8] = [
    "kill -9",
    "SIGSTOP",
    "black hole",
    "restarts",
    "no memory",
    "read only",
    "connections killed",
    "listeners killed",
];

async fn make(trouble: &str, redis: &mut RedisServer, proxy: &Proxy, random: &mut Random) {
    let a_while = ms(300 + random.below(3_000));
    match trouble {
        "kill -9" => {
            redis.kill();
            sleep(a_while).await;
            redis.restart();
        }
        "SIGSTOP" => {
            redis.signal("STOP");
            sleep(a_while).await;
            redis.signal("CONT");
        }
        "black hole" => {
            proxy.set(Way::Hole);
            sleep(a_while).await;
            proxy.set(Way::Open(Duration::ZERO));
        }
        "restarts" => {
            for _ in 0..5 {
                redis.kill();
                redis.restart();
                sleep(ms(random.below(100))).await;
            }
        }
        "no memory" => {
            redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
            sleep(a_while / 4).await;
            redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
        }
        "read only" => {
            redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
            sleep(a_while / 4).await;
            redis.ask(&["REPLICAOF", "NO", "ONE"]);
        }
        "connections killed" => drop(redis.ask(&["CLIENT", "KILL", "TYPE", "normal"])),
        _ => {
            for _ in 0..10 {
                redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                sleep(ms(random.below(100))).await;
            }
        }
    }
}

/// Waits until what is put reaches the store from this process.
async fn used_again(cache: &Memory) -> Duration {
    let (began, mut key) = (Clock::now(), KEYS);
    eventually("the store is used again", async || {
        key += 1;
        cache.invalidate(&key).await.reach == Reach::Everywhere
    })
    .await;
    began.elapsed()
}

fn print(name: &str, came: &Came) {
    let Came { times, reads, errors, wrong, loads, slowest_micros, slow, late_millis, back } = came;
    println!(
        "{name:<20} {times:>3} times {reads:>10} reads {errors} errors {wrong} wrong {loads:>7} loads, \
         slowest {:>7.1} ms, {slow} above 1 ms, back after {:>4} ms at most, \
         changes seen elsewhere after {late_millis:>4} ms at most",
        *slowest_micros as f64 / 1_000.0,
        back.as_millis()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_no_caller_is_told_an_error_or_what_is_wrong() {
    let (seconds, seed) = (setting("SOAK_SECONDS", 20), setting("SOAK_SEED", 1));
    let (rate, writes) = (setting("SOAK_READS", 1_000), setting("SOAK_WRITES", 50));
    let mut redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let (first, second) = (process(&proxy.address()), process(&redis.address()));
    let world = Arc::new(World {
        origin: (0..2 * KEYS).map(|_| AtomicU64::new(1)).collect(),
        known: (0..2 * KEYS).map(|_| AtomicU64::new(0)).collect(),
        told: (0..2 * KEYS).map(|_| Changes::default()).collect(),
        began: Clock::now(),
        slack: ms(setting("SOAK_SLACK", 8_000)),
        tally: Tally::default(),
        stop: AtomicBool::new(false),
    });
    let load = async |some: Range<u64>| {
        for key in some {
            read(Arc::clone(&world), first.clone(), key, true).await;
        }
    };
    tokio::join!(load(0..KEYS / 3), load(KEYS / 3..2 * KEYS / 3), load(2 * KEYS / 3..KEYS));
    let writers = [tokio::spawn(writer(Arc::clone(&world), first.clone(), writes, seed))];
    let readers = [(&first, true), (&second, false)].map(|(cache, at_once)| {
        let reads = Reads { per_second: rate, seed: seed + u64::from(at_once), at_once };
        tokio::spawn(readers(Arc::clone(&world), cache.clone(), reads))
    });
    sleep(ms(2_000)).await;
    let (mut memory, began) = (0, Clock::now());
    let (mut random, mut to_come) = (Random(seed), vec![]);
    let mut all = BTreeMap::from([("calm", world.tally.take())]);
    while began.elapsed() < Duration::from_secs(seconds) {
        if to_come.is_empty() {
            to_come = TROUBLES.to_vec(); // each once, in any order
        }
        let trouble = to_come.swap_remove(random.below(to_come.len() as u64) as usize);
        make(trouble, &mut redis, &proxy, &mut random).await;
        let back = used_again(&first).await.max(used_again(&second).await);
        all.entry(trouble).or_default().add(Came { back, ..world.tally.take() });
        sleep(ms(500 + random.below(1_000))).await;
        all.entry("calm").or_default().add(world.tally.take());
        if memory == 0 && began.elapsed() > Duration::from_secs(seconds / 4) {
            memory = resident(); // everything has happened by now
        }
    }
    world.stop.store(true, Relaxed);
    for task in readers.into_iter().chain(writers) {
        task.await.unwrap();
    }
    sleep(ms(500)).await;
    all.entry("calm").or_default().add(world.tally.take());
    println!(
        "seed {seed}, {seconds} s, {rate} reads a second for each of two processes, {writes} writes"
    );
    all.iter().for_each(|(name, came)| print(name, came));
    let grown = resident() as f64 / memory.max(1) as f64;
    println!("memory: {memory} KiB after a quarter of the time, and {grown:.3} of it in the end");
    let tasks = |handle: &Handle| handle.metrics().num_alive_tasks();
    drop((first, second));
    // Leases whose answer was lost are still given back, by way of the proxy.
    eventually("the caches have no task left", async || tasks(&Handle::current()) == 1).await;
    drop(proxy);
    eventually("no task is left", async || tasks(&Handle::current()) == 0).await;
    let sum = all.values().fold(Came::default(), |mut sum, came| {
        sum.add(*came);
        sum
    });
    assert_eq!((sum.errors, sum.wrong), (0, 0));
    assert!(sum.reads > 1_000 && sum.times > 4, "{sum:?}");
    assert!(seconds < 300 || grown < 1.05, "memory grew to {grown:.3} of what it was");
}
