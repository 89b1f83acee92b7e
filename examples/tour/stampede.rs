//! Scene two: many callers, one key.

use std::error::Error;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use advanced_caching::sync::Cache;

use crate::database::{Database, Summary};
use crate::promises::Promises;
use crate::show::{self, Colour, Row, time};

const CALLERS: usize = 64;
const CUSTOMER: u64 = 7;
const MINUTE: Duration = Duration::from_secs(60);
/// How long the refresh lets callers go first; only a broken cache makes it wait that long.
const GATE: Duration = Duration::from_secs(10);

/// What came of all callers asking at once.
struct Stampede {
    queries: u64,
    answers: usize,
    /// From the first question to the first answer.
    first: Duration,
    /// From the first question to the last answer.
    last: Duration,
}

pub(crate) fn show(database: &Database, promises: &mut Promises) -> Result<(), Box<dyn Error>> {
    show::heading(
        "2  The stampede",
        "64 threads ask for the same customer at once: how often is the database asked?",
    );
    let plain = without_cache(&database.counted());
    let cold = with_cold_cache(&database.counted())?;
    let (stale, unhindered) = with_stale_value(database, &database.counted())?;
    let rows =
        [row("no cache", &plain), row("cache, nothing in it", &cold), row("cache, stale", &stale)];
    show::table(&["", "queries", "answers", "first answer", "last answer"], &rows);
    println!(
        "  bars: queries. In the last row the refresh begins only when all have their answers,"
    );
    println!("  to show that nobody waits for it.");
    promise(&plain, &cold, promises);
    promises.check(
        "stampede: on a stale value, all were answered before its one refresh began",
        format!("{}, {} answers", stale.queries, stale.answers),
        unhindered && stale.queries == 1 && stale.answers == CALLERS,
    );
    Ok(())
}

fn promise(plain: &Stampede, cold: &Stampede, promises: &mut Promises) {
    promises.check(
        "stampede: without a cache, 64 threads made 64 queries",
        plain.queries.to_string(),
        plain.queries == CALLERS as u64,
    );
    promises.check(
        "stampede: with a cache they made one, and all got its answer",
        format!("{}, {} answers", cold.queries, cold.answers),
        cold.queries == 1 && cold.answers == CALLERS,
    );
}

fn row(name: &str, stampede: &Stampede) -> Row {
    Row::new(name)
        .cell(stampede.queries.to_string())
        .cell(stampede.answers.to_string())
        .cell(time(stampede.first))
        .cell(time(stampede.last))
        .bar(Colour::Red, show::bar(stampede.queries as f64, CALLERS as f64, 32))
}

fn without_cache(database: &Database) -> Stampede {
    let stampede = stampede(|| database.summary(CUSTOMER).ok().map(Arc::new));
    Stampede { queries: database.queries(), ..stampede }
}

fn with_cold_cache(database: &Database) -> Result<Stampede, Box<dyn Error>> {
    let cache: Cache<u64, Arc<Summary>> = Cache::builder().ttl(MINUTE).build()?;
    let stampede = stampede(|| {
        let database = database.clone();
        cache.get_or_load(&CUSTOMER, move || database.summary(CUSTOMER).map(Arc::new)).ok()
    });
    Ok(Stampede { queries: database.queries(), ..stampede })
}

/// The second answer: whether the refresh found that all callers had theirs.
fn with_stale_value(
    filler: &Database,
    database: &Database,
) -> Result<(Stampede, bool), Box<dyn Error>> {
    let cache: Cache<u64, Arc<Summary>> =
        Cache::builder().ttl(MINUTE).stale_while_revalidate(MINUTE).build()?;
    cache.put(CUSTOMER, Arc::new(filler.summary(CUSTOMER)?));
    cache.expire(&CUSTOMER);
    let (answered, (refreshed, refresh)) = (Arc::new(AtomicUsize::new(0)), channel());
    let stampede = stampede(|| {
        let (database, all, refreshed) = (database.clone(), answered.clone(), refreshed.clone());
        let value = cache.get_or_load(&CUSTOMER, move || {
            let unhindered = all_are_answered(&all);
            let summary = database.summary(CUSTOMER).map(Arc::new);
            let _ = refreshed.send(unhindered);
            summary
        });
        answered.fetch_add(1, Ordering::Relaxed);
        value.ok()
    });
    drop(refreshed);
    let unhindered = refresh.recv_timeout(GATE * 2).unwrap_or(false);
    Ok((Stampede { queries: database.queries(), ..stampede }, unhindered))
}

/// Waits until all callers have their answers; `false` if that takes too long.
fn all_are_answered(answered: &AtomicUsize) -> bool {
    let until = Instant::now() + GATE;
    while answered.load(Ordering::Relaxed) < CALLERS && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    answered.load(Ordering::Relaxed) == CALLERS
}

/// Lets all callers go at once.
fn stampede(ask: impl Fn() -> Option<Arc<Summary>> + Sync) -> Stampede {
    let barrier = Barrier::new(CALLERS);
    let call = || {
        barrier.wait();
        let asked = Instant::now();
        let answered = ask().is_some();
        (asked, Instant::now(), answered)
    };
    let calls = thread::scope(|scope| {
        let threads = [(); CALLERS].map(|()| scope.spawn(call));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let start = calls.iter().map(|(asked, ..)| *asked).min();
    let since = |end: Option<Instant>| end.zip(start).map(|(end, start)| end - start);
    Stampede {
        queries: 0,
        answers: calls.iter().filter(|(.., answered)| *answered).count(),
        first: since(calls.iter().map(|(_, end, _)| *end).min()).unwrap_or_default(),
        last: since(calls.iter().map(|(_, end, _)| *end).max()).unwrap_or_default(),
    }
}
