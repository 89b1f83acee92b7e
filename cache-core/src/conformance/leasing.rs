//! Rules about leases.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::time::Duration;

use super::harness::LeaseHarness;
use super::trial::{Finding, Rule, ensure, pass, units};
use crate::store::{HeldLease, Leases, StoreError};

pub(super) const fn rules<H: LeaseHarness>() -> [Rule<H>; 13] {
    [
        Rule {
            id: "lease-is-exclusive",
            demand: "while a lease is in force, its key is leased to nobody else",
            check: lease_is_exclusive,
        },
        Rule {
            id: "lease-keys-are-distinct",
            demand: "the lease of one key holds no other",
            check: lease_keys_are_distinct,
        },
        Rule {
            id: "release-frees",
            demand: "a released key can be leased at once",
            check: release_frees,
        },
        Rule {
            id: "lease-ends-with-ttl",
            demand: "a lease is in force for its ttl, and no longer",
            check: lease_ends_with_ttl,
        },
        Rule {
            id: "longest-lease-holds",
            demand: "a lease without end holds until it is released",
            check: longest_lease_holds,
        },
        Rule {
            id: "tokens-differ",
            demand: "no two leases have the same token",
            check: tokens_differ,
        },
        Rule {
            id: "fence-grows",
            demand: "each lease of a key has a larger fence than those before",
            check: fence_grows,
        },
        Rule {
            id: "renewal-extends",
            demand: "a renewed lease is in force for the new ttl",
            check: renewal_extends,
        },
        Rule {
            id: "renew-checks-token",
            demand: "only the token in force renews a lease",
            check: renew_checks_token,
        },
        Rule {
            id: "release-checks-token",
            demand: "only the token in force releases a lease",
            check: release_checks_token,
        },
        Rule {
            id: "lapsed-is-not-renewed",
            demand: "a lease that has ended cannot be renewed, even if nobody holds the key",
            check: lapsed_is_not_renewed,
        },
        Rule {
            id: "late-holder-is-refused",
            demand: "the holder of an ended lease neither renews nor releases its successor's",
            check: late_holder_is_refused,
        },
        Rule {
            id: "lease-handles-agree",
            demand: "a lease held through one handle holds for the other",
            check: lease_handles_agree,
        },
    ]
}

/// Leases with their harness. Keys are named by their numbers, times given in units.
struct Bench<'h, H: LeaseHarness> {
    harness: &'h H,
    leases: H::Leases,
}

impl<'h, H: LeaseHarness> Bench<'h, H> {
    fn new(harness: &'h H) -> Self {
        Self { harness, leases: harness.make() }
    }

    fn pass(&self, count: u32) {
        pass(self.harness, count);
    }

    fn try_acquire(&self, key: u64, ttl: u32) -> Result<Option<HeldLease>, String> {
        self.acquire_for(key, units(self.harness, ttl))
    }

    fn acquire_for(&self, key: u64, ttl: Duration) -> Result<Option<HeldLease>, String> {
        let key = self.harness.key(key);
        self.leases.acquire(key.borrow(), ttl, self.harness.now()).map_err(|error| failed(&error))
    }

    fn acquire(&self, key: u64, ttl: u32, when: &str) -> Result<HeldLease, String> {
        self.try_acquire(key, ttl)?.ok_or_else(|| format!("key {key} was not leased {when}"))
    }

    fn expect_held(&self, key: u64, when: &str) -> Result<(), String> {
        let held = self.try_acquire(key, 10)?.is_none();
        ensure(held, &format!("key {key} was leased {when}"))
    }

    fn renew(&self, key: u64, lease: &HeldLease, ttl: u32) -> Result<bool, String> {
        let (key, ttl) = (self.harness.key(key), units(self.harness, ttl));
        self.leases
            .renew(key.borrow(), lease, ttl, self.harness.now())
            .map_err(|error| failed(&error))
    }

    fn release(&self, key: u64, lease: HeldLease) -> Result<bool, String> {
        let key = self.harness.key(key);
        self.leases.release(key.borrow(), lease, self.harness.now()).map_err(|error| failed(&error))
    }
}

fn failed(error: &StoreError) -> String {
    format!("an operation failed: {error}")
}

/// A lease that no store gave, with the fence of a real one.
fn forged(lease: &HeldLease) -> HeldLease {
    HeldLease::new(lease.token().map(|byte| !byte), lease.fence())
}

fn lease_is_exclusive<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let _held = bench.acquire(0, 10, "though nobody held it")?;
    bench.expect_held(0, "while another lease was in force")?;
    bench.pass(1);
    bench.expect_held(0, "while another lease was in force for some time")?;
    Ok(Finding::Holds)
}

fn lease_keys_are_distinct<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let mut keys: Vec<_> = (0..8).map(|n| harness.key(n)).collect();
    keys.extend(harness.hostile_keys());
    let ttl = units(harness, 100);
    for (n, key) in keys.iter().enumerate() {
        match bench.leases.acquire(key.borrow(), ttl, harness.now()) {
            Ok(Some(_)) | Err(StoreError::TooLarge { .. }) => {}
            Ok(None) => return Err(format!("key {n} of the list was held by another key's")),
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(Finding::Holds)
}

fn release_frees<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, 10, "though nobody held it")?;
    ensure(bench.release(0, held)?, "release of a lease in force answered false")?;
    let _held = bench.acquire(0, 10, "after release")?;
    Ok(Finding::Holds)
}

