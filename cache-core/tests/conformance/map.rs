//! A right store over a map, and the harness for it and for the wrong ones.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use cache_core::conformance::{Harness, StoreHarness, hostile_strings};
use cache_core::store::{Store, StoreError, Stored};
use cache_core::{Clock, Instant, Lifetime, ManualClock};

use crate::stores::{Defect, Kind, TestStore};

pub(crate) type Text = Option<String>;

pub(crate) const START: Instant = Instant::from_secs(1_000);
pub(crate) const LIMIT: usize = 100;

#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) value: Text,
    pub(crate) lifetime: Lifetime,
    pub(crate) at: Instant,
    pub(crate) corrupt: bool,
}

impl Record {
    pub(crate) fn lifetime(&self, now: Instant) -> Lifetime {
        self.lifetime.aged(self.lifetime.age.saturating_add(now.saturating_since(self.at)))
    }

    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        !self.lifetime(now).remaining().is_zero()
    }
}

/// Entries of several stores, each known by the name of its store and its key.
#[derive(Clone, Default)]
pub(crate) struct Place {
    pub(crate) records: RefCell<BTreeMap<(u8, String), Record>>,
    pub(crate) down: Cell<bool>,
}

/// Counts time by the `now` of its callers.
#[derive(Clone, Default)]
pub(crate) struct MapStore {
    pub(crate) place: Rc<Place>,
    pub(crate) name: u8,
}

impl MapStore {
    fn place(&self) -> Result<&Place, StoreError> {
        if self.place.down.get() {
            return Err(StoreError::unavailable("it is down"));
        }
        Ok(&self.place)
    }

    pub(crate) fn record(&self, key: &str) -> Option<Record> {
        self.place.records.borrow().get(&(self.name, key.into())).cloned()
    }

    /// Removes at most `budget` records for which `remove` holds.
    pub(crate) fn remove_where(&self, budget: usize, remove: impl Fn(&Record) -> bool) -> usize {
        let mut records = self.place.records.borrow_mut();
        let mine =
            records.iter().filter(|((name, _), record)| *name == self.name && remove(record));
        let keys: Vec<_> = mine.map(|(key, _)| key.clone()).take(budget).collect();
        keys.iter().filter(|key| records.remove(key).is_some()).count()
    }
}

impl Store<str, Text> for MapStore {
    fn get(&self, key: &str, now: Instant) -> Result<Option<Stored<Text>>, StoreError> {
        self.place()?;
        match self.record(key).filter(|record| record.is_alive(now)) {
            Some(record) if record.corrupt => Err(StoreError::corrupt("it was damaged")),
            Some(record) => Ok(Some(Stored::new(record.value.clone(), record.lifetime(now)))),
            None => Ok(None),
        }
    }

    fn put(
        &self,
        key: &str,
        value: &Text,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<(), StoreError> {
        let size = value.as_ref().map_or(0, String::len);
        if size > LIMIT {
            return Err(StoreError::too_large(size, LIMIT));
        }
        let record = Record { value: value.clone(), lifetime, at: now, corrupt: false };
        self.place()?.records.borrow_mut().insert((self.name, key.into()), record);
        Ok(())
    }

    fn remove(&self, key: &str, now: Instant) -> Result<bool, StoreError> {
        let removed = self.place()?.records.borrow_mut().remove(&(self.name, key.into()));
        Ok(removed.is_some_and(|record| record.is_alive(now)))
    }

    fn put_if_absent(
        &self,
        key: &str,
        value: &Text,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let absent = !self.get(key, now)?.is_some_and(|found| found.lifetime.is_present());
        if absent {
            self.put(key, value, lifetime, now)?;
        }
        Ok(absent)
    }

    fn clear(&self, _: Instant) -> Result<(), StoreError> {
        self.place()?;
        self.remove_where(usize::MAX, |_| true);
        Ok(())
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        self.place()?;
        Ok(self.remove_where(budget, |record| !record.is_alive(now)))
    }
}

/// Makes stores of one kind, on virtual time.
pub(crate) struct Maps {
    pub(crate) clock: Rc<ManualClock>,
    /// What each reading of the clock takes.
    pub(crate) delay: Duration,
    pub(crate) tolerance: Duration,
    kind: Kind,
}

impl Maps {
    pub(crate) fn of(kind: Kind) -> Self {
        let clock = Rc::new(ManualClock::starting_at(START));
        Self { clock, delay: Duration::ZERO, tolerance: Duration::from_micros(1), kind }
    }

    fn store(&self, map: MapStore) -> TestStore {
        TestStore { map, kind: self.kind, clock: Rc::clone(&self.clock) }
    }
}

impl Harness for Maps {
    type Key = str;

    fn key(&self, n: u64) -> String {
        format!("key {n}")
    }

    fn now(&self) -> Instant {
        self.clock.advance(self.delay);
        self.clock.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.clock.advance(span + self.delay * 10);
        self.clock.now()
    }

    fn tolerance(&self) -> Duration {
        self.tolerance
    }

    fn hostile_keys(&self) -> Vec<String> {
        hostile_strings()
    }
}

impl StoreHarness for Maps {
    type Value = Text;
    type Store = TestStore;

    fn make(&self) -> TestStore {
        self.store(MapStore::default())
    }

    fn value(&self, n: u64) -> Text {
        Some(format!("value {n}"))
    }

    fn none_value(&self) -> Option<Text> {
        Some(None)
    }

    fn oversized_value(&self) -> Option<Text> {
        Some(Some("x".repeat(LIMIT + 1)))
    }

    fn another(&self, store: &TestStore) -> Option<TestStore> {
        let mut map = store.map.clone();
        if self.kind == Kind::Wrong(Defect::CopiesHandles) {
            map.place = Rc::new(Place::clone(&map.place));
        }
        Some(self.store(map))
    }

    fn neighbour(&self, store: &TestStore) -> Option<TestStore> {
        let apart = u8::from(self.kind != Kind::Wrong(Defect::SharesNames));
        Some(self.store(MapStore { name: store.map.name + apart, ..store.map.clone() }))
    }

    fn held(&self, store: &TestStore) -> Option<usize> {
        Some(store.map.place.records.borrow().len())
    }

    fn corrupt(&self, store: &TestStore, key: &str) -> bool {
        let mut records = store.map.place.records.borrow_mut();
        records.get_mut(&(store.map.name, key.into())).map(|record| record.corrupt = true).is_some()
    }

    fn outage(&self, store: &TestStore, on: bool) -> bool {
        store.map.place.down.set(on);
        true
    }
}
