//! What every store must do, as rules that are run against a store of one's own.
//!
//! [`store`] checks a [`Store`](crate::store::Store), [`leases`] checks
//! [`Leases`](crate::store::Leases), `locks` checks `Locks`, and `shared` checks what a
//! [`SharedStore`](crate::store::SharedStore) does beyond stores and leases. Each takes a harness that makes the store, names keys and
//! values, and passes time. They stop at the first broken rule and name it; what could not be
//! checked is told with the reason.
//!
//! ```
//! use core::time::Duration;
//! use cache_core::conformance::{self, Harness, StoreHarness};
//! use cache_core::{Clock, Instant, ManualClock};
//! # use std::{cell::RefCell, collections::HashMap};
//! # use cache_core::{Entry, Lifetime, store::{Store, StoreError, Stored}};
//! # #[derive(Default)]
//! # struct Memory(RefCell<HashMap<String, Entry<u64>>>);
//! # impl Store<str, u64> for Memory {
//! #     fn get(&self, key: &str, now: Instant) -> Result<Option<Stored<u64>>, StoreError> {
//! #         let entry = self.0.borrow().get(key).copied();
//! #         let alive = entry.filter(|entry| !now.has_reached(entry.gone_at()));
//! #         Ok(alive.map(|entry| Stored::new(entry.value, entry.lifetime(now))))
//! #     }
//! #     fn put(&self, key: &str, v: &u64, life: Lifetime, now: Instant) -> Result<(), StoreError> {
//! #         self.0.borrow_mut().insert(key.into(), Entry::from_lifetime(*v, life, now));
//! #         Ok(())
//! #     }
//! #     fn remove(&self, key: &str, now: Instant) -> Result<bool, StoreError> {
//! #         let removed = self.0.borrow_mut().remove(key);
//! #         Ok(removed.is_some_and(|entry| !now.has_reached(entry.gone_at())))
//! #     }
//! # }
//!
//! struct Virtual(ManualClock);
//!
//! impl Harness for Virtual {
//!     type Key = str;
//!
//!     fn key(&self, n: u64) -> String {
//!         format!("key {n}")
//!     }
//!
//!     fn now(&self) -> Instant {
//!         self.0.now()
//!     }
//!
//!     fn advance(&self, span: Duration) -> Instant {
//!         self.0.advance(span);
//!         self.0.now()
//!     }
//! }
//!
//! impl StoreHarness for Virtual {
//!     type Value = u64;
//!     type Store = Memory;
//!
//!     fn make(&self) -> Memory {
//!         Memory::default()
//!     }
//!
//!     fn value(&self, n: u64) -> u64 {
//!         n
//!     }
//! }
//!
//! let harness = Virtual(ManualClock::starting_at(Instant::from_secs(1_000)));
//! let report = conformance::store(&harness)?;
//! println!("{report}");
//! # Ok::<(), conformance::Violation>(())
//! ```

mod basics;
mod capabilities;
mod faults;
mod harness;
mod hostile;
mod leasing;
#[cfg(feature = "envelope")]
mod locking;
#[cfg(target_has_atomic = "ptr")]
mod mutations;
mod report;
mod sharing;
#[cfg(target_has_atomic = "ptr")]
mod tagging;
#[cfg(target_has_atomic = "ptr")]
mod telling;
mod trial;
mod windows;

use alloc::vec::Vec;

#[cfg(feature = "envelope")]
pub use self::harness::LockHarness;
#[cfg(target_has_atomic = "ptr")]
pub use self::harness::SharedHarness;
pub use self::harness::{Harness, LeaseHarness, StoreHarness};
pub use self::hostile::{hostile_bytes, hostile_strings};
pub use self::report::{Report, Violation};
use self::trial::Rule;

/// Runs every rule for stores, each on a store of its own.
///
/// On virtual time this takes milliseconds; on real time about 55 of the harness's
/// [`unit`](Harness::unit)s.
///
/// # Errors
/// The first rule that the store breaks.
pub fn store<H: StoreHarness>(harness: &H) -> Result<Report, Violation> {
    run(harness, &store_rules())
}

/// Runs every rule for leases, each on leases of its own.
///
/// On virtual time this takes milliseconds; on real time about 35 of the harness's
/// [`unit`](Harness::unit)s.
///
/// # Errors
/// The first rule that the leases break.
pub fn leases<H: LeaseHarness>(harness: &H) -> Result<Report, Violation> {
    run(harness, &leasing::rules())
}

/// Runs every rule for locks, each on locks of its own.
///
/// On virtual time this takes milliseconds; on real time about 35 of the harness's
/// [`unit`](Harness::unit)s.
///
/// # Errors
/// The first rule that the locks break.
#[cfg(feature = "envelope")]
pub fn locks<H: LockHarness>(harness: &H) -> Result<Report, Violation> {
    run(harness, &locking::rules())
}

/// Runs every rule for stores that processes share, each on a store of its own: what changes do to
/// leases, and what is told. What such a store owes as a store and for its leases is for [`store`] and
/// [`leases`].
///
/// On virtual time this takes milliseconds; on real time about 10 of the harness's
/// [`unit`](Harness::unit)s.
///
/// # Errors
/// The first rule that the store breaks.
#[cfg(target_has_atomic = "ptr")]
pub fn shared<H: SharedHarness>(harness: &H) -> Result<Report, Violation> {
    let mut rules = Vec::from(mutations::rules());
    rules.extend(telling::rules());
    rules.extend(tagging::rules());
    run(harness, &rules)
}

/// The plain rules first, so that a store that breaks several is told of the plainest.
fn store_rules<H: StoreHarness>() -> Vec<Rule<H>> {
    let mut rules = Vec::from(basics::rules());
    rules.extend(windows::rules());
    rules.extend(sharing::rules());
    rules.extend(capabilities::rules());
    rules.extend(faults::rules());
    rules
}

fn run<H>(harness: &H, rules: &[Rule<H>]) -> Result<Report, Violation> {
    let mut report = Report::default();
    for rule in rules {
        let finding = (rule.check)(harness).map_err(|detail| Violation {
            rule: rule.id,
            demand: rule.demand,
            detail,
        })?;
        report.note(rule.id, finding);
    }
    Ok(report)
}
