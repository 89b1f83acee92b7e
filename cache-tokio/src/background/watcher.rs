//! Those who want to know of every new value.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use futures_core::Stream;
use tokio::sync::futures::OwnedNotified;

use super::shared::Shared;

/// Waits for new values of a [`Background`](super::Background); also a [`Stream`] of them, which
/// ends when the job is over. Made by [`Background::watch`](super::Background::watch).
///
/// It sees what is loaded after it was made. One who is slow sees the latest value, not all. It
/// does not keep the job alive.
///
/// ```
/// use std::time::Duration;
/// use cache_tokio::background::Background;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rate = Background::builder("rate").every(Duration::from_secs(60));
/// let rate = rate.start(|| async { Ok::<_, std::io::Error>(7) })?;
/// let mut watcher = rate.watch();
/// assert_eq!(*watcher.changed().await?, 7); // the first
/// assert_eq!(*watcher.changed().await?, 7); // a minute later
/// drop(rate);
/// assert!(watcher.changed().await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
    /// Rings when there is something new to look at.
    bell: Option<Pin<Box<OwnedNotified>>>,
}

/// The job is over. A run that was under way when it was stopped may still bring a value, to be had by
/// [`get`](super::Background::get): nobody is kept waiting for it, as it may hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the background job is over")
    }
}

impl core::error::Error for Stopped {}

impl<T: Send + Sync + 'static> Watcher<T> {
    pub(super) fn new(shared: &Arc<Shared<T>>) -> Self {
        Self { shared: Arc::clone(shared), seen: shared.latest().0, bell: None }
    }

    /// The next value that this watcher has not seen. Dropping the future loses none.
    ///
    /// # Errors
    /// The job is over, and its last value has been seen.
    pub async fn changed(&mut self) -> Result<Arc<T>, Stopped> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<T>, Stopped>> {
        loop {
            // Listened to before looked at, so that nothing can happen unheard in between.
            let seat = &self.shared.seat;
            let bell = || Box::pin(Arc::clone(&seat.bell).notified_owned());
            let bell = self.bell.get_or_insert_with(bell).as_mut();
            // The runtime that drove the job may have ended meanwhile.
            self.shared.is_read();
            let is_over = self.shared.scheduler.status(seat).is_none();
            let (values, latest) = self.shared.latest();
            if let Some(value) = latest.filter(|_| values != self.seen) {
                (self.seen, self.bell) = (values, None);
                return Poll::Ready(Ok(value));
            }
            if is_over {
                self.bell = None;
                return Poll::Ready(Err(Stopped));
            }
            ready!(bell.poll(context));
            self.bell = None;
        }
    }
}

impl<T: Send + Sync + 'static> Stream for Watcher<T> {
    type Item = Arc<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<T>>> {
        self.get_mut().poll_changed(context).map(Result::ok)
    }
}

impl<T> fmt::Debug for Watcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("name", &self.shared.seat.name).finish_non_exhaustive()
    }
}
