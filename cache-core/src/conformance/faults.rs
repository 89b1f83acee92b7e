//! Rules about what cannot be kept, read or reached.

use alloc::format;
use alloc::string::String;
use core::borrow::Borrow;

use super::capabilities::many;
use super::harness::StoreHarness;
use super::trial::{Finding, Rule, Trial, ensure};
use crate::store::{Store, StoreError};

pub(super) const fn rules<H: StoreHarness>() -> [Rule<H>; 4] {
    [
        Rule {
            id: "too-large-is-said",
            demand: "a value above the limit is refused as too large and changes nothing",
            check: too_large_is_said,
        },
        Rule {
            id: "corrupt-is-not-served",
            demand: "a damaged entry is absent or said to be corrupt, and can be put again",
            check: corrupt_is_not_served,
        },
        Rule {
            id: "corrupt-spares-others",
            demand: "a damaged entry does not keep others from being read",
            check: corrupt_spares_others,
        },
        Rule {
            id: "outage-is-said",
            demand: "a store out of reach says so, and works again afterwards",
            check: outage_is_said,
        },
    ]
}

const NO_DAMAGE: Finding = Finding::NotApplicable("the harness cannot damage entries");

fn too_large_is_said<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let Some(oversized) = harness.oversized_value() else {
        return Ok(Finding::NotApplicable("the harness has no value above the limit"));
    };
    let trial = Trial::new(harness);
    trial.put(0, 1, trial.fresh_for(100))?;
    let answer =
        trial.store.put(trial.key(0).borrow(), &oversized, trial.fresh_for(100), trial.now());
    let refused = matches!(answer, Err(StoreError::TooLarge { .. }));
    ensure(refused, &format!("put answered {answer:?}"))?;
    trial.expect(0, 1, "after a larger one was refused")?;
    Ok(Finding::Holds)
}

fn corrupt_is_not_served<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let key = trial.key(0);
    trial.put(0, 1, trial.fresh_for(100))?;
    if !harness.corrupt(&trial.store, key.borrow()) {
        return Ok(NO_DAMAGE);
    }
    match trial.store.get(key.borrow(), trial.now()) {
        Ok(None) | Err(StoreError::Corrupt(_)) => {}
        Ok(Some(_)) => return Err("get answered a value".into()),
        Err(error) => return Err(format!("get failed otherwise: {error}")),
    }
    trial.put(0, 2, trial.fresh_for(100))?;
    trial.expect(0, 2, "when put again over a damaged entry")?;
    Ok(Finding::Holds)
}

fn corrupt_spares_others<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, trial.fresh_for(100))?;
    trial.put(1, 2, trial.fresh_for(100))?;
    if !harness.corrupt(&trial.store, trial.key(0).borrow()) {
        return Ok(NO_DAMAGE);
    }
    trial.expect(1, 2, "beside a damaged entry")?;
    let found = many(&trial, &[0, 1])?;
    let others = found.as_slice() == [(1, harness.value(2))];
    ensure(others, "get_many did not answer the others alone")?;
    Ok(Finding::Holds)
}

fn outage_is_said<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, trial.fresh_for(100))?;
    if !harness.outage(&trial.store, true) {
        return Ok(Finding::NotApplicable("the harness cannot cut a store off"));
    }
    let (key, value) = (trial.key(0), harness.value(2));
    let answers = [
        ("get", trial.store.get(key.borrow(), trial.now()).map(drop)),
        ("put", trial.store.put(key.borrow(), &value, trial.fresh_for(100), trial.now())),
        ("remove", trial.store.remove(key.borrow(), trial.now()).map(drop)),
    ];
    ensure(harness.outage(&trial.store, false), "the harness could not end the outage")?;
    for (operation, answer) in answers {
        let said = matches!(answer, Err(StoreError::Unavailable(_)));
        ensure(said, &format!("{operation} answered {answer:?} during an outage"))?;
    }
    trial.put(0, 3, trial.fresh_for(100))?;
    trial.expect(0, 3, "when put after an outage")?;
    Ok(Finding::Holds)
}
