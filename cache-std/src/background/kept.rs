//! The last good value of a job, and how its runs ended; the same for threads and for tasks.

use core::fmt;
use core::ops::Deref;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arc_swap::{ArcSwapOption, Guard};
use cache_core::Instant;
use cache_core::schedule;

use crate::error::Failure;

/// Told of the runs that fail.
pub type OnError = Box<dyn Fn(&dyn fmt::Display) + Send + Sync>;

/// The last good value of a job, and what the last failure said.
pub struct Kept<T> {
    value: ArcSwapOption<T>,
    last_error: Mutex<Option<Arc<str>>>,
    on_error: Option<OnError>,
}

impl<T> Kept<T> {
    /// No value yet.
    pub fn new(on_error: Option<OnError>) -> Self {
        Self { value: ArcSwapOption::empty(), last_error: Mutex::default(), on_error }
    }

    /// A share of the value.
    pub fn get(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    /// The value, only to look at.
    pub fn look(&self) -> Option<Look<T>> {
        let seen = self.value.load();
        seen.is_some().then_some(Look(seen))
    }

    /// What the last run that failed said.
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what a run that failed said.
    pub fn set_last_error(&self, text: &str) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into());
    }

    /// A run ended, with a value, the text of an error, or a panic. `true` if it went well.
    pub fn end_run(&self, outcome: thread::Result<Result<T, String>>) -> bool {
        let text = match outcome {
            Ok(Ok(value)) => {
                self.value.store(Some(Arc::new(value)));
                return true;
            }
            Ok(Err(text)) => text,
            Err(payload) => Failure::of_panic(&*payload).text().into(),
        };
        self.set_last_error(&text);
        if let Some(told) = &self.on_error {
            told(&text);
        }
        false
    }

    /// How the job stands at `now`, in spans.
    pub fn status(&self, status: &schedule::Status, now: Instant) -> Status {
        let since = |at: Instant| now.saturating_since(at);
        Status {
            last_ok: status.last_ok.map(since),
            last_error: status.last_error.map(since).zip(self.last_error()),
            next_run: status.next_run.map(|at| at.remaining_at(now)),
            failures: status.failures,
            running: status.running,
            missed: status.missed,
        }
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// A look at the value of a [`Background`](super::Background). The value stays what it is while one looks.
pub struct Look<T>(Guard<Option<Arc<T>>>);

impl<T> Deref for Look<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &*self.0 {
            Some(value) => value,
            None => unreachable!("made of a value that is there"),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Look<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// How a background value stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Time since the last run that succeeded.
    pub last_ok: Option<Duration>,
    /// Time since the last run that failed, and what it said.
    pub last_error: Option<(Duration, Arc<str>)>,
    /// Time until the next run; `None` while one is running, and when none will come by itself.
    pub next_run: Option<Duration>,
    /// Runs that failed since the last one that succeeded.
    pub failures: u32,
    /// Whether a run is under way.
    pub running: bool,
    /// Runs that were skipped because an earlier one was late.
    pub missed: u64,
}
