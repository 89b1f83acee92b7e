//! Scene one: the database is locked for five seconds under a steady load.

use std::error::Error;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use advanced_caching::sync::{BuildError, Builder, Cache};

use crate::database::{CUSTOMERS, Database, Failure, PATIENCE, Summary};
use crate::load::{Answer, Load, Sample};
use crate::promises::Promises;
use crate::report;
use crate::show::{self, Progress, count, time};
use crate::zipf::Zipf;

const BEFORE: Duration = Duration::from_secs(3);
const OUTAGE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(3);
/// Requests a second for each strategy.
const RATE: u32 = 500;

pub(crate) const TTL: Duration = Duration::from_secs(1);
pub(crate) const SWR: Duration = Duration::from_secs(2);
const SIE: Duration = Duration::from_secs(3_600);
/// The first pause after a failed refresh.
const AGAIN: Duration = Duration::from_millis(250);

/// One way to read.
pub(crate) struct Strategy {
    pub(crate) name: &'static str,
    pub(crate) database: Database,
    cache: Option<Cache<u64, Arc<Summary>>>,
}

/// What came of it all.
pub(crate) struct Incident {
    /// Strategy by strategy.
    pub(crate) samples: [Vec<Sample>; 4],
    pub(crate) outage: Outage,
    pub(crate) span: Duration,
}

/// When the database was locked, from the start of the load.
pub(crate) struct Outage {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    /// What the last strategy's cache knew of the most popular customer half a second before the
    /// end.
    pub(crate) explanation: String,
}

pub(crate) fn show(database: &Database, promises: &mut Promises) -> Result<(), Box<dyn Error>> {
    show::heading("1  The incident", "The database is locked for five seconds: who notices?");
    introduce(database)?;
    let strategies = strategies(database)?;
    warm(&strategies, database)?;
    let incident = run(&strategies)?;
    report::print(&strategies, &incident);
    promise(&strategies, &incident, database, promises)?;
    Ok(())
}

fn introduce(database: &Database) -> Result<(), Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let most = cores as f64 / database.time_a_query()?.as_secs_f64();
    let (each, all, most) =
        (count(RATE.into()), count((RATE * 4).into()), count(most as u64 / 10 * 10));
    let (ttl, swr, sie) = (time(TTL), time(SWR), SIE.as_secs() / 3_600);
    let (busy, first, last) = (time(PATIENCE), time(AGAIN), time(AGAIN * 4));
    println!(
        "Load      {each} requests a second to each of four strategies, {all} in all, the same"
    );
    println!("          requests to each; customers by Zipf's law, and every cache is warm");
    println!("Database  alone it can answer about {most} queries a second on this machine");
    println!(
        "Windows   ttl {ttl}, swr (stale-while-revalidate) {swr}, sie (stale-if-error) {sie} h"
    );
    println!("Failures  a locked database answers SQLITE_BUSY after {busy}; where a cache has an");
    println!("          old value, it asks again after {first} to {last}\n");
    Ok(())
}

fn strategies(database: &Database) -> Result<[Strategy; 4], BuildError> {
    let ttl = || Cache::builder().ttl(TTL).cool_down(AGAIN, 2, AGAIN * 4);
    let swr = || ttl().stale_while_revalidate(SWR);
    let new = |name, builder: Option<Builder<_, _>>| {
        let cache = builder.map(|builder| builder.build()).transpose()?;
        Ok::<_, BuildError>(Strategy { name, cache, database: database.counted() })
    };
    Ok([
        new("no cache", None)?,
        new("ttl", Some(ttl()))?,
        new("ttl + swr", Some(swr()))?,
        new("ttl + swr + sie", Some(swr().stale_if_error(SIE)))?,
    ])
}

impl Strategy {
    fn ask(&self, customer: u64) -> Result<Arc<Summary>, Failure> {
        let database = self.database.clone();
        let query = move || database.summary(customer).map(Arc::new);
        let Some(cache) = &self.cache else { return query() };
        cache.get_or_load(&customer, query).map_err(|error| {
            error.error().cloned().unwrap_or_else(|| Failure::Other(error.to_string()))
        })
    }

    fn put(&self, customer: u64, summary: &Arc<Summary>) {
        if let Some(cache) = &self.cache {
            cache.put(customer, Arc::clone(summary));
        }
    }

    fn explain(&self, customer: u64) -> String {
        self.cache.as_ref().map(|cache| cache.explain(&customer).to_string()).unwrap_or_default()
    }
}

