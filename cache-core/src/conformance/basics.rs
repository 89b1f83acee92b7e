//! Rules about entries without regard to time.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::borrow::Borrow;

use super::harness::StoreHarness;
use super::trial::{Finding, Rule, Trial, ensure};
use crate::store::{Store, StoreError};

pub(super) const fn rules<H: StoreHarness>() -> [Rule<H>; 7] {
    [
        Rule {
            id: "absent-is-none",
            demand: "a key that was never put is absent",
            check: absent_is_none,
        },
        Rule {
            id: "get-after-put",
            demand: "get answers the value that was put",
            check: get_after_put,
        },
        Rule {
            id: "put-replaces",
            demand: "a second put replaces value and lifetime",
            check: put_replaces,
        },
        Rule {
            id: "removed-is-gone",
            demand: "a removed key is absent, and can be put again",
            check: removed_is_gone,
        },
        Rule {
            id: "remove-tells-truth",
            demand: "remove answers whether get would have found an entry",
            check: remove_tells_truth,
        },
        Rule {
            id: "keys-are-distinct",
            demand: "no key reaches the entry of another",
            check: keys_are_distinct,
        },
        Rule {
            id: "none-value-kept",
            demand: "a value that means nothing is kept like any other",
            check: none_value_kept,
        },
    ]
}

fn absent_is_none<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.expect_absent(0, "in a new store")?;
    trial.put(1, 1, trial.fresh_for(100))?;
    trial.expect_absent(0, "when only another key was put")?;
    Ok(Finding::Holds)
}

fn get_after_put<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    for key in 0..10 {
        trial.put(key, key + 1, trial.fresh_for(100))?;
    }
    for key in 0..10 {
        trial.expect(key, key + 1, "directly after put")?;
    }
    trial.expect(0, 1, "when read again")?;
    Ok(Finding::Holds)
}

fn put_replaces<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, trial.fresh_for(100))?;
    trial.put(0, 2, trial.fresh_for(200))?;
    let lifetime = trial.expect(0, 2, "after a second put")?;
    let longer = lifetime.ttl > trial.units(150);
    ensure(longer, "the entry still had the first put's ttl after the second")?;
    trial.put(0, 1, trial.fresh_for(100))?;
    trial.expect(0, 1, "after a third put")?;
    Ok(Finding::Holds)
}

fn removed_is_gone<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, trial.fresh_for(100))?;
    trial.put(1, 2, trial.fresh_for(100))?;
    trial.remove(0)?;
    trial.expect_absent(0, "after remove")?;
    trial.expect(1, 2, "after another key was removed")?;
    trial.put(0, 3, trial.fresh_for(100))?;
    trial.expect(0, 3, "when put again after remove")?;
    Ok(Finding::Holds)
}

fn remove_tells_truth<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    ensure(!trial.remove(0)?, "remove of an absent key answered true")?;
    trial.put(0, 1, trial.fresh_for(100))?;
    ensure(trial.remove(0)?, "remove of a present key answered false")?;
    ensure(!trial.remove(0)?, "a second remove answered true")?;
    trial.put(0, 1, trial.fresh_for(1))?;
    trial.pass(1);
    ensure(!trial.remove(0)?, "remove of a key whose life was over answered true")?;
    Ok(Finding::Holds)
}

fn keys_are_distinct<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let mut keys: Vec<_> = (0..16).map(|n| trial.key(n)).collect();
    keys.extend(harness.hostile_keys());
    let numbered = || (0u64..).zip(keys.iter().map(Borrow::<H::Key>::borrow));
    let mut kept = Vec::new();
    for (n, key) in numbered() {
        kept.push(put_or_refused(&trial, n, key)?);
    }
    for ((n, key), kept) in numbered().zip(&kept) {
        if *kept && n % 2 == 0 {
            trial.store.remove(key, trial.now()).map_err(|error| failed("remove", n, &error))?;
        }
    }
    for ((n, key), kept) in numbered().zip(kept) {
        let expected = (kept && n % 2 == 1).then(|| harness.value(n));
        let found = match trial.store.get(key, trial.now()) {
            Ok(stored) => stored.map(|stored| stored.value),
            Err(StoreError::TooLarge { .. }) if !kept => None,
            Err(error) => return Err(failed("get", n, &error)),
        };
        ensure(found == expected, &format!("key {n} of the list answered another key's value"))?;
    }
    Ok(Finding::Holds)
}

/// Whether the store took the key; it may refuse those that are too large.
fn put_or_refused<H: StoreHarness>(
    trial: &Trial<'_, H>,
    n: u64,
    key: &H::Key,
) -> Result<bool, String> {
    let value = trial.harness.value(n);
    match trial.store.put(key, &value, trial.fresh_for(100), trial.now()) {
        Ok(()) => Ok(true),
        Err(StoreError::TooLarge { .. }) => Ok(false),
        Err(error) => Err(failed("put", n, &error)),
    }
}

fn failed(operation: &str, n: u64, error: &StoreError) -> String {
    format!("{operation} of key {n} of the list failed: {error}")
}

fn none_value_kept<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let Some(nothing) = harness.none_value() else {
        return Ok(Finding::NotApplicable("the harness has no value that means nothing"));
    };
    let trial = Trial::new(harness);
    let key = trial.key(0);
    trial
        .store
        .put(key.borrow(), &nothing, trial.fresh_for(100), trial.now())
        .map_err(|error| failed("put", 0, &error))?;
    let found = trial.get(0)?.is_some_and(|stored| stored.value == nothing);
    ensure(found, "get did not answer it")?;
    ensure(trial.remove(0)?, "remove took it for absent")?;
    Ok(Finding::Holds)
}
