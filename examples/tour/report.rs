//! What the incident looked like: a table and a time line.

use core::time::Duration;

use crate::incident::{Incident, SWR, Strategy, TTL};
use crate::load::{Answer, Sample};
use crate::show::{self, Colour, Row, count, paint, time};

/// One character of the time line.
const BIN: Duration = Duration::from_millis(250);
/// Shares of failures, in eighths.
const LEVELS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// Width of the strategies' names.
const NAME: usize = 15;

pub(crate) fn print(strategies: &[Strategy; 4], incident: &Incident) {
    let rows: Vec<_> = strategies.iter().zip(&incident.samples).map(row).collect();
    show::table(&["strategy", "requests", "failed", "p50", "p99", "oldest", "queries"], &rows);
    println!(
        "  p50, p99: from when a request came to its answer, errors included; oldest: the age"
    );
    println!("  of the oldest answer; bars: the share of requests that failed.");
    print_not_sent(incident);
    print_time_line(strategies, incident);
    println!(
        "\nWhat to see: a ttl only puts the errors off, swr puts them off for longer, and with sie there\n\
         are none: callers get older answers instead.\n"
    );
    println!("What that cache said of its busiest customer shortly before the lock was gone:");
    show::indented(&incident.outage.explanation);
}

fn row((strategy, samples): (&Strategy, &Vec<Sample>)) -> Row {
    let failed = samples.iter().filter(|sample| sample.has_failed()).count();
    let mut waited: Vec<_> = samples.iter().map(|sample| sample.waited).collect();
    waited.sort_unstable();
    let percentile =
        |n: usize| time(waited.get(waited.len() * n / 100).copied().unwrap_or_default());
    let oldest = samples.iter().filter_map(Sample::age).max().unwrap_or_default();
    Row::new(strategy.name)
        .cell(count(samples.len() as u64))
        .cell(count(failed as u64))
        .cell(percentile(50))
        .cell(percentile(99))
        .cell(time(oldest))
        .cell(count(strategy.database.queries()))
        .bar(Colour::Red, show::bar(failed as f64, samples.len() as f64, 24))
}

fn print_not_sent(incident: &Incident) {
    let all = incident.samples.iter().flatten();
    let late = all.filter(|sample| matches!(sample.answer, Answer::NotSent)).count();
    if late > 0 {
        println!(
            "  This machine is busy: {late} of the failed requests were not even sent, because"
        );
        println!("  they had to wait for a free thread for more than a second.");
    }
}

fn print_time_line(strategies: &[Strategy; 4], incident: &Incident) {
    println!("\n  Time line, a character for each quarter of a second:");
    for (strategy, samples) in strategies.iter().zip(&incident.samples) {
        println!("  {:<NAME$}  {}", strategy.name, marks(samples, incident.span));
    }
    let (from, until) = (bin(incident.outage.from), bin(incident.outage.until));
    let lock = format!("{:─^1$}", " locked ", (until - from).saturating_sub(2));
    println!("  {:NAME$}  {:from$}└{lock}┘", "", "");
    println!("  ▁▄█ some, half, all failed   · fresh   s mostly stale   k mostly kept for errors");
}

fn bin(at: Duration) -> usize {
    (at.as_millis() / BIN.as_millis()) as usize
}

/// The mark of each stretch of time.
fn marks(samples: &[Sample], span: Duration) -> String {
    let mut tallies = vec![Tally::default(); bin(span)];
    for sample in samples {
        tallies[bin(sample.at)].add(sample);
    }
    tallies.iter().map(Tally::mark).collect()
}

/// What was served in a stretch of time.
#[derive(Clone, Default)]
struct Tally {
    fresh: u32,
    stale: u32,
    kept: u32,
    failed: u32,
}

impl Tally {
    fn add(&mut self, sample: &Sample) {
        match sample.age() {
            None => self.failed += 1,
            Some(age) if age < TTL => self.fresh += 1,
            Some(age) if age < TTL + SWR => self.stale += 1,
            Some(_) => self.kept += 1,
        }
    }

    /// The share of failures if there were any, else what was served most often.
    fn mark(&self) -> String {
        let Self { fresh, stale, kept, failed } = *self;
        let served = fresh + stale + kept;
        if failed > 0 {
            let level = (failed * 8).div_ceil(served + failed);
            paint(Colour::Red, LEVELS[level as usize - 1])
        } else if kept > fresh.max(stale) {
            paint(Colour::Cyan, "k")
        } else if stale > fresh {
            paint(Colour::Yellow, "s")
        } else {
            paint(Colour::Green, "·")
        }
    }
}
