//! `advanced-caching` for threads: a bounded cache with single flight, stale-while-revalidate and
//! stale-if-error, values loaded in the background, and a clock for tests.
//!
//! Start at [`sync::Cache`]. The algorithm is `cache-core`'s; this crate holds locks, waiters,
//! workers and clocks, and decides nothing.
#![deny(unsafe_code)]

extern crate alloc;

pub mod background;
#[cfg(feature = "chaos")]
pub mod chaos;
mod dir;
mod error;
mod flight;
pub mod future;
mod locks;
mod memory;
mod pool;
mod primitives;
mod receivers;
mod second;
pub mod sync;
mod time;

/// For the drivers above this one.
#[doc(hidden)]
pub mod __private {
    pub use crate::background::kept::{Kept, OnError};
    pub use crate::background::plan::Plan;
}

pub use cache_core::store;
pub use cache_core::{
    Cause, Clock, Contract, Entry, Explanation, Freshness, Instant, Lifetime, Loaded, Policy,
    PolicyBuilder, PolicyError, Put, Stats, tag_hash,
};
pub use dir::{DirStats, DirStore};
pub use locks::{MemoryLock, MemoryLocks};
pub use memory::MemoryStore;
#[cfg(all(feature = "coarse-clock", target_os = "linux"))]
pub use time::CoarseTime;
pub use time::{Alarm, LeapingTime, ManualTime, MonotonicTime, Signal, TickTime, Time};
