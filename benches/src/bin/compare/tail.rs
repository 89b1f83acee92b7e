//! What the slowest operations cost when there are more threads than cores.

use std::sync::Arc;
use std::time::Instant;

use cache_benches::peer::Table;
use cache_benches::peers::{LruMutex, Moka, Ours, QuickCache};
use cache_benches::quartiles::{quantile, sorted};
use cache_benches::round::{Contestant, Round};
use cache_benches::row::Row;
use cache_benches::threads::together;

use crate::Setup;
use crate::zipf::{Asks, read_through};

/// Operations that are timed together.
const BATCH: usize = 16;
const THREADS: &[usize] = &[2, 8, 32];

pub(crate) fn tail(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let asks = Asks::new(1_000_000, 100_000, setup.request.either(1 << 22, 1 << 21));
    let mut tail = Tail { setup, bench, asks: &asks, rows: vec![] };
    tail.visit::<Ours<u64, u64>>();
    tail.visit::<QuickCache<u64, u64>>();
    tail.visit::<Moka<u64, u64>>();
    tail.visit::<LruMutex<u64, u64>>();
    tail.rows
}

struct Tail<'a> {
    setup: &'a Setup,
    bench: &'static str,
    asks: &'a Asks<u64>,
    rows: Vec<Row>,
}

impl Tail<'_> {
    /// One peer after another: with threads that wait for a core, turns would not make it fairer.
    fn visit<P: Table<u64, u64>>(&mut self) {
        let request = &self.setup.request;
        if !request.wants(P::NAME) {
            return;
        }
        let peer = Arc::new(self.asks.warm::<u64, P>());
        let (rounds, reads) = (request.rounds(5, 2), request.either(1 << 20, 1 << 18));
        for &threads in THREADS {
            let (mut batches, mut next) = (vec![], 0);
            let each = reads / threads;
            let play = || {
                let part = |thread| self.asks.part(next + thread, each);
                let (round, slow) = round(&*peer, part, threads, each);
                batches.extend(slow);
                next += threads;
                round
            };
            let mut contestants = [Contestant::new(P::NAME, threads, play)];
            let mut rows = self.setup.play(self.bench, &mut contestants, rounds);
            drop(contestants);
            self.rows.extend(rows.pop().map(|row| with_quantiles(row, batches)));
        }
    }
}

fn round<'a, P: Table<u64, u64>>(
    peer: &P,
    part: impl Fn(usize) -> (&'a [u64], &'a [u64]) + Sync,
    threads: usize,
    reads: usize,
) -> (Round, Vec<f64>) {
    let warm = |thread| read_through(peer, part(thread).0);
    let mut spans = together(threads, warm, |thread| timed(peer, part(thread).1));
    let batches = spans.iter_mut().flat_map(|span| core::mem::take(&mut span.result)).collect();
    (Round::of(&spans, reads), batches)
}

/// Nanoseconds of each batch.
fn timed<P: Table<u64, u64>>(peer: &P, keys: &[u64]) -> Vec<f64> {
    let mut batches = Vec::with_capacity(keys.len() / BATCH + 1);
    for batch in keys.chunks(BATCH) {
        let start = Instant::now();
        read_through(peer, batch);
        batches.push(start.elapsed().as_nanos() as f64);
    }
    batches
}

fn with_quantiles(row: Row, batches: Vec<f64>) -> Row {
    let sorted = sorted(batches);
    let at = |part| quantile(&sorted, part);
    row.with("p50_ns", at(0.5)).with("p99_ns", at(0.99)).with("p999_ns", at(0.999))
}
