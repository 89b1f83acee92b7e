//! A steady load: requests come by the clock, whether or not earlier ones were answered.

use std::iter;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::database::{Failure, Summary};
use crate::zipf::Zipf;

/// Threads that send one load's requests.
const THREADS: usize = 8;
/// A request that waits longer than this for a free thread is not sent.
const DEADLINE: Duration = Duration::from_secs(1);

/// Requests for one user of the database.
pub(crate) struct Load {
    pub(crate) start: Instant,
    /// Time from one request to the next.
    pub(crate) gap: Duration,
    pub(crate) span: Duration,
    pub(crate) customers: Zipf,
}

/// How one request ended.
#[derive(Debug)]
pub(crate) enum Answer {
    /// With a value that the database gave so long ago.
    Aged(Duration),
    Failed(Failure),
    /// All threads were taken for too long.
    NotSent,
}

pub(crate) struct Sample {
    /// When the request came, from the start of the load.
    pub(crate) at: Duration,
    /// From when the request came to its answer: what its sender sees.
    pub(crate) waited: Duration,
    /// Of that, the time within the cache and the database.
    pub(crate) took: Duration,
    pub(crate) answer: Answer,
}

impl Load {
    /// Sends all requests, and waits for the last answer.
    pub(crate) fn send<F>(&self, ask: F) -> Vec<Sample>
    where
        F: Fn(u64) -> Result<Arc<Summary>, Failure> + Sync,
    {
        let next = AtomicU32::new(0);
        let work = || iter::from_fn(|| self.request(next.fetch_add(1, Ordering::Relaxed), &ask));
        thread::scope(|scope| {
            let threads = [(); THREADS].map(|()| scope.spawn(|| work().collect::<Vec<_>>()));
            let joined =
                threads.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.into_iter().flatten().collect()
        })
    }

    /// The n-th request, when it is due; `None` if the load has ended by then.
    fn request<F>(&self, n: u32, ask: F) -> Option<Sample>
    where
        F: Fn(u64) -> Result<Arc<Summary>, Failure>,
    {
        let at = self.gap * n;
        let due = self.start + at;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let begun = Instant::now();
        (at < self.span).then(|| {
            let answer = if begun > due + DEADLINE {
                Answer::NotSent
            } else {
                ask(self.customers.draw(n.into())).into()
            };
            Sample { at, waited: due.elapsed(), took: begun.elapsed(), answer }
        })
    }
}

impl From<Result<Arc<Summary>, Failure>> for Answer {
    fn from(result: Result<Arc<Summary>, Failure>) -> Self {
        result.map_or_else(Self::Failed, |summary| Self::Aged(summary.read_at.elapsed()))
    }
}

impl Sample {
    pub(crate) const fn has_failed(&self) -> bool {
        !matches!(self.answer, Answer::Aged(_))
    }

    /// The age of what was served.
    pub(crate) const fn age(&self) -> Option<Duration> {
        match self.answer {
            Answer::Aged(age) => Some(age),
            Answer::Failed(_) | Answer::NotSent => None,
        }
    }
}
