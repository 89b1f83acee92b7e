//! Scene one: the database is locked for five seconds under a steady load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use advanced_caching::Freshness;
use advanced_caching::sync::{Builder, Cache};

use crate::database::{Database, Failure, Summary};
use crate::show::{self, Progress, Promises};

type Result<T> = core::result::Result<T, Box<dyn std::error::Error>>;

const BEFORE: Duration = Duration::from_secs(3);
const OUTAGE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(2);
/// Requests a second, all strategies together.
const RATE: u32 = 2_000;
const THREADS_EACH: u32 = 2;
/// Customers who are asked for.
const KEYS: u64 = 50;
/// One character of the time line.
const BIN: Duration = Duration::from_millis(250);

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Served {
    Fresh,
    Stale,
    Kept,
    Failed,
}

struct Sample {
    at: Duration,
    took: Duration,
    served: Served,
}

/// One way to read, and what came of it.
struct Strategy {
    name: &'static str,
    cache: Option<Cache<u64, Summary>>,
    queries: Arc<AtomicU64>,
}

pub(crate) fn show(database: &Database, promises: &mut Promises) -> Result<()> {
    show::heading(
        "Scene one: the incident",
        "Four strategies serve 500 requests a second each, 2,000 together. After three seconds another\n\
         connection locks the database for five. What do their callers notice?",
    );
    let strategies = strategies()?;
    for strategy in &strategies {
        (0..KEYS).try_for_each(|key| strategy.request(database, key).map(drop))?;
    }
    let samples = run(&strategies, database)?;
    print(&strategies, &samples);
    promise(&strategies, &samples, promises);
    Ok(())
}

fn strategies() -> Result<[Strategy; 4]> {
    let (soon, later) = (Duration::from_millis(500), Duration::from_secs(1));
    let ttl = || Cache::builder().ttl(Duration::from_secs(1)).cool_down(soon, 2, later);
    let swr = || ttl().stale_while_revalidate(Duration::from_secs(2));
    let sie = || swr().stale_if_error(Duration::from_secs(3_600));
    Ok([
        Strategy::new("no cache", None)?,
        Strategy::new("ttl 1 s", Some(ttl()))?,
        Strategy::new("ttl 1 s, swr 2 s", Some(swr()))?,
        Strategy::new("ttl 1 s, swr 2 s, sie 1 h", Some(sie()))?,
    ])
}

impl Strategy {
    fn new(name: &'static str, builder: Option<Builder<u64, Summary>>) -> Result<Self> {
        let cache = builder.map(Builder::build).transpose()?;
        Ok(Self { name, cache, queries: Arc::default() })
    }

    fn request(&self, database: &Database, key: u64) -> core::result::Result<Served, Failure> {
        let (origin, queries) = (database.clone(), Arc::clone(&self.queries));
        let load = move || {
            queries.fetch_add(1, Ordering::Relaxed);
            origin.summary(key)
        };
        let Some(cache) = &self.cache else { return load().map(|_| Served::Fresh) };
        match cache.get_or_load(&key, load) {
            Ok(_) => Ok(match cache.freshness(&key) {
                Some(Freshness::Stale) => Served::Stale,
                Some(Freshness::Expired) => Served::Kept,
                _ => Served::Fresh,
            }),
            Err(error) => {
                Err(error.error().cloned().unwrap_or_else(|| Failure::Other(error.to_string())))
            }
        }
    }
}

/// Loads all strategies at once, so that they meet the same outage; the samples of each.
fn run(strategies: &[Strategy; 4], database: &Database) -> Result<[Vec<Sample>; 4]> {
    let threads = THREADS_EACH * strategies.len() as u32;
    let barrier = Barrier::new(threads as usize + 1);
    let samples = thread::scope(|scope| {
        let handles = strategies.each_ref().map(|strategy| {
            (0..THREADS_EACH)
                .map(|_| scope.spawn(|| load(strategy, database, &barrier, threads)))
                .collect::<Vec<_>>()
        });
        barrier.wait();
        outage(database)?;
        let joined = handles.map(|handles| {
            handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
        });
        Ok::<_, Failure>(joined)
    })?;
    Ok(samples)
}

