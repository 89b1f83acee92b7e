//! Scene three: what a read costs, strategy by strategy.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use advanced_caching::local::{self, Action};
use advanced_caching::sync::{Background, Cache};
use advanced_caching::table::{Bound, HashTable};
use advanced_caching::{Clock, MonotonicTime, Policy};
use foldhash::fast::RandomState;

use crate::database::{Database, Failure, Summary};
use crate::promises::Promises;
use crate::show::{self, Colour, Progress, Row, count, time};

type Value = Arc<Summary>;
type Threads = Cache<u64, Value>;
type Hand = local::Cache<u64, Value, HashTable<u64, Value, RandomState>>;
type Read = Result<(), Box<dyn Error>>;

const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 11;
/// Reads in a round: many where they are hits, few where they are queries.
const HITS: u32 = 20_000;
const QUERIES: u32 = 10;

/// A strategy and the median time of its reads.
struct Cost {
    name: &'static str,
    median: Duration,
}

pub(crate) fn show(database: &Database, promises: &mut Promises) -> Result<(), Box<dyn Error>> {
    show::heading(
        "3  What a read costs",
        "How long does one read take, against the database itself?",
    );
    println!(
        "Median of {ROUNDS} rounds, the strategies in turn; loads on the reader's own thread. Bars"
    );
    println!("are logarithmic: four characters for each factor of ten.");
    let progress = Progress::new("measuring", 3);
    let hot = hot(database)?;
    progress.advance(1);
    let mixed = mixed(database)?;
    progress.advance(1);
    let background = background(database)?;
    progress.done();
    print("Hot: every read is a hit", &hot);
    print("Mixed: every second read is a miss, and asks the database", &mixed);
    print("Background: a job keeps the value, readers only look", &background);
    promise("costs: hits are at least 100 times faster than a query", &hot, promises);
    promise("costs: so are looks at a background value", &background, promises);
    Ok(())
}

/// Of all rows but the first, which is the query.
fn promise(claim: &str, costs: &[Cost], promises: &mut Promises) {
    let slowest = costs[1..].iter().map(|cost| cost.median).max().unwrap_or_default();
    let times = costs[0].median.as_nanos() / slowest.as_nanos().max(1);
    promises.check(claim, format!("{} times", count(times as u64)), times >= 100);
}

fn print(title: &str, costs: &[Cost]) {
    println!("\n  {title}");
    let plain = costs[0].median;
    let rows: Vec<_> = costs.iter().map(|cost| row(cost, plain)).collect();
    show::table(&["strategy", "median", "against no cache"], &rows);
}

fn row(cost: &Cost, plain: Duration) -> Row {
    let nanos = cost.median.as_nanos().max(1) as f64;
    let times = plain.as_nanos() as f64 / nanos;
    let times = if times < 10.0 { format!("{times:.1} ×") } else { count(times as u64) + " ×" };
    let bar = show::bar(nanos.log10(), 8.0, 32);
    Row::new(cost.name).cell(time(cost.median)).cell(times).bar(Colour::Cyan, bar)
}

/// A strategy, and how to time a round of its reads.
struct Strategy<'a> {
    name: &'static str,
    round: Box<dyn FnMut() -> Result<Duration, Box<dyn Error>> + 'a>,
}

impl<'a> Strategy<'a> {
    fn new(name: &'static str, reads: u32, mut read: impl FnMut() -> Read + 'a) -> Self {
        let round = move || {
            let start = Instant::now();
            (0..reads).try_for_each(|_| read())?;
            Ok(start.elapsed() / reads)
        };
        Self { name, round: Box::new(round) }
    }
}

