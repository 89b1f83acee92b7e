//! Reads that could load, and need not.

use core::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use cache_benches::held_back::HeldBack;
use cache_benches::keys;
use cache_benches::peer::{self, Loads, Peer};
use cache_benches::peers::{Cached, LruMutex, Moka, Ours, QuickCache};
use cache_benches::round::{Contestant, Round};
use cache_benches::row::Row;

use crate::Setup;

type Numbers = Ours<u64, u64>;

pub(crate) fn hit(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let keys = keys::random(1_000, setup.request.either(1 << 18, 1 << 16), 1);
    let mut hits = Hits { setup, keys: &keys, contestants: vec![] };
    hits.visit::<Numbers>();
    if setup.request.wants("ours") {
        // The same reads without a loader, to compare within one run.
        let get = |cache: Numbers| move |key| cache.get(&key).unwrap_or_default();
        hits.contestants.push(contestant("ours_get", &keys, copies().map(get).collect()));
    }
    hits.visit::<QuickCache<u64, u64>>();
    hits.visit::<Moka<u64, u64>>();
    hits.visit::<Cached<u64, u64>>();
    hits.visit::<LruMutex<u64, u64>>();
    setup.play(bench, &mut hits.contestants, setup.request.rounds(COPIES, 5))
}

/// Copies of each cache, which take turns: where one happens to lie in memory moves its figures.
const COPIES: usize = 15;

fn copies<P: Peer<u64, u64>>() -> impl Iterator<Item = P> {
    (0..COPIES).map(|_| whole())
}

/// A peer that has a thousand keys. One of sets may lack some though it is only half full, with some seeds (2 in a
/// hundred); each of them would be loaded again and again, by another thread, which takes as long as thousands of
/// hits. One whose shards follow from a hash as it is may lack some with every seed, in two processes of a hundred:
/// the hasher has a part for all of a process. It is measured as it is; its loads are on this thread, and cheap.
fn whole<P: Peer<u64, u64>>() -> P {
    const KEYS: u64 = 1_000;
    let made = || peer::filled::<_, _, P>(2 * KEYS as usize, KEYS, |n| n);
    let is_whole = |peer: &P| (0..KEYS).all(|key| peer.get(&key).is_some());
    core::iter::repeat_with(made).take(16).find(is_whole).unwrap_or_else(made)
}

struct Hits<'a> {
    setup: &'a Setup,
    keys: &'a [u64],
    contestants: Vec<Contestant<'a>>,
}

impl Hits<'_> {
    fn visit<P: Loads>(&mut self) {
        if self.setup.request.wants(P::NAME) {
            let read = |peer: P| move |key| peer.get_or_load(key);
            self.contestants.push(contestant(P::NAME, self.keys, copies().map(read).collect()));
        }
    }
}

/// One who reads the keys, by one of these ways after another.
fn contestant<'a, R: Fn(u64) -> u64 + 'a>(
    name: &'static str,
    keys: &'a [u64],
    reads: Vec<R>,
) -> Contestant<'a> {
    let mut turn = 0;
    let play = move || {
        turn += 1;
        let read = &reads[turn % reads.len()];
        read_all(&keys[..keys.len() / 8], read);
        let start = Instant::now();
        read_all(keys, read);
        Round::alone(start.elapsed(), keys.len())
    };
    Contestant::new(name, 1, play)
}

#[inline(never)]
fn read_all(keys: &[u64], read: impl Fn(u64) -> u64) {
    for key in keys {
        black_box(read(*key));
    }
}

/// Keys of one call.
const MANY: usize = 100;

/// A batch of keys that are all there, next to as many reads one by one.
pub(crate) fn many(setup: &Setup, bench: &'static str) -> Vec<Row> {
    if !setup.request.wants("ours") {
        return vec![];
    }
    let keys = keys::random(1_000, setup.request.either(1 << 18, 1 << 16), 1);
    let cache: Numbers = whole();
    let batches = || {
        for keys in keys.chunks(MANY) {
            black_box(cache.get_or_load_many(keys, |_| Ok::<_, Infallible>([(0, 0)])).is_ok());
        }
    };
    let one_by_one = || {
        for key in &keys {
            black_box(cache.get(key));
        }
    };
    let mut contestants =
        [timed("ours", keys.len(), batches), timed("ours_get", keys.len(), one_by_one)];
    setup.play(bench, &mut contestants, setup.request.rounds(11, 5))
}

fn timed<'a>(name: &'static str, reads: usize, read: impl Fn() + 'a) -> Contestant<'a> {
    let play = move || {
        read();
        let start = Instant::now();
        read();
        Round::alone(start.elapsed(), reads)
    };
    Contestant::new(name, 1, play)
}

/// Keys that are stale, each with a refresh in flight: as many as may be at work or wait for it.
const STALE: u64 = 512;

pub(crate) fn stale(setup: &Setup, bench: &'static str) -> Vec<Row> {
    if !setup.request.wants("ours") {
        return vec![];
    }
    let keys = keys::random(STALE, setup.request.either(1 << 17, 1 << 15), 1);
    let (stale, fresh) = (HeldBack::stale(STALE), HeldBack::fresh(STALE));
    let mut contestants = [
        contestant("ours", &keys, vec![|key| stale.read(key)]),
        contestant("ours_fresh", &keys, vec![|key| fresh.read(key)]),
    ];
    let rows = setup.play(bench, &mut contestants, setup.request.rounds(11, 5));
    let loads = [stale.loads(), fresh.loads()];
    rows.into_iter().zip(loads).map(|(row, loads)| row.with("loads", loads as f64)).collect()
}
