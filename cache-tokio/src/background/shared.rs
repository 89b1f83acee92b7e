//! What the handles on a value, its watchers and its task share.

use core::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use cache_std::__private::Kept;
use tokio::runtime::Handle;

use super::drive::Drive;
use super::scheduler::Scheduler;
use super::seat::Seat;
use super::{NotReady, Status};

/// A run of the loader: a value, or the text of an error.
pub(super) type Run<T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send>>;

pub(super) struct Shared<T> {
    pub(super) seat: Arc<Seat>,
    pub(super) scheduler: Scheduler,
    pub(super) kept: Kept<T>,
    pub(super) load: Box<dyn Fn() -> Run<T> + Send + Sync>,
    /// How many values there have been. Changes together with the value.
    values: Mutex<u64>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl<T> Shared<T> {
    pub(super) fn new(
        seat: Arc<Seat>,
        scheduler: Scheduler,
        kept: Kept<T>,
        load: Box<dyn Fn() -> Run<T> + Send + Sync>,
    ) -> Self {
        Self {
            seat,
            scheduler,
            kept,
            load,
            values: Mutex::default(),
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }
    }

    /// How many values there have been, and the last.
    pub(super) fn latest(&self) -> (u64, Option<Arc<T>>) {
        let values = self.values();
        (*values, self.kept.get())
    }

    fn values(&self) -> MutexGuard<'_, u64> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a run came to; `true` if it went well.
    pub(super) fn keep(&self, outcome: thread::Result<Result<T, String>>) -> bool {
        if !matches!(outcome, Ok(Ok(_))) {
            return self.kept.end_run(outcome);
        }
        // Held, so that it is not dropped under the lock.
        let _old = self.kept.get();
        let mut values = self.values();
        *values = values.wrapping_add(1);
        self.kept.end_run(outcome)
    }

    pub(super) fn status(&self) -> Option<Status> {
        let status = self.scheduler.status(&self.seat)?;
        Some(self.kept.status(&status, self.seat.clock().now()))
    }

    /// What a caller who waits for the first value is told; `None` as long as there is hope.
    pub(super) fn answer(&self) -> Option<Result<Arc<T>, NotReady>> {
        let status = self.status();
        let error = self.kept.last_error();
        if let Some(value) = self.kept.get() {
            return Some(Ok(value));
        }
        let Some(status) = status else { return Some(Err(NotReady::Stopped)) };
        let is_due = status.next_run.is_some_and(|left| left.is_zero());
        let text = error.filter(|_| !status.running && !is_due)?;
        Some(Err(NotReady::Failed(text)))
    }
}

impl<T: Send + Sync + 'static> Shared<T> {
    /// Notes a read.
    #[inline]
    pub(super) fn is_read(self: &Arc<Self>) {
        if self.seat.attention.is_wanted() {
            self.attend();
        }
    }

    #[cold]
    fn attend(self: &Arc<Self>) {
        let wanted = self.seat.attention.note();
        if wanted.resume {
            self.scheduler.trigger(&self.seat);
        }
        if wanted.task {
            self.drive();
        }
    }

    /// Runs the job now, or once more.
    pub(super) fn refresh_now(self: &Arc<Self>) -> bool {
        let wanted = self.seat.attention.note();
        let found = self.scheduler.trigger(&self.seat);
        if wanted.task && found {
            self.drive();
        }
        found
    }

    /// Gives the job a task on the caller's runtime. Where none is, the next reader is asked.
    pub(super) fn drive(self: &Arc<Self>) {
        let Ok(here) = Handle::try_current() else { return self.seat.attention.orphan() };
        if !self.seat.begin_driving() {
            return;
        }
        self.seat.clock().move_here();
        let task = Drive::new(Arc::clone(self)).run();
        #[cfg(feature = "tracing")]
        let task = tracing::Instrument::instrument(task, self.span.clone());
        self.seat.driven_by(here.spawn(task).abort_handle());
    }
}
