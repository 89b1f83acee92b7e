//! One value and the job that keeps it.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use tokio::runtime::Handle as RuntimeHandle;
use tokio::time::timeout;

use super::running::is_in;
use super::shared::Shared;
use super::watcher::Watcher;
use super::{BackgroundBuilder, Look, NotReady, Status, StillRunning};

/// A value that a job loads again and again, as a task. Clones share it; when the last is dropped,
/// the job ends, and a run under way is dropped at its next `await`.
///
/// The last good value stays, however long loading fails.
///
/// ```
/// use std::time::Duration;
/// use cache_tokio::background::Background;
///
/// # async fn fetch() -> Result<Vec<u32>, std::io::Error> { Ok(vec![3, 1, 4]) }
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let prices = Background::builder("prices")
///     .every(Duration::from_secs(300))
///     .valid_for(Duration::from_secs(600))
///     .jitter_percent(10)
///     .on_error(|error| eprintln!("prices: {error}"))
///     .start(fetch)?;
/// assert_eq!(prices.ready().await?.len(), 3);
/// # Ok(())
/// # }
/// ```
pub struct Background<T> {
    shared: Arc<Shared<T>>,
    handle: Arc<Handle<T>>,
}

impl<T> Clone for Background<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), handle: Arc::clone(&self.handle) }
    }
}

struct Handle<T> {
    shared: Arc<Shared<T>>,
    ready_timeout: Duration,
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.shared.scheduler.remove(&self.shared.seat);
        self.shared.seat.abort();
    }
}

impl Background<()> {
    /// Starts building a value known by `name`, which is unique in its scheduler.
    pub fn builder(name: &str) -> BackgroundBuilder {
        BackgroundBuilder::new(name)
    }
}

impl<T: Send + Sync + 'static> Background<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, ready_timeout: Duration) -> Self {
        let handle = Handle { shared: Arc::clone(&shared), ready_timeout };
        Self { shared, handle: Arc::new(handle) }
    }

    /// The last good value; `None` only before the first. Never waits.
    pub fn get(&self) -> Option<Arc<T>> {
        self.shared.is_read();
        self.shared.kept.get()
    }

    /// As [`get`](Self::get), but only to look: it takes no share of the value, and costs about
    /// half as much. Meant to be held for a moment, and not across an `await`: a thread that holds
    /// many looks at once takes shares after all.
    pub fn look(&self) -> Option<Look<T>> {
        self.shared.is_read();
        self.shared.kept.look()
    }

    /// The value; waits for the first, if need be, up to the builder's `ready_timeout`.
    ///
    /// # Errors
    /// The first run failed, takes too long, or will not come; or the value is not there and the
    /// caller is on no runtime. Loading goes on, and a later call may find the value.
    pub async fn ready(&self) -> Result<Arc<T>, NotReady> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        if RuntimeHandle::try_current().is_err() {
            return Err(NotReady::NoRuntime);
        }
        let first = timeout(self.handle.ready_timeout, self.first());
        first.await.unwrap_or(Err(NotReady::TimedOut))
    }

    async fn first(&self) -> Result<Arc<T>, NotReady> {
        loop {
            // Listened to before looked at, so that nothing can happen unheard in between.
            let bell = self.shared.seat.bell.notified();
            // The runtime that drove the job may have ended meanwhile.
            self.shared.is_read();
            if let Some(answer) = self.shared.answer() {
                return answer;
            }
            bell.await;
        }
    }

    /// Waits for values that are loaded from now on. To miss none, watch first and then
    /// [`get`](Self::get).
    pub fn watch(&self) -> Watcher<T> {
        Watcher::new(&self.shared)
    }

    /// Runs the job now; if it is running, once more when it ends. Does not wait. `false` if the
    /// job was stopped.
    pub fn refresh_now(&self) -> bool {
        self.shared.refresh_now()
    }

    /// How the job stands; `None` if it was stopped. Does not count as a read.
    pub fn status(&self) -> Option<Status> {
        self.shared.status()
    }

    /// Ends the job; the value stays. A run under way goes on to its end, as long as there is a
    /// handle to read its value by.
    pub fn stop(&self) {
        self.shared.scheduler.remove(&self.shared.seat);
    }

    /// Ends the job, and waits up to `patience` for a run under way. The value stays. May be called
    /// from inside the loader, whose own run is then not waited for. Where no runtime is, it does
    /// not wait.
    ///
    /// # Errors
    /// The run had not ended when the time was over. It goes on.
    pub async fn shutdown(&self, patience: Duration) -> Result<(), StillRunning> {
        self.stop();
        if is_in(&self.shared.seat) {
            return Ok(());
        }
        if RuntimeHandle::try_current().is_ok() {
            drop(timeout(patience, self.ended()).await);
        }
        if self.shared.seat.is_running() { Err(StillRunning::new(1)) } else { Ok(()) }
    }

    async fn ended(&self) {
        loop {
            let bell = self.shared.seat.bell.notified();
            if !self.shared.seat.is_running() {
                return;
            }
            bell.await;
        }
    }
}

impl<T> fmt::Debug for Background<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("name", &self.shared.seat.name).finish_non_exhaustive()
    }
}
