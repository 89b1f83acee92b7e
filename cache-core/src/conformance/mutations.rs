//! Rules about what happens to an entry and its lease in one step.

use alloc::format;
use alloc::string::String;
use core::borrow::Borrow;

use super::harness::SharedHarness;
use super::trial::{Finding, Rule, ensure, fresh_for, pass, units};
use crate::entry::{Freshness, Lifetime};
use crate::store::{HeldLease, Leases, Mutation, SharedStore, Station, Store, StoreError, Stored};

pub(super) const fn rules<H: SharedHarness>() -> [Rule<H>; 12] {
    [
        Rule {
            id: "mutation-lands",
            demand: "what a mutation puts or removes is put or removed, and it says whether it was",
            check: mutation_lands,
        },
        Rule {
            id: "expire-makes-stale",
            demand: "an expired entry is not fresh any more, and keeps its value and its age",
            check: expire_makes_stale,
        },
        Rule {
            id: "expire-keeps-windows",
            demand: "an expired entry has its windows after freshness, and no longer ones",
            check: expire_keeps_windows,
        },
        Rule {
            id: "fill-lands",
            demand: "a fill under a lease that is in force lands",
            check: fill_lands,
        },
        Rule {
            id: "fill-needs-lease",
            demand: "a fill whose lease is over, or is another's, changes nothing",
            check: fill_needs_lease,
        },
        Rule {
            id: "fill-ends-lease",
            demand: "a fill ends its own lease, and its key can be leased at once",
            check: fill_ends_lease,
        },
        Rule {
            id: "vacate-needs-lease",
            demand: "a vacation removes the entry under a lease that is in force, and under no other",
            check: vacate_needs_lease,
        },
        Rule {
            id: "vacate-lands",
            demand: "a vacation is done whenever its lease is in force, and else not, though there is no entry",
            check: vacate_lands,
        },
        Rule {
            id: "mutation-ends-lease",
            demand: "every mutation of a key ends its lease, whether or not there is an entry",
            check: mutation_ends_lease,
        },
        Rule {
            id: "clear-ends-leases",
            demand: "a clear ends the leases of all keys",
            check: clear_ends_leases,
        },
        Rule {
            id: "store-mutates",
            demand: "put, remove, clear, and put_if_absent that stored, end leases as mutations do",
            check: store_mutates,
        },
        Rule {
            id: "shared-handles-agree",
            demand: "what one handle changes ends the leases of the other",
            check: shared_handles_agree,
        },
    ]
}

/// A shared store with its harness. Keys and values are named by their numbers, times given in units.
pub(super) struct Desk<'h, H: SharedHarness> {
    pub(super) harness: &'h H,
    pub(super) store: H::Store,
}

impl<'h, H: SharedHarness> Desk<'h, H> {
    pub(super) fn new(harness: &'h H) -> Self {
        Self { harness, store: harness.make() }
    }

    pub(super) fn mutate(
        &self,
        key: u64,
        mutation: Mutation<'_, H::Value>,
        by: Station,
    ) -> Result<bool, String> {
        let what = format!("{mutation:?} of key {key}");
        let key = self.harness.key(key);
        let answer = self.store.mutate(key.borrow(), mutation, by, self.harness.now());
        answer.map_err(|error| format!("{what} failed: {error}"))
    }

    pub(super) fn put(&self, key: u64, value: u64, life: Lifetime) -> Result<bool, String> {
        let value = self.harness.value(value);
        self.mutate(key, Mutation::put(&value, life), Station::NOBODY)
    }

    /// A fill that is fresh for long.
    pub(super) fn fill(
        &self,
        key: u64,
        value: u64,
        lease: HeldLease,
        by: Station,
    ) -> Result<bool, String> {
        let value = self.harness.value(value);
        self.mutate(key, Mutation::fill(&value, fresh_for(self.harness, 100), lease), by)
    }

