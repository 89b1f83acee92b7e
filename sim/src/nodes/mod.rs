//! Several processes before one shared store, in one thread, on virtual time, by a seed.
//!
//! Each node is a real [`cache_std::future::Cache`] with all that belongs to it: leases, doubts, the
//! backplane. Made up are the `world` that runs its tasks in an order of the seed's choosing, the
//! `store` and the wires to it, which delay and lose what is sent, and the `plot`'s people who
//! read and change. What must hold is checked with every read, and once more when all is quiet:
//!
//! - A read that begins after a mutation has returned on the same node never sees what was before it.
//! - On other nodes, the same once messages had their time, and the loss of a wire its time to be noticed.
//! - The trouble of store and wires is no caller's error.
//! - What the store has had for a while is not asked of the origin, as long as the store works.
//! - In the end, every node reads what the origin has.
//!
//! A seed that fails is run again by `cache-sim nodes --seed N --count 1 --verbose`.

use core::fmt;
use core::num::NonZero;
use core::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

mod lines;
mod plot;
mod rng;
mod store;
mod tags;
mod world;

pub use plot::{Profile, run};

/// What a run that went well came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Reads that were checked.
    pub reads: u64,
    /// Loads from the origin.
    pub loads: u64,
    /// Mutations.
    pub mutations: u64,
    /// Loads that the store refused, because others had changed the key.
    pub refused: u64,
    /// Operations of the store that failed.
    pub errors: u64,
    /// A number made of everything that happened, in its order.
    pub trace: u64,
}

impl Tally {
    /// Both together.
    pub const fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.loads += other.loads;
        self.mutations += other.mutations;
        self.refused += other.refused;
        self.errors += other.errors;
        self.trace ^= other.trace;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, loads, mutations, refused, errors, .. } = self;
        write!(f, "{reads} reads, {loads} loads, {mutations} mutations, ")?;
        write!(f, "{refused} refused, {errors} errors of the store")
    }
}

/// Runs many seeds on all cores, and returns what they came to and which went wrong, in their order.
pub fn run_all(seeds: Range<u64>, verbose: bool) -> (Tally, Vec<Violation>) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let (mut all, mut wrong) = (Tally::default(), vec![]);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (all, wrong);
            }
            match run(seed, verbose) {
                Ok(tally) => all.add(&tally),
                Err(violation) => wrong.push(violation),
            }
        }
    };
    let cores = if verbose { 1 } else { thread::available_parallelism().map_or(1, NonZero::get) };
    let parts: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|payload| resume_unwind(payload))
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = (Tally::default(), vec![]);
    for (tally, wrong) in parts {
        all.0.add(&tally);
        all.1.extend(wrong);
    }
    all.1.sort_by_key(|wrong: &Violation| wrong.seed);
    all
}

/// What must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The seed of the run.
    pub seed: u64,
    /// What it was.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl core::error::Error for Violation {}
