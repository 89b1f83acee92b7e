//! The jobs that know each other by name, and end together.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cache_core::schedule::{Job, Schedule, Status};
use cache_std::Instant;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::running::is_in_job_of;
use super::seat::Seat;
use super::{StartError, StillRunning};

/// Most jobs of one scheduler.
const JOBS: usize = 1_024;

/// Jobs that are told apart by their names, at most 1,024, and shut down together. Clones share it.
///
/// It has no task: each job has one of its own, on the runtime on which it was started, and its runs
/// never overlap.
///
/// ```
/// use std::time::Duration;
/// use cache_tokio::background::{Background, Scheduler};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scheduler = Scheduler::new();
/// let rates = Background::builder("rates").every(Duration::from_secs(60)).scheduler(&scheduler);
/// let rates = rates.start(|| async { Ok::<_, std::io::Error>(7) })?;
/// rates.ready().await?;
/// scheduler.shutdown(Duration::from_secs(5)).await?; // waits for the runs under way
/// assert_eq!(rates.get().as_deref(), Some(&7));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Wakes those who shut down: a run ended, or its job shuts down, too.
    ended: Notify,
}

struct State {
    schedule: Schedule<Arc<str>>,
    seats: HashMap<Arc<str>, Arc<Seat>>,
    closed: bool,
    /// Runs that have called for a shutdown themselves, and wait for the others.
    leaving: usize,
}

/// What a job's task is to do.
pub(super) enum Step {
    Run,
    Sleep(Duration),
    /// Until it is woken.
    Wait,
    Over,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

impl Scheduler {
    /// A scheduler without jobs.
    pub fn new() -> Self {
        let state = State {
            schedule: Schedule::new(JOBS),
            seats: HashMap::new(),
            closed: false,
            leaving: 0,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), ended: Notify::new() }) }
    }

    /// The process's own scheduler, made when first asked for and ended with its last user.
    pub fn shared() -> Self {
        static SHARED: Mutex<Weak<Inner>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = shared.upgrade().filter(|inner| !inner.lock().closed) {
            return Self { inner };
        }
        let new = Self::new();
        *shared = Arc::downgrade(&new.inner);
        new
    }

    /// Starts no more runs, and waits up to `patience` for those under way. May be called from
    /// inside a loader, whose own run is then not waited for; a task that the loader has spawned
    /// counts as somebody else. Where no runtime is, it does not wait.
    ///
    /// # Errors
    /// Says how many jobs were still running when the time was over. They go on.
    pub async fn shutdown(&self, patience: Duration) -> Result<(), StillRunning> {
        let _leaving = self.inner.begin_shutdown(is_in_job_of(self));
        if Handle::try_current().is_ok() && timeout(patience, self.inner.drained()).await.is_ok() {
            return Ok(());
        }
        match self.inner.lock().jobs_to_wait_for() {
            0 => Ok(()),
            jobs => Err(StillRunning::new(jobs)),
        }
    }

    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.inner).addr()
    }

    pub(super) fn add(&self, seat: &Arc<Seat>, job: Job) -> Result<(), StartError> {
        let now = seat.clock().now();
        let mut state = self.inner.lock();
        if state.closed {
            return Err(StartError::Closed);
        }
        state.schedule.insert(Arc::clone(&seat.name), job, now).map_err(StartError::Insert)?;
        state.seats.insert(Arc::clone(&seat.name), Arc::clone(seat));
        Ok(())
    }

    /// Ends a job; a run under way goes on.
    pub(super) fn remove(&self, seat: &Seat) {
        let mut state = self.inner.lock();
        if state.has(seat) {
            state.schedule.remove(&seat.name);
            state.seats.remove(&seat.name);
        }
        drop(state);
        seat.tell_all();
    }

    /// Makes a job due; `false` if it is over.
    pub(super) fn trigger(&self, seat: &Seat) -> bool {
        let now = seat.clock().latest();
        let mut state = self.inner.lock();
        let found = !state.closed && state.has(seat) && state.schedule.trigger(&seat.name, now);
        drop(state);
        seat.wake.notify_one();
        found
    }

    /// How a job stands; after a shutdown, only while it still runs.
    pub(super) fn status(&self, seat: &Seat) -> Option<Status> {
        let state = self.inner.lock();
        let status = state.schedule.status(&seat.name).filter(|_| state.has(seat));
        status.filter(|status| status.running || !state.closed)
    }

    /// Whether a job has runs to come.
    pub(super) fn goes_on(&self, seat: &Seat) -> bool {
        let state = self.inner.lock();
        !state.closed && state.has(seat)
    }

    /// What the job's task is to do now; with [`Step::Run`] the run has begun.
    pub(super) fn step(&self, seat: &Seat, now: Instant) -> Step {
        let mut state = self.inner.lock();
        if state.closed || !state.has(seat) {
            return Step::Over;
        }
        let status = state.schedule.status(&seat.name);
        let Some(next) = status.and_then(|status| status.next_run) else { return Step::Wait };
        if !now.has_reached(next) {
            return Step::Sleep(next.remaining_at(now));
        }
        if seat.attention.pauses(now) {
            state.schedule.pause(&seat.name);
            return Step::Wait;
        }
        let due = state.schedule.take_due(&seat.name, now);
        seat.set_running(due.is_some());
        if due.is_some() { Step::Run } else { Step::Wait }
    }

    /// A run has ended.
    pub(super) fn end_run(&self, seat: &Seat, well: bool, now: Instant) {
        let mut state = self.inner.lock();
        if well {
            state.schedule.succeeded(&seat.name, now);
        } else {
            state.schedule.failed(&seat.name, now);
        }
        seat.set_running(false);
        drop(state);
        self.inner.ended.notify_waiters();
        seat.bell.notify_waiters();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_shutdown(&self, inside: bool) -> Leaving<'_> {
        let mut state = self.lock();
        state.closed = true;
        state.leaving += usize::from(inside);
        state.seats.values().for_each(|seat| seat.tell_all());
        drop(state);
        self.ended.notify_waiters();
        Leaving { inner: self, inside }
    }

    async fn drained(&self) {
        loop {
            // Listened to before looked at, so that nothing can happen unheard in between.
            let ended = self.ended.notified();
            if self.lock().jobs_to_wait_for() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl State {
    /// Whether this very job is in the schedule, and not another of its name.
    fn has(&self, seat: &Seat) -> bool {
        self.seats.get(&seat.name).is_some_and(|own| core::ptr::eq(&**own, seat))
    }

    fn jobs_to_wait_for(&self) -> usize {
        self.schedule.running().saturating_sub(self.leaving)
    }
}

/// A run that waits for the others; also when it is dropped while it waits.
struct Leaving<'a> {
    inner: &'a Inner,
    inside: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.inner.lock().leaving -= usize::from(self.inside);
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.lock();
        f.debug_struct("Scheduler")
            .field("jobs", &state.schedule.len())
            .field("running", &state.schedule.running())
            .finish_non_exhaustive()
    }
}
