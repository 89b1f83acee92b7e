//! Reads that all hit.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cache_benches::keys::{self, Key, SplitMix, Value};
use cache_benches::peer::{self, Peer};
use cache_benches::peers::{self, VisitPeers};
use cache_benches::round::{Contestant, Round};
use cache_benches::row::Row;
use cache_benches::threads::together;

use crate::Setup;

/// Most threads at a time.
const THREADS: usize = 2;

pub(crate) fn u64_1k(setup: &Setup, bench: &'static str) -> Vec<Row> {
    hot::<u64, u64>(setup, bench, Work { entries: 1_000, asked: 1_000, value: u64::of })
}

/// Few entries: this library keeps them in one table.
pub(crate) fn u64_small(setup: &Setup, bench: &'static str) -> Vec<Row> {
    hot::<u64, u64>(setup, bench, Work { entries: 250, asked: 250, value: u64::of })
}

pub(crate) fn str_small(setup: &Setup, bench: &'static str) -> Vec<Row> {
    hot::<String, _>(setup, bench, Work { entries: 250, asked: 250, value: Arc::<str>::of })
}

pub(crate) fn u64_100k(setup: &Setup, bench: &'static str) -> Vec<Row> {
    hot::<u64, u64>(setup, bench, Work { entries: 100_000, asked: 100_000, value: u64::of })
}

pub(crate) fn u64_1m(setup: &Setup, bench: &'static str) -> Vec<Row> {
    hot::<u64, u64>(setup, bench, Work { entries: 1_000_000, asked: 1_000_000, value: u64::of })
}

pub(crate) fn str_1k(setup: &Setup, bench: &'static str) -> Vec<Row> {
    hot::<String, _>(setup, bench, Work { entries: 1_000, asked: 1_000, value: Arc::<str>::of })
}

pub(crate) fn kib_100k(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let value = |n| Arc::<str>::from(format!("{n:01024}"));
    hot::<String, _>(setup, bench, Work { entries: 100_000, asked: 100_000, value })
}

pub(crate) fn same8(setup: &Setup, bench: &'static str) -> Vec<Row> {
    hot::<u64, u64>(setup, bench, Work { entries: 1_000, asked: 8, value: u64::of })
}

/// What is held and what is asked for.
struct Work<V> {
    entries: u64,
    /// The first so many of the entries are asked for.
    asked: u64,
    value: fn(u64) -> V,
}

impl<V> Work<V> {
    /// Where a small cache happens to lie in memory moves its figures by a third, so many of each take
    /// turns, one in a round. Large ones lie everywhere.
    const fn copies(&self) -> usize {
        if self.entries > 1_000 { 1 } else { 15 }
    }

    /// Reads before those that are timed. What the peers before have driven out of the processor's caches comes
    /// back, as far as it fits: what is asked for was asked for before, as in a program that has only this
    /// cache. A million entries do not fit.
    const fn warm(&self, reads: usize) -> usize {
        if self.entries > 1_000 && reads as u64 >= self.asked { reads } else { reads / 8 }
    }
}

fn hot<K: Key, V: Value>(setup: &Setup, bench: &'static str, work: Work<V>) -> Vec<Row> {
    // Many reads where they are fast: threads do not begin at quite the same time.
    let reads = if work.entries > 1_000 { setup.request.either(1 << 17, 1 << 15) } else { 1 << 18 };
    let pool: Vec<K> = (0..work.asked).map(K::nth).collect();
    let order = |thread| Order::new(&pool, reads, thread as u64);
    let orders: Vec<Order<'_, K>> = (0..THREADS).map(order).collect();
    let rounds = setup.request.rounds(15, 5);
    let mut hot = Hot { work, orders: &orders, contestants: vec![], hits: vec![] };
    peers::everyone(&setup.request, &mut hot);
    let Hot { mut contestants, hits, .. } = hot;
    let rows = setup.play(bench, &mut contestants, rounds);
    let with_hits = |row: Row| {
        let found = hits.iter().find(|(peer, _)| *peer == row.peer).map(|(_, hits)| *hits);
        row.with_hits(found.as_slice())
    };
    rows.into_iter().map(with_hits).collect()
}

