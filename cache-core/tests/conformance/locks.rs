//! Right locks over a map, and locks with one defect each.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use cache_core::conformance::{Harness, LockHarness};
use cache_core::store::{
    AcquireError, ExtendError, KeyBytes, Lock, LockOptions, Locks, Released, StoreError,
};
use cache_core::{Clock, Instant, ManualClock};

use crate::map::START;

/// What is wrong with locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    AlwaysGives,
    ReleasesNothing,
    DropsNothing,
    NeverEnds,
    CountsOnAll,
    RepeatsFence,
    ExtendsNothing,
    RenewsNothing,
    ReleasesAny,
    NeverWaits,
    TellsNothing,
}

/// Each defect, and the rule that must notice it.
pub(crate) const LOCK_DEFECTS: &[(Defect, &str)] = &[
    (Defect::AlwaysGives, "lock-is-exclusive"),
    (Defect::ReleasesNothing, "lock-release-frees"),
    (Defect::DropsNothing, "lock-drop-frees"),
    (Defect::NeverEnds, "lock-ends-with-ttl"),
    (Defect::CountsOnAll, "lock-valid-is-sure"),
    (Defect::RepeatsFence, "lock-fence-grows"),
    (Defect::ExtendsNothing, "lock-extends"),
    (Defect::RenewsNothing, "lock-renews"),
    (Defect::ReleasesAny, "lock-late-holder-is-refused"),
    (Defect::NeverWaits, "lock-waits"),
    (Defect::TellsNothing, "lock-taken-is-told"),
];

/// Who holds which, and until when.
type Held = BTreeMap<Vec<u8>, (u64, Instant)>;

#[derive(Clone)]
pub(crate) struct MapLocks {
    clock: Rc<ManualClock>,
    defect: Option<Defect>,
    held: Rc<RefCell<Held>>,
    count: Rc<Cell<u64>>,
}

pub(crate) struct MapLock {
    locks: MapLocks,
    name: Vec<u8>,
    fence: u64,
    renews: bool,
    sure: Cell<Instant>,
}

impl MapLocks {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn end(&self, ttl: Duration, renews: bool) -> Instant {
        let renews = renews && !self.has(Defect::RenewsNothing);
        if renews || self.has(Defect::NeverEnds) {
            Instant::FAR_FUTURE
        } else {
            self.clock.now() + ttl
        }
    }

    fn sure(&self, ttl: Duration) -> Instant {
        let sure = if self.has(Defect::CountsOnAll) { ttl } else { LockOptions::surely(ttl) };
        self.clock.now() + sure
    }

    /// The end of who holds it.
    fn held_until(&self, name: &[u8]) -> Option<Instant> {
        let held = self.held.borrow();
        let until = held.get(name).map(|(_, until)| *until);
        until
            .filter(|until| !self.clock.now().has_reached(*until) && !self.has(Defect::AlwaysGives))
    }
}

impl Locks for MapLocks {
    type Lock = MapLock;

    fn acquire<K>(&self, name: &K, options: LockOptions) -> Result<MapLock, AcquireError>
    where
        K: KeyBytes + Sync + ?Sized,
    {
        let (name, deadline) = (name.key_bytes().into_owned(), self.clock.now() + options.wait);
        while let Some(until) = self.held_until(&name) {
            let now = self.clock.now();
            if now.has_reached(deadline) || self.has(Defect::NeverWaits) {
                return Err(AcquireError::Held);
            }
            self.clock.advance(until.min(deadline).saturating_since(now));
        }
        self.count.set(self.count.get() + 1);
        let (fence, end) = (self.count.get(), self.end(options.ttl, options.renew));
        self.held.borrow_mut().insert(name.clone(), (fence, end));
        let sure = Cell::new(self.sure(options.ttl));
        Ok(MapLock { locks: self.clone(), name, fence, renews: options.renew, sure })
    }
}

impl MapLock {
    fn holds(&self) -> bool {
        let held = self.locks.held.borrow();
        let now = self.locks.clock.now();
        held.get(&self.name).is_some_and(|(id, end)| *id == self.fence && !now.has_reached(*end))
    }

    fn end(&self, any: bool) -> Released {
        if !any && !self.holds() {
            return Released::AlreadyLost;
        }
        self.locks.held.borrow_mut().remove(&self.name);
        Released::Released
    }
}

impl Lock for MapLock {
    fn fence(&self) -> u64 {
        if self.locks.has(Defect::RepeatsFence) { 1 } else { self.fence }
    }

    fn valid_for(&self) -> Duration {
        let now = self.locks.clock.now();
        if !self.holds() && !self.locks.has(Defect::TellsNothing) {
            return Duration::ZERO;
        }
        let renews = self.renews && !self.locks.has(Defect::RenewsNothing);
        let sure = if renews { now + Duration::from_secs(1) } else { self.sure.get() };
        sure.remaining_at(now)
    }

    fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        if !self.holds() {
            return Err(ExtendError::Lost);
        }
        if !self.locks.has(Defect::ExtendsNothing) {
            let end = self.locks.end(ttl, self.renews);
            self.locks.held.borrow_mut().insert(self.name.clone(), (self.fence, end));
        }
        self.sure.set(self.locks.sure(ttl));
        Ok(())
    }

    fn release(self) -> Result<Released, StoreError> {
        if self.locks.has(Defect::ReleasesNothing) {
            self.locks.held.borrow_mut().insert(self.name.clone(), (0, Instant::FAR_FUTURE));
            return Ok(Released::Released);
        }
        Ok(self.end(self.locks.has(Defect::ReleasesAny)))
    }
}

impl Drop for MapLock {
    fn drop(&mut self) {
        if !self.locks.has(Defect::DropsNothing) {
            self.end(false);
        }
    }
}

/// Makes locks with one defect or none, on virtual time.
pub(crate) struct TestLocks {
    clock: Rc<ManualClock>,
    defect: Option<Defect>,
}

impl TestLocks {
    pub(crate) fn with(defect: Option<Defect>) -> Self {
        Self { clock: Rc::new(ManualClock::starting_at(START)), defect }
    }
}

impl Harness for TestLocks {
    type Key = str;

    fn key(&self, n: u64) -> String {
        format!("key {n}")
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.clock.advance(span);
        self.clock.now()
    }
}

impl LockHarness for TestLocks {
    type Locks = MapLocks;

    fn make(&self) -> MapLocks {
        let clock = Rc::clone(&self.clock);
        MapLocks { clock, defect: self.defect, held: Rc::default(), count: Rc::default() }
    }

    fn take_away(&self, locks: &MapLocks, name: &str) -> bool {
        locks.held.borrow_mut().remove(name.as_bytes()).is_some()
    }
}