    pub(super) fn acquire(&self, key: u64, ttl: u32, when: &str) -> Result<HeldLease, String> {
        let (name, ttl) = (self.harness.key(key), units(self.harness, ttl));
        let lease = self.store.acquire(name.borrow(), ttl, self.harness.now());
        let lease = lease.map_err(|error| format!("acquire failed: {error}"))?;
        lease.ok_or_else(|| format!("key {key} was not leased {when}"))
    }

    pub(super) fn clear(&self, by: Station) -> Result<(), String> {
        let answer = self.store.clear_all(by, self.harness.now());
        answer.map_err(|error| format!("clear_all failed: {error}"))
    }

    pub(super) fn get(&self, key: u64) -> Result<Option<Stored<H::Value>>, String> {
        let answer = self.store.get(self.harness.key(key).borrow(), self.harness.now());
        answer.map_err(|error| format!("get failed: {error}"))
    }

    /// The life of the entry, which must be this one.
    pub(super) fn expect(
        &self,
        key: u64,
        value: Option<u64>,
        when: &str,
    ) -> Result<Option<Lifetime>, String> {
        let found = self.get(key)?;
        let expected = value.map(|n| self.harness.value(n));
        let same = found.as_ref().map(|stored| &stored.value) == expected.as_ref();
        ensure(same, &format!("get of key {key} answered another value, or none, {when}"))?;
        Ok(found.map(|stored| stored.lifetime))
    }

    /// That the lease is over in every way: nothing lands by it, and another is to be had.
    fn expect_over(&self, key: u64, lease: HeldLease, when: &str) -> Result<(), String> {
        let before = self.get(key)?;
        let filled = self.fill(key, 99, lease, Station::NOBODY)?;
        ensure(!filled, &format!("a fill of key {key} under an earlier lease landed {when}"))?;
        let same = self.get(key)?.map(|stored| stored.value) == before.map(|stored| stored.value);
        ensure(same, &format!("a fill of key {key} that was refused {when} changed it"))?;
        self.acquire(key, 10, when).map(drop)
    }
}

fn mutation_lands<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let remove = |key| desk.mutate(key, Mutation::Remove, Station::NOBODY);
    let expire = |key| desk.mutate(key, Mutation::Expire, Station::NOBODY);
    ensure(!remove(0)? && !expire(0)?, "an absent key was said to be removed or expired")?;
    ensure(desk.put(0, 1, fresh_for(harness, 100))?, "a put answered false")?;
    desk.expect(0, Some(1), "after a put")?;
    desk.put(0, 2, fresh_for(harness, 100))?;
    desk.expect(0, Some(2), "after a second put")?;
    ensure(expire(0)?, "a fresh entry was not said to be expired")?;
    desk.put(0, 3, fresh_for(harness, 100))?;
    ensure(remove(0)?, "an entry was not said to be removed")?;
    desk.expect(0, None, "after it was removed")?;
    desk.put(1, 4, fresh_for(harness, 100))?;
    desk.put(1, 5, Lifetime::fresh_for(units(harness, 1)).aged(units(harness, 1)))?;
    desk.expect(1, None, "after a put whose life was over")?;
    desk.put(1, 6, fresh_for(harness, 100))?;
    desk.clear(Station::NOBODY)?;
    desk.expect(1, None, "after a clear")?;
    Ok(Finding::Holds)
}

fn expire_makes_stale<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let long = units(harness, 100);
    desk.put(0, 1, fresh_for(harness, 100).stale_while_revalidate(long))?;
    desk.put(1, 2, fresh_for(harness, 100).stale_if_error(long))?;
    pass(harness, 1);
    for key in [0, 1] {
        desk.mutate(key, Mutation::Expire, Station::NOBODY)?;
        let life = desk.expect(key, Some(key + 1), "after it was expired")?;
        let fresh = life.is_none_or(|life| life.freshness() == Freshness::Fresh);
        ensure(!fresh, &format!("key {key} was fresh after it was expired"))?;
        let young = life.is_none_or(|life| life.age < units(harness, 1));
        ensure(!young, &format!("key {key} was younger after it was expired"))?;
    }
    desk.put(2, 3, fresh_for(harness, 100))?;
    desk.mutate(2, Mutation::Expire, Station::NOBODY)?;
    let life = desk.get(2)?.map(|stored| stored.lifetime);
    let fresh = life.is_some_and(|life| life.freshness() == Freshness::Fresh);
    ensure(!fresh, "an entry without other windows was fresh after it was expired")?;
    Ok(Finding::Holds)
}