fn lease_ends_with_ttl<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let _held = bench.acquire(0, 3, "though nobody held it")?;
    bench.pass(2);
    bench.expect_held(0, "after two thirds of the ttl")?;
    bench.pass(1);
    let _next = bench.acquire(0, 3, "after the ttl")?;
    Ok(Finding::Holds)
}

fn longest_lease_holds<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let Some(held) = bench.acquire_for(0, Duration::MAX)? else {
        return Err("it was not given though nobody held the key".to_string());
    };
    bench.pass(10);
    bench.expect_held(0, "while a lease without end was in force")?;
    ensure(bench.release(0, held)?, "release of a lease without end answered false")?;
    Ok(Finding::Holds)
}

fn tokens_differ<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let mut tokens = Vec::new();
    for key in 0..10 {
        let held = bench.acquire(key / 2, 10, "though nobody held it")?;
        ensure(!tokens.contains(held.token()), "a token was given twice")?;
        tokens.push(*held.token());
        bench.release(key / 2, held)?;
    }
    Ok(Finding::Holds)
}

fn fence_grows<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let mut last = None;
    for round in 0..6 {
        let held = bench.acquire(0, 1, "though nobody held it")?;
        let (fence, grown) = (held.fence(), last.is_none_or(|last| held.fence() > last));
        ensure(grown, &format!("a fence of {fence} came after one of {last:?}"))?;
        last = Some(fence);
        if round % 2 == 0 {
            bench.release(0, held)?;
        } else {
            bench.pass(1);
        }
    }
    Ok(Finding::Holds)
}

fn renewal_extends<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, 3, "though nobody held it")?;
    bench.pass(2);
    ensure(bench.renew(0, &held, 4)?, "renew of a lease in force answered false")?;
    bench.pass(2);
    bench.expect_held(0, "after the first ttl, within that of the renewal")?;
    bench.pass(2);
    let _next = bench.acquire(0, 3, "after the ttl of the renewal")?;
    Ok(Finding::Holds)
}

fn renew_checks_token<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, 3, "though nobody held it")?;
    ensure(!bench.renew(0, &forged(&held), 100)?, "renew with another token answered true")?;
    ensure(!bench.renew(1, &held, 100)?, "renew of a key that is not leased answered true")?;
    bench.pass(3);
    let _next = bench.acquire(0, 3, "after its ttl, renewed with another token only")?;
    Ok(Finding::Holds)
}

fn release_checks_token<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, 10, "though nobody held it")?;
    let _other = bench.acquire(1, 10, "though nobody held it")?;
    ensure(!bench.release(0, forged(&held))?, "release with another token answered true")?;
    bench.expect_held(0, "after release with another token")?;
    ensure(!bench.release(1, held)?, "release with another key's lease answered true")?;
    bench.expect_held(1, "after release with another key's lease")?;
    Ok(Finding::Holds)
}

fn lapsed_is_not_renewed<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let held = bench.acquire(0, 2, "though nobody held it")?;
    bench.pass(2);
    ensure(!bench.renew(0, &held, 100)?, "renew answered true")?;
    ensure(!bench.release(0, held)?, "release of an ended lease answered true")?;
    let _next = bench.acquire(0, 3, "after a lapsed lease asked for renewal")?;
    Ok(Finding::Holds)
}

fn late_holder_is_refused<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let bench = Bench::new(harness);
    let late = bench.acquire(0, 2, "though nobody held it")?;
    bench.pass(2);
    let successor = bench.acquire(0, 20, "after the ttl")?;
    ensure(!bench.renew(0, &late, 1)?, "renew answered true")?;
    ensure(!bench.release(0, late)?, "release answered true")?;
    bench.pass(1);
    bench.expect_held(0, "after a late holder asked for renewal and release")?;
    ensure(bench.renew(0, &successor, 20)?, "the successor could not renew any more")?;
    Ok(Finding::Holds)
}

fn lease_handles_agree<H: LeaseHarness>(harness: &H) -> Result<Finding, String> {
    let one = Bench::new(harness);
    let held = one.acquire(0, 10, "though nobody held it")?;
    let Some(leases) = harness.another(&one.leases) else {
        return Ok(Finding::NotApplicable("the harness has no second handle"));
    };
    let other = Bench { harness, leases };
    other.expect_held(0, "through the other handle, while a lease was in force")?;
    let next = other.acquire(1, 10, "through the other handle, though nobody held it")?;
    ensure(one.release(0, held)?, "release of a lease in force answered false")?;
    let _again = other.acquire(0, 10, "through the other handle, after release")?;
    one.expect_held(1, "while the other handle's lease was in force")?;
    ensure(one.release(1, next)?, "a lease was not released through the other handle")?;
    Ok(Finding::Holds)
}
