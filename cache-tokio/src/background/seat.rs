//! A job's place in its scheduler: what does not depend on the type of its value.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_std::Instant;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::attention::Attention;
use super::clock::JobClock;

pub(super) struct Seat {
    pub(super) name: Arc<str>,
    pub(super) attention: Attention,
    /// Wakes the job's task: there is something to do, or it is over.
    pub(super) wake: Notify,
    /// Wakes those who wait for a value: a run ended, or none will come.
    pub(super) bell: Arc<Notify>,
    clock: Mutex<JobClock>,
    /// Whether there is a task.
    driven: AtomicBool,
    /// Whether a run is under way.
    running: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

impl Seat {
    pub(super) fn new(name: Arc<str>, stop_after: Option<Duration>) -> Self {
        let clock = JobClock::new();
        Self {
            name,
            attention: Attention::new(stop_after, clock.now()),
            wake: Notify::new(),
            bell: Arc::new(Notify::new()),
            clock: Mutex::new(clock),
            driven: AtomicBool::new(false),
            running: AtomicBool::new(false),
            task: Mutex::default(),
        }
    }

    pub(super) fn clock(&self) -> MutexGuard<'_, JobClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time by the job's runtime, on which this must be called.
    pub(super) fn tick(&self) -> Instant {
        self.clock().tick()
    }

    /// Whether the caller is the one to give the job a task.
    pub(super) fn begin_driving(&self) -> bool {
        !self.driven.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_driving(&self) {
        self.driven.store(false, Ordering::Release);
    }

    /// This is the job's task. One that has ended already has been replaced, perhaps.
    pub(super) fn driven_by(&self, task: AbortHandle) {
        if !task.is_finished() {
            *self.task() = Some(task);
        }
    }

    /// Drops the task, with the run that is under way.
    pub(super) fn abort(&self) {
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Returns what was so before.
    pub(super) fn set_running(&self, on: bool) -> bool {
        self.running.swap(on, Ordering::AcqRel)
    }

    pub(super) fn tell_all(&self) {
        self.wake.notify_one();
        self.bell.notify_waiters();
    }
}