/// Puts every customer into every cache.
fn warm(strategies: &[Strategy; 4], database: &Database) -> Result<(), Failure> {
    for customer in 0..CUSTOMERS {
        let summary = Arc::new(database.summary(customer)?);
        strategies.iter().for_each(|strategy| strategy.put(customer, &summary));
    }
    Ok(())
}

/// Loads all strategies at once, so that they meet the same outage.
fn run(strategies: &[Strategy; 4]) -> Result<Incident, Failure> {
    let span = BEFORE + OUTAGE + AFTER;
    let (start, gap) = (Instant::now(), Duration::from_secs(1) / RATE);
    let load = Load { start, gap, span, customers: Zipf::new(CUSTOMERS, 0.99) };
    let (samples, outage) = thread::scope(|scope| {
        let loads = strategies
            .each_ref()
            .map(|strategy| scope.spawn(|| load.send(|customer| strategy.ask(customer))));
        let outage = outage(&strategies[3], start);
        (loads.map(|load| load.join().unwrap_or_else(|panic| resume_unwind(panic))), outage)
    });
    Ok(Incident { samples, outage: outage?, span })
}

/// Waits, locks the database, waits.
fn outage(observed: &Strategy, start: Instant) -> Result<Outage, Failure> {
    let progress = Progress::new("serving", (BEFORE + OUTAGE + AFTER).as_millis() as u64);
    let half = Duration::from_millis(500);
    progress.sleep(BEFORE);
    let outage = observed.database.locked(|| {
        let from = start.elapsed();
        progress.sleep(OUTAGE - half);
        let explanation = observed.explain(0);
        progress.sleep(half);
        Outage { from, until: start.elapsed(), explanation }
    })?;
    progress.sleep(AFTER);
    progress.done();
    Ok(outage)
}

/// Counts, and one comparison of times that differ by orders of magnitude: a slow or busy machine
/// breaks none of this.
fn promise(
    strategies: &[Strategy; 4],
    incident: &Incident,
    database: &Database,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let errors = incident.samples.each_ref().map(|samples| errors(samples));
    let mut check = |claim, number, held| promises.check(claim, count(number), held);
    check("incident: without a cache, requests failed", errors[0], errors[0] > 0);
    check("incident: with a ttl alone, requests failed, too", errors[1], errors[1] > 0);
    check("incident: with stale-if-error, no request failed", errors[3], errors[3] == 0);
    let kept = incident.kept();
    check("incident: but some were answered with what was kept for errors", kept, kept > 0);
    let others = incident.samples.iter().flatten().filter(|sample| is_unexpected(sample)).count();
    check("incident: no caller saw another error than SQLITE_BUSY", others as u64, others == 0);
    let (asked, queries) = (incident.samples[3].len() as u64, strategies[3].database.queries());
    promises.check(
        "incident: with all windows, at most one query for two requests",
        format!("{} for {}", count(queries), count(asked)),
        queries * 2 <= asked,
    );
    let (stale, query) = (incident.median_stale(), database.time_a_query()?);
    promises.check(
        "incident: in the outage, stale answers did not wait for a query (medians)",
        format!("{}, query {}", time(stale), time(query)),
        stale * 5 < query,
    );
    Ok(())
}

fn errors(samples: &[Sample]) -> u64 {
    let failed = |sample: &&Sample| matches!(sample.answer, Answer::Failed(_));
    samples.iter().filter(failed).count() as u64
}

const fn is_unexpected(sample: &Sample) -> bool {
    matches!(sample.answer, Answer::Failed(Failure::Other(_)))
}

impl Incident {
    /// Answers of the last strategy that only stale-if-error allows.
    fn kept(&self) -> u64 {
        let ages = self.samples[3].iter().filter_map(Sample::age);
        ages.filter(|age| *age > TTL + SWR).count() as u64
    }

    /// The median time that stale answers took during the outage.
    fn median_stale(&self) -> Duration {
        let stale = self.samples[2..].iter().flatten().filter(|sample| self.is_stale(sample));
        let mut times: Vec<_> = stale.map(|sample| sample.took).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(Duration::MAX)
    }

    fn is_stale(&self, sample: &Sample) -> bool {
        let during = self.outage.from..self.outage.until;
        let stale = TTL..TTL + SWR;
        during.contains(&sample.at) && sample.age().is_some_and(|age| stale.contains(&age))
    }
}
