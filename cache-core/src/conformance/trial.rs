//! A rule, and a store on trial under it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::borrow::Borrow;
use core::time::Duration;

use super::harness::{Harness, StoreHarness};
use crate::entry::Lifetime;
use crate::store::{Store, StoreError, Stored};
use crate::time::Instant;

/// One thing that a store must do.
pub(super) struct Rule<H> {
    pub(super) id: &'static str,
    /// What is asked for, in a few words.
    pub(super) demand: &'static str,
    pub(super) check: fn(&H) -> Result<Finding, String>,
}

/// How a check ended that found nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Holds,
    /// The reason for which the rule could not be checked.
    NotApplicable(&'static str),
}

/// Ends a check unless `holds`; `seen` completes "the rule demands this; but ..".
pub(super) fn ensure(holds: bool, seen: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen.to_string()) }
}

/// `units` of the harness's time.
pub(super) fn units<H: Harness>(harness: &H, units: u32) -> Duration {
    harness.unit().saturating_mul(units)
}

/// Lets so many units pass, and enough more for a deadline then to be over.
pub(super) fn pass<H: Harness>(harness: &H, count: u32) -> Instant {
    let slack = harness.tolerance().saturating_mul(2);
    harness.advance(units(harness, count).saturating_add(slack))
}

/// The life of a value that is fresh for so many units.
pub(super) fn fresh_for<H: Harness>(harness: &H, count: u32) -> Lifetime {
    Lifetime::fresh_for(units(harness, count))
}

/// A finding for operations that a store may lack: their error, if it is not that they lack.
pub(super) fn unless_unsupported<T>(
    answer: Result<T, StoreError>,
    operation: &str,
) -> Result<Option<T>, String> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(format!("{operation} failed: {error}")),
    }
}

/// A store with its harness. Keys and values are named by their numbers.
pub(super) struct Trial<'h, H: StoreHarness> {
    pub(super) harness: &'h H,
    pub(super) store: H::Store,
}

impl<'h, H: StoreHarness> Trial<'h, H> {
    pub(super) fn new(harness: &'h H) -> Self {
        Self { harness, store: harness.make() }
    }

    /// The same harness and another store.
    pub(super) const fn of(&self, store: H::Store) -> Self {
        Self { harness: self.harness, store }
    }

    pub(super) fn now(&self) -> Instant {
        self.harness.now()
    }

    pub(super) fn pass(&self, count: u32) -> Instant {
        pass(self.harness, count)
    }

    pub(super) fn units(&self, count: u32) -> Duration {
        units(self.harness, count)
    }

    pub(super) fn fresh_for(&self, count: u32) -> Lifetime {
        fresh_for(self.harness, count)
    }

    pub(super) fn key(&self, n: u64) -> <H::Key as ToOwned>::Owned {
        self.harness.key(n)
    }

    pub(super) fn put(&self, key: u64, value: u64, lifetime: Lifetime) -> Result<(), String> {
        let value = self.harness.value(value);
        self.store
            .put(self.key(key).borrow(), &value, lifetime, self.now())
            .map_err(|error| format!("put of key {key} failed: {error}"))
    }

    pub(super) fn get(&self, key: u64) -> Result<Option<Stored<H::Value>>, String> {
        self.store
            .get(self.key(key).borrow(), self.now())
            .map_err(|error| format!("get of key {key} failed: {error}"))
    }

    pub(super) fn remove(&self, key: u64) -> Result<bool, String> {
        self.store
            .remove(self.key(key).borrow(), self.now())
            .map_err(|error| format!("remove of key {key} failed: {error}"))
    }

    /// The life of the entry of `key`, which must hold this value.
    pub(super) fn expect(&self, key: u64, value: u64, when: &str) -> Result<Lifetime, String> {
        match self.get(key)? {
            Some(stored) if stored.value == self.harness.value(value) => Ok(stored.lifetime),
            Some(_) => Err(format!("get of key {key} answered another value {when}")),
            None => Err(format!("get of key {key} answered nothing {when}")),
        }
    }

    pub(super) fn expect_absent(&self, key: u64, when: &str) -> Result<(), String> {
        match self.get(key)? {
            None => Ok(()),
            Some(_) => Err(format!("get of key {key} answered a value {when}")),
        }
    }
}