/// The strategies take turns, so that what disturbs the machine disturbs all of them.
fn measure<const N: usize>(mut all: [Strategy<'_>; N]) -> Result<Vec<Cost>, Box<dyn Error>> {
    let mut times = all.each_ref().map(|_| vec![]);
    for _ in 0..ROUNDS {
        for (strategy, times) in all.iter_mut().zip(&mut times) {
            times.push((strategy.round)()?);
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    let costs = all.iter().zip(times);
    Ok(costs.map(|(strategy, times)| Cost::new(strategy.name, &times)).collect())
}

impl Cost {
    fn new(name: &'static str, sorted: &[Duration]) -> Self {
        Self { name, median: sorted[sorted.len() / 2] }
    }
}

fn hot(database: &Database) -> Result<Vec<Cost>, Box<dyn Error>> {
    let (ttl, swr, mut hand) = (ttl()?, swr()?, ByHand::new()?);
    measure([
        Strategy::new("no cache", QUERIES, || plain(database, 1)),
        Strategy::new("ttl", HITS, || threads(&ttl, database, 1)),
        Strategy::new("ttl + swr", HITS, || threads(&swr, database, 1)),
        Strategy::new("driven by hand", HITS, || hand.read(database, 1)),
    ])
}

fn mixed(database: &Database) -> Result<Vec<Cost>, Box<dyn Error>> {
    let (ttl, swr, mut hand) = (ttl()?, swr()?, ByHand::new()?);
    let (mut a, mut b, mut c) = (half_new(), half_new(), half_new());
    measure([
        Strategy::new("no cache", QUERIES, || plain(database, 1)),
        Strategy::new("ttl", QUERIES, || here(&ttl, database, a())),
        Strategy::new("ttl + swr", QUERIES, || here(&swr, database, b())),
        Strategy::new("driven by hand", QUERIES, || hand.read(database, c())),
    ])
}

fn background(database: &Database) -> Result<Vec<Cost>, Box<dyn Error>> {
    let (ttl, origin) = (ttl()?, database.clone());
    let kept = Background::builder("customer 1").every(MINUTE).start(move || origin.summary(1))?;
    kept.ready()?;
    measure([
        Strategy::new("no cache", QUERIES, || plain(database, 1)),
        Strategy::new("ttl", HITS, || threads(&ttl, database, 1)),
        Strategy::new("background value", HITS, || {
            black_box(kept.get().ok_or("no value yet")?);
            Ok(())
        }),
    ])
}

/// Every second key is one that nobody has asked for.
fn half_new() -> impl FnMut() -> u64 {
    let mut n = 0;
    move || {
        n += 1;
        if n % 2 == 0 { 1 } else { 1_000 + n }
    }
}

fn plain(database: &Database, key: u64) -> Read {
    black_box(database.summary(key)?);
    Ok(())
}

fn ttl() -> Result<Threads, Box<dyn Error>> {
    Ok(Cache::builder().ttl(MINUTE).build()?)
}

fn swr() -> Result<Threads, Box<dyn Error>> {
    Ok(Cache::builder().ttl(MINUTE).stale_while_revalidate(MINUTE).build()?)
}

fn threads(cache: &Threads, database: &Database, key: u64) -> Read {
    let origin = database.clone();
    black_box(cache.get_or_load(&key, move || origin.summary(key).map(Arc::new))?);
    Ok(())
}

/// Loads on this thread: a worker's core may be faster or slower than this one's, and then the rows
/// of one table could not be compared.
fn here(cache: &Threads, database: &Database, key: u64) -> Read {
    black_box(cache.get_or_load_here(&key, || database.summary(key).map(Arc::new))?);
    Ok(())
}

/// The core itself, without locks or threads: it is told the time, and says what to do.
struct ByHand {
    cache: Hand,
    clock: MonotonicTime,
}

impl ByHand {
    fn new() -> Result<Self, Box<dyn Error>> {
        let table = HashTable::new(Bound::Entries(10_000), RandomState::default());
        let cache = local::Cache::with_table(Policy::ttl(MINUTE).build()?, table);
        Ok(Self { cache, clock: MonotonicTime::new() })
    }

    fn read(&mut self, database: &Database, key: u64) -> Read {
        let now = self.clock.now();
        self.cache.tick(now, 1);
        let value = match self.cache.lookup(&key, now) {
            Action::Serve { value, .. } | Action::ServeAndRefresh { value, .. } => {
                Arc::clone(value)
            }
            Action::Load { ticket, .. } => self.load(database, key, ticket)?,
            Action::Missing | Action::Wait { .. } | Action::Fail { .. } | Action::Busy => {
                return Err("nobody else loads, and no load fails".into());
            }
        };
        black_box(value);
        Ok(())
    }

    fn load(
        &mut self,
        database: &Database,
        key: u64,
        ticket: local::Ticket,
    ) -> Result<Value, Failure> {
        let value = database.summary(key).map(Arc::new)?;
        let _ = self.cache.complete(&key, ticket, Arc::clone(&value), self.clock.now());
        Ok(value)
    }
}
