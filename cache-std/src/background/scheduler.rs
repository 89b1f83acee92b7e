//! The thread that starts background jobs when they fall due.

use core::fmt;
use core::time::Duration;
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use cache_core::Instant;
use cache_core::schedule::{InsertError, Job, Schedule, Status};

use crate::pool::Pool;
use crate::time::{MonotonicTime, Signal, Time};

/// Most jobs of one scheduler.
const JOBS: usize = 1_024;

/// One run of a job; `true` if it went well. It catches no panics: the scheduler does.
pub(crate) type Run = Arc<dyn Fn() -> bool + Send + Sync>;

/// Starts background jobs when they fall due. Clones share it.
///
/// One thread sleeps until the next job is due; the jobs run on the process's workers, each at
/// most once at a time. The thread starts with the first job and ends when the last handle on the
/// scheduler, its own or a [`Background`](super::Background)'s, is dropped.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Wakes the thread: something was added, triggered or ended.
    wake: Arc<Signal>,
    time: Arc<dyn Time>,
    pool: Arc<Pool>,
}

struct State {
    schedule: Schedule<Arc<str>>,
    runs: HashMap<Arc<str>, Run>,
    started: bool,
    closed: bool,
    /// Runs that have called for a shutdown themselves, and wait for the others.
    leaving: usize,
    /// Who waits for something to happen.
    watchers: Vec<Arc<Signal>>,
}

thread_local! {
    /// The schedulers whose jobs this thread is running, innermost last.
    static RUNNING: RefCell<Vec<*const Inner>> = const { RefCell::new(Vec::new()) };
}

/// Jobs that had not ended when a shutdown's time was over. They go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StillRunning {
    /// How many.
    pub jobs: usize,
}

impl StillRunning {
    /// For schedulers of other kinds.
    #[doc(hidden)]
    pub const fn new(jobs: usize) -> Self {
        Self { jobs }
    }
}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} background jobs are still running", self.jobs)
    }
}

impl core::error::Error for StillRunning {}

/// Why a job was not added.
pub(crate) enum AddError {
    Insert(InsertError),
    Closed,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

impl Scheduler {
    /// A scheduler on the system's clock.
    pub fn new() -> Self {
        Self::with_time(MonotonicTime::new())
    }

    /// A scheduler on another clock: a [`ManualTime`](crate::ManualTime) in tests.
    pub fn with_time(time: impl Time) -> Self {
        let state = State {
            schedule: Schedule::new(JOBS),
            runs: HashMap::new(),
            started: false,
            closed: false,
            leaving: 0,
            watchers: Vec::new(),
        };
        let inner = Inner {
            state: Mutex::new(state),
            wake: Arc::new(Signal::new()),
            time: Arc::new(time),
            pool: Pool::shared(),
        };
        Self { inner: Arc::new(inner) }
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

    /// Starts no more jobs, and waits up to `patience` for those that run. May be called from
    /// inside a job, which is then not waited for.
    ///
    /// # Errors
    /// Says how many jobs were still running when the time was over.
    pub fn shutdown(&self, patience: Duration) -> Result<(), StillRunning> {
        let inner = &*self.inner;
        let until = inner.time.now() + patience;
        let here = core::ptr::from_ref(inner);
        let inside = RUNNING.with_borrow(|running| running.contains(&here));
        inner.begin_shutdown(inside);
        let ended = self.drain(until);
        inner.lock().leaving -= usize::from(inside);
        ended
    }

    fn drain(&self, until: Instant) -> Result<(), StillRunning> {
        loop {
            let signal = self.watch();
            let jobs = self.inner.lock().jobs_to_wait_for();
            if jobs == 0 {
                return Ok(());
            }
            if !self.inner.time.wait(&signal, until) {
                return Err(StillRunning { jobs });
            }
        }
    }

    pub(crate) fn add(&self, name: &Arc<str>, job: Job, run: Run) -> Result<(), AddError> {
        let mut state = self.inner.lock();
        if state.closed {
            return Err(AddError::Closed);
        }
        let now = self.inner.time.now();
        state.schedule.insert(Arc::clone(name), job, now).map_err(AddError::Insert)?;
        state.runs.insert(Arc::clone(name), run);
        let start = !core::mem::replace(&mut state.started, true);
        drop(state);
        if start {
            self.start();
        }
        self.inner.wake.set();
        Ok(())
    }

    fn start(&self) {
        let (inner, wake) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.wake));
        let time = Arc::clone(&self.inner.time);
        let thread = thread::Builder::new().name("cache-scheduler".into());
        let started = thread.spawn(move || {
            while let Some(until) = inner.upgrade().and_then(|inner| inner.start_due()) {
                time.wait(&wake, until);
                wake.take();
            }
        });
        // Without a thread now, the next job that is added tries again.
        self.inner.lock().started = started.is_ok();
    }

