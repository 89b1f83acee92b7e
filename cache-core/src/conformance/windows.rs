//! Rules about what time does to entries.

use alloc::format;
use alloc::string::String;
use core::borrow::Borrow;
use core::time::Duration;

use super::harness::StoreHarness;
use super::trial::{Finding, Rule, Trial, ensure};
use crate::entry::{Freshness, Lifetime};
use crate::store::Store;
use crate::time::Instant;

pub(super) const fn rules<H: StoreHarness>() -> [Rule<H>; 9] {
    [
        Rule {
            id: "windows-kept",
            demand: "ttl and both stale windows come back as they were put",
            check: windows_kept,
        },
        Rule {
            id: "age-travels",
            demand: "the age that comes back is the age that was put and the time since",
            check: age_travels,
        },
        Rule {
            id: "kept-through-windows",
            demand: "an entry is answered until its last window ends",
            check: kept_through_windows,
        },
        Rule {
            id: "expired-is-gone",
            demand: "an entry whose windows have ended is absent",
            check: expired_is_gone,
        },
        Rule {
            id: "age-shortens-life",
            demand: "an entry that was old when put ends sooner by as much",
            check: age_shortens_life,
        },
        Rule {
            id: "zero-life-is-gone",
            demand: "an entry that is over when put ends the old one, and is absent",
            check: zero_life_is_gone,
        },
        Rule {
            id: "forever-is-forever",
            demand: "a ttl without end comes back without end",
            check: forever_is_forever,
        },
        Rule {
            id: "huge-windows-hold",
            demand: "times of centuries neither fail nor wrap",
            check: huge_windows_hold,
        },
        Rule {
            id: "backward-clock-is-harmless",
            demand: "an entry put at a later reading of the clock is answered as fresh",
            check: backward_clock_is_harmless,
        },
    ]
}

/// A life of 2 units fresh, 1 more stale, 3 more for errors: 5 in all.
fn short_life<H: StoreHarness>(trial: &Trial<'_, H>) -> Lifetime {
    trial.fresh_for(2).stale_while_revalidate(trial.units(1)).stale_if_error(trial.units(3))
}

fn windows_kept<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let put = trial
        .fresh_for(100)
        .stale_while_revalidate(trial.units(20))
        .stale_if_error(trial.units(300));
    trial.put(0, 1, put)?;
    trial.pass(1);
    let got = trial.expect(0, 1, "while fresh")?;
    for (window, put, got) in
        [("ttl", put.ttl, got.ttl), ("swr", put.swr, got.swr), ("sie", put.sie, got.sie)]
    {
        let close = put.abs_diff(got) <= harness.tolerance();
        ensure(close, &format!("{window} was put as {put:?} and came back as {got:?}"))?;
    }
    Ok(Finding::Holds)
}

fn age_travels<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let tolerance = harness.tolerance();
    for (key, initial) in [(0, trial.units(0)), (1, trial.units(5))] {
        let before = trial.now();
        trial.put(key, 1, trial.fresh_for(100).aged(initial))?;
        let put = trial.now();
        let later = trial.pass(3);
        let age = trial.expect(key, 1, "while fresh")?.age;
        let least = initial + later.saturating_since(put);
        let most = initial + trial.now().saturating_since(before);
        let right = age + tolerance >= least && age <= most + tolerance;
        ensure(right, &format!("it came back as {age:?}, not {least:?} to {most:?}"))?;
    }
    Ok(Finding::Holds)
}

fn kept_through_windows<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, short_life(&trial))?;
    trial.pass(2);
    trial.expect(0, 1, "while stale")?;
    trial.pass(2);
    trial.expect(0, 1, "past its swr and within its sie")?;
    Ok(Finding::Holds)
}

fn expired_is_gone<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, short_life(&trial))?;
    trial.put(1, 2, trial.fresh_for(100))?;
    trial.pass(5);
    trial.expect_absent(0, "after its windows had ended")?;
    trial.expect(1, 2, "when another entry's windows had ended")?;
    trial.put(0, 3, short_life(&trial))?;
    trial.expect(0, 3, "when put again after its windows had ended")?;
    Ok(Finding::Holds)
}

fn age_shortens_life<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, trial.fresh_for(10).aged(trial.units(7)))?;
    trial.pass(1);
    trial.expect(0, 1, "when 8 of 10 units were over")?;
    trial.pass(3);
    trial.expect_absent(0, "when 11 of 10 units were over, 7 of them before the put")?;
    Ok(Finding::Holds)
}

fn zero_life_is_gone<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let over = [
        ("a zero ttl", Lifetime::fresh_for(Duration::ZERO)),
        ("an age above its windows", trial.fresh_for(2).aged(trial.units(3))),
        ("the largest age", trial.fresh_for(2).aged(Duration::MAX)),
    ];
    for (what, lifetime) in over {
        trial.put(0, 1, trial.fresh_for(100))?;
        trial.put(0, 2, lifetime)?;
        trial.expect_absent(0, &format!("when put with {what}"))?;
    }
    Ok(Finding::Holds)
}

fn forever_is_forever<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.put(0, 1, Lifetime::fresh_for(Duration::MAX))?;
    trial.pass(10);
    let lifetime = trial.expect(0, 1, "though its ttl has no end")?;
    let ttl = lifetime.ttl;
    ensure(ttl == Duration::MAX, &format!("a ttl without end came back as {ttl:?}"))?;
    Ok(Finding::Holds)
}

fn huge_windows_hold<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    let century = Duration::from_secs(100 * 365 * 24 * 3_600);
    let huge = [
        ("an sie of a century", trial.fresh_for(1).stale_if_error(century)),
        ("an swr of a century", trial.fresh_for(1).stale_while_revalidate(century)),
        ("an sie without end", trial.fresh_for(1).stale_if_error(Duration::MAX)),
        ("a ttl of a century", Lifetime::fresh_for(century)),
        ("a ttl just short of no end", Lifetime::fresh_for(Duration::MAX - century)),
        ("no end and an age of a century", Lifetime::fresh_for(Duration::MAX).aged(century)),
    ];
    for (key, (_, lifetime)) in (0..).zip(huge) {
        trial.put(key, 1, lifetime)?;
    }
    trial.pass(10);
    for (key, (what, _)) in (0..).zip(huge) {
        trial.expect(key, 1, &format!("though it had {what}"))?;
    }
    Ok(Finding::Holds)
}

fn backward_clock_is_harmless<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let trial = Trial::new(harness);
    trial.pass(1);
    trial.put(0, 1, trial.fresh_for(100))?;
    for (reading, now) in [("the clock's origin", Instant::ORIGIN), ("its last", trial.now())] {
        let fresh = trial
            .store
            .get(trial.key(0).borrow(), now)
            .map_err(|error| format!("get at {reading} failed: {error}"))?
            .is_some_and(|stored| stored.lifetime.freshness() == Freshness::Fresh);
        ensure(fresh, &format!("get at {reading} did not answer it so"))?;
    }
    Ok(Finding::Holds)
}
