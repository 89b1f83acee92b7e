//! Which job's run a task is in.

use super::scheduler::Scheduler;
use super::seat::Seat;

tokio::task_local! {
    static RUNNING: Running;
}

/// Scheduler and job, by their addresses: both are there for as long as the run is.
#[derive(Clone, Copy)]
pub(super) struct Running {
    scheduler: usize,
    seat: usize,
}

impl Running {
    pub(super) fn new(scheduler: &Scheduler, seat: &Seat) -> Self {
        Self { scheduler: scheduler.address(), seat: core::ptr::from_ref(seat).addr() }
    }

    /// `load`, known as a run of this job.
    pub(super) fn with<L: Future>(self, load: L) -> impl Future<Output = L::Output> {
        RUNNING.scope(self, load)
    }
}

/// Whether the caller is in a run of a job of this scheduler.
pub(super) fn is_in_job_of(scheduler: &Scheduler) -> bool {
    RUNNING.try_with(|running| running.scheduler == scheduler.address()).unwrap_or(false)
}

/// Whether the caller is in a run of this job.
pub(super) fn is_in(seat: &Seat) -> bool {
    RUNNING.try_with(|running| running.seat == core::ptr::from_ref(seat).addr()).unwrap_or(false)
}
