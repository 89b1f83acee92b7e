//! What it costs to be rid of entries whose time has passed.

use std::thread;
use std::time::{Duration, Instant};

use advanced_caching::{Loaded, ManualTime};
use cache_benches::heap;
use cache_benches::ours;
use cache_benches::peer::Peer;
use cache_benches::peers::{self, Cached, Moka, Ours};
use cache_benches::round::Round;
use cache_benches::row::Row;

use crate::Setup;

/// Peers count real time. Nothing may pass while entries are still being put.
const fn real_ttl(entries: u64) -> Duration {
    Duration::from_micros(1_000_000 + 3 * entries)
}

pub(crate) fn expire(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let entries = setup.request.either(1_000_000, 250_000);
    let mut rows = vec![];
    let mut visit = |peer: &'static str, asked: &str, measure: fn(u64) -> Row| {
        if setup.request.wants(asked) {
            setup.progress.tell(peer, 1, 1);
            let mut row = measure(entries);
            (row.bench, row.peer) = (bench, peer);
            rows.push(row.with("entries", entries as f64));
        }
    };
    visit("ours", "ours", |entries| reclaim(|| ByPuts(OnManualTime::new(entries)), entries));
    visit("ours_purge", "ours", |entries| reclaim(|| ByPurge(OnManualTime::new(entries)), entries));
    visit("ours_maintain", "ours", |entries| {
        reclaim(|| ByMaintenance(OnManualTime::new(entries)), entries)
    });
    visit("moka", "moka", |entries| reclaim(|| RealMoka::new(entries), entries));
    visit("cached", "cached", |entries| reclaim(|| RealCached::new(entries), entries));
    rows
}

/// Holds entries, each with an end of its own, and is rid of them call by call.
trait Expires {
    /// Calls between two looks at how many entries are left.
    const CALLS: usize;

    fn put(&self, key: u64);

    /// Lets the time of all entries pass.
    fn lapse(&self);

    /// One call of the kind that reclaims.
    fn step(&mut self);

    fn held(&self) -> usize;
}

fn reclaim<P: Expires>(make: impl FnOnce() -> P, entries: u64) -> Row {
    let none = heap::held();
    let mut peer = make();
    let bytes_built = heap::held() - none;
    (0..entries).for_each(|key| peer.put(key));
    let (bytes_before, held_before) = (heap::held() - none, peer.held());
    peer.lapse();
    let (mut calls, mut longest, mut busy) = (0, Duration::ZERO, Duration::ZERO);
    // Some entries stay: those that the calls put themselves. The bound is for who never ends.
    while peer.held() > 2 * KEPT as usize && calls < 2 * entries as usize {
        for _ in 0..P::CALLS {
            let taken = time(|| peer.step());
            (longest, busy) = (longest.max(taken), busy + taken);
        }
        calls += P::CALLS;
    }
    let gone = held_before.saturating_sub(peer.held());
    let round = Round::alone(busy, gone.max(1));
    let mut row = Row::new("", "", 1);
    row.ns_per_op = Some(round.ns_per_op);
    row.with("max_call_ns", longest.as_nanos() as f64)
        .with("held_before", held_before as f64)
        .with("held_after", peer.held() as f64)
        .with("heap_built", bytes_built as f64)
        .with("heap_before", bytes_before as f64)
        .with("heap_after", (heap::held() - none) as f64)
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Keys that calls which reclaim put, again and again.
const KEPT: u64 = 1_024;

/// Ours, on a clock that moves by hand.
struct OnManualTime {
    cache: Ours<u64, u64>,
    time: ManualTime,
    puts: u64,
}

impl OnManualTime {
    fn new(entries: u64) -> Self {
        let time = ManualTime::new();
        let builder = ours::builder(2 * entries as usize).time(time.clone());
        Self { cache: builder.build().expect("the settings are right"), time, puts: 0 }
    }

    fn put(&self, key: u64) {
        let ttl = ours::TTL + Duration::from_micros(key);
        let _ = self.cache.put(key, Loaded::value(key).ttl(ttl));
    }

    fn lapse(&self) {
        self.time.advance(2 * ours::TTL + ours::SWR + ours::SIE);
    }
}

/// Reclaims as it goes: by puts of other keys.
struct ByPuts(OnManualTime);

impl Expires for ByPuts {
    const CALLS: usize = 4_096;

    fn put(&self, key: u64) {
        self.0.put(key);
    }

    fn lapse(&self) {
        self.0.lapse();
    }

    fn step(&mut self) {
        self.0.puts += 1;
        let _ = self.0.cache.put(u64::MAX - self.0.puts % KEPT, 0);
    }

    fn held(&self) -> usize {
        self.0.cache.len()
    }
}

/// Reclaims a few thousand entries with each call.
struct ByMaintenance(OnManualTime);

impl Expires for ByMaintenance {
    const CALLS: usize = 16;

    fn put(&self, key: u64) {
        self.0.put(key);
    }

    fn lapse(&self) {
        self.0.lapse();
    }

    fn step(&mut self) {
        self.0.cache.maintain(4_096);
    }

    fn held(&self) -> usize {
        self.0.cache.len()
    }
}

/// Reclaims by the call that nobody needs to make.
struct ByPurge(OnManualTime);

impl Expires for ByPurge {
    const CALLS: usize = 1;

    fn put(&self, key: u64) {
        self.0.put(key);
    }

    fn lapse(&self) {
        self.0.lapse();
    }

    fn step(&mut self) {
        self.0.cache.purge_expired();
    }

    fn held(&self) -> usize {
        self.0.cache.len()
    }
}

/// Entries end one after another, as they were put.
struct RealMoka {
    cache: Moka<u64, u64>,
    ttl: Duration,
}

impl RealMoka {
    fn new(entries: u64) -> Self {
        let ttl = real_ttl(entries);
        Self { cache: peers::moka(2 * entries as usize, ttl), ttl }
    }
}

impl Expires for RealMoka {
    const CALLS: usize = 1;

    fn put(&self, key: u64) {
        self.cache.insert(key, key);
    }

    fn lapse(&self) {
        self.cache.settle();
        thread::sleep(self.ttl);
    }

    fn step(&mut self) {
        self.cache.run_pending_tasks();
    }

    fn held(&self) -> usize {
        self.cache.entry_count() as usize
    }
}

/// As moka's.
struct RealCached {
    cache: Cached<u64, u64>,
    ttl: Duration,
}

impl RealCached {
    fn new(entries: u64) -> Self {
        let ttl = real_ttl(entries);
        Self { cache: peers::cached(2 * entries as usize, ttl), ttl }
    }
}

impl Expires for RealCached {
    const CALLS: usize = 1;

    fn put(&self, key: u64) {
        self.cache.set(key, key);
    }

    fn lapse(&self) {
        thread::sleep(self.ttl);
    }

    fn step(&mut self) {
        let _ = self.cache.evict();
    }

    fn held(&self) -> usize {
        self.cache.len()
    }
}
