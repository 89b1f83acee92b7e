//! Rules about the operations beyond the required three, most of which a store may lack.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::borrow::Borrow;

use super::harness::StoreHarness;
use super::trial::{Finding, Rule, Trial, ensure, unless_unsupported};
use crate::entry::Lifetime;
use crate::store::{Store, StoreError, Stored};

pub(super) const fn rules<H: StoreHarness>() -> [Rule<H>; 8] {
    [
        Rule {
            id: "get-many-agrees",
            demand: "get_many answers what get answers, by position",
            check: get_many_agrees,
        },
        Rule {
            id: "put-if-absent-once",
            demand: "put_if_absent stores where nothing fresh or stale is, and only there",
            check: put_if_absent_once,
        },
        Rule {
            id: "put-if-absent-after-expiry",
            demand: "put_if_absent takes an entry whose windows have ended for absent",
            check: put_if_absent_after_expiry,
        },
        Rule {
            id: "clear-removes-all",
            demand: "clear removes every entry, and the store can be used on",
            check: clear_removes_all,
        },
        Rule {
            id: "purge-removes-only-dead",
            demand: "purge leaves every entry that get would answer",
            check: purge_removes_only_dead,
        },
        Rule {
            id: "purge-bounded",
            demand: "purge removes no more than its budget",
            check: purge_bounded,
        },
        Rule {
            id: "purge-frees-dead",
            demand: "purges free what entries held whose windows have ended, and count them",
            check: purge_frees_dead,
        },
        Rule {
            id: "unsupported-is-said",
            demand: "an operation that is not supported is named as such and changes nothing",
            check: unsupported_is_said,
        },
    ]
}

const NO_PUT_IF_ABSENT: Finding = Finding::NotApplicable("put_if_absent is not supported");
const NO_CLEAR: Finding = Finding::NotApplicable("clear is not supported");
const NO_PURGE: Finding = Finding::NotApplicable("purge is not supported");

fn put_if_absent<H: StoreHarness>(
    trial: &Trial<'_, H>,
    key: u64,
    value: u64,
    lifetime: Lifetime,
) -> Result<Option<bool>, String> {
    let (key, value) = (trial.key(key), trial.harness.value(value));
    let answer = trial.store.put_if_absent(key.borrow(), &value, lifetime, trial.now());
    unless_unsupported(answer, "put_if_absent")
}

fn purge<H: StoreHarness>(trial: &Trial<'_, H>, budget: usize) -> Result<Option<usize>, String> {
    unless_unsupported(trial.store.purge(trial.now(), budget), "purge")
}

fn get_many_agrees<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(1, 11, trial.fresh_for(100))?;
    trial.put(2, 12, trial.fresh_for(100))?;
    trial.put(3, 13, trial.fresh_for(1))?;
    trial.pass(1);
    // Absent, present, over, present, the same again.
    let mut found = many(&trial, &[0, 1, 3, 2, 1])?;
    found.sort_by_key(|(position, _)| *position);
    let positions: Vec<usize> = found.iter().map(|(position, _)| *position).collect();
    ensure(positions == [1, 3, 4], &format!("positions {positions:?} were told, not [1, 3, 4]"))?;
    let values = [11, 12, 11].map(|n| harness.value(n));
    let same = found.iter().map(|(_, value)| value).eq(&values);
    ensure(same, "a value was told at the position of another key")?;
    ensure(many(&trial, &[])?.is_empty(), "something was told of no keys")?;
    Ok(Finding::Holds)
}

/// What `get_many` tells, in its order.
pub(super) fn many<H: StoreHarness>(
    trial: &Trial<'_, H>,
    keys: &[u64],
) -> Result<Vec<(usize, H::Value)>, String> {
    let owned: Vec<<H::Key as ToOwned>::Owned> = keys.iter().map(|n| trial.key(*n)).collect();
    let borrowed: Vec<&H::Key> = owned.iter().map(Borrow::borrow).collect();
    let mut found = Vec::new();
    let mut note = |position, stored: Stored<H::Value>| {
        found.push((position, stored.value));
    };
    trial
        .store
        .get_many(&borrowed, trial.now(), &mut note)
        .map_err(|error| format!("get_many failed: {error}"))?;
    Ok(found)
}

fn put_if_absent_once<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let long = trial.fresh_for(100);
    let Some(stored) = put_if_absent(&trial, 0, 1, long)? else { return Ok(NO_PUT_IF_ABSENT) };
    ensure(stored, "it answered false for an absent key")?;
    trial.expect(0, 1, "after put_if_absent stored it")?;
    let again = put_if_absent(&trial, 0, 2, long)? == Some(true);
    ensure(!again, "it answered true for a present key")?;
    trial.expect(0, 1, "after a second put_if_absent")?;
    let windows = trial.units(100);
    trial.put(1, 3, trial.fresh_for(1).stale_while_revalidate(windows))?;
    trial.put(2, 3, trial.fresh_for(1).stale_if_error(windows))?;
    trial.pass(1);
    let again = put_if_absent(&trial, 1, 4, long)? == Some(true);
    ensure(!again, "it answered true for a key whose value is stale")?;
    let again = put_if_absent(&trial, 2, 4, long)? == Some(true);
    ensure(again, "it answered false for a key whose value is kept for errors alone")?;
    trial.expect(2, 4, "after put_if_absent in place of an expired one")?;
    trial.remove(0)?;
    let again = put_if_absent(&trial, 0, 5, long)? == Some(true);
    ensure(again, "it answered false for a removed key")?;
    Ok(Finding::Holds)
}

