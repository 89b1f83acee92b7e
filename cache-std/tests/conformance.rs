//! The library's own store keeps the rules that it asks of others.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::conformance::{
    self, Harness, LeaseHarness, SharedHarness, StoreHarness, hostile_strings,
};
use cache_core::store::{Backplane, Receiver, Station};
use cache_std::{Clock, Instant, ManualTime, MemoryStore};

#[derive(Default)]
struct Memory {
    time: ManualTime,
}

impl Harness for Memory {
    type Key = str;

    fn key(&self, n: u64) -> String {
        format!("key {n}")
    }

    fn now(&self) -> Instant {
        self.time.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.time.advance(span);
        self.time.now()
    }

    fn hostile_keys(&self) -> Vec<String> {
        hostile_strings()
    }
}

impl StoreHarness for Memory {
    type Value = Option<u64>;
    type Store = Arc<MemoryStore<String, Option<u64>>>;

    fn make(&self) -> Self::Store {
        Arc::new(MemoryStore::new(1_000))
    }

    fn value(&self, n: u64) -> Option<u64> {
        Some(n)
    }

    fn none_value(&self) -> Option<Option<u64>> {
        Some(None)
    }

    fn another(&self, store: &Self::Store) -> Option<Self::Store> {
        Some(Arc::clone(store))
    }

    fn held(&self, store: &Self::Store) -> Option<usize> {
        Some(store.len())
    }
}

impl LeaseHarness for Memory {
    type Leases = Arc<MemoryStore<String, ()>>;

    fn make(&self) -> Self::Leases {
        Arc::new(MemoryStore::new(1_000))
    }

    fn another(&self, leases: &Self::Leases) -> Option<Self::Leases> {
        Some(Arc::clone(leases))
    }
}

#[test]
fn the_memory_store_conforms() {
    let report = conformance::store(&Memory::default()).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{report}");
}

impl SharedHarness for Memory {
    type Value = u64;
    type Store = Arc<MemoryStore<String, u64>>;

    fn make(&self) -> Self::Store {
        Arc::new(MemoryStore::new(1_000))
    }

    fn value(&self, n: u64) -> u64 {
        n
    }

    fn another(&self, store: &Self::Store) -> Option<Self::Store> {
        Some(Arc::clone(store))
    }

    fn listen(&self, store: &Self::Store, receiver: Weak<dyn Receiver<String>>) -> Option<Station> {
        Some(store.attach(receiver))
    }
}

#[test]
fn the_memory_store_conforms_as_one_that_is_shared() {
    let report =
        conformance::shared(&Memory::default()).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(report.not_applicable().count(), 0, "{report}");
}

#[test]
fn the_memory_stores_leases_conform() {
    let report =
        conformance::leases(&Memory::default()).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{report}");
}
