//! Those who want to know of every new value.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use futures_core::Stream;
use tokio::sync::futures::OwnedNotified;

use super::seat::Seat;
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
    wait: Option<Wait>,
}

/// The job is over: no value will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the background job is over")
    }
}

impl core::error::Error for Stopped {}

/// Somebody waits for the bell.
struct Wait {
    bell: Pin<Box<OwnedNotified>>,
    _waiting: Waiting,
}

/// Counts somebody as waiting, so that the job does not pause meanwhile.
pub(super) struct Waiting(Arc<Seat>);

impl Waiting {
    pub(super) fn new(seat: &Arc<Seat>) -> Self {
        seat.attention.begin_waiting();
        Self(Arc::clone(seat))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.attention.end_waiting();
    }
}

impl Wait {
    fn new(seat: &Arc<Seat>) -> Self {
        let bell = Box::pin(Arc::clone(&seat.bell).notified_owned());
        Self { bell, _waiting: Waiting::new(seat) }
    }
}

/// Ends the wait of a watcher whose caller has gone.
struct Call<'a, T>(&'a mut Watcher<T>);

impl<T> Drop for Call<'_, T> {
    fn drop(&mut self) {
        self.0.wait = None;
    }
}

impl<T: Send + Sync + 'static> Watcher<T> {
    pub(super) fn new(shared: &Arc<Shared<T>>) -> Self {
        Self { shared: Arc::clone(shared), seen: shared.latest().0, wait: None }
    }

    /// The next value that this watcher has not seen. Dropping the future loses none.
    ///
    /// # Errors
    /// The job is over, and its last value has been seen.
    pub async fn changed(&mut self) -> Result<Arc<T>, Stopped> {
        let call = Call(self);
        poll_fn(|context| call.0.poll_changed(context)).await
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<T>, Stopped>> {
        loop {
            // The runtime that drove the job may have ended meanwhile.
            self.shared.is_read();
            // Listened to before looked at, so that nothing can happen unheard in between.
            let seat = &self.shared.seat;
            let bell = self.wait.get_or_insert_with(|| Wait::new(seat)).bell.as_mut();
            let is_over = self.shared.scheduler.status(seat).is_none();
            let (values, latest) = self.shared.latest();
            if let Some(value) = latest.filter(|_| values != self.seen) {
                (self.seen, self.wait) = (values, None);
                return Poll::Ready(Ok(value));
            }
            if is_over {
                self.wait = None;
                return Poll::Ready(Err(Stopped));
            }
            ready!(bell.poll(context));
            self.wait = None;
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
