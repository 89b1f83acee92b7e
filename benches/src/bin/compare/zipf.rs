//! Read-through: a get, and a put where it missed. The keys are asked for by Zipf's law.

use std::hint::black_box;
use std::sync::Arc;

use cache_benches::keys::{Key, Value};
use cache_benches::peer::Table;
use cache_benches::peers::{self, VisitTables};
use cache_benches::round::{Contestant, Round};
use cache_benches::row::Row;
use cache_benches::threads::together;
use cache_benches::zipf::Zipf;

use crate::Setup;

/// Most threads at a time.
const THREADS: usize = 2;
/// As in the YCSB benchmarks (Cooper and others, 2010).
pub(crate) const SKEW: f64 = 0.99;

pub(crate) fn numbers(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let asks = Asks::<u64>::new(1_000_000, 100_000, setup.request.either(1 << 23, 1 << 21));
    zipf::<u64, u64>(setup, bench, &asks)
}

pub(crate) fn texts(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let asks = Asks::<String>::new(100_000, 10_000, setup.request.either(1 << 22, 1 << 21));
    zipf::<String, Arc<str>>(setup, bench, &asks)
}

/// What is asked for, in order.
pub(crate) struct Asks<K> {
    pub(crate) capacity: usize,
    /// Asked for before anything is timed.
    warm: Vec<K>,
    /// Asked for, from another place on in each round, and round about.
    timed: Vec<K>,
}

impl<K: Key> Asks<K> {
    pub(crate) fn new(keys: u64, capacity: usize, length: usize) -> Self {
        let zipf = Zipf::new(keys, SKEW);
        let draw = |seed| zipf.draws(length / 2, seed).into_iter().map(K::nth).collect();
        Self { capacity, warm: draw(1), timed: draw(2) }
    }

    /// A peer that has seen enough keys to be as it will be ever after.
    pub(crate) fn warm<V: Value, P: Table<K, V>>(&self) -> P {
        let peer = P::new(self.capacity);
        let (mut misses, enough) = (0, 4 * self.capacity as u64);
        while misses < enough {
            for keys in self.warm.chunks(1 << 16) {
                misses += keys.len() as u64 - read_through(&peer, keys);
                if misses >= enough {
                    break;
                }
            }
        }
        peer
    }

    /// The `n`-th part of `reads` keys: before them a few to warm up.
    pub(crate) fn part(&self, n: usize, reads: usize) -> (&[K], &[K]) {
        let length = reads / 16 + reads;
        let parts = self.timed.len() / length;
        let from = n % parts * length;
        self.timed[from..from + length].split_at(reads / 16)
    }
}

fn zipf<K: Key, V: Value>(setup: &Setup, bench: &'static str, asks: &Asks<K>) -> Vec<Row> {
    let reads = 1 << 16;
    let mut visitor =
        Visitor { asks, reads, contestants: vec![], value: core::marker::PhantomData::<V> };
    peers::readers_through(&setup.request, &mut visitor);
    let mut contestants = visitor.contestants;
    let rows = setup.play(bench, &mut contestants, setup.request.rounds(20, 5));
    let played = contestants.iter().map(|contestant| contestant.rounds.as_slice());
    rows.into_iter().zip(played).map(|(row, rounds)| row.with_hits(rounds)).collect()
}

struct Visitor<'a, K, V> {
    asks: &'a Asks<K>,
    reads: usize,
    contestants: Vec<Contestant<'a>>,
    value: core::marker::PhantomData<V>,
}

impl<K: Key, V: Value> VisitTables<K, V> for Visitor<'_, K, V> {
    fn visit<P: Table<K, V>>(&mut self) {
        let (asks, reads) = (self.asks, self.reads);
        let peer = Arc::new(asks.warm::<V, P>());
        for threads in 1..=THREADS {
            // Each thread of each contestant has parts of its own: one that was just asked for
            // by another would hit more often. Three of them play a round.
            let (peer, mut next) = (Arc::clone(&peer), threads - 1);
            let play = move || {
                let part = |thread| asks.part(next + thread, reads);
                let warm = |thread| read_through(&*peer, part(thread).0);
                let spans = together(threads, warm, |thread| read_through(&*peer, part(thread).1));
                next += THREADS * (THREADS + 1) / 2;
                Round::of(&spans, reads).with_hits(spans.iter().map(|span| span.result).sum())
            };
            self.contestants.push(Contestant::new(P::NAME, threads, play));
        }
    }
}

/// How many of the keys were there.
#[inline(never)]
pub(crate) fn read_through<K: Key, V: Value, P: Table<K, V>>(peer: &P, keys: &[K]) -> u64 {
    let mut hits = 0;
    for key in keys {
        match black_box(peer.get(key.borrow())) {
            Some(_) => hits += 1,
            None => peer.put(key.clone(), V::loaded()),
        }
    }
    hits
}