    pub(crate) fn remove(&self, name: &Arc<str>) {
        let mut state = self.inner.lock();
        if !state.has(name) {
            return;
        }
        state.schedule.remove(name);
        let run = state.runs.remove(name);
        state.tell_watchers();
        drop(state);
        drop(run);
    }

    pub(super) fn trigger(&self, name: &Arc<str>) -> bool {
        let now = self.inner.time.now();
        let mut state = self.inner.lock();
        let found = !state.closed && state.has(name) && state.schedule.trigger(name, now);
        drop(state);
        self.inner.wake.set();
        found
    }

    /// How a job stands; after a shutdown, only while it still runs.
    pub(super) fn status(&self, name: &Arc<str>) -> Option<Status> {
        let state = self.inner.lock();
        let status = state.schedule.status(name).filter(|_| state.has(name));
        status.filter(|status| status.running || !state.closed)
    }

    /// A signal that is set when any run ends, a job is removed, or the scheduler is shut down.
    pub(super) fn watch(&self) -> Arc<Signal> {
        let signal = Arc::new(Signal::new());
        self.inner.lock().watchers.push(Arc::clone(&signal));
        signal
    }

    pub(super) fn time(&self) -> &Arc<dyn Time> {
        &self.inner.time
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_shutdown(&self, inside: bool) {
        let mut state = self.lock();
        state.closed = true;
        state.leaving += usize::from(inside);
        state.tell_watchers();
        drop(state);
        self.wake.set();
    }

    /// Starts what is due and says when to come back; `None` when the scheduler has ended.
    fn start_due(self: &Arc<Self>) -> Option<Instant> {
        loop {
            let now = self.time.now();
            let mut state = self.lock();
            if state.closed {
                return None;
            }
            let Some(due) = state.schedule.pop_due(now) else {
                return Some(state.schedule.poll_at().unwrap_or(Instant::FAR_FUTURE));
            };
            let run = state.runs.get(&due.id).map(Arc::clone);
            drop(state);
            let inner = Arc::clone(self);
            let job = Box::new(move || inner.run(&due.id, run));
            // With every worker taken the job runs here: others are late, and none is lost.
            self.pool.load(job).unwrap_or_else(|job| job());
        }
    }

    fn run(self: &Arc<Self>, name: &Arc<str>, run: Option<Run>) {
        let here = Arc::as_ptr(self);
        RUNNING.with_borrow_mut(|running| running.push(here));
        let well = run.is_some_and(|run| catch_unwind(AssertUnwindSafe(|| run())).unwrap_or(false));
        RUNNING.with_borrow_mut(|running| running.pop());
        let now = self.time.now();
        let mut state = self.lock();
        if well {
            state.schedule.succeeded(name, now);
        } else {
            state.schedule.failed(name, now);
        }
        state.tell_watchers();
        drop(state);
        self.wake.set();
    }
}

impl State {
    /// Whether this very job is in the schedule, and not another that was given its name since.
    fn has(&self, name: &Arc<str>) -> bool {
        self.runs.get_key_value(name).is_some_and(|(own, _)| Arc::ptr_eq(own, name))
    }

    fn jobs_to_wait_for(&self) -> usize {
        self.schedule.running().saturating_sub(self.leaving)
    }

    fn tell_watchers(&mut self) {
        core::mem::take(&mut self.watchers).iter().for_each(|signal| signal.set());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.wake.set();
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
