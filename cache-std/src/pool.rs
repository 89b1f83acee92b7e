//! The process's worker threads: started when first needed, shared by all caches, stopped with the
//! last of them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Work for a worker. It catches its own panics; one that escapes is swallowed here.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Most threads, all kinds of work together.
const THREADS: usize = 512;
/// Most refreshes that wait for a worker.
const QUEUE: usize = 1_024;
/// How long a worker without work stays.
const IDLE: Duration = Duration::from_secs(5);

/// A handle on the process's workers; the last one to go lets them end.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// Refreshes that run at a time.
    refreshers: usize,
}

#[derive(Default)]
struct State {
    loads: VecDeque<Job>,
    refreshes: VecDeque<Job>,
    idle: usize,
    threads: usize,
    refreshing: usize,
    closed: bool,
}

thread_local! {
    static ON_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Whether the current thread is a worker: a load within a load runs where it is.
pub(crate) fn on_worker() -> bool {
    ON_WORKER.get()
}

impl Pool {
    /// The process's pool.
    pub(crate) fn shared() -> Arc<Self> {
        static POOL: Mutex<Weak<Pool>> = Mutex::new(Weak::new());
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.upgrade().unwrap_or_else(|| {
            let cores = thread::available_parallelism().map_or(1, core::num::NonZero::get);
            let new = Arc::new(Self::new((2 * cores).min(16)));
            *pool = Arc::downgrade(&new);
            new
        })
    }

    pub(crate) fn new(refreshers: usize) -> Self {
        let shared = Shared { state: Mutex::default(), work: Condvar::new(), refreshers };
        Self { shared: Arc::new(shared) }
    }

    /// Runs a load that somebody waits for, at once: on an idle worker or a new one. Hands the job
    /// back when there are as many threads as there may be.
    pub(crate) fn load(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.lock();
        let spare = state.idle > state.loads.len() + state.refreshes.len();
        state.loads.push_back(job);
        if spare || self.spawn(&mut state) {
            self.shared.work.notify_one();
            return Ok(());
        }
        state.loads.pop_back().map_or(Ok(()), Err)
    }

    /// Runs a refresh when one of the few workers for them is free. Hands the job back when too
    /// many wait already.
    pub(crate) fn refresh(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.lock();
        if state.refreshes.len() >= QUEUE {
            return Err(job);
        }
        state.refreshes.push_back(job);
        let enough = state.refreshing >= self.shared.refreshers
            || state.idle >= state.loads.len() + state.refreshes.len();
        if enough || self.spawn(&mut state) || state.threads > 0 {
            self.shared.work.notify_one();
            return Ok(());
        }
        state.refreshes.pop_back().map_or(Ok(()), Err)
    }

    fn spawn(&self, state: &mut State) -> bool {
        if state.threads >= THREADS {
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let named = thread::Builder::new().name("cache-worker".into());
        let spawned = named.spawn(move || shared.work_until_idle()).is_ok();
        state.threads += usize::from(spawned);
        spawned
    }
}

#[cfg(test)]
impl Pool {
    /// Workers without work, and all of them.
    pub(crate) fn workers(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.idle, state.threads)
    }
}

impl Drop for Pool {
    /// Signals and does not join: a worker may be the one that drops the last cache. What still
    /// waits in the queue is dropped, and its tickets with it.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let left = (core::mem::take(&mut state.loads), core::mem::take(&mut state.refreshes));
        drop(state);
        self.shared.work.notify_all();
        drop(left);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_until_idle(&self) {
        ON_WORKER.set(true);
        while let Some((job, refresh)) = self.next_job() {
            // Jobs answer for their own panics; this keeps the worker.
            let _ = catch_unwind(AssertUnwindSafe(job));
            self.lock().refreshing -= usize::from(refresh);
        }
    }

    /// The next job and whether it is a refresh; `None` when it is time to end.
    fn next_job(&self) -> Option<(Job, bool)> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.loads.pop_front() {
                return Some((job, false));
            }
            if state.refreshing < self.refreshers
                && let Some(job) = state.refreshes.pop_front()
            {
                state.refreshing += 1;
                return Some((job, true));
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (back, timeout) =
                self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if timeout.timed_out() && state.loads.is_empty() && state.refreshes.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    #[test]
    fn loads_run_side_by_side_however_many_there_are() {
        let pool = Pool::new(1);
        let barrier = Arc::new(Barrier::new(33));
        for _ in 0..32 {
            let barrier = Arc::clone(&barrier);
            let job = Box::new(move || {
                barrier.wait();
            });
            assert!(pool.load(job).is_ok());
        }
        barrier.wait();
    }

    #[test]
    fn refreshes_are_few_at_a_time_and_their_queue_is_bounded() {
        let pool = Pool::new(1);
        let (started, starts) = channel();
        let (go, wait) = channel::<()>();
        pool.refresh(Box::new(move || {
            started.send(()).unwrap();
            wait.recv().unwrap();
        }))
        .ok()
        .unwrap();
        starts.recv().unwrap();
        let (done, dones) = channel();
        for n in 0..QUEUE {
            let done = done.clone();
            assert!(pool.refresh(Box::new(move || done.send(n).unwrap())).is_ok());
        }
        assert!(pool.refresh(Box::new(|| {})).is_err());
        assert!(dones.try_recv().is_err(), "one refresh at a time");
        go.send(()).unwrap();
        assert_eq!(dones.iter().take(QUEUE).collect::<Vec<_>>(), (0..QUEUE).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_does_not_cost_the_worker() {
        let pool = Pool::new(1);
        let (done, dones) = channel();
        for n in 0..3 {
            let done = done.clone();
            let job = Box::new(move || {
                if n == 1 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                done.send(n).unwrap();
            });
            assert!(pool.refresh(job).is_ok());
        }
        assert_eq!(dones.iter().take(2).collect::<Vec<_>>(), [0, 2]);
        // The last job says that it is done before its worker does.
        while pool.shared.lock().refreshing > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn the_last_handle_drops_what_waits_and_ends_the_workers() {
        let pool = Pool::new(1);
        let (started, starts) = channel();
        let (go, wait) = channel::<()>();
        let job = Box::new(move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        });
        assert!(pool.refresh(job).is_ok());
        starts.recv().unwrap();
        let (queued, dropped) = channel::<()>();
        assert!(pool.refresh(Box::new(move || queued.send(()).unwrap())).is_ok());
        let shared = Arc::clone(&pool.shared);
        drop(pool);
        assert!(dropped.recv().is_err(), "the queued job was dropped, not run");
        go.send(()).unwrap();
        while shared.lock().threads > 0 {
            thread::yield_now();
        }
    }
}
