//! Tokio's clock as the cache sees it.

use core::time::Duration;
use std::sync::Arc;

use cache_std::{Clock, Instant, MonotonicTime, Signal, Time};
use tokio::runtime::Handle;
use tokio::time::Instant as TokioInstant;

/// Tokio's clock: real time, or in tests whatever `tokio::time::pause` and `advance` make of it.
///
/// Give it to a cache whose test runs on paused time. It costs a hit a call of the system's clock,
/// which the [`TickTime`](cache_std::TickTime) of other caches does not.
///
/// ```
/// use std::time::Duration;
/// use cache_tokio::{TokioTime, future::Cache};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let minute = Duration::from_secs(60);
/// let cache: Cache<u64, u64> = Cache::builder().ttl(minute).time(TokioTime::new()).build()?;
/// cache.put(1, 7).await;
/// tokio::time::advance(minute).await;
/// assert_eq!(cache.get(&1), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokioTime {
    origin: TokioInstant,
}

/// So far in the past lies the origin, that entries which arrive with an age keep it: 36 years.
const HEAD_START: Duration = Duration::from_nanos(1 << 60);

impl TokioTime {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { origin: TokioInstant::now() }
    }
}

impl Default for TokioTime {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioTime {
    fn now(&self) -> Instant {
        let elapsed = TokioInstant::now().saturating_duration_since(self.origin);
        Instant::ORIGIN + HEAD_START + elapsed
    }
}

impl Time for TokioTime {
    /// Blocks; on a runtime's own threads, only within `spawn_blocking` or `block_in_place`. By the
    /// clock of the runtime that this thread is on, or without one in real time.
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        let left = until.remaining_at(self.now());
        let Ok(handle) = Handle::try_current() else {
            let real = MonotonicTime::new();
            return real.wait(signal, real.now() + left);
        };
        let deadline = TokioInstant::now().checked_add(left);
        let Some(deadline) = deadline.filter(|_| until != Instant::FAR_FUTURE) else {
            while !signal.block() {} // a poke is no more than that
            return true;
        };
        // Dropped, it pokes as well: a runtime that ends leaves nobody asleep.
        let poke = Poke(Arc::clone(signal));
        let timer = handle.spawn(async move {
            let _poke = poke;
            tokio::time::sleep_until(deadline).await;
        });
        let set = loop {
            if signal.block() {
                break true;
            }
            let now = self.now();
            if now.has_reached(until) {
                break signal.is_set();
            }
            if timer.is_finished() {
                let real = MonotonicTime::new();
                break real.wait(signal, real.now() + until.remaining_at(now));
            }
        };
        timer.abort();
        set
    }
}

/// Pokes a signal when it is dropped.
struct Poke(Arc<Signal>);

impl Drop for Poke {
    fn drop(&mut self) {
        self.0.poke();
    }
}
