//! Waiting for a flight as a task.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use cache_core::Instant;

use super::runtime::{NoRuntime, Runtime};
use crate::flight::{CannotWait, End, Flight, Joined};
use crate::sync::cache::Inner;
use crate::time::{Alarm, Signal, Time};

/// Waits for a flight; `None` when `until` came first. Dropped earlier, it leaves nothing behind.
pub(super) async fn wait<K, V: Clone, S, R: Runtime>(
    (inner, runtime): (&Inner<K, V, S>, &R),
    flight: &Flight<V>,
    until: Instant,
) -> Result<Option<End<V>>, CannotWait> {
    if let Some(end) = flight.end() {
        return Ok(Some(end));
    }
    let _seat = inner.seat()?;
    let signal = Arc::new(Signal::new());
    match flight.join(&signal) {
        Joined::Waits => {}
        Joined::Ended => return Ok(flight.end()),
        Joined::Full => return Err(CannotWait::TooMany),
    }
    let _joined = Member { flight, signal: &signal };
    inner.pull_forward(flight);
    let mut clock = Until::new(until);
    let timed = poll_fn(|context| match signal.poll(context) {
        Poll::Ready(true) => Poll::Ready(Ok(())),
        // It may have been an alarm: the clock is asked.
        _ => clock.poll(&*inner.time, runtime, &signal, context),
    });
    timed.await.map_err(|NoRuntime| CannotWait::NoRuntime)?;
    Ok(flight.end())
}

/// Has joined a flight, and leaves it when dropped.
struct Member<'a, V> {
    flight: &'a Flight<V>,
    signal: &'a Arc<Signal>,
}

impl<V> Drop for Member<'_, V> {
    fn drop(&mut self) {
        self.flight.leave(self.signal);
    }
}

/// Waits for an instant of a cache's clock, by an alarm of that, or by the runtime.
pub(super) struct Until<R: Runtime> {
    at: Instant,
    by: Option<By<R>>,
}

enum By<R: Runtime> {
    Alarm { _held: Alarm },
    Sleep(R::Sleep),
}

impl<R: Runtime> Until<R> {
    pub(super) const fn new(at: Instant) -> Self {
        Self { at, by: None }
    }

    pub(super) const fn at(&self) -> Instant {
        self.at
    }

    /// Ready when the instant has come. An alarm pokes `signal`, which the caller has polled just now.
    pub(super) fn poll(
        &mut self,
        time: &dyn Time,
        runtime: &R,
        signal: &Arc<Signal>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), NoRuntime>> {
        while self.at != Instant::FAR_FUTURE {
            let now = time.now_precisely();
            if now.has_reached(self.at) {
                return Poll::Ready(Ok(()));
            }
            match &mut self.by {
                Some(By::Sleep(sleep)) => match Pin::new(sleep).poll(context) {
                    // The cache's clock may be behind the runtime's.
                    Poll::Ready(()) => self.by = None,
                    // A poke may have been seen since the signal was told who waits.
                    Poll::Pending => match signal.poll(context) {
                        Poll::Ready(true) => return Poll::Ready(Ok(())),
                        Poll::Ready(false) => {}
                        Poll::Pending => return Poll::Pending,
                    },
                },
                Some(By::Alarm { .. }) => match signal.poll(context) {
                    Poll::Ready(true) => return Poll::Ready(Ok(())),
                    Poll::Ready(false) => self.by = None,
                    Poll::Pending => return Poll::Pending,
                },
                None => match time.alarm(signal, self.at) {
                    Some(alarm) => self.by = Some(By::Alarm { _held: alarm }),
                    None => match runtime.sleep(self.at.remaining_at(now)) {
                        Ok(sleep) => self.by = Some(By::Sleep(sleep)),
                        Err(none) => return Poll::Ready(Err(none)),
                    },
                },
            }
        }
        // Only the signal counts; it may have been poked, and must know who waits.
        match signal.poll(context) {
            Poll::Ready(true) => Poll::Ready(Ok(())),
            Poll::Ready(false) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
