//! Values that are loaded in the background by tasks, so that readers never wait.
//!
//! ```
//! use std::time::Duration;
//! use cache_tokio::background::Background;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let prices = Background::builder("prices")
//!     .every(Duration::from_secs(300))
//!     .start(|| async { Ok::<_, std::io::Error>(vec![3, 1, 4]) })?;
//! prices.ready().await?; // once, at start-up, if it must be there
//! assert_eq!(*prices.get().unwrap(), [3, 1, 4]); // never waits
//! # Ok(())
//! # }
//! ```
//!
//! Each value has a task of its own on the runtime on which it was started. The runtime's time must
//! be enabled, as `#[tokio::main]` and `enable_all` do; in tests, paused time holds for jobs, too.
//!
//! When that runtime ends, the value stays, and the job goes on at the next read, or
//! [`refresh_now`](Background::refresh_now), from another runtime. So a value may rest in a
//! `static`, also one that is made where no runtime is:
//!
//! ```
//! use std::sync::LazyLock;
//! use std::time::Duration;
//! use cache_tokio::background::Background;
//! use tokio::runtime::Runtime;
//!
//! static LIMIT: LazyLock<Background<u32>> = LazyLock::new(|| {
//!     let limit = Background::builder("limit").every(Duration::from_secs(60));
//!     limit.start(|| async { Ok::<_, std::io::Error>(10) }).expect("the name is not taken")
//! });
//!
//! assert_eq!(LIMIT.get(), None);
//! assert_eq!(*Runtime::new()?.block_on(LIMIT.ready())?, 10);
//! assert_eq!(*Runtime::new()?.block_on(LIMIT.ready())?, 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attention;
mod builder;
mod clock;
mod drive;
mod one_writer;
mod running;
mod scheduler;
mod seat;
mod shared;
mod value;
mod watcher;

pub use builder::BackgroundBuilder;
pub use cache_std::background::{
    JobError, Look, MissedTick, NotReady, StartError, Status, StillRunning,
};
pub use scheduler::Scheduler;
pub use value::Background;
pub use watcher::{Stopped, Watcher};
