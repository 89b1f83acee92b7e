//! What the cache needs of an asynchronous runtime.

use core::fmt;
use core::time::Duration;

/// An asynchronous runtime: where loads run as tasks, and what waits by the clock.
///
/// A handle rather than the runtime itself: the runtime meant is the one that the caller is on, so a
/// cache in a `static` serves one runtime after another.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// Ends when its time has passed.
    type Sleep: Future<Output = ()> + Unpin + Send;

    /// Runs a task in the background, on the runtime of the caller, to its end. A runtime that ends
    /// earlier drops it.
    ///
    /// # Errors
    /// The caller is on no runtime.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), NoRuntime>;

    /// Waits for so long, by the runtime of the caller.
    ///
    /// # Errors
    /// The caller is on no runtime.
    fn sleep(&self, span: Duration) -> Result<Self::Sleep, NoRuntime>;

    /// How this thread finds out, when it is about to block, whether tasks that are spawned here and now
    /// could not run meanwhile; `None` where that is never so. It is asked on no other thread.
    fn hangs(&self) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        None
    }
}

/// The caller is on no asynchronous runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoRuntime;

impl NoRuntime {
    /// For those who implement [`Runtime`].
    pub const fn new() -> Self {
        Self
    }
}

impl Default for NoRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no asynchronous runtime is here")
    }
}

impl core::error::Error for NoRuntime {}
