//! Background loading as data: which job is due, when to look again, what the last runs came to.
//!
//! A [`Schedule`] starts nothing. Its driver sleeps until [`poll_at`](Schedule::poll_at), takes
//! what [`pop_due`](Schedule::pop_due) hands out, runs it, and tells how the run ended:
//!
//! ```
//! use core::time::Duration;
//! use cache_core::Instant;
//! use cache_core::schedule::{Job, Schedule};
//!
//! let mut schedule = Schedule::new(8);
//! let now = Instant::from_secs(100);
//! schedule.insert("prices", Job::every(Duration::from_secs(300)).build()?, now)?;
//!
//! let due = schedule.pop_due(now).expect("a new job is due at once");
//! assert_eq!(due.id, "prices");
//! assert_eq!(schedule.poll_at(), None); // it runs, and nothing else is planned
//!
//! schedule.failed(&"prices", Instant::from_secs(101));
//! assert_eq!(schedule.poll_at(), Some(Instant::from_secs(102))); // tried again soon
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![cfg(feature = "alloc")]

mod job;

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use core::time::Duration;

pub use self::job::{Job, JobBuilder, JobError, MissedTick};
use crate::time::Instant;

/// A bounded set of background jobs, each known by an id, in the order in which they fall due.
///
/// Two runs of one job never overlap: a job that was popped is not popped again until
/// [`succeeded`](Self::succeeded) or [`failed`](Self::failed) is told of it. A driver must
/// therefore tell of every run; a run that panicked or was cancelled has failed.
///
/// A job that is late runs late and is never dropped; ticks that get no run of their own are
/// counted. Every operation takes a time that grows with the logarithm of the number of jobs.
/// Instants given in should not go backwards; if they do, runs come late, and nothing panics.
#[derive(Clone, Debug)]
pub struct Schedule<Id> {
    jobs: BTreeMap<Id, Planned>,
    /// The jobs that wait, by the instant at which they fall due.
    queue: BTreeSet<(Instant, Id)>,
    limit: usize,
}

/// A job and what became of its runs.
#[derive(Clone, Debug)]
struct Planned {
    job: Job,
    /// The next regular tick. Retries and triggered runs may come before it.
    tick: Instant,
    state: State,
    last_ok: Option<Instant>,
    last_error: Option<Instant>,
    failures: u32,
    missed: u64,
    /// Runs begun, from which the jitter of the period after each follows.
    runs: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting {
        due: Instant,
    },
    /// `again`: triggered while it ran, so due once more when it ends.
    Running {
        again: bool,
    },
    /// Removed while it ran: keeps its id until the run has ended.
    Ending,
}

/// A job to be run now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due<Id> {
    /// The job.
    pub id: Id,
    /// When it should have run.
    pub scheduled_at: Instant,
    /// How much later than that it runs.
    pub late: Duration,
    /// Regular ticks that have passed and get no run of their own. Always 0 under
    /// [`MissedTick::Burst`].
    pub missed: u64,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// End of the last run that succeeded.
    pub last_ok: Option<Instant>,
    /// End of the last run that failed.
    pub last_error: Option<Instant>,
    /// When the next run falls due; `None` while one is running, and when none will come.
    pub next_run: Option<Instant>,
    /// Runs that failed since the last one that succeeded.
    pub failures: u32,
    /// Whether a run has begun and not ended.
    pub running: bool,
    /// Regular ticks that got no run of their own since the job was added.
    pub missed: u64,
}

impl<Id: Clone + Ord> Schedule<Id> {
    /// A schedule of at most `limit` jobs.
    pub const fn new(limit: usize) -> Self {
        Self { jobs: BTreeMap::new(), queue: BTreeSet::new(), limit }
    }

    /// Adds a job at `now`. It is due at once, or after one period if it does not run immediately.
    ///
    /// # Errors
    /// The id is taken, or the schedule is full. Nothing has changed then.
    pub fn insert(&mut self, id: Id, job: Job, now: Instant) -> Result<(), InsertError> {
        match self.jobs.get(&id).map(|planned| planned.state) {
            Some(State::Ending) => return Err(InsertError::Ending),
            Some(_) => return Err(InsertError::Duplicate),
            None if self.jobs.len() >= self.limit => {
                return Err(InsertError::Full { limit: self.limit });
            }
            None => {}
        }
        let planned = Planned::new(job, now);
        self.queue.insert((planned.tick, id.clone()));
        self.jobs.insert(id, planned);
        Ok(())
    }

    /// Removes a job; `false` when there is none. A run under way goes on, and keeps the id (and
    /// a place in the schedule) until it ends.
    pub fn remove(&mut self, id: &Id) -> bool {
        let Some(planned) = self.jobs.get_mut(id) else { return false };
        match planned.state {
            State::Waiting { due } => {
                self.queue.remove(&(due, id.clone()));
                self.jobs.remove(id);
                true
            }
            State::Running { .. } => {
                planned.state = State::Ending;
                true
            }
            State::Ending => false,
        }
    }

