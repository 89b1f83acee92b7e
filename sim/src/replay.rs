//! Runs all cells: each trace with each capacity through each policy.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::capacity::{Bound, Capacity};
use crate::policy::{Kind, Policy, Setting};
use crate::row::Row;
use crate::trace::Trace;

/// After so many requests it is looked at how much a cache holds.
const LOOK: usize = 1_024;

/// What to replay.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan<'a> {
    /// The traces.
    pub traces: &'a [Trace],
    /// The capacities, each for every trace.
    pub capacities: &'a [Capacity],
    /// The policies.
    pub kinds: &'a [Kind],
    /// Count entries although objects have sizes.
    pub by_count: bool,
    /// How long an entry is served.
    pub ttl: Option<Duration>,
}

impl<'a> Plan<'a> {
    /// All traces with all capacities through all kinds, weighed where there are sizes, forever.
    pub const fn new(traces: &'a [Trace], capacities: &'a [Capacity], kinds: &'a [Kind]) -> Self {
        Self { traces, capacities, kinds, by_count: false, ttl: None }
    }

    /// The cells in the order of the report.
    fn cells(&self) -> Vec<Cell<'a>> {
        self.traces.iter().flat_map(|trace| self.cells_of(trace)).collect()
    }

    fn cells_of(&self, trace: &'a Trace) -> Vec<Cell<'a>> {
        let mut bounds: Vec<(Bound, &Capacity)> = Vec::new();
        for capacity in self.capacities {
            let bound = capacity.bound(trace, self.by_count);
            // Of a small trace two shares may be the same number.
            if bounds.iter().all(|(other, _)| *other != bound) {
                bounds.push((bound, capacity));
            }
        }
        let kinds = |(bound, capacity)| {
            let fitting = self.kinds.iter().filter(move |kind| (kind.fits)(bound));
            fitting.map(move |kind| Cell { trace, capacity, bound, kind })
        };
        bounds.into_iter().flat_map(kinds).collect()
    }
}

struct Cell<'a> {
    trace: &'a Trace,
    capacity: &'a Capacity,
    bound: Bound,
    kind: &'a Kind,
}

/// Runs the plan on all cores, with a progress bar on stderr where that is a terminal.
pub fn run(plan: &Plan<'_>) -> Vec<Row> {
    let cells = plan.cells();
    let bar = progress_bar(&cells);
    let rows = Mutex::new(Vec::new());
    let order = longest_first(&cells);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(number) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let row = cells[*number].run(plan.ttl, &bar);
            rows.lock().expect("no thread panicked").push((*number, row));
        }
    };
    thread::scope(|scope| {
        (0..cores()).for_each(|_| drop(scope.spawn(work)));
    });
    bar.finish_and_clear();
    let mut rows = rows.into_inner().expect("no thread panicked");
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// So that no long cell is left over at the end, with one core busy.
fn longest_first(cells: &[Cell<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|number| std::cmp::Reverse(cells[*number].trace.len()));
    order
}

fn progress_bar(cells: &[Cell<'_>]) -> ProgressBar {
    let requests = cells.iter().map(|cell| cell.trace.len() as u64).sum();
    let style = ProgressStyle::with_template("{bar:30} {percent}% {eta} left  {msg}");
    let bar = ProgressBar::new(requests);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

impl Cell<'_> {
    fn run(&self, ttl: Option<Duration>, bar: &ProgressBar) -> Row {
        bar.set_message(format!("{} {} {}", self.trace.name, self.capacity, self.kind.name));
        let start = Instant::now();
        let mut policy = (self.kind.make)(&Setting::new(self.trace, self.bound, ttl));
        let (misses, most_held) = replay(&mut *policy, self.trace, bar);
        self.row(misses, most_held, start.elapsed())
    }

    fn row(&self, misses: u64, most_held: u64, took: Duration) -> Row {
        let requests = self.trace.len() as u64;
        Row {
            trace: self.trace.name.clone(),
            capacity: self.bound.amount(),
            policy: self.kind.name.into(),
            is_peer: self.kind.is_peer,
            requests,
            misses,
            miss_ratio: misses as f64 / requests as f64,
            capacity_text: self.capacity.to_string(),
            capacity_share: self.bound.share(self.trace),
            unit: self.bound.unit(),
            entries: self.bound.entries(self.trace),
            unique: self.trace.unique() as u64,
            most_held,
            seconds: took.as_secs_f64(),
        }
    }
}

/// Misses, and the most that was seen held.
fn replay(policy: &mut dyn Policy, trace: &Trace, bar: &ProgressBar) -> (u64, u64) {
    let (mut misses, mut most_held, mut shown) = (0, 0, 0);
    for request in trace.requests() {
        misses += u64::from(!policy.request(&request));
        let done = request.position + 1;
        if done % LOOK == 0 || done == trace.len() {
            most_held = policy.held().max(most_held);
            bar.inc((done - shown) as u64);
            shown = done;
        }
    }
    (misses, most_held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::OWN;

    fn capacities(texts: &[&str]) -> Vec<Capacity> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn every_cell_has_its_row_in_the_order_of_the_plan() {
        let ids: Vec<u64> = (0..2_000).map(|n| n * n % 1_009).collect();
        let traces = [Trace::of(&ids), Trace::of_sizes(&[(1, 5), (2, 7), (1, 5)])];
        let rows = run(&Plan::new(&traces, &capacities(&["200", "300"]), OWN));
        let policies: Vec<_> = rows.iter().map(|row| row.policy.as_str()).collect();
        let plain = ["opt", "ours", "ours_local_heap", "ours_local_sets", "lru"];
        let sized = ["belady_sized", "ours", "ours_local_heap", "lru"];
        assert_eq!(policies, [&plain[..], &plain, &sized, &sized].concat());
        assert_eq!((rows[0].capacity, rows[5].capacity, rows[10].unit), (200, 300, "bytes"));
        assert!(rows.iter().all(|row| row.most_held <= row.capacity));
        assert!(rows[..10].iter().all(|row| row.requests == 2_000 && row.misses < 2_000));
        assert_eq!(rows[13].misses, 2);
    }

    #[test]
    fn the_optimum_misses_least() {
        let ids: Vec<u64> = (0..5_000).map(|n| n * n * n % 499).collect();
        let traces = [Trace::of(&ids)];
        let rows = run(&Plan::new(&traces, &capacities(&["25", "100"]), OWN));
        let of = |policy: &str, capacity| {
            rows.iter().find(|row| row.policy == policy && row.capacity == capacity).unwrap().misses
        };
        for row in &rows {
            assert!(row.misses >= of("opt", row.capacity), "{row:?}");
        }
        assert!(of("opt", 100) < of("lru", 100) && of("opt", 100) < of("opt", 25));
    }

    #[test]
    fn shares_that_are_the_same_number_run_once() {
        let traces = [Trace::of(&[1, 2, 3])];
        let lru: Vec<_> = OWN.iter().copied().filter(|kind| kind.name == "lru").collect();
        let rows = run(&Plan::new(&traces, &capacities(&["0.1%", "1", "2"]), &lru));
        let capacities: Vec<_> = rows.iter().map(|row| row.capacity).collect();
        assert_eq!(capacities, [1, 2]);
    }
}
