//! Scene three: what a read costs, strategy by strategy.

use std::hint::black_box;
use std::time::{Duration, Instant};

use advanced_caching::local::{self, Action};
use advanced_caching::sync::{Background, Cache};
use advanced_caching::table::{Bound, HashTable};
use advanced_caching::{Clock, MonotonicTime, Policy};

use crate::database::{Database, Failure, Summary};
use crate::show::{self, Progress, Promises};

type Result<T> = core::result::Result<T, Box<dyn std::error::Error>>;
type ByHand = local::Cache<u64, Summary, HashTable<u64, Summary, foldhash::fast::RandomState>>;

const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 11;

/// One row: its name and the median time of a read.
struct Row {
    name: &'static str,
    median: Duration,
}

pub(crate) fn show(database: &Database, promises: &mut Promises) -> Result<()> {
    show::heading(
        "Scene three: what a read costs",
        "Median of eleven rounds, against the database itself.",
    );
    let progress = Progress::new("measuring", 3);
    let hot = hot(database)?;
    progress.advance(1);
    let mixed = mixed(database)?;
    progress.advance(1);
    let background = background(database)?;
    progress.done();
    print("hot: every read is a hit", &hot);
    print("mixed: every second read is a miss, and asks the database", &mixed);
    print("background: a value that a job keeps up to date", &background);
    let faster =
        |rows: &[Row], times: u32| rows[1..].iter().all(|row| row.median * times <= rows[0].median);
    promises.check("hot: every strategy reads at least 100 times faster", faster(&hot, 100));
    promises.check("background: at least 100 times faster, too", faster(&background, 100));
    Ok(())
}

fn print(title: &str, rows: &[Row]) {
    println!("  {title}");
    let plain = rows[0].median.as_secs_f64();
    let cells = rows.iter().map(|row| {
        let times = plain / row.median.as_secs_f64().max(1e-10);
        let times = if times < 10.0 { format!("{times:.1} ×") } else { format!("{times:.0} ×") };
        // Bars of logarithms: a hit would be invisible beside a query.
        let size = (row.median.as_nanos() as f64).log10();
        let bar = show::bar(size, (rows[0].median.as_nanos() as f64).log10(), 24);
        vec![row.name.into(), show::time(row.median), times, bar]
    });
    show::table(&["strategy", "median", "faster", ""], &cells.collect::<Vec<_>>());
    println!();
}

/// The median over rounds of the time of one read, `reads` of them in each round.
fn measure(
    name: &'static str,
    reads: u32,
    mut read: impl FnMut() -> core::result::Result<Summary, String>,
) -> Result<Row> {
    let mut times = vec![];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..reads {
            black_box(read()?);
        }
        times.push(start.elapsed() / reads);
    }
    times.sort_unstable();
    Ok(Row { name, median: times[ROUNDS / 2] })
}

fn caches() -> Result<[Cache<u64, Summary>; 2]> {
    let ttl = Cache::builder().ttl(MINUTE).capacity(100_000);
    let swr = Cache::builder().ttl(MINUTE).capacity(100_000).stale_while_revalidate(MINUTE);
    Ok([ttl.build()?, swr.build()?])
}

fn by_hand() -> Result<ByHand> {
    let table = HashTable::new(Bound::Entries(100_000), foldhash::fast::RandomState::default());
    Ok(local::Cache::with_table(Policy::ttl(MINUTE).build()?, table))
}

fn through(
    cache: &Cache<u64, Summary>,
    database: &Database,
    key: u64,
) -> core::result::Result<Summary, String> {
    let origin = database.clone();
    cache.get_or_load(&key, move || origin.summary(key)).map_err(|error| error.to_string())
}

fn tick(
    cache: &mut ByHand,
    time: &MonotonicTime,
    database: &Database,
    key: u64,
) -> core::result::Result<Summary, String> {
    match cache.lookup(&key, time.now()) {
        Action::Serve { value, .. } | Action::ServeAndRefresh { value, .. } => Ok(*value),
        Action::Load { ticket, .. } => {
            let summary = database.summary(key).map_err(|error| error.to_string())?;
            let _ = cache.complete(&key, ticket, summary, time.now());
            Ok(summary)
        }
        other => Err(format!("nobody else loads: {other:?}")),
    }
}

fn plain(database: &Database, key: u64) -> core::result::Result<Summary, String> {
    database.summary(key).map_err(|error: Failure| error.to_string())
}

fn hot(database: &Database) -> Result<Vec<Row>> {
    const READS: u32 = 20_000;
    let ([ttl, swr], mut hand, time) = (caches()?, by_hand()?, MonotonicTime::new());
    Ok(vec![
        measure("no cache", 5, || plain(database, 1))?,
        measure("ttl", READS, || through(&ttl, database, 1))?,
        measure("ttl + swr", READS, || through(&swr, database, 1))?,
        measure("driven by hand", READS, || tick(&mut hand, &time, database, 1))?,
    ])
}

fn mixed(database: &Database) -> Result<Vec<Row>> {
    const READS: u32 = 10;
    let ([ttl, swr], mut hand, time) = (caches()?, by_hand()?, MonotonicTime::new());
    // Even reads ask for a key that is there, odd ones for one that nobody has asked for.
    let keys = || {
        let mut n = 0;
        move || {
            n += 1;
            if n % 2 == 0 { 1 } else { 1_000 + n }
        }
    };
    let (mut a, mut b, mut c) = (keys(), keys(), keys());
    Ok(vec![
        measure("no cache", READS, || plain(database, 1))?,
        measure("ttl", READS, || through(&ttl, database, a()))?,
        measure("ttl + swr", READS, || through(&swr, database, b()))?,
        measure("driven by hand", READS, || tick(&mut hand, &time, database, c()))?,
    ])
}

fn background(database: &Database) -> Result<Vec<Row>> {
    let origin = database.clone();
    let kept = Background::builder("customer 1").every(MINUTE).start(move || origin.summary(1))?;
    kept.ready()?;
    let read = || kept.get().map(|summary| *summary).ok_or_else(|| "not ready".to_owned());
    Ok(vec![
        measure("no cache", 5, || plain(database, 1))?,
        measure("background value", 20_000, read)?,
    ])
}