    /// The first instant at which [`pop_due`](Self::pop_due) answers; `None` when it never will
    /// unless something else happens. Running jobs are not due.
    pub fn poll_at(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due).filter(|due| *due != Instant::FAR_FUTURE)
    }

    /// The job that has been due for longest, now marked as running.
    pub fn pop_due(&mut self, now: Instant) -> Option<Due<Id>> {
        if !now.has_reached(self.poll_at()?) {
            return None;
        }
        let (scheduled_at, id) = self.queue.pop_first()?;
        self.begin(id, scheduled_at, now)
    }

    /// This job, if it is due, now marked as running: for drivers that give each job a task of its
    /// own, which sleeps until the [`next_run`](Status::next_run).
    pub fn take_due(&mut self, id: &Id, now: Instant) -> Option<Due<Id>> {
        let State::Waiting { due } = self.jobs.get(id)?.state else { return None };
        if due == Instant::FAR_FUTURE || !now.has_reached(due) {
            return None;
        }
        self.queue.remove(&(due, id.clone()));
        self.begin(id.clone(), due, now)
    }

    fn begin(&mut self, id: Id, scheduled_at: Instant, now: Instant) -> Option<Due<Id>> {
        let missed = self.jobs.get_mut(&id)?.begin(now);
        Some(Due { id, scheduled_at, late: now.saturating_since(scheduled_at), missed })
    }

    /// Lets a job that waits do so until it is [triggered](Self::trigger), with which its rhythm
    /// begins anew: the ticks in between get no run and are not counted as missed. `false` when
    /// there is no such job, or it runs.
    pub fn pause(&mut self, id: &Id) -> bool {
        let Some(planned) = self.jobs.get_mut(id) else { return false };
        let State::Waiting { due } = planned.state else { return false };
        self.queue.remove(&(due, id.clone()));
        self.queue.insert((Instant::FAR_FUTURE, id.clone()));
        planned.tick = Instant::FAR_FUTURE;
        planned.state = State::Waiting { due: Instant::FAR_FUTURE };
        true
    }

    /// A run ended well at `now`. `false` when no run of this job was under way.
    pub fn succeeded(&mut self, id: &Id, now: Instant) -> bool {
        self.finish(id, now, |planned| {
            planned.last_ok = Some(now);
            planned.failures = 0;
            planned.tick
        })
    }

    /// A run failed at `now`, and is tried again after a back-off. `false` when no run of this
    /// job was under way.
    pub fn failed(&mut self, id: &Id, now: Instant) -> bool {
        self.finish(id, now, |planned| {
            planned.last_error = Some(now);
            planned.failures = planned.failures.saturating_add(1);
            planned.job.retry_at(planned.failures, planned.tick, now)
        })
    }

    /// Makes a job due at once; a running one once more, directly after its run ends, however
    /// often it is triggered and however the run ends. `false` when there is no such job.
    pub fn trigger(&mut self, id: &Id, now: Instant) -> bool {
        let Some(planned) = self.jobs.get_mut(id) else { return false };
        match &mut planned.state {
            State::Waiting { due } if now < *due => {
                self.queue.remove(&(*due, id.clone()));
                self.queue.insert((now, id.clone()));
                *due = now;
            }
            State::Waiting { .. } => {}
            State::Running { again } => *again = true,
            State::Ending => return false,
        }
        true
    }

    /// How a job stands; `None` when there is none.
    pub fn status(&self, id: &Id) -> Option<Status> {
        self.jobs.get(id).filter(|planned| planned.state != State::Ending).map(Planned::status)
    }

    /// Jobs, with those that were removed and still run.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is no job, nor a run of a removed one.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Runs under way: what a driver waits for when it shuts down.
    pub fn running(&self) -> usize {
        self.jobs.len() - self.queue.len()
    }

    /// Ends a run; `next` notes how it ended and says when the next one is due.
    fn finish(
        &mut self,
        id: &Id,
        now: Instant,
        next: impl FnOnce(&mut Planned) -> Instant,
    ) -> bool {
        let Some(planned) = self.jobs.get_mut(id) else { return false };
        match planned.state {
            State::Waiting { .. } => return false,
            State::Ending => {
                self.jobs.remove(id);
            }
            State::Running { again } => {
                let next = next(planned);
                let due = if again { next.min(now) } else { next };
                planned.state = State::Waiting { due };
                self.queue.insert((due, id.clone()));
            }
        }
        true
    }
}

impl Planned {
    fn new(job: Job, now: Instant) -> Self {
        let tick = job.first_tick(now);
        Self {
            job,
            tick,
            state: State::Waiting { due: tick },
            last_ok: None,
            last_error: None,
            failures: 0,
            missed: 0,
            runs: 0,
        }
    }

    /// Marks the job as running, moves its tick on, and tells how many ticks were missed.
    fn begin(&mut self, now: Instant) -> u64 {
        let period = self.job.period_after(self.runs);
        // After a pause the rhythm begins anew.
        let tick = if self.tick == Instant::FAR_FUTURE { now } else { self.tick };
        let missed = self.job.missed(tick, now, period);
        self.missed = self.missed.saturating_add(missed);
        self.tick = self.job.tick_after(tick, now, period);
        self.runs = self.runs.wrapping_add(1);
        self.state = State::Running { again: false };
        missed
    }

    fn status(&self) -> Status {
        let next_run = match self.state {
            State::Waiting { due } if due != Instant::FAR_FUTURE => Some(due),
            _ => None,
        };
        Status {
            last_ok: self.last_ok,
            last_error: self.last_error,
            next_run,
            failures: self.failures,
            running: matches!(self.state, State::Running { .. }),
            missed: self.missed,
        }
    }
}

/// Why a job was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InsertError {
    /// A job has this id already.
    Duplicate,
    /// The job that had this id was removed, and its last run has not ended.
    Ending,
    /// There are as many jobs as the schedule may hold.
    #[non_exhaustive]
    Full {
        /// Jobs that the schedule may hold.
        limit: usize,
    },
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => {
                f.write_str("a job with this id exists: remove it first, or give another id")
            }
            Self::Ending => f.write_str(
                "the removed job with this id is still running: wait for it, or give another id",
            ),
            Self::Full { limit } => {
                write!(f, "the schedule holds its {limit} jobs: remove one, or raise the limit")
            }
        }
    }
}

impl core::error::Error for InsertError {}

#[cfg(test)]
mod tests;
