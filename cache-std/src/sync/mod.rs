//! The cache for threads.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use cache_std::sync::Cache;
//!
//! # fn query(id: u64) -> Result<Arc<str>, std::io::Error> { Ok("Ada".into()) }
//! let users: Cache<u64, Arc<str>> = Cache::builder()
//!     .capacity(10_000)
//!     .ttl(Duration::from_secs(60))
//!     .stale_while_revalidate(Duration::from_secs(30))
//!     .stale_if_error(Duration::from_secs(24 * 3_600))
//!     .build()?;
//!
//! let user = users.get_or_load(&42, || query(42))?; // one load, however many threads ask
//! assert_eq!(&*user, "Ada");
//!
//! users.put(7, Arc::from("Grace"));
//! users.invalidate(&7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod audience;
pub(crate) mod both;
pub(crate) mod builder;
pub(crate) mod cache;
pub(crate) mod call;
pub(crate) mod chore;
pub(crate) mod control;
mod ear;
mod get;
mod iter;
pub(crate) mod lead;
mod listener;
mod load;
mod loading;
pub(crate) mod many;
#[cfg(all(test, shuttle))]
mod models;
pub(crate) mod outcome;
pub(crate) mod place;
pub(crate) mod read;
pub(crate) mod reading;
mod run;
mod snapshot;
mod tables;
pub(crate) mod warm;

pub use crate::error::LoadError;
pub use crate::second::Reach;
pub use both::Mutated;
pub use builder::{BuildError, Builder, DefaultHasher, Threads};
pub use cache::Cache;
pub use control::{CapacityError, Control, StillLoading};
pub use iter::Iter;
pub use lead::Previous;
pub use listener::Event;
pub use loading::{LoadingBuilder, LoadingCache};
pub use outcome::{LoadPart, Outcome, Source};
pub use read::Read;
pub use snapshot::{ExportError, Exported, ImportError, Imported, Snapshot};
pub use tables::Waiting;
pub use warm::{Progress, WarmUp, WarmUpEnd, WarmedUp};
