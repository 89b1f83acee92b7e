//! Stores that are right in their own way, and stores with one defect each.

use std::rc::Rc;
use std::time::Duration;

use cache_core::store::{Store, StoreError, Stored};
use cache_core::{Clock, Freshness, Instant, Lifetime, ManualClock};

use crate::map::{LIMIT, MapStore, Record, Text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Right,
    /// Has the three required methods only.
    Plain,
    /// Counts time by itself, from another origin and in milliseconds.
    OwnClock,
    Wrong(Defect),
}

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    InventsEntries,
    ForgetsPuts,
    KeepsFirstPut,
    KeepsRemoved,
    AlwaysRemoves,
    FoldsKeys,
    LosesNone,
    DropsSwr,
    ForgetsAge,
    HidesStale,
    ServesDead,
    CountsLifeFromPut,
    IgnoresZeroLife,
    CapsForever,
    WrapsCenturies,
    HidesFuture,
    CopiesHandles,
    SharesNames,
    MiscountsMany,
    AlwaysPuts,
    TakesExpiredForPresent,
    TakesStaleForAbsent,
    TakesDeadForPresent,
    ClearsFreshOnly,
    PurgesStale,
    IgnoresBudget,
    NeverPurges,
    ClearsUnsupported,
    Truncates,
    ServesCorrupt,
    FailsManyForOne,
    HidesOutage,
}

/// Each defect, and the rule that must notice it.
pub(crate) const DEFECTS: &[(Defect, &str)] = &[
    (Defect::InventsEntries, "absent-is-none"),
    (Defect::ForgetsPuts, "get-after-put"),
    (Defect::KeepsFirstPut, "put-replaces"),
    (Defect::KeepsRemoved, "removed-is-gone"),
    (Defect::AlwaysRemoves, "remove-tells-truth"),
    (Defect::FoldsKeys, "keys-are-distinct"),
    (Defect::LosesNone, "none-value-kept"),
    (Defect::DropsSwr, "windows-kept"),
    (Defect::ForgetsAge, "age-travels"),
    (Defect::HidesStale, "kept-through-windows"),
    (Defect::ServesDead, "expired-is-gone"),
    (Defect::CountsLifeFromPut, "age-shortens-life"),
    (Defect::IgnoresZeroLife, "zero-life-is-gone"),
    (Defect::CapsForever, "forever-is-forever"),
    (Defect::WrapsCenturies, "huge-windows-hold"),
    (Defect::HidesFuture, "backward-clock-is-harmless"),
    (Defect::CopiesHandles, "two-handles-agree"),
    (Defect::SharesNames, "neighbours-are-apart"),
    (Defect::MiscountsMany, "get-many-agrees"),
    (Defect::AlwaysPuts, "put-if-absent-once"),
    (Defect::TakesExpiredForPresent, "put-if-absent-once"),
    (Defect::TakesStaleForAbsent, "put-if-absent-once"),
    (Defect::TakesDeadForPresent, "put-if-absent-after-expiry"),
    (Defect::ClearsFreshOnly, "clear-removes-all"),
    (Defect::PurgesStale, "purge-removes-only-dead"),
    (Defect::IgnoresBudget, "purge-bounded"),
    (Defect::NeverPurges, "purge-frees-dead"),
    (Defect::ClearsUnsupported, "unsupported-is-said"),
    (Defect::Truncates, "too-large-is-said"),
    (Defect::ServesCorrupt, "corrupt-is-not-served"),
    (Defect::FailsManyForOne, "corrupt-spares-others"),
    (Defect::HidesOutage, "outage-is-said"),
];

/// A right store, changed as its kind says.
pub(crate) struct TestStore {
    pub(crate) map: MapStore,
    pub(crate) kind: Kind,
    pub(crate) clock: Rc<ManualClock>,
}

impl TestStore {
    fn defect(&self) -> Option<Defect> {
        match self.kind {
            Kind::Wrong(defect) => Some(defect),
            _ => None,
        }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect() == Some(defect)
    }

    fn lacks(&self, operation: &'static str) -> Result<(), StoreError> {
        if self.kind == Kind::Plain {
            return Err(StoreError::unsupported(operation));
        }
        Ok(())
    }

    fn now(&self, now: Instant) -> Instant {
        if self.kind == Kind::OwnClock {
            let nanos = self.clock.now().as_nanos() - 900_000_000_000;
            return Instant::from_millis(nanos / 1_000_000);
        }
        now
    }

    fn key(&self, key: &str) -> String {
        if self.has(Defect::FoldsKeys) { key.replace(':', "_") } else { key.into() }
    }

    /// What a wrong store makes of the right answer.
    fn spoil(
        &self,
        right: Option<Stored<Text>>,
        record: Option<Record>,
        now: Instant,
    ) -> Option<Stored<Text>> {
        let unchecked = |record: Record| Stored::new(record.value.clone(), record.lifetime(now));
        let relived = |change: fn(Lifetime) -> Lifetime| {
            right.clone().map(|stored| Stored::new(stored.value, change(stored.lifetime)))
        };
        match self.defect()? {
            Defect::InventsEntries => {
                let invented = Stored::new(None, Lifetime::fresh_for(Duration::MAX));
                right.or(Some(invented))
            }
            Defect::LosesNone => right.filter(|stored| stored.value.is_some()),
            Defect::DropsSwr => relived(|life| life.stale_while_revalidate(Duration::ZERO)),
            Defect::ForgetsAge => relived(|life| life.aged(Duration::ZERO)),
            Defect::HidesStale => {
                right.filter(|stored| stored.lifetime.freshness() == Freshness::Fresh)
            }
            Defect::ServesDead => record.map(unchecked),
            Defect::CountsLifeFromPut => record
                .filter(|record| now.saturating_since(record.at) < record.lifetime.total())
                .map(unchecked),
            Defect::CapsForever => relived(|mut life| {
                life.ttl = life.ttl.min(Duration::from_secs(3_600));
                life
            }),
            Defect::HidesFuture => right.filter(|_| record.is_some_and(|record| record.at <= now)),
            _ => right,
        }
    }
}