/// Waits, locks, waits.
fn outage(database: &Database) -> core::result::Result<(), Failure> {
    let progress = Progress::new("serving", 10);
    let wait = |span: Duration| {
        for _ in 0..span.as_secs() {
            thread::sleep(Duration::from_secs(1));
            progress.advance(1);
        }
    };
    wait(BEFORE);
    database.locked(|| wait(OUTAGE))?;
    wait(AFTER);
    progress.done();
    Ok(())
}

/// One thread's share of the load. Requests come by the clock, whether or not the last one was
/// answered in time: a late answer counts from when it was due.
fn load(strategy: &Strategy, database: &Database, barrier: &Barrier, threads: u32) -> Vec<Sample> {
    barrier.wait();
    let (start, gap) = (Instant::now(), Duration::from_secs(1) * threads / RATE);
    let end = BEFORE + OUTAGE + AFTER;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut samples = vec![];
    let mut due = Duration::ZERO;
    while due < end {
        thread::sleep(due.saturating_sub(start.elapsed()));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The lesser of two draws: low numbers are asked for more often.
        let key = ((random >> 33) % KEYS).min((random >> 13) % KEYS);
        let served = strategy.request(database, key).unwrap_or(Served::Failed);
        samples.push(Sample { at: due, took: start.elapsed().saturating_sub(due), served });
        due += gap;
    }
    samples
}

fn failed(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.served == Served::Failed).count()
}

fn percentile(samples: &[Sample], percent: usize) -> Duration {
    let mut times: Vec<_> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}

fn print(strategies: &[Strategy; 4], samples: &[Vec<Sample>; 4]) {
    let rows: Vec<_> = strategies
        .iter()
        .zip(samples)
        .map(|(strategy, samples)| {
            let failed = failed(samples);
            vec![
                strategy.name.into(),
                samples.len().to_string(),
                failed.to_string(),
                show::time(percentile(samples, 50)),
                show::time(percentile(samples, 99)),
                strategy.queries.load(Ordering::Relaxed).to_string(),
                show::bar(failed as f64, samples.len() as f64, 20),
            ]
        })
        .collect();
    show::table(&["strategy", "requests", "failed", "p50", "p99", "queries", ""], &rows);
    println!("\n  what was served, a character for each quarter of a second:");
    for (strategy, samples) in strategies.iter().zip(samples) {
        println!("  {:<26}{}", strategy.name, time_line(samples));
    }
    let (before, outage) = (marks(BEFORE), marks(OUTAGE));
    println!("  {:<26}{}{}", "", " ".repeat(before), "^".repeat(outage));
    println!("  . fresh   s stale   k kept for errors   x some failed   ^ the database is locked");
}

fn marks(span: Duration) -> usize {
    (span.as_millis() / BIN.as_millis()) as usize
}

/// The worst that was served in each stretch of time.
fn time_line(samples: &[Sample]) -> String {
    let mut worst = vec![Served::Fresh; marks(BEFORE + OUTAGE + AFTER)];
    for sample in samples {
        let bin = &mut worst[marks(sample.at)];
        *bin = (*bin).max(sample.served);
    }
    let letter = |served| match served {
        Served::Fresh => '.',
        Served::Stale => 's',
        Served::Kept => 'k',
        Served::Failed => 'x',
    };
    worst.into_iter().map(letter).collect()
}

fn promise(strategies: &[Strategy; 4], samples: &[Vec<Sample>; 4], promises: &mut Promises) {
    let failures = samples.each_ref().map(|samples| failed(samples));
    let queries = |n: usize| strategies[n].queries.load(Ordering::Relaxed);
    promises
        .check("incident: the outage was real: callers without a cache failed", failures[0] > 0);
    promises.check("incident: with a ttl alone, callers failed as well", failures[1] > 0);
    promises.check("incident: with stale-if-error, no request failed", failures[3] == 0);
    let kept = samples[3].iter().any(|sample| sample.served == Served::Kept);
    promises.check("incident: and some were served what was kept for errors", kept);
    promises.check(
        "incident: with stale-if-error the database was asked less than a fifth as often as without a cache",
        queries(3) * 5 < queries(0),
    );
}
