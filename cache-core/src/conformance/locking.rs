//! Rules about locks.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::harness::LockHarness;
use super::trial::{Finding, Rule, ensure, pass, units};
use crate::store::{AcquireError, ExtendError, Lock, LockOptions, Locks, Released, StoreError};

pub(super) const fn rules<H: LockHarness>() -> [Rule<H>; 11] {
    [
        Rule {
            id: "lock-is-exclusive",
            demand: "while a lock is held, nobody else is given it, and other names are free",
            check: lock_is_exclusive,
        },
        Rule {
            id: "lock-release-frees",
            demand: "a released lock can be had at once",
            check: lock_release_frees,
        },
        Rule {
            id: "lock-drop-frees",
            demand: "a dropped lock goes to who waits for it",
            check: lock_drop_frees,
        },
        Rule {
            id: "lock-ends-with-ttl",
            demand: "a lock is held for its ttl, and no longer",
            check: lock_ends_with_ttl,
        },
        Rule {
            id: "lock-valid-is-sure",
            demand: "a holder counts on less than its ttl, on nothing when that is over, and before others have it",
            check: lock_valid_is_sure,
        },
        Rule {
            id: "lock-fence-grows",
            demand: "each holder of a name has a larger fence than those before",
            check: lock_fence_grows,
        },
        Rule {
            id: "lock-extends",
            demand: "an extended lock is held for the new ttl",
            check: lock_extends,
        },
        Rule {
            id: "lock-renews",
            demand: "a renewed lock is held for longer than its ttl, and counted on all the time",
            check: lock_renews,
        },
        Rule {
            id: "lock-late-holder-is-refused",
            demand: "who held a lock that has ended neither extends nor releases the next holder's",
            check: lock_late_holder_is_refused,
        },
        Rule {
            id: "lock-waits",
            demand: "who waits has it when its holder's ttl is over, or is told that it is held",
            check: lock_waits,
        },
        Rule {
            id: "lock-taken-is-told",
            demand: "whose lock was taken away is told",
            check: lock_taken_is_told,
        },
    ]
}

/// Locks with their harness. Names are numbers, times given in units.
struct Bench<'h, H: LockHarness> {
    harness: &'h H,
    locks: H::Locks,
}

type Held<H> = <<H as LockHarness>::Locks as Locks>::Lock;

impl<'h, H: LockHarness> Bench<'h, H> {
    fn new(harness: &'h H) -> Self {
        Self { harness, locks: harness.make() }
    }

    fn pass(&self, count: u32) {
        pass(self.harness, count);
    }

    fn options(&self, ttl: u32) -> LockOptions {
        LockOptions::new(units(self.harness, ttl))
    }

    fn ask(&self, name: u64, options: LockOptions) -> Result<Option<Held<H>>, String> {
        match self.locks.acquire(&name_of(name), options) {
            Ok(lock) => Ok(Some(lock)),
            Err(AcquireError::Held) => Ok(None),
            Err(error) => Err(format!("a lock was not given: {error}")),
        }
    }

    fn acquire(&self, name: u64, options: LockOptions, when: &str) -> Result<Held<H>, String> {
        self.ask(name, options)?.ok_or_else(|| format!("lock {name} was not given {when}"))
    }

    fn expect_held(&self, name: u64, when: &str) -> Result<(), String> {
        let held = self.ask(name, self.options(10))?.is_none();
        ensure(held, &format!("lock {name} was given {when}"))
    }
}

fn name_of(number: u64) -> String {
    format!("lock {number}")
}

fn released(lock: impl Lock) -> Result<bool, String> {
    let failed = |error: StoreError| format!("a release failed: {error}");
    Ok(lock.release().map_err(failed)? == Released::Released)
}

const FREE: &str = "though nobody held it";

fn lock_is_exclusive<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let _held = bench.acquire(0, bench.options(10), FREE)?;
    bench.expect_held(0, "while another held it")?;
    let _beside = bench.acquire(1, bench.options(10), FREE)?;
    bench.pass(1);
    bench.expect_held(0, "while another held it for some time")?;
    Ok(Finding::Holds)
}

fn lock_release_frees<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, bench.options(10), FREE)?;
    ensure(released(held)?, "a release in time answered that it was lost")?;
    let _held = bench.acquire(0, bench.options(10), "after its release")?;
    Ok(Finding::Holds)
}