fn expire_keeps_windows<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let window = units(harness, 3);
    desk.put(0, 1, fresh_for(harness, 100).stale_while_revalidate(window))?;
    desk.put(1, 2, fresh_for(harness, 100).stale_if_error(window))?;
    for key in [0, 1] {
        desk.mutate(key, Mutation::Expire, Station::NOBODY)?;
    }
    pass(harness, 2);
    desk.expect(0, Some(1), "two thirds into its window, after it was expired")?;
    desk.expect(1, Some(2), "two thirds into its window, after it was expired")?;
    // A second time adds nothing.
    desk.mutate(0, Mutation::Expire, Station::NOBODY)?;
    pass(harness, 1);
    desk.expect(0, None, "after its window, though it was expired twice")?;
    desk.expect(1, None, "after its window")?;
    Ok(Finding::Holds)
}

fn fill_lands<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    desk.put(1, 1, fresh_for(harness, 100))?;
    for key in [0, 1] {
        let lease = desk.acquire(key, 10, "though nobody held it")?;
        let filled = desk.fill(key, 2, lease, Station::NOBODY)?;
        ensure(filled, &format!("a fill of key {key} was refused"))?;
        desk.expect(key, Some(2), "after a fill")?;
    }
    Ok(Finding::Holds)
}

fn fill_needs_lease<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let refused = |key, lease, what: &str| {
        let filled = desk.fill(key, 9, lease, Station::NOBODY)?;
        ensure(!filled, &format!("a fill under {what} landed"))?;
        desk.expect(key, None, "after a fill that was refused").map(drop)
    };
    let lapsed = desk.acquire(0, 1, "though nobody held it")?;
    pass(harness, 1);
    refused(0, lapsed, "a lease that had lapsed")?;
    let held = desk.acquire(0, 10, "after the ttl of the one before")?;
    refused(0, HeldLease::new([7; 16], held.fence()), "a lease with another token")?;
    let other = desk.acquire(1, 10, "though nobody held it")?;
    refused(0, other, "the lease of another key")?;
    let (key, copy) = (harness.key(0), HeldLease::new(*held.token(), held.fence()));
    let released = desk.store.release(key.borrow(), held, harness.now());
    ensure(released.is_ok_and(|done| done), "the lease in force was not released")?;
    refused(0, copy, "a lease that was released")?;
    Ok(Finding::Holds)
}

fn fill_ends_lease<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let lease = desk.acquire(0, 100, "though nobody held it")?;
    let copy = HeldLease::new(*lease.token(), lease.fence());
    desk.fill(0, 1, lease, Station::NOBODY)?;
    desk.expect_over(0, copy, "after a fill")?;
    Ok(Finding::Holds)
}

fn vacate_needs_lease<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let vacate = |key, lease| desk.mutate(key, Mutation::vacate(lease), Station::NOBODY);
    desk.put(0, 1, fresh_for(harness, 100))?;
    let lease = desk.acquire(0, 100, "though nobody held it")?;
    let forged = HeldLease::new([7; 16], lease.fence());
    ensure(!vacate(0, forged)?, "a vacation under a lease with another token was done")?;
    desk.expect(0, Some(1), "after a vacation under a lease with another token")?;
    let copy = HeldLease::new(*lease.token(), lease.fence());
    ensure(vacate(0, lease)?, "a vacation under a lease in force was refused")?;
    desk.expect(0, None, "after a vacation")?;
    desk.expect_over(0, copy, "after a vacation")?;
    Ok(Finding::Holds)
}

