//! Who holds which lock, and who waits for it.

use core::time::Duration;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cache_core::Instant;
use cache_core::store::{AcquireError, ExtendError, LockOptions, Released, StoreError};

use crate::primitives::{Mutex, MutexGuard, PoisonError};
use crate::time::{Signal, Time};

/// Most locks that are held at a time, and most that are waited for.
const MOST: usize = 65_536;

const MAX_NAME: usize = 64 << 10;

const SHORTEST: Duration = Duration::from_millis(1);

/// Ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What all who take these locks share.
pub(crate) struct Shared {
    pub(crate) time: Arc<dyn Time>,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    held: HashMap<Arc<[u8]>, Held>,
    last_fence: u64,
    watching: HashMap<Arc<[u8]>, BTreeMap<u64, Arc<Signal>>>,
    last_watch: u64,
    waiting: usize,
}

/// A lock that somebody holds, or held until its end.
#[derive(Clone, Copy)]
struct Held {
    fence: u64,
    since: Instant,
    ttl: Duration,
    renews: bool,
}

impl Held {
    fn until(&self) -> Instant {
        if self.renews { Instant::FAR_FUTURE } else { self.since + self.ttl }
    }

    /// Until when its holder counts on it.
    fn surely_until(&self, now: Instant) -> Instant {
        let third = (self.ttl / 3).max(SHORTEST);
        let thirds = now.saturating_since(self.since).as_nanos() / third.as_nanos();
        let renewed = match u32::try_from(thirds) {
            Ok(thirds) if self.renews => self.since + third.saturating_mul(thirds),
            Err(_) if self.renews => now,
            _ => self.since,
        };
        renewed + LockOptions::surely(self.ttl)
    }
}

/// What came of asking for a lock.
pub(crate) enum Attempt {
    Given(Right),
    /// Another holds it, until then at the latest if it is not renewed.
    Held {
        until: Instant,
    },
}

impl Shared {
    pub(crate) fn new(time: Arc<dyn Time>) -> Self {
        Self { time, desk: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attempt(
        self: &Arc<Self>,
        name: &[u8],
        options: LockOptions,
    ) -> Result<Attempt, AcquireError> {
        if name.len() > MAX_NAME {
            return Err(AcquireError::Store(StoreError::too_large(name.len(), MAX_NAME)));
        }
        let now = self.time.now_precisely();
        let mut desk = self.lock();
        if let Some(held) = desk.held.get(name).filter(|held| !now.has_reached(held.until())) {
            return Ok(Attempt::Held { until: held.until() });
        }
        if desk.held.len() >= MOST {
            desk.held.retain(|_, held| !now.has_reached(held.until()));
        }
        if desk.held.len() >= MOST {
            let full = StoreError::unavailable("as many locks are held as may be");
            return Err(AcquireError::Store(full));
        }
        desk.last_fence += 1;
        let (fence, ttl) = (desk.last_fence, options.ttl.clamp(SHORTEST, LONGEST));
        let name: Arc<[u8]> = name.into();
        desk.held.insert(Arc::clone(&name), Held { fence, since: now, ttl, renews: options.renew });
        Ok(Attempt::Given(Right { shared: Arc::clone(self), name, fence }))
    }

    /// Ends the lock of this name, whoever holds it. Whether somebody did.
    pub(crate) fn take_away(&self, name: &[u8]) -> bool {
        let now = self.time.now_precisely();
        let held = self.lock().held.remove(name);
        self.tell(name);
        held.is_some_and(|held| !now.has_reached(held.until()))
    }

    /// Tells those who watch a name that something has happened.
    fn tell(&self, name: &[u8]) {
        let told = self.lock().watching.get(name).cloned();
        told.into_iter().flatten().for_each(|(_, signal)| signal.set());
    }

    /// Watches a name, as one who waits for it.
    pub(crate) fn watch_for(self: &Arc<Self>, name: &[u8]) -> Result<Watch, AcquireError> {
        let mut desk = self.lock();
        if desk.waiting >= MOST {
            let full = StoreError::unavailable("as many wait for locks as may");
            return Err(AcquireError::Store(full));
        }
        desk.waiting += 1;
        Ok(self.watch(&mut desk, name, true))
    }

    fn watch(self: &Arc<Self>, desk: &mut Desk, name: &[u8], waits: bool) -> Watch {
        let (name, signal): (Arc<[u8]>, _) = (name.into(), Arc::new(Signal::new()));
        desk.last_watch += 1;
        let number = desk.last_watch;
        let watching = desk.watching.entry(Arc::clone(&name)).or_default();
        watching.insert(number, Arc::clone(&signal));
        Watch { shared: Arc::clone(self), name, number, signal, waits }
    }
}

/// Waits for something to happen to a lock, until it is dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    name: Arc<[u8]>,
    number: u64,
    signal: Arc<Signal>,
    waits: bool,
}

impl Watch {
    /// Set when something has happened.
    pub(crate) const fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut desk = self.shared.lock();
        desk.waiting -= usize::from(self.waits);
        if let Some(signals) = desk.watching.get_mut(&self.name) {
            signals.remove(&self.number);
            if signals.is_empty() {
                desk.watching.remove(&self.name);
            }
        }
    }
}

