//! `advanced-caching` over Redis: entries shared by processes, on one server, behind sentinels, or on a
//! cluster.
//!
//! ```no_run
//! use std::time::Duration;
//! use cache_redis::{RedisStore, Server};
//! use cache_core::store::{AsyncStore, Plain};
//! use cache_core::{Instant, Lifetime};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::open("redis://localhost")?;
//! let names = RedisStore::<String, _>::new(&server, "shop", Plain)?.namespace("names");
//!
//! let hour = Lifetime::fresh_for(Duration::from_secs(3_600));
//! names.put(&42_u64, &"Ada".to_owned(), hour, Instant::ORIGIN).await?;
//! let found = names.get(&42_u64, Instant::ORIGIN).await?.expect("put just now");
//! assert_eq!(found.value, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! For programs without a runtime: [`RedisStore::blocking`]. Every setting, what is promised and what is not, and how
//! the server is to be set up: [docs/REDIS.md](https://github.com/advanced-caching/advanced-caching/blob/main/docs/REDIS.md).
#![forbid(unsafe_code)]

mod address;
mod backplane;
mod blocking;
mod clock;
#[cfg(feature = "cluster")]
mod cluster;
mod desk;
mod dial;
mod driver;
mod error;
mod form;
mod key;
mod link;
mod locks;
mod message;
mod random;
mod reply;
mod script;
#[cfg(feature = "sentinel")]
mod sentinel;
mod server;
mod stamp;
mod store;
mod supervisor;
#[cfg(feature = "tls")]
mod tls;
mod writes;

pub use backplane::{RedisBackplane, TrackingStats};
pub use blocking::Blocking;
pub use cache_core::store::{AcquireError, ExtendError, LockOptions, Released};
pub use error::{BuildError, ServerError};
pub use locks::{RedisLock, RedisLocks};
pub use server::{Connection, ConnectionWatch, Server, ServerBuilder};
pub use store::{Inspected, Inspection, RedisStore, StoreStats};