fn vacate_lands<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let vacate = |key, lease| desk.mutate(key, Mutation::vacate(lease), Station::NOBODY);
    let lease = desk.acquire(0, 100, "though nobody held it")?;
    let forged = HeldLease::new([7; 16], lease.fence());
    ensure(!vacate(0, forged)?, "a vacation of an absent key was done under another lease")?;
    ensure(vacate(0, lease)?, "a vacation of an absent key was refused under a lease in force")?;
    let over = desk.acquire(1, 100, "though nobody held it")?;
    let copy = HeldLease::new(*over.token(), over.fence());
    let released = desk.store.release(harness.key(1).borrow(), over, harness.now());
    ensure(released.is_ok_and(|done| done), "the lease in force was not released")?;
    ensure(!vacate(1, copy)?, "a vacation of an absent key was done when its lease was over")?;
    Ok(Finding::Holds)
}

fn mutation_ends_lease<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let value = harness.value(2);
    let life = fresh_for(harness, 100).stale_if_error(units(harness, 100));
    // Keys 0 to 3 have no entry, 4 to 7 have one.
    for key in 4..8 {
        desk.put(key, 1, life)?;
    }
    for key in 0..8 {
        let lease = desk.acquire(key, 100, "though nobody held it")?;
        let (mutation, when) = match key % 4 {
            0 => (Mutation::put(&value, life), "after a put"),
            1 => (Mutation::Expire, "after it was expired"),
            2 => (Mutation::Remove, "after it was removed"),
            _ => (Mutation::put(&value, life.aged(units(harness, 1_000))), "after a put in vain"),
        };
        desk.mutate(key, mutation, Station::NOBODY)?;
        desk.expect_over(key, lease, when)?;
    }
    Ok(Finding::Holds)
}

fn clear_ends_leases<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    desk.put(1, 1, fresh_for(harness, 100))?;
    let leases = [0, 1].map(|key| desk.acquire(key, 100, "though nobody held it"));
    desk.clear(Station::NOBODY)?;
    for (key, lease) in leases.into_iter().enumerate() {
        desk.expect_over(key as u64, lease?, "after a clear")?;
    }
    Ok(Finding::Holds)
}

fn store_mutates<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let (value, life) = (harness.value(1), fresh_for(harness, 100));
    for (key, what) in ["put", "remove", "put_if_absent", "clear"].into_iter().enumerate() {
        let (key, name) = (key as u64, harness.key(key as u64));
        let lease = desk.acquire(key, 100, "though nobody held it")?;
        let (store, now) = (&desk.store, harness.now());
        let answer = match what {
            "put" => store.put(name.borrow(), &value, life, now),
            "remove" => Store::<H::Key, H::Value>::remove(store, name.borrow(), now).map(drop),
            "clear" => Store::<H::Key, H::Value>::clear(store, now),
            _ => store.put_if_absent(name.borrow(), &value, life, now).map(drop),
        };
        match answer {
            Ok(()) => desk.expect_over(key, lease, &format!("after {what}"))?,
            Err(StoreError::Unsupported { .. }) => {}
            Err(error) => return Err(format!("{what} failed: {error}")),
        }
    }
    Ok(Finding::Holds)
}

fn shared_handles_agree<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let one = Desk::new(harness);
    let Some(store) = harness.another(&one.store) else {
        return Ok(Finding::NotApplicable("the harness has no second handle"));
    };
    let other = Desk { harness, store };
    let [put, cleared] = [0, 1].map(|key| one.acquire(key, 100, "though nobody held it"));
    other.put(0, 1, fresh_for(harness, 100))?;
    one.expect_over(0, put?, "after a put through the other handle")?;
    other.clear(Station::NOBODY)?;
    one.expect_over(1, cleared?, "after a clear through the other handle")?;
    let lease = one.acquire(2, 100, "though nobody held it")?;
    ensure(other.fill(2, 3, lease, Station::NOBODY)?, "a fill by the other handle was refused")?;
    Ok(Finding::Holds)
}
