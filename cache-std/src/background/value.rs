//! One value and the job that keeps it.

use core::fmt;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cache_core::schedule::{InsertError, JobError, MissedTick};

use super::kept::{Kept, Look, OnError, Status};
use super::plan::Plan;
use super::scheduler::{AddError, Scheduler};

/// Builds a [`Background`] value.
///
/// | setting | default |
/// |---|---|
/// | `every` | must be said |
/// | `run_immediately` | yes |
/// | `valid_for` | for ever: the next run comes after `every` |
/// | `back_off` | 1 s, doubling up to 30 s; neither more than the interval |
/// | `jitter_percent` | 0 |
/// | `ready_timeout` | 30 s |
/// | `scheduler` | [`Scheduler::shared`] |
#[must_use = "a builder does nothing until `start`"]
pub struct BackgroundBuilder {
    name: Arc<str>,
    plan: Plan,
    on_error: Option<OnError>,
    ready_timeout: Duration,
    scheduler: Option<Scheduler>,
}

impl BackgroundBuilder {
    /// Time between two runs.
    pub fn every(mut self, interval: Duration) -> Self {
        self.plan.every(interval);
        self
    }

    /// With `false`, the first run comes after one interval, not at once.
    pub fn run_immediately(mut self, on: bool) -> Self {
        self.plan.change(move |job| job.run_immediately(on));
        self
    }

    /// How long a value is good for: the next run comes before that, whatever the interval. A
    /// value that could not be replaced in time is kept all the same.
    pub fn valid_for(mut self, ttl: Duration) -> Self {
        self.plan.change(move |job| job.valid_for(ttl));
        self
    }

    /// What becomes of runs that should have been while one was late.
    pub fn missed(mut self, missed: MissedTick) -> Self {
        self.plan.change(move |job| job.missed(missed));
        self
    }

    /// How soon a failed run is tried again: at first after `initial`, then `factor` times as long
    /// for each further failure, up to `maximum`.
    pub fn back_off(mut self, initial: Duration, factor: u32, maximum: Duration) -> Self {
        self.plan.change(move |job| job.back_off(initial, factor, maximum));
        self
    }

    /// Shortens each interval by up to `percent` of it, 0 to 99, so that jobs started together do
    /// not run together. By how much follows from the job's name and the number of the run.
    pub fn jitter_percent(mut self, percent: u8) -> Self {
        self.plan.change(move |job| job.jitter_percent(percent));
        self
    }

    /// Told of every run that fails or panics.
    pub fn on_error(mut self, told: impl Fn(&dyn fmt::Display) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Box::new(told));
        self
    }

    /// How long [`Background::ready`] waits.
    pub const fn ready_timeout(mut self, patience: Duration) -> Self {
        self.ready_timeout = patience;
        self
    }

    /// Runs on `scheduler`.
    pub fn scheduler(mut self, scheduler: &Scheduler) -> Self {
        self.scheduler = Some(scheduler.clone());
        self
    }

    /// Starts loading in the background.
    ///
    /// # Errors
    /// A wrong setting, a name that is taken, a scheduler that is full or was shut down.
    pub fn start<T, E, F>(self, loader: F) -> Result<Background<T>, StartError>
    where
        T: Send + Sync + 'static,
        E: fmt::Display + Send + Sync + 'static,
        F: Fn() -> Result<T, E> + Send + Sync + 'static,
    {
        let job = self.plan.build(&self.name)?;
        let scheduler = self.scheduler.unwrap_or_else(Scheduler::shared);
        let kept = Arc::new(Kept::new(self.on_error));
        let keeper = Arc::clone(&kept);
        let load = move || loader().map_err(|error| error.to_string());
        let run = Arc::new(move || keeper.end_run(catch_unwind(AssertUnwindSafe(&load))));
        scheduler.add(&self.name, job, run)?;
        let handle = Handle { name: self.name, scheduler, ready_timeout: self.ready_timeout };
        Ok(Background { kept, handle: Arc::new(handle) })
    }
}

impl fmt::Debug for BackgroundBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackgroundBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a background value was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// `every` was not said.
    NoInterval,
    /// A setting that cannot be.
    Job(JobError),
    /// The scheduler has a job of this name, or is full.
    Insert(InsertError),
    /// The scheduler was shut down.
    Closed,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterval => f.write_str("every is not set: say every(..)"),
            Self::Job(error) => error.fmt(f),
            Self::Insert(error) => error.fmt(f),
            Self::Closed => f.write_str("the scheduler was shut down: start another"),
        }
    }
}

