//! Time, and the tasks that pass it.

use core::future::{Pending, pending, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Wake;

use cache_std::future::{NoRuntime, Runtime};
use cache_std::{Alarm, Clock, Instant, Signal, Time};

use super::rng::Rng;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One thread's worth of tasks on virtual time. Clones share it.
#[derive(Clone)]
pub(super) struct World(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ready: Arc<Mutex<Vec<u64>>>,
}

struct State {
    now: u64,
    rng: Rng,
    tasks: BTreeMap<u64, Task>,
    last_task: u64,
    timers: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<u64, Due>,
    last_timer: u64,
    trace: u64,
    verbose: bool,
}

enum Due {
    Wakes(Waker),
    Pokes(Weak<Signal>),
}

struct Wakes {
    task: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(seed: u64, verbose: bool) -> Self {
        let state = State {
            // Not at the clock's origin, where everything is young.
            now: 1_000_000_000_000,
            rng: Rng::new(seed),
            tasks: BTreeMap::new(),
            last_task: 0,
            timers: BinaryHeap::new(),
            due: BTreeMap::new(),
            last_timer: 0,
            trace: 0,
            verbose,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), ready: Arc::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Milliseconds since the clock's origin.
    pub(super) fn millis(&self) -> u64 {
        self.state().now / 1_000_000
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        self.state().rng.below(end)
    }

    pub(super) fn percent(&self, percent: u64) -> bool {
        self.state().rng.percent(percent)
    }

    /// Notes that something happened.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        let mut state = self.state();
        let what = what();
        let now = state.now;
        for byte in what.bytes().chain(now.to_le_bytes()) {
            // FNV-1a
            state.trace = (state.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if state.verbose {
            eprintln!("{:>9.3} {what}", now as f64 / 1e6 - 1e6);
        }
    }

    pub(super) fn trace(&self) -> u64 {
        self.state().trace
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.state();
        state.last_task += 1;
        let number = state.last_task;
        state.tasks.insert(number, Box::pin(task));
        drop(state);
        lock(&self.0.ready).push(number);
    }

    /// Ends when so much time has passed.
    pub(super) async fn sleep(&self, span: Duration) {
        let at = self.state().now + span.as_nanos() as u64;
        let mut set = false;
        poll_fn(|context| {
            if self.state().now >= at {
                return Poll::Ready(());
            }
            if !core::mem::replace(&mut set, true) {
                self.due(at, Due::Wakes(context.waker().clone()));
            }
            Poll::Pending
        })
        .await;
    }

    pub(super) async fn sleep_ms(&self, millis: u64) {
        self.sleep(Duration::from_millis(millis)).await;
    }

    fn due(&self, at: u64, due: Due) {
        let mut state = self.state();
        state.last_timer += 1;
        let number = state.last_timer;
        state.timers.push(Reverse((at, number)));
        state.due.insert(number, due);
    }

    /// Runs everything until `work` has ended.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let slot = Arc::new(Mutex::new(None));
        let ends = Arc::clone(&slot);
        self.spawn(async move {
            let done = work.await;
            *lock(&ends) = Some(done);
        });
        loop {
            if let Some(done) = lock(&slot).take() {
                return done;
            }
            assert!(self.step() || self.advance(), "everything waits for ever");
        }
    }

    /// Polls a task that can go on, whichever; `false` where there is none.
    fn step(&self) -> bool {
        let number = {
            let mut ready = lock(&self.0.ready);
            if ready.is_empty() {
                return false;
            }
            let at = self.below(ready.len() as u64) as usize;
            ready.remove(at)
        };
        let Some(mut task) = self.state().tasks.remove(&number) else { return true };
        let waker = Waker::from(Arc::new(Wakes { task: number, ready: Arc::clone(&self.0.ready) }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.state().tasks.insert(number, task);
        }
        true
    }

    /// Moves the clock to the next timer; `false` where there is none.
    fn advance(&self) -> bool {
        let mut state = self.state();
        let Some(Reverse((at, number))) = state.timers.pop() else { return false };
        state.now = state.now.max(at);
        let due = state.due.remove(&number);
        drop(state);
        match due {
            Some(Due::Wakes(waker)) => waker.wake(),
            Some(Due::Pokes(signal)) => signal.upgrade().into_iter().for_each(|s| s.poke()),
            None => {}
        }
        true
    }

    /// Drops all tasks.
    pub(super) fn end(&self) {
        let tasks = core::mem::take(&mut self.state().tasks);
        drop(tasks);
    }
}

impl Clock for World {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.state().now)
    }
}

impl Time for World {
    /// Nothing blocks here.
    fn wait(&self, signal: &Arc<Signal>, _: Instant) -> bool {
        assert!(signal.is_set(), "a task blocks the world");
        true
    }

    fn alarm(&self, signal: &Arc<Signal>, until: Instant) -> Option<Alarm> {
        self.due(until.as_nanos(), Due::Pokes(Arc::downgrade(signal)));
        Some(Alarm::new(|| {}))
    }
}

impl Runtime for World {
    type Sleep = Pending<()>;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), NoRuntime> {
        Self::spawn(self, task);
        Ok(())
    }

    fn sleep(&self, _: Duration) -> Result<Pending<()>, NoRuntime> {
        Ok(pending()) // its clock gives alarms
    }
}
