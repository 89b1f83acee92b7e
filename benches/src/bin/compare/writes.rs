//! Puts, on one thread.

use std::time::Instant;

use cache_benches::keys;
use cache_benches::peer::{self, Table};
use cache_benches::peers::{self, VisitTables};
use cache_benches::round::{Contestant, Round};
use cache_benches::row::Row;

use crate::Setup;

const CAPACITY: usize = 100_000;

pub(crate) fn overwrite(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let held = CAPACITY as u64 / 2;
    let keys = keys::random(held, setup.request.either(1 << 16, 1 << 15), 1);
    let mut overwrite = Overwrite { held, keys: &keys, contestants: vec![] };
    peers::maps(&setup.request, &mut overwrite);
    setup.play(bench, &mut overwrite.contestants, setup.request.rounds(11, 5))
}

struct Overwrite<'a> {
    held: u64,
    keys: &'a [u64],
    contestants: Vec<Contestant<'a>>,
}

impl VisitTables<u64, u64> for Overwrite<'_> {
    fn visit<P: Table<u64, u64>>(&mut self) {
        let peer: P = peer::filled(CAPACITY, self.held, |n| n);
        let keys = self.keys;
        let play = move || {
            // What the peers before have driven out of the processor's caches comes back first.
            put_all(&peer, keys.iter().copied());
            let start = Instant::now();
            put_all(&peer, keys.iter().copied());
            Round::alone(start.elapsed(), keys.len())
        };
        self.contestants.push(Contestant::new(P::NAME, 1, play));
    }
}

pub(crate) fn insert_evict(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let puts = setup.request.either(1 << 16, 1 << 15);
    let mut insert = Insert { puts, contestants: vec![] };
    peers::caches(&setup.request, &mut insert);
    setup.play(bench, &mut insert.contestants, setup.request.rounds(11, 5))
}

struct Insert {
    puts: u64,
    contestants: Vec<Contestant<'static>>,
}

impl VisitTables<u64, u64> for Insert {
    fn visit<P: Table<u64, u64>>(&mut self) {
        // Twice the capacity, so that every shard is full, and its ghosts are, too.
        let mut next = 2 * CAPACITY as u64;
        let peer: P = peer::filled(CAPACITY, next, |n| n);
        let puts = self.puts;
        let play = move || {
            put_all(&peer, next..next + puts / 8);
            next += puts / 8;
            let start = Instant::now();
            put_all(&peer, next..next + puts);
            next += puts;
            Round::alone(start.elapsed(), puts as usize)
        };
        self.contestants.push(Contestant::new(P::NAME, 1, play));
    }
}

#[inline(never)]
fn put_all<P: Table<u64, u64>>(peer: &P, keys: impl Iterator<Item = u64>) {
    for key in keys {
        peer.put(key, key);
    }
}