impl core::error::Error for StartError {}

impl From<JobError> for StartError {
    fn from(error: JobError) -> Self {
        Self::Job(error)
    }
}

impl From<AddError> for StartError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Insert(error) => Self::Insert(error),
            AddError::Closed => Self::Closed,
        }
    }
}

/// A value that a job loads again and again. Clones share it; when the last is dropped, the job
/// ends.
///
/// The last good value stays, however long loading fails.
pub struct Background<T> {
    kept: Arc<Kept<T>>,
    handle: Arc<Handle>,
}

impl<T> Clone for Background<T> {
    fn clone(&self) -> Self {
        Self { kept: Arc::clone(&self.kept), handle: Arc::clone(&self.handle) }
    }
}

struct Handle {
    name: Arc<str>,
    scheduler: Scheduler,
    ready_timeout: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.scheduler.remove(&self.name);
    }
}

/// Why there is no value yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReady {
    /// The last run failed, with this text; the job goes on trying.
    Failed(Arc<str>),
    /// The first run takes longer than the caller may wait.
    TimedOut,
    /// The job was stopped before it had a value.
    Stopped,
    /// There was no asynchronous runtime to wait by, or for the job to run on.
    NoRuntime,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) => f.write_str(text),
            Self::TimedOut => f.write_str("the first run takes too long; it goes on"),
            Self::Stopped => f.write_str("the job was stopped before it had a value"),
            Self::NoRuntime => f.write_str("no asynchronous runtime is there to wait by"),
        }
    }
}

impl core::error::Error for NotReady {}

impl Background<()> {
    /// Starts building a value known by `name`, which is unique in its scheduler.
    pub fn builder(name: &str) -> BackgroundBuilder {
        BackgroundBuilder {
            name: name.into(),
            plan: Plan::default(),
            on_error: None,
            ready_timeout: Duration::from_secs(30),
            scheduler: None,
        }
    }
}

impl<T> Background<T> {
    /// The last good value; `None` only before the first. Never waits.
    pub fn get(&self) -> Option<Arc<T>> {
        self.kept.get()
    }

    /// As [`get`](Self::get), but only to look: it takes no share of the value, and costs about
    /// half as much. Meant to be held for a moment: a thread that holds many looks at once takes
    /// shares after all.
    pub fn look(&self) -> Option<Look<T>> {
        self.kept.look()
    }

    /// The value; waits for the first if need be.
    ///
    /// # Errors
    /// The first run failed, takes too long, or will not come. Loading goes on, and a later call
    /// may find the value.
    pub fn ready(&self) -> Result<Arc<T>, NotReady> {
        let (scheduler, name) = (&self.handle.scheduler, &self.handle.name);
        let until = scheduler.time().now() + self.handle.ready_timeout;
        loop {
            if let Some(value) = self.get() {
                return Ok(value);
            }
            // Watched before looked at, so that nothing can happen unseen in between.
            let signal = scheduler.watch();
            let Some(status) = scheduler.status(name) else {
                return self.get().ok_or(NotReady::Stopped);
            };
            let error = self.kept.last_error().filter(|_| !status.running);
            if let Some(value) = self.get() {
                return Ok(value);
            }
            if let Some(text) = error {
                return Err(NotReady::Failed(text));
            }
            if !scheduler.time().wait(&signal, until) {
                return Err(NotReady::TimedOut);
            }
        }
    }

    /// Runs the job now; if it is running, once more when it ends. Does not wait. `false` if the
    /// job was stopped.
    pub fn refresh_now(&self) -> bool {
        self.handle.scheduler.trigger(&self.handle.name)
    }

    /// How the job stands; `None` if it was stopped.
    pub fn status(&self) -> Option<Status> {
        let status = self.handle.scheduler.status(&self.handle.name)?;
        Some(self.kept.status(&status, self.handle.scheduler.time().now()))
    }

    /// Ends the job; the value stays. A run under way goes on to its end.
    pub fn stop(&self) {
        self.handle.scheduler.remove(&self.handle.name);
    }
}

impl<T> fmt::Debug for Background<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("name", &self.handle.name).finish_non_exhaustive()
    }
}
