//! Rules about several handles and several stores in one place.

use alloc::format;
use alloc::string::String;

use super::harness::StoreHarness;
use super::trial::{Finding, Rule, Trial, ensure, unless_unsupported};
use crate::store::Store;

pub(super) const fn rules<H: StoreHarness>() -> [Rule<H>; 2] {
    [
        Rule {
            id: "two-handles-agree",
            demand: "what one handle does, the other sees",
            check: two_handles_agree,
        },
        Rule {
            id: "neighbours-are-apart",
            demand: "a store of another name in the same place is not touched",
            check: neighbours_are_apart,
        },
    ]
}

fn two_handles_agree<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let one = Trial::new(harness);
    one.put(0, 1, one.fresh_for(100))?;
    let Some(other) = harness.another(&one.store) else {
        return Ok(Finding::NotApplicable("the harness has no second handle"));
    };
    let other = one.of(other);
    other.expect(0, 1, "through a handle made after the put")?;
    one.put(0, 2, one.fresh_for(100))?;
    other.expect(0, 2, "through a handle made before the put")?;
    ensure(other.remove(0)?, "the other handle found nothing to remove")?;
    one.expect_absent(0, "when the other handle had removed it")?;
    Ok(Finding::Holds)
}

fn neighbours_are_apart<H: StoreHarness>(harness: &H) -> Result<Finding, String> {
    let one = Trial::new(harness);
    let Some(other) = harness.neighbour(&one.store) else {
        return Ok(Finding::NotApplicable("the harness has no store of another name"));
    };
    let other = one.of(other);
    one.put(0, 1, one.fresh_for(100))?;
    other.expect_absent(0, "when only the neighbour's was put")?;
    other.put(0, 2, one.fresh_for(100))?;
    one.expect(0, 1, "when the neighbour's was put")?;
    one.remove(0)?;
    other.expect(0, 2, "when the neighbour's was removed")?;
    let cleared = one.store.clear(one.now());
    unless_unsupported(cleared, "clear").map_err(|error| format!("beside a neighbour, {error}"))?;
    other.expect(0, 2, "when the neighbour was cleared")?;
    Ok(Finding::Holds)
}
