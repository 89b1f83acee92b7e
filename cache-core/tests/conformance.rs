//! The rules for stores and leases: a right store passes them all, and each rule rejects a store
//! that is wrong in just that.
#![cfg(feature = "conformance")]

#[path = "conformance/leases.rs"]
mod leases;
#[cfg(feature = "envelope")]
#[path = "conformance/locks.rs"]
mod locks;
#[path = "conformance/map.rs"]
mod map;
#[path = "conformance/shared.rs"]
mod shared;
#[path = "conformance/stores.rs"]
mod stores;

use std::collections::BTreeSet;
use std::time::Duration;

use cache_core::conformance::{self, Harness};
use cache_core::{Clock, Instant};

use crate::leases::{LEASE_DEFECTS, TestLeases};
#[cfg(feature = "envelope")]
use crate::locks::{LOCK_DEFECTS, TestLocks};
use crate::map::Maps;
use crate::shared::{SHARED_DEFECTS, TestShared};
use crate::stores::{DEFECTS, Kind};

#[test]
fn a_right_store_keeps_every_rule() {
    let harness = Maps::of(Kind::Right);
    let report = conformance::store(&harness).unwrap();
    let skipped: Vec<_> = report.not_applicable().collect();
    assert_eq!(skipped, [("unsupported-is-said", "nothing is unsupported")]);
}

#[test]
fn a_store_of_three_methods_is_told_what_was_not_checked() {
    let report = conformance::store(&Maps::of(Kind::Plain)).unwrap();
    let skipped: Vec<_> = report.not_applicable().map(|(rule, _)| rule).collect();
    assert_eq!(skipped.len(), 6, "{report}");
    assert!(report.checked().any(|rule| rule == "unsupported-is-said"));
    assert!(report.to_string().contains("clear-removes-all: clear is not supported"));
}

#[test]
fn a_store_with_a_coarse_clock_of_its_own_keeps_every_rule() {
    let mut harness = Maps::of(Kind::OwnClock);
    harness.delay = Duration::from_millis(1);
    harness.tolerance = Duration::from_millis(20);
    if let Err(violation) = conformance::store(&harness) {
        panic!("{violation}");
    }
}

#[test]
fn each_wrong_store_is_rejected_by_its_rule() {
    for (defect, rule) in DEFECTS {
        let violation = conformance::store(&Maps::of(Kind::Wrong(*defect)))
            .expect_err(&format!("{defect:?} was not noticed"));
        assert_eq!(violation.rule, *rule, "{defect:?}: {violation}");
        assert!(!violation.demand.is_empty() && !violation.detail.is_empty());
    }
}

#[test]
fn every_rule_rejects_some_store() {
    let of = |kind| conformance::store(&Maps::of(kind)).unwrap();
    let rules: BTreeSet<_> = of(Kind::Right).checked().chain(of(Kind::Plain).checked()).collect();
    assert_eq!(rules, DEFECTS.iter().map(|(_, rule)| *rule).collect());
}

#[test]
fn right_leases_keep_every_rule() {
    let report = conformance::leases(&TestLeases::with(None)).unwrap();
    assert_eq!(report.not_applicable().count(), 0);
    let rules: BTreeSet<_> = report.checked().collect();
    assert_eq!(rules, LEASE_DEFECTS.iter().map(|(_, rule)| *rule).collect());
}

#[test]
fn each_kind_of_wrong_leases_is_rejected_by_its_rule() {
    for (defect, rule) in LEASE_DEFECTS {
        let violation = conformance::leases(&TestLeases::with(Some(*defect)))
            .expect_err(&format!("{defect:?} was not noticed"));
        assert_eq!(violation.rule, *rule, "{defect:?}: {violation}");
    }
}

#[cfg(feature = "envelope")]
#[test]
fn right_locks_keep_every_rule() {
    let harness = TestLocks::with(None);
    let report = conformance::locks(&harness).unwrap();
    assert_eq!(report.not_applicable().count(), 0);
    let rules: BTreeSet<_> = report.checked().collect();
    assert_eq!(rules, LOCK_DEFECTS.iter().map(|(_, rule)| *rule).collect());
    let spent = harness.now().saturating_since(map::START).as_secs();
    assert!(spent <= 35, "{spent}");
}

#[cfg(feature = "envelope")]
#[test]
fn each_kind_of_wrong_locks_is_rejected_by_its_rule() {
    for (defect, rule) in LOCK_DEFECTS {
        let violation = conformance::locks(&TestLocks::with(Some(*defect)))
            .expect_err(&format!("{defect:?} was not noticed"));
        assert_eq!(violation.rule, *rule, "{defect:?}: {violation}");
    }
}

#[test]
fn a_right_shared_store_keeps_every_rule() {
    let report = conformance::shared(&TestShared::with(None)).unwrap();
    assert_eq!(report.not_applicable().count(), 0);
    let rules: BTreeSet<_> = report.checked().collect();
    assert_eq!(rules, SHARED_DEFECTS.iter().map(|(_, rule)| *rule).collect());
}

#[test]
fn each_wrong_shared_store_is_rejected_by_its_rule() {
    for (defect, rule) in SHARED_DEFECTS {
        let violation = conformance::shared(&TestShared::with(Some(*defect)))
            .expect_err(&format!("{defect:?} was not noticed"));
        assert_eq!(violation.rule, *rule, "{defect:?}: {violation}");
    }
}

#[test]
fn the_rules_take_no_more_time_than_is_said() {
    let spent = |now: Instant| now.saturating_since(map::START).as_secs();
    let stores = Maps::of(Kind::Right);
    conformance::store(&stores).unwrap();
    assert!(spent(stores.clock.now()) <= 55, "{}", spent(stores.now()));
    let leases = TestLeases::with(None);
    conformance::leases(&leases).unwrap();
    assert!(spent(leases.now()) <= 35, "{}", spent(leases.now()));
    let shared = TestShared::with(None);
    conformance::shared(&shared).unwrap();
    assert!(spent(shared.now()) <= 10, "{}", spent(shared.now()));
}

#[test]
fn hostile_keys_are_all_different() {
    let strings = conformance::hostile_strings();
    assert_eq!(strings.iter().collect::<BTreeSet<_>>().len(), strings.len());
    let bytes = conformance::hostile_bytes();
    assert_eq!(bytes.iter().collect::<BTreeSet<_>>().len(), bytes.len());
    assert!(bytes.len() > strings.len());
}
