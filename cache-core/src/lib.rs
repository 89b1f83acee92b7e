//! The algorithm of `advanced-caching`: TTL, stale-while-revalidate, stale-if-error, single flight
//! and background loading, as a state machine without I/O, clocks, threads or atomics.
//!
//! A read comes in with the time and goes out with an [`Action`] that says what to do next:
//!
//! ```
//! # #[cfg(feature = "hashbrown")] {
//! use core::time::Duration;
//! use cache_core::local::Cache;
//! use cache_core::table::{Bound, HashTable};
//! use cache_core::{Action, Freshness, Instant, Policy};
//!
//! let policy = Policy::ttl(Duration::from_secs(60))
//!     .stale_while_revalidate(Duration::from_secs(30))
//!     .jitter_percent(0)
//!     .build()?;
//! let table = HashTable::new(Bound::Entries(1_000), foldhash::fast::FixedState::default());
//! let mut users = Cache::with_table(policy, table);
//!
//! // Nobody has loaded user 42: the caller is told to.
//! let now = Instant::from_secs(100);
//! let Action::Load { ticket, .. } = users.lookup(&42, now) else { unreachable!() };
//! let _ = users.complete(&42, ticket, "Ada", now);
//!
//! // Within the ttl the value is served.
//! assert_eq!(users.get(&42, Instant::from_secs(159)), Some(&"Ada"));
//!
//! // After it, the old value is served at once and one caller refreshes it.
//! let later = Instant::from_secs(161);
//! let action = users.lookup(&42, later);
//! assert!(matches!(action, Action::ServeAndRefresh { freshness: Freshness::Stale, .. }));
//! # }
//! # Ok::<(), cache_core::PolicyError>(())
//! ```
//!
//! The whole algorithm is one table, [`decide()`], over how an entry stands and who may load. Drivers
//! for threads and async runtimes are in crates of their own; they hold waiters and clocks and
//! decide nothing.
//!
//! # Features
//! All features only add. `alloc`: tags, etags, error texts, schedules. `hashbrown` and `heapless`:
//! tables. `spin`: `local::Shared`. `embassy-time`: `EmbassyClock`. `serde`: for [`Policy`],
//! [`Lifetime`] and [`Stats`]. `conformance`: tests for stores of your own. `envelope`: entries as
//! bytes. `json`, `messagepack`, `postcard`, `protobuf`: values as bytes. `lz4`, `zstd`: those
//! compressed.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::alloc_instead_of_core, clippy::std_instead_of_alloc, clippy::std_instead_of_core)
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
mod decide;
#[cfg(feature = "embassy-time")]
mod embassy;
mod entry;
mod explain;
mod label;
mod loaded;
pub mod local;
mod policy;
mod record;
mod resting;
#[cfg(feature = "alloc")]
pub mod schedule;
pub mod shard;
mod slot;
mod stats;
pub mod store;
pub mod table;
mod tags;
mod ticket;
mod ticks;
mod time;

pub use action::{Action, Cause, Completion, Put};
pub use contract::Contract;
pub use decide::{Decision, Lease, Refusal, Standing, decide};
#[cfg(feature = "embassy-time")]
pub use embassy::EmbassyClock;
pub use entry::{Entry, Freshness, Lifetime};
pub use explain::{Explanation, FlightView, Left, Verdict};
#[cfg(feature = "alloc")]
pub use label::MAX_TAGS;
pub use loaded::Loaded;
pub use policy::{Policy, PolicyBuilder, PolicyError};
pub use record::Record;
pub use resting::{Mark, Resting, Times};
pub use stats::Stats;
#[cfg(feature = "alloc")]
pub use tags::tag_hash;
pub use ticket::{FlightId, Ticket};
pub use ticks::{TickClock, WrappingTicks};
pub use time::{Clock, Instant, ManualClock};
