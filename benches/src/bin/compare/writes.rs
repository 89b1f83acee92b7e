//! Puts, on one thread.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use cache_benches::keys::{self, Key, Value};
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
            put_all(&peer, keys.iter().map(|key| (*key, *key)));
            let start = Instant::now();
            put_all(&peer, keys.iter().map(|key| (*key, *key)));
            Round::alone(start.elapsed(), keys.len())
        };
        self.contestants.push(Contestant::new(P::NAME, 1, play));
    }
}

pub(crate) fn insert_evict(setup: &Setup, bench: &'static str) -> Vec<Row> {
    insert::<u64, u64>(setup, bench)
}

/// Keys and values are made before they are timed; what has to go for them is freed.
pub(crate) fn insert_evict_str(setup: &Setup, bench: &'static str) -> Vec<Row> {
    insert::<String, Arc<str>>(setup, bench)
}

fn insert<K: Key, V: Value>(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let puts = setup.request.either(1 << 16, 1 << 15);
    let mut insert = Insert::<K, V> { puts, contestants: vec![], kinds: PhantomData };
    peers::caches(&setup.request, &mut insert);
    setup.play(bench, &mut insert.contestants, setup.request.rounds(11, 5))
}

struct Insert<K, V> {
    puts: u64,
    contestants: Vec<Contestant<'static>>,
    kinds: PhantomData<(K, V)>,
}

impl<K: Key, V: Value> VisitTables<K, V> for Insert<K, V> {
    fn visit<P: Table<K, V>>(&mut self) {
        // Twice the capacity, so that every shard is full, and its ghosts are, too.
        let mut next = 2 * CAPACITY as u64;
        let peer: P = peer::filled(CAPACITY, next, V::of);
        let puts = self.puts;
        let mut made = Vec::with_capacity(puts as usize);
        let play = move || {
            let mut make = |entries, made: &mut Vec<(K, V)>| {
                made.extend((next..next + entries).map(|n| (K::nth(n), V::of(n))));
                next += entries;
            };
            make(puts / 8, &mut made);
            put_all(&peer, made.drain(..));
            make(puts, &mut made);
            let start = Instant::now();
            put_all(&peer, made.drain(..));
            Round::alone(start.elapsed(), puts as usize)
        };
        self.contestants.push(Contestant::new(P::NAME, 1, play));
    }
}

#[inline(never)]
fn put_all<K: Key, V: Value, P: Table<K, V>>(peer: &P, entries: impl Iterator<Item = (K, V)>) {
    for (key, value) in entries {
        peer.put(key, value);
    }
}