/// Keys in random order.
enum Order<'a, K> {
    /// One after the other in memory.
    Row(Vec<K>),
    /// Where few texts are asked for again and again: a row of them would be megabytes to read, which
    /// costs as much as what is measured.
    Chosen(Vec<&'a K>),
}

impl<'a, K: Key> Order<'a, K> {
    fn new(pool: &'a [K], reads: usize, seed: u64) -> Self {
        if !core::mem::needs_drop::<K>() || pool.len() > 1_000 {
            return Self::Row(keys::random(pool.len() as u64, reads, seed));
        }
        let mut numbers = SplitMix::new(seed);
        let choose = |_| &pool[numbers.below(pool.len() as u64) as usize];
        Self::Chosen((0..reads).map(choose).collect())
    }

    fn len(&self) -> usize {
        match self {
            Self::Row(keys) => keys.len(),
            Self::Chosen(keys) => keys.len(),
        }
    }

    /// Reads the first so many of them.
    fn read<V: Value, P: Peer<K, V>>(&self, peer: &P, reads: usize) {
        match self {
            Self::Row(keys) => read_all(peer, &keys[..reads]),
            Self::Chosen(keys) => read_chosen(peer, &keys[..reads]),
        }
    }

    /// How many are found.
    fn hits<V: Value, P: Peer<K, V>>(&self, peer: &P) -> usize {
        let found = |key: &K| peer.get(key.borrow()).is_some();
        match self {
            Self::Row(keys) => keys.iter().filter(|key| found(key)).count(),
            Self::Chosen(keys) => keys.iter().filter(|key| found(key)).count(),
        }
    }
}

/// Collects the contestants.
struct Hot<'a, K, V> {
    work: Work<V>,
    orders: &'a [Order<'a, K>],
    contestants: Vec<Contestant<'a>>,
    /// What a first pass over each peer found, which is not timed.
    hits: Vec<(&'static str, Round)>,
}

impl<K: Key, V: Value> VisitPeers<K, V> for Hot<'_, K, V> {
    fn visit<P: Peer<K, V>>(&mut self) {
        let (work, orders) = (&self.work, self.orders);
        let filled = |_| peer::filled(2 * work.entries as usize, work.entries, work.value);
        let peers: Arc<[P]> = (0..work.copies()).map(filled).collect();
        let hits = orders[0].hits(&peers[0]);
        let hits = Round::alone(Duration::ZERO, orders[0].len()).with_hits(hits as u64);
        self.hits.push((P::NAME, hits));
        let warm = work.warm(orders[0].len());
        for threads in 1..=THREADS {
            let (peers, mut turn) = (Arc::clone(&peers), 0);
            let play = move || {
                turn += 1;
                round(&peers[turn % peers.len()], (orders, warm), threads)
            };
            self.contestants.push(Contestant::new(P::NAME, threads, play));
        }
    }
}

fn round<K: Key, V: Value, P: Peer<K, V>>(
    peer: &P,
    (orders, warm): (&[Order<'_, K>], usize),
    threads: usize,
) -> Round {
    let reads = orders[0].len();
    let warm = |thread: usize| orders[thread].read(peer, warm);
    let work = |thread: usize| orders[thread].read(peer, reads);
    Round::of(&together(threads, warm, work), reads)
}

#[inline(never)]
fn read_all<K: Key, V: Value, P: Peer<K, V>>(peer: &P, keys: &[K]) {
    for key in keys {
        black_box(peer.get(key.borrow()));
    }
}

#[inline(never)]
fn read_chosen<K: Key, V: Value, P: Peer<K, V>>(peer: &P, keys: &[&K]) {
    for key in keys {
        black_box(peer.get((*key).borrow()));
    }
}
