//! What the measurements share: keys, peers, rounds, rows and charts.
//!
//! `cargo xtask compare` measures the cache next to its peers, `cargo bench -p cache-benches` alone,
//! and `cargo xtask instructions` counts instructions, which repeat exactly.

pub mod chart;
pub mod heap;
pub mod held_back;
pub mod keys;
pub mod machine;
pub mod ours;
pub mod peer;
#[cfg(feature = "peers")]
pub mod peers;
pub mod progress;
pub mod quartiles;
pub mod request;
pub mod round;
pub mod row;
pub mod threads;
pub mod zipf;
