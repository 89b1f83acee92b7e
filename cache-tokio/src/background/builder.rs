//! What a background value was asked to do.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use cache_std::__private::{Kept, OnError, Plan};
use cache_std::store::AsyncStore;

use super::one_writer::OneWriter;
use super::scheduler::Scheduler;
use super::seat::Seat;
use super::shared::{Run, Shared};
use super::{Background, MissedTick, StartError};

/// Builds a [`Background`] value.
///
/// | setting | default |
/// |---|---|
/// | `every` | must be said |
/// | `run_immediately` | yes |
/// | `valid_for` | for ever: the next run comes after `every` |
/// | `missed` | [`MissedTick::Delay`] |
/// | `back_off` | 1 s, doubling up to 30 s; neither more than the interval |
/// | `jitter_percent` | 0 |
/// | `stop_after_idle` | never |
/// | `ready_timeout` | 30 s |
/// | `scheduler` | [`Scheduler::shared`] |
#[must_use = "a builder does nothing until `start`"]
pub struct BackgroundBuilder {
    name: Arc<str>,
    plan: Plan,
    stop_after_idle: Option<Duration>,
    on_error: Option<OnError>,
    ready_timeout: Duration,
    scheduler: Option<Scheduler>,
}

impl BackgroundBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            plan: Plan::default(),
            stop_after_idle: None,
            on_error: None,
            ready_timeout: Duration::from_secs(30),
            scheduler: None,
        }
    }

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

    /// When nobody has read the value for so long, the job pauses. The next reader gets the last
    /// value at once, and the job runs again.
    ///
    /// `get`, `look`, `ready`, `changed` and `refresh_now` are reads, and so is it to wait in one.
    /// Whether there were any is looked at when a run falls due, so the job may pause one interval
    /// later than said. Zero pauses it whenever nobody has read since the last run.
    pub const fn stop_after_idle(mut self, span: Duration) -> Self {
        self.stop_after_idle = Some(span);
        self
    }

    /// Told of every run that fails or panics. Runs on the job's task: it should not block.
    pub fn on_error(mut self, told: impl Fn(&dyn fmt::Display) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Box::new(told));
        self
    }

    /// How long [`Background::ready`] waits.
    pub const fn ready_timeout(mut self, patience: Duration) -> Self {
        self.ready_timeout = patience;
        self
    }

    /// The scheduler in which the name is unique, and with which the job is shut down.
    pub fn scheduler(mut self, scheduler: &Scheduler) -> Self {
        self.scheduler = Some(scheduler.clone());
        self
    }

    /// Starts loading in the background, as a task of the caller's runtime. Where none is, the job
    /// begins at the first read from one.
    ///
    /// # Errors
    /// A wrong setting, a name that is taken, a scheduler that is full or was shut down.
    pub fn start<T, E, F, L>(self, loader: F) -> Result<Background<T>, StartError>
    where
        T: Send + Sync + 'static,
        E: fmt::Display + Send + Sync + 'static,
        F: Fn() -> L + Send + Sync + 'static,
        L: Future<Output = Result<T, E>> + Send + 'static,
    {
        let job = self.plan.build(&self.name)?;
        let scheduler = self.scheduler.unwrap_or_else(Scheduler::shared);
        let seat = Arc::new(Seat::new(self.name, self.stop_after_idle));
        scheduler.add(&seat, job)?;
        let kept = Kept::new(self.on_error);
        let shared = Arc::new(Shared::new(seat, scheduler, kept, as_runs(loader)));
        shared.drive();
        Ok(Background::new(shared, self.ready_timeout))
    }
}

impl BackgroundBuilder {
    /// The same, for processes that share a store: they all have the value, and one of them at a time
    /// loads it, by a lease of the job's name that it renews meanwhile.
    ///
    /// A run, one by `refresh_now` or `valid_for` too, takes what the store has, if that was loaded within the
    /// last three quarters of the interval, by whichever process. Else it loads, or waits for the one that does. When that one ends, another
    /// takes its place within the time of a lease, 5 s. A process that starts while the origin is down has
    /// the last value that was loaded. Where the store is down, or has not answered within 5 s, each process loads for itself.
    ///
    /// A loader that never ends keeps the lease as long as its process lives, and nobody else loads: give it a
    /// time-out of its own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_shared<T, E, F, L>(
        self,
        store: impl AsyncStore<String, T> + Send + Sync + 'static,
        loader: F,
    ) -> Result<Background<T>, StartError>
    where
        T: Clone + Send + Sync + 'static,
        E: fmt::Display + Send + Sync + 'static,
        F: Fn() -> L + Send + Sync + 'static,
        L: Future<Output = Result<T, E>> + Send + 'static,
    {
        let period = self.plan.interval().ok_or(StartError::NoInterval)?;
        let writer = Arc::new(OneWriter::new(&self.name, period, store, loader));
        self.start(move || Arc::clone(&writer).run())
    }
}

/// The loader is called, and its errors are shown, within the run: a panic there is the run's.
fn as_runs<T, E, F, L>(loader: F) -> Box<dyn Fn() -> Run<T> + Send + Sync>
where
    T: Send + 'static,
    E: fmt::Display + 'static,
    F: Fn() -> L + Send + Sync + 'static,
    L: Future<Output = Result<T, E>> + Send + 'static,
{
    let loader = Arc::new(loader);
    Box::new(move || {
        let loader = Arc::clone(&loader);
        Box::pin(async move { loader().await.map_err(|error| error.to_string()) })
    })
}

impl fmt::Debug for BackgroundBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackgroundBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
