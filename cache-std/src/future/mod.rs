//! The cache for tasks, on any asynchronous runtime.
//!
//! Who uses tokio takes `cache-tokio`, whose `Cache` is this one. For another runtime, implement
//! [`Runtime`]: a way to spawn a task, and one to sleep.

mod batch;
mod builder;
mod cache;
mod control;
mod drive;
mod hit_or;
mod load;
mod loading;
mod locks;
mod many;
mod mend;
mod read;
mod refreshes;
mod runtime;
mod task;
mod timer;
mod wait;
mod warm;

pub use batch::{BatchBuilder, BatchCache};
pub use builder::{Builder, Tasks};
pub use cache::Cache;
pub use control::Control;
pub use loading::{LoadingBuilder, LoadingCache};
pub use locks::{TaskLock, TaskLocks};
pub use read::Read;
pub use runtime::{NoRuntime, Runtime};
pub use warm::WarmUp;
