//! Replays traces of requests through caches and tells how often each of them missed.
//!
//! A [`trace`] is replayed read-through: get, and on a miss put. Every [`policy`] sees the same
//! requests on the same virtual clock. [`replay`] runs all cells (trace, capacity, policy) on the
//! machine's cores, [`report`] makes tables of the [`row`]s. [`generate`] writes traces for those
//! who have none.
//!
//! ```sh
//! cargo run --release -p cache-sim -- generate --kind zipf --keys 100000 --requests 1000000 > zipf.txt
//! cargo run --release -p cache-sim -- replay --trace zipf.txt --capacity 1%,10%,500 --peers
//! ```

#![forbid(unsafe_code)]

pub mod arguments;
pub mod belady;
pub mod capacity;
pub mod commands;
pub mod generate;
pub mod lru;
pub mod nodes;
pub mod ours;
#[cfg(feature = "peers")]
pub mod peers;
pub mod policy;
pub mod replay;
pub mod report;
pub mod row;
pub mod summary;
pub mod trace;
