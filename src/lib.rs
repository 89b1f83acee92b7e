#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

pub use cache_core::{
    Action, Cause, Clock, Completion, Contract, Decision, Entry, Explanation, FlightId, Freshness,
    Instant, Lease, Lifetime, Loaded, ManualClock, Policy, PolicyBuilder, PolicyError, Put,
    Refusal, Standing, Stats, TickClock, Ticket, WrappingTicks, decide, shard, table,
};

/// The cache driven by hand: microcontrollers, WebAssembly, simulations.
pub mod local {
    pub use cache_core::local::*;
    pub use cache_core::{Action, Completion, Ticket};
}

#[cfg(feature = "conformance")]
pub use cache_core::conformance;
pub use cache_core::store;
#[cfg(feature = "alloc")]
pub use cache_core::{schedule, tag_hash};

/// The cache for threads.
#[cfg(feature = "std")]
pub mod sync {
    pub use cache_std::background::*;
    pub use cache_std::sync::*;
}

/// The cache for tasks, on tokio.
#[cfg(feature = "tokio")]
pub mod future {
    pub use cache_tokio::future::*;
    pub use cache_tokio::{Tokio, TokioTime};
}

/// Entries, leases and locks in a Redis server, for threads and for tasks on tokio. Every setting, what is
/// promised and what is not, and how the server is to be set up: `docs/REDIS.md` in the repository.
#[cfg(feature = "redis")]
pub mod redis {
    pub use cache_redis::*;
}

#[cfg(all(feature = "coarse-clock", target_os = "linux"))]
pub use cache_std::CoarseTime;
#[cfg(feature = "chaos")]
pub use cache_std::chaos;
#[cfg(feature = "std")]
pub use cache_std::{
    Alarm, DirStats, DirStore, LeapingTime, ManualTime, MemoryLock, MemoryLocks, MemoryStore,
    MonotonicTime, Signal, TickTime, Time,
};

/// The guide pages, whose code runs as a test.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/TESTING.md")]
    mod testing {}

    #[cfg(feature = "redis")]
    #[doc = include_str!("../docs/REDIS.md")]
    mod redis {}
}
