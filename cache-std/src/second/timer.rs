//! How long a store is waited for, by whoever waits.

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;

use cache_core::Instant;

use crate::time::{Signal, Time};

/// What tells a driver that time has passed.
pub(crate) trait Timer {
    /// Ends when so much time has passed.
    fn after(&self, span: Duration) -> impl Future<Output = ()>;
}

/// What `work` comes to, unless `limit` ends before.
pub(crate) async fn within<T>(
    work: impl Future<Output = T>,
    limit: impl Future<Output = ()>,
) -> Option<T> {
    let (mut work, mut limit) = (pin!(work), pin!(limit));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// The timer of a thread that [blocks](Self::block_on).
pub(crate) struct ThreadTimer<'a> {
    time: &'a dyn Time,
    /// When what is waited for is to be looked at again at the latest.
    next: Cell<Instant>,
}

impl<'a> ThreadTimer<'a> {
    pub(crate) const fn new(time: &'a dyn Time) -> Self {
        Self { time, next: Cell::new(Instant::FAR_FUTURE) }
    }

    /// Blocks until the work has ended.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        // Most is done at once.
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
        let signal = Arc::new(Signal::new());
        let waker = Waker::from(Arc::new(Wakes(Arc::clone(&signal))));
        loop {
            self.next.set(Instant::FAR_FUTURE);
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                return done;
            }
            self.time.wait(&signal, self.next.get());
            signal.take();
        }
    }
}

impl Timer for ThreadTimer<'_> {
    fn after(&self, span: Duration) -> impl Future<Output = ()> {
        let at = self.time.now_precisely() + span;
        poll_fn(move |_| {
            if at != Instant::FAR_FUTURE && self.time.now_precisely().has_reached(at) {
                return Poll::Ready(());
            }
            self.next.set(self.next.get().min(at));
            Poll::Pending
        })
    }
}

/// Wakes a thread.
struct Wakes(Arc<Signal>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.set();
    }
}

/// Two things at once: the first's end is the end.
pub(crate) async fn beside<T>(work: impl Future<Output = T>, other: impl Future<Output = ()>) -> T {
    let (mut work, mut other) = (pin!(work), pin!(other));
    let mut other: Option<Pin<&mut _>> = Some(other.as_mut());
    poll_fn(|context| {
        if let Some(running) = &mut other
            && running.as_mut().poll(context).is_ready()
        {
            other = None;
        }
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::time::ManualTime;

    #[test]
    fn a_thread_waits_for_what_another_does_or_for_its_limit() {
        let (time, signal) = (ManualTime::new(), Signal::new());
        let second = Duration::from_secs(1);
        thread::scope(|scope| {
            let waits = || {
                let timer = ThreadTimer::new(&time);
                let set = poll_fn(|context| signal.poll(context).map(drop));
                timer.block_on(within(set, timer.after(second)))
            };
            let late = scope.spawn(waits);
            time.until_parked(1);
            time.advance(second);
            assert_eq!(late.join().unwrap(), None);
            let told = scope.spawn(waits);
            time.until_parked(1);
            signal.set();
            assert_eq!(told.join().unwrap(), Some(()));
        });
        assert_eq!(ThreadTimer::new(&time).block_on(async { 7 }), 7);
    }
}
