//! Right leases over a map, and leases with one defect each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use cache_core::conformance::{Harness, LeaseHarness, hostile_strings};
use cache_core::store::{HeldLease, Leases, StoreError};
use cache_core::{Clock, Instant, ManualClock};

use crate::map::START;

/// What is wrong with leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    AlwaysGrants,
    OneForAllKeys,
    ReleasesNothing,
    NeverLapses,
    OverflowsTtl,
    RepeatsToken,
    RepeatsFence,
    RenewsNothing,
    RenewsAnyToken,
    ReleasesAnyToken,
    RevivesLapsed,
    TrustsOldTokens,
    CopiesHandles,
}

/// Each defect, and the rule that must notice it.
pub(crate) const LEASE_DEFECTS: &[(Defect, &str)] = &[
    (Defect::AlwaysGrants, "lease-is-exclusive"),
    (Defect::OneForAllKeys, "lease-keys-are-distinct"),
    (Defect::ReleasesNothing, "release-frees"),
    (Defect::NeverLapses, "lease-ends-with-ttl"),
    (Defect::OverflowsTtl, "longest-lease-holds"),
    (Defect::RepeatsToken, "tokens-differ"),
    (Defect::RepeatsFence, "fence-grows"),
    (Defect::RenewsNothing, "renewal-extends"),
    (Defect::RenewsAnyToken, "renew-checks-token"),
    (Defect::ReleasesAnyToken, "release-checks-token"),
    (Defect::RevivesLapsed, "lapsed-is-not-renewed"),
    (Defect::TrustsOldTokens, "late-holder-is-refused"),
    (Defect::CopiesHandles, "lease-handles-agree"),
];

#[derive(Clone, Default)]
struct State {
    /// Of each key, the tokens that were given, and the end of the latest.
    given: BTreeMap<String, (Vec<[u8; 16]>, Instant)>,
    count: u64,
}

pub(crate) struct MapLeases {
    state: Rc<RefCell<State>>,
    defect: Option<Defect>,
}

impl MapLeases {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn key(&self, key: &str) -> String {
        if self.has(Defect::OneForAllKeys) { String::new() } else { key.into() }
    }

    fn end(&self, ttl: Duration, now: Instant) -> Instant {
        match self.defect {
            Some(Defect::NeverLapses) => Instant::FAR_FUTURE,
            Some(Defect::OverflowsTtl) if ttl == Duration::MAX => now,
            _ => now + ttl,
        }
    }

    /// Sets the end of the lease in force to `end`, if it is `lease` or `any` will do.
    fn change(&self, key: &str, lease: &HeldLease, now: Instant, any: bool, end: Instant) -> bool {
        let mut state = self.state.borrow_mut();
        let Some((tokens, until)) = state.given.get_mut(&self.key(key)) else { return false };
        let known = match self.defect {
            Some(Defect::TrustsOldTokens) => tokens.contains(lease.token()),
            _ => any || tokens.last() == Some(lease.token()),
        };
        let lapsed = now.has_reached(*until) && !self.has(Defect::RevivesLapsed);
        if known && !lapsed {
            *until = end;
        }
        known && !lapsed
    }
}

impl Leases<str> for MapLeases {
    fn acquire(
        &self,
        key: &str,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        let mut state = self.state.borrow_mut();
        state.count += 1;
        let count = if self.has(Defect::RepeatsToken) { 1 } else { state.count };
        let (tokens, until) = state.given.entry(self.key(key)).or_default();
        if !now.has_reached(*until) && !self.has(Defect::AlwaysGrants) {
            return Ok(None);
        }
        *until = self.end(ttl, now);
        tokens.push(u128::from(count).to_be_bytes());
        let fence = if self.has(Defect::RepeatsFence) { 1 } else { state.count };
        Ok(Some(HeldLease::new(u128::from(count).to_be_bytes(), fence)))
    }

    fn renew(
        &self,
        key: &str,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        if self.has(Defect::RenewsNothing) {
            return Ok(true);
        }
        let any = self.has(Defect::RenewsAnyToken);
        Ok(self.change(key, lease, now, any, self.end(ttl, now)))
    }

    fn release(&self, key: &str, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        if self.has(Defect::ReleasesNothing) {
            return Ok(true);
        }
        let any = self.has(Defect::ReleasesAnyToken);
        Ok(self.change(key, &lease, now, any, Instant::ORIGIN))
    }
}

/// Makes leases with one defect or none, on virtual time.
pub(crate) struct TestLeases {
    clock: ManualClock,
    defect: Option<Defect>,
}

impl TestLeases {
    pub(crate) fn with(defect: Option<Defect>) -> Self {
        Self { clock: ManualClock::starting_at(START), defect }
    }
}

impl Harness for TestLeases {
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

    fn hostile_keys(&self) -> Vec<String> {
        hostile_strings()
    }
}

impl LeaseHarness for TestLeases {
    type Leases = MapLeases;

    fn make(&self) -> MapLeases {
        MapLeases { state: Rc::default(), defect: self.defect }
    }

    fn another(&self, leases: &MapLeases) -> Option<MapLeases> {
        let mut state = Rc::clone(&leases.state);
        if self.defect == Some(Defect::CopiesHandles) {
            state = Rc::new(RefCell::clone(&state));
        }
        Some(MapLeases { state, defect: self.defect })
    }
}
