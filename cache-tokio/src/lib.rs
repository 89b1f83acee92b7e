//! `advanced-caching` for tokio: async callers over the memory cache of `cache-std`.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use cache_tokio::future::Cache;
//!
//! # async fn query(id: u64) -> Result<Arc<str>, std::io::Error> { Ok("Ada".into()) }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let users: Cache<u64, Arc<str>> = Cache::builder()
//!     .capacity(10_000)
//!     .ttl(Duration::from_secs(60))
//!     .stale_while_revalidate(Duration::from_secs(30))
//!     .stale_if_error(Duration::from_secs(24 * 3_600))
//!     .build()?;
//!
//! let user = users.get_or_load(&42, || async { query(42).await }).await?;
//! assert_eq!(&*user, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! A load runs as a task of its own. A caller who is cancelled, or no longer polled, harms nobody: the
//! load goes on, lands, and answers those who wait for it.
#![forbid(unsafe_code)]

pub mod background;
pub mod future;
mod runtime;
mod time;

pub use runtime::Tokio;
pub use time::TokioTime;
