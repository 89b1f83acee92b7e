//! The task of a job.

use core::future::poll_fn;
use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use tokio::task::yield_now;
use tokio::time::timeout;

use super::running::Running;
use super::scheduler::Step;
use super::shared::{Run, Shared};

/// What the last error says when a run was dropped before its end.
const GIVEN_UP: &str = "the run was given up: its runtime ended";

/// The task's hold on its job, which ends with the task, however that comes to its end.
pub(super) struct Drive<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Drive<T> {
    pub(super) const fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Runs the job whenever it is due, until it is over.
    pub(super) async fn run(self) {
        let Shared { seat, scheduler, .. } = &*self.shared;
        loop {
            match scheduler.step(seat, seat.tick()) {
                Step::Over => return,
                Step::Wait => seat.wake.notified().await,
                Step::Sleep(left) => drop(timeout(left, seat.wake.notified()).await),
                Step::Run => self.run_once().await,
            }
        }
    }

    async fn run_once(&self) {
        let Shared { seat, scheduler, load, .. } = &*self.shared;
        let outcome = Running::new(scheduler, seat).with(to_its_end(load())).await;
        let keep = || self.shared.keep(outcome);
        let well = catch_unwind(AssertUnwindSafe(keep)).unwrap_or(false);
        scheduler.end_run(seat, well, seat.tick());
        // A loader that never waits lets other tasks run all the same.
        yield_now().await;
    }
}

/// A run's outcome, or what it panicked with, at its end or when its future was dropped.
async fn to_its_end<T>(mut run: Run<T>) -> thread::Result<Result<T, String>> {
    let ended =
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
            Err(payload) => Poll::Ready(Err(payload)),
        })
        .await;
    match catch_unwind(AssertUnwindSafe(|| drop(run))) {
        Err(payload) if !matches!(ended, Ok(Ok(_))) => Err(payload),
        _ => ended,
    }
}

impl<T> Drop for Drive<T> {
    fn drop(&mut self) {
        let Shared { seat, scheduler, kept, .. } = &*self.shared;
        if seat.is_running() {
            kept.set_last_error(GIVEN_UP);
            let now = seat.tick();
            scheduler.end_run(seat, false, now);
            // Not the loader's fault: the next runtime need not wait for a back-off.
            scheduler.trigger(seat);
        }
        // In this order: a reader who is asked for a task must not find that there is one.
        seat.end_driving();
        if scheduler.goes_on(seat) {
            seat.attention.orphan();
        }
        seat.bell.notify_waiters();
    }
}
