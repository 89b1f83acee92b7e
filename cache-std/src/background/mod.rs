//! Values that are loaded in the background, so that readers never wait.
//!
//! ```
//! use std::time::Duration;
//! use cache_std::background::Background;
//!
//! let prices = Background::builder("prices")
//!     .every(Duration::from_secs(300))
//!     .start(|| Ok::<_, std::io::Error>(vec![3, 1, 4]))?;
//! prices.ready()?; // once, at start-up, if it must be there
//! assert_eq!(*prices.get().unwrap(), [3, 1, 4]); // never waits
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod kept;
pub(crate) mod plan;
mod scheduler;
mod value;

pub use cache_core::schedule::{JobError, MissedTick};
pub use kept::{Look, Status};
pub use scheduler::{Scheduler, StillRunning};
pub use value::{Background, BackgroundBuilder, NotReady, StartError};