fn lock_drop_frees<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    drop(bench.acquire(0, bench.options(1_000), FREE)?);
    let patient = bench.options(10).wait(units(harness, 200));
    let _held = bench.acquire(0, patient, "though it was dropped")?;
    Ok(Finding::Holds)
}

fn lock_ends_with_ttl<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let _held = bench.acquire(0, bench.options(3), FREE)?;
    bench.pass(2);
    bench.expect_held(0, "after two thirds of the ttl")?;
    bench.pass(1);
    let _next = bench.acquire(0, bench.options(3), "after the ttl")?;
    Ok(Finding::Holds)
}

fn lock_valid_is_sure<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let (bench, ttl) = (Bench::new(harness), units(harness, 4));
    let held = bench.acquire(0, bench.options(4), FREE)?;
    let surely = LockOptions::surely(ttl);
    let first = held.valid_for();
    ensure(first <= surely && !first.is_zero(), &format!("of {ttl:?}, {first:?} were sure"))?;
    bench.pass(2);
    let later = held.valid_for();
    ensure(later <= surely - ttl / 2, &format!("of {ttl:?}, {later:?} were sure after a half"))?;
    bench.pass(2);
    ensure(held.valid_for().is_zero(), "its holder counted on it after the ttl")?;
    Ok(Finding::Holds)
}

fn lock_fence_grows<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let mut last = None;
    for round in 0..6 {
        let held = bench.acquire(0, bench.options(1), FREE)?;
        let (fence, grown) = (held.fence(), last.is_none_or(|last| held.fence() > last));
        ensure(grown, &format!("a fence of {fence} came after one of {last:?}"))?;
        last = Some(fence);
        if round % 2 == 0 {
            released(held)?;
        } else {
            bench.pass(1);
        }
    }
    Ok(Finding::Holds)
}

fn lock_extends<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, bench.options(3), FREE)?;
    bench.pass(2);
    held.extend(units(harness, 4)).map_err(|error| format!("it was not extended: {error}"))?;
    bench.pass(2);
    bench.expect_held(0, "after the first ttl, within that of the extension")?;
    ensure(!held.valid_for().is_zero(), "its holder was not told that it has it for longer")?;
    bench.pass(2);
    let _next = bench.acquire(0, bench.options(3), "after the ttl of the extension")?;
    Ok(Finding::Holds)
}

fn lock_renews<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, bench.options(6).renew(), FREE)?;
    for _ in 0..7 {
        bench.pass(1);
        ensure(!held.valid_for().is_zero(), "its holder was told that it is over")?;
    }
    bench.expect_held(0, "after its ttl, though it was renewed")?;
    ensure(released(held)?, "a release of a renewed lock answered that it was lost")?;
    let _next = bench.acquire(0, bench.options(3), "after the release of a renewed lock")?;
    Ok(Finding::Holds)
}

fn lock_late_holder_is_refused<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let late = bench.acquire(0, bench.options(2), FREE)?;
    bench.pass(2);
    let next = bench.acquire(0, bench.options(20), "after the ttl")?;
    ensure(matches!(late.extend(Duration::MAX), Err(ExtendError::Lost)), "it was extended")?;
    ensure(late.valid_for().is_zero(), "the late holder counted on it")?;
    ensure(!released(late)?, "it was released")?;
    bench.expect_held(0, "after a late release")?;
    ensure(released(next)?, "the next holder did not have it any more")?;
    Ok(Finding::Holds)
}

fn lock_waits<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let _held = bench.acquire(0, bench.options(4), FREE)?;
    let impatient = bench.options(4).wait(units(harness, 1));
    ensure(bench.ask(0, impatient)?.is_none(), "it was given while another held it")?;
    let patient = bench.options(4).wait(units(harness, 1_000));
    let _next = bench.acquire(0, patient, "to who waited for longer than its ttl")?;
    Ok(Finding::Holds)
}

fn lock_taken_is_told<H: LockHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, bench.options(6).renew(), FREE)?;
    if !harness.take_away(&bench.locks, &name_of(0)) {
        return Ok(Finding::NotApplicable("the harness cannot take a lock away"));
    }
    bench.pass(3);
    ensure(held.valid_for().is_zero(), "its holder counted on it after the next renewal")?;
    let extended = held.extend(units(harness, 4));
    ensure(matches!(extended, Err(ExtendError::Lost)), "it was extended")?;
    ensure(!released(held)?, "its release answered that it was held")?;
    Ok(Finding::Holds)
}