fn put_if_absent_after_expiry<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let Some(_) = put_if_absent(&trial, 0, 1, trial.fresh_for(2))? else {
        return Ok(NO_PUT_IF_ABSENT);
    };
    trial.pass(2);
    let stored = put_if_absent(&trial, 0, 2, trial.fresh_for(100))? == Some(true);
    ensure(stored, "it answered false")?;
    trial.expect(0, 2, "after put_if_absent in place of an ended one")?;
    Ok(Finding::Holds)
}

fn clear_removes_all<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    for key in 0..20 {
        trial.put(key, key, trial.fresh_for(100))?;
    }
    trial.put(20, 20, trial.fresh_for(1).stale_if_error(trial.units(100)))?;
    trial.pass(1);
    let cleared = unless_unsupported(trial.store.clear(trial.now()), "clear")?;
    if cleared.is_none() {
        return Ok(NO_CLEAR);
    }
    for key in 0..=20 {
        trial.expect_absent(key, "after clear")?;
    }
    trial.put(0, 1, trial.fresh_for(100))?;
    trial.expect(0, 1, "when put after clear")?;
    Ok(Finding::Holds)
}

/// A store with one fresh entry, one kept for errors, and five whose windows have ended.
fn aged_store<H: StoreHarness>(harness: &H) -> Result<Trial<'_, H>, String> {
    let trial = Trial::new(harness);
    trial.put(0, 100, trial.fresh_for(100))?;
    trial.put(1, 101, trial.fresh_for(1).stale_if_error(trial.units(100)))?;
    for key in 2..7 {
        trial.put(key, key, trial.fresh_for(1))?;
    }
    trial.pass(1);
    Ok(trial)
}

fn expect_living<H: StoreHarness>(trial: &Trial<'_, H>, when: &str) -> Result<(), String> {
    trial.expect(0, 100, when)?;
    trial.expect(1, 101, when)?;
    Ok(())
}

fn purge_removes_only_dead<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = aged_store(harness)?;
    let Some(count) = purge(&trial, usize::MAX)? else { return Ok(NO_PURGE) };
    expect_living(&trial, "after purge")?;
    ensure(count <= 5, &format!("it counted {count} where 5 had ended"))?;
    Ok(Finding::Holds)
}

fn purge_bounded<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = aged_store(harness)?;
    for budget in [0, 2] {
        let held = harness.held(&trial.store);
        let Some(count) = purge(&trial, budget)? else { return Ok(NO_PURGE) };
        ensure(count <= budget, &format!("it counted {count} for a budget of {budget}"))?;
        let freed = held.zip(harness.held(&trial.store)).map(|(was, is)| was.saturating_sub(is));
        let bounded = freed.is_none_or(|freed| freed <= budget);
        ensure(bounded, &format!("{freed:?} were freed for a budget of {budget}"))?;
    }
    Ok(Finding::Holds)
}

fn purge_frees_dead<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = aged_store(harness)?;
    let Some(at_first) = harness.held(&trial.store) else {
        return Ok(Finding::NotApplicable("the harness cannot tell what a store holds"));
    };
    let mut counted = 0;
    // Budgets of two are enough five times over for what must go.
    for _ in 0..25 {
        let Some(count) = purge(&trial, 2)? else { return Ok(NO_PURGE) };
        counted += count;
    }
    let held = harness.held(&trial.store).unwrap_or_default();
    ensure(held == 2, &format!("{held} entries were held where 2 are alive"))?;
    let freed = at_first.saturating_sub(held);
    ensure(counted == freed, &format!("{counted} were counted where {freed} were freed"))?;
    Ok(Finding::Holds)
}

fn unsupported_is_said<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = aged_store(harness)?;
    let held = harness.held(&trial.store);
    let no_purge = lacks(trial.store.purge(trial.now(), usize::MAX), "purge")?;
    let same = !no_purge || harness.held(&trial.store) == held;
    ensure(same, "entries went away when purge said that it is not supported")?;
    let (key, value, long) = (trial.key(50), harness.value(50), trial.fresh_for(100));
    let answer = trial.store.put_if_absent(key.borrow(), &value, long, trial.now());
    let no_put_if_absent = lacks(answer, "put_if_absent")?;
    if no_put_if_absent {
        trial.expect_absent(50, "after put_if_absent said that it is not supported")?;
    }
    let no_clear = lacks(trial.store.clear(trial.now()), "clear")?;
    if no_clear {
        expect_living(&trial, "after clear said that it is not supported")?;
    }
    let lacking = no_purge || no_put_if_absent || no_clear;
    Ok(if lacking { Finding::Holds } else { Finding::NotApplicable("nothing is unsupported") })
}

/// Whether the answer is that the store lacks the operation, which it must name.
fn lacks<T>(answer: Result<T, StoreError>, name: &str) -> Result<bool, String> {
    match answer {
        Err(StoreError::Unsupported { operation }) => {
            ensure(operation == name, &format!("{name} was named {operation:?}"))?;
            Ok(true)
        }
        answer => unless_unsupported(answer, name).map(|_| false),
    }
}
