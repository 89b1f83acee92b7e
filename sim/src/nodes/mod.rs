//! Several processes before one shared store, in one thread, on virtual time, by a seed.
//!
//! Each node is a real [`cache_std::future::Cache`] with all that belongs to it: leases, doubts, the
//! backplane. Made up are the [world](world) that runs its tasks in an order of the seed's choosing, the
//! [store](store) and the wires to it, which delay and lose what is sent, and the [people](plot) who
//! read and change. What must hold is checked with every read, and once more when all is quiet:
//!
//! - A read that begins after a mutation has returned on the same node never sees what was before it.
//! - On other nodes, the same once messages had their time, and the loss of a wire its time to be noticed.
//! - The trouble of store and wires is no caller's error.
//! - In the end, every node reads what the origin has.
//!
//! A seed that fails is run again by `cache-sim nodes --seed N --count 1 --verbose`.

use core::fmt;

mod plot;
mod rng;
mod store;
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