/// `instead` where the store was out of reach.
fn hide<T>(answer: Result<T, StoreError>, instead: T) -> Result<T, StoreError> {
    match answer {
        Err(StoreError::Unavailable(_)) => Ok(instead),
        other => other,
    }
}

impl Store<str, Text> for TestStore {
    fn get(&self, key: &str, now: Instant) -> Result<Option<Stored<Text>>, StoreError> {
        let (key, now) = (self.key(key), self.now(now));
        let record = self.map.record(&key);
        match (self.map.get(&key, now), self.defect()) {
            (right, Some(Defect::HidesOutage)) => hide(right, None),
            (Err(StoreError::Corrupt(_)), Some(Defect::ServesCorrupt)) => {
                Ok(record.map(|record| Stored::new(record.value.clone(), record.lifetime(now))))
            }
            (right, None) => right,
            (right, Some(_)) => Ok(self.spoil(right?, record, now)),
        }
    }

    fn put(
        &self,
        key: &str,
        value: &Text,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<(), StoreError> {
        let (key, now, year) = (self.key(key), self.now(now), Duration::from_secs(365 * 86_400));
        let total = lifetime.total();
        match self.defect() {
            Some(Defect::ForgetsPuts) => Ok(()),
            Some(Defect::KeepsFirstPut) => {
                self.map.put_if_absent(&key, value, lifetime, now).map(drop)
            }
            Some(Defect::IgnoresZeroLife) if lifetime.remaining().is_zero() => Ok(()),
            Some(Defect::WrapsCenturies) if total > year && total != Duration::MAX => {
                self.map.put(&key, value, Lifetime::fresh_for(Duration::ZERO), now)
            }
            Some(Defect::Truncates) => {
                let cut = value.as_ref().map(|text| text.chars().take(LIMIT).collect());
                self.map.put(&key, &cut, lifetime, now)
            }
            Some(Defect::HidesOutage) => hide(self.map.put(&key, value, lifetime, now), ()),
            _ => self.map.put(&key, value, lifetime, now),
        }
    }

    fn remove(&self, key: &str, now: Instant) -> Result<bool, StoreError> {
        let (key, now) = (self.key(key), self.now(now));
        match self.defect() {
            Some(Defect::KeepsRemoved) => Ok(self.map.get(&key, now)?.is_some()),
            Some(Defect::AlwaysRemoves) => self.map.remove(&key, now).map(|_| true),
            Some(Defect::HidesOutage) => hide(self.map.remove(&key, now), false),
            _ => self.map.remove(&key, now),
        }
    }

    fn get_many(
        &self,
        keys: &[&str],
        now: Instant,
        found: &mut dyn FnMut(usize, Stored<Text>),
    ) -> Result<(), StoreError> {
        let mut count = 0;
        for (position, key) in keys.iter().enumerate() {
            let stored = match self.get(key, now) {
                Err(StoreError::Corrupt(_)) if !self.has(Defect::FailsManyForOne) => None,
                answer => answer?,
            };
            if let Some(stored) = stored {
                found(if self.has(Defect::MiscountsMany) { count } else { position }, stored);
                count += 1;
            }
        }
        Ok(())
    }

    fn put_if_absent(
        &self,
        key: &str,
        value: &Text,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.lacks("put_if_absent")?;
        let now = self.now(now);
        let life = self.map.record(key).map(|record| record.lifetime(now));
        let is_fresh = |life: Lifetime| life.freshness() == Freshness::Fresh;
        let is_over = |life: Lifetime| life.remaining().is_zero();
        match self.defect() {
            Some(Defect::AlwaysPuts) => self.map.put(key, value, lifetime, now).map(|()| true),
            Some(Defect::TakesExpiredForPresent) if self.map.get(key, now)?.is_some() => Ok(false),
            Some(Defect::TakesStaleForAbsent) if life.is_some_and(|life| !is_fresh(life)) => {
                self.map.put(key, value, lifetime, now).map(|()| true)
            }
            Some(Defect::TakesDeadForPresent) if life.is_some_and(is_over) => Ok(false),
            _ => self.map.put_if_absent(key, value, lifetime, now),
        }
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        self.lacks("clear")?;
        let is_fresh = |record: &Record| record.lifetime(now).freshness() == Freshness::Fresh;
        match self.defect() {
            Some(Defect::ClearsFreshOnly) => {
                self.map.remove_where(usize::MAX, is_fresh);
                Ok(())
            }
            Some(Defect::ClearsUnsupported) => {
                self.map.clear(now)?;
                Err(StoreError::unsupported("clear"))
            }
            _ => self.map.clear(now),
        }
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        self.lacks("purge")?;
        let now = self.now(now);
        match self.defect() {
            Some(Defect::PurgesStale) => Ok(self.map.remove_where(budget, |record| {
                record.lifetime(now).freshness() != Freshness::Fresh
            })),
            Some(Defect::IgnoresBudget) => self.map.purge(now, usize::MAX),
            Some(Defect::NeverPurges) => Ok(0),
            _ => self.map.purge(now, budget),
        }
    }
}