/// A lock as its holder knows it. Dropped, it ends.
pub(crate) struct Right {
    shared: Arc<Shared>,
    name: Arc<[u8]>,
    fence: u64,
}

impl Right {
    pub(crate) const fn fence(&self) -> u64 {
        self.fence
    }

    pub(crate) fn time(&self) -> &dyn Time {
        &*self.shared.time
    }

    /// What is kept of it, if it has not ended.
    fn held(&self, desk: &Desk, now: Instant) -> Option<Held> {
        let held = desk.held.get(&self.name).copied();
        held.filter(|held| held.fence == self.fence && !now.has_reached(held.until()))
    }

    pub(crate) fn valid_for(&self) -> Duration {
        let now = self.shared.time.now_precisely();
        let held = self.held(&self.shared.lock(), now);
        held.map_or(Duration::ZERO, |held| held.surely_until(now).remaining_at(now))
    }

    /// Until when it is counted on, unless something happens before; `None` when it is not any more.
    pub(crate) fn watched(&self) -> Option<(Watch, Instant)> {
        let now = self.shared.time.now_precisely();
        let mut desk = self.shared.lock();
        let held = self.held(&desk, now)?;
        let until = if held.renews { Instant::FAR_FUTURE } else { held.surely_until(now) };
        let counts = !now.has_reached(until);
        counts.then(|| (self.shared.watch(&mut desk, &self.name, false), until))
    }

    pub(crate) fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        let now = self.shared.time.now_precisely();
        let mut desk = self.shared.lock();
        let held = self.held(&desk, now).ok_or(ExtendError::Lost)?;
        let ttl = ttl.clamp(SHORTEST, LONGEST);
        desk.held.insert(Arc::clone(&self.name), Held { since: now, ttl, ..held });
        drop(desk);
        self.shared.tell(&self.name);
        Ok(())
    }

    /// Ends it, and no other holder's.
    pub(crate) fn end(&self) -> Released {
        let now = self.shared.time.now_precisely();
        let mut desk = self.shared.lock();
        if self.held(&desk, now).is_none() {
            return Released::AlreadyLost;
        }
        desk.held.remove(&self.name);
        drop(desk);
        self.shared.tell(&self.name);
        Released::Released
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::ManualTime;
    use cache_core::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_renewed_is_counted_on_since_its_last_third() {
        let since = ManualTime::new().now();
        let held = Held { fence: 1, since, ttl: 3 * SECOND, renews: true };
        let surely = LockOptions::surely(3 * SECOND);
        let left = |after| held.surely_until(since + after).remaining_at(since + after);
        assert_eq!(left(Duration::ZERO), surely);
        assert_eq!(left(SECOND / 2), surely - SECOND / 2);
        assert_eq!(left(100 * SECOND + SECOND / 4), surely - SECOND / 4);
        assert!(!left(Duration::MAX).is_zero() || Instant::FAR_FUTURE == since + Duration::MAX);
    }

    #[test]
    fn there_are_no_more_than_may_be_and_what_has_ended_makes_room() {
        let time = ManualTime::new();
        let shared = Arc::new(Shared::new(Arc::new(time.clone())));
        let ask = |n: usize| shared.attempt(&n.to_be_bytes(), LockOptions::new(SECOND));
        let held: Vec<_> = (0..MOST).map(ask).collect();
        assert!(matches!(ask(MOST), Err(AcquireError::Store(_))));
        time.advance(SECOND);
        assert!(matches!(ask(MOST), Ok(Attempt::Given(_))));
        drop(held);
        assert!(shared.lock().held.is_empty());
        let watches: Vec<_> = (0..MOST).map(|_| shared.watch_for(b"a").ok().unwrap()).collect();
        assert!(shared.watch_for(b"a").is_err());
        drop(watches);
        assert!(shared.lock().watching.is_empty() && shared.lock().waiting == 0);
        let long = shared.attempt(&[0; MAX_NAME + 1], LockOptions::new(SECOND));
        assert!(matches!(long, Err(AcquireError::Store(StoreError::TooLarge { .. }))));
    }
}
