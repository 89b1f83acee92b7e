//! The settings of a job, in whichever order they are said.

use core::fmt;
use core::hash::BuildHasher;
use core::time::Duration;

use cache_core::schedule::{Job, JobBuilder};
use foldhash::fast::FixedState;

use super::value::StartError;

/// What a builder was told of its job so far; the same for threads and for tasks.
#[derive(Default)]
pub struct Plan {
    interval: Option<Duration>,
    changes: Vec<Box<dyn FnOnce(JobBuilder) -> JobBuilder + Send>>,
}

impl Plan {
    /// Time between two runs.
    pub fn every(&mut self, interval: Duration) {
        self.interval = Some(interval);
    }

    /// Time between two runs, if it was said.
    pub const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// A further setting.
    pub fn change(&mut self, change: impl FnOnce(JobBuilder) -> JobBuilder + Send + 'static) {
        self.changes.push(Box::new(change));
    }

    /// The job called `name`.
    ///
    /// # Errors
    /// No interval, or a wrong setting.
    pub fn build(self, name: &str) -> Result<Job, StartError> {
        let interval = self.interval.ok_or(StartError::NoInterval)?;
        let job = Job::every(interval).seed(FixedState::with_seed(0).hash_one(name));
        Ok(self.changes.into_iter().fold(job, |job, change| change(job)).build()?)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("interval", &self.interval).finish_non_exhaustive()
    }
}
