//! Scene two: many callers, one cold key.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use advanced_caching::sync::Cache;

use crate::database::{Database, Summary};
use crate::show::{self, Promises};

const CALLERS: u64 = 64;

pub(crate) fn show(
    database: &Database,
    promises: &mut Promises,
) -> Result<(), Box<dyn std::error::Error>> {
    show::heading(
        "Scene two: the stampede",
        "64 threads ask for one customer whom nobody has asked for yet. How often is the database asked?",
    );
    let cache: Cache<u64, Summary> = Cache::builder().ttl(Duration::from_secs(60)).build()?;
    let (plain, slow) = stampede(database, || database.summary(7).ok());
    let (cached, fast) = stampede(database, || {
        let origin = database.clone();
        cache.get_or_load(&7, move || origin.summary(7)).ok()
    });
    let most = plain.max(cached) as f64;
    let row = |name: &str, queries: u64, took: Duration| {
        let bar = show::bar(queries as f64, most, 32);
        vec![name.into(), queries.to_string(), show::time(took), bar]
    };
    show::table(
        &["", "queries", "until all were answered", ""],
        &[row("no cache", plain, slow), row("with the cache", cached, fast)],
    );
    promises.check("stampede: 64 threads on a cold key made one query", cached == 1);
    promises.check("stampede: without the cache they made 64", plain == CALLERS);
    Ok(())
}

/// Lets all callers go at once; how many queries that made, and how long it took.
fn stampede(database: &Database, ask: impl Fn() -> Option<Summary> + Sync) -> (u64, Duration) {
    let before = database.queries();
    let barrier = Barrier::new(CALLERS as usize + 1);
    let start = thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                barrier.wait();
                ask()
            });
        }
        barrier.wait();
        Instant::now()
    });
    (database.queries() - before, start.elapsed())
}
