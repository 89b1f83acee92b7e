//! A right shared store over a map, and shared stores with one defect each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Weak;
use std::time::Duration;

use cache_core::conformance::{Harness, SharedHarness};
use cache_core::store::{
    HeldLease, Leases, Mutation, Receiver, SharedStore, Station, Store, StoreError, Stored,
    TagChange,
};
use cache_core::{Clock, Instant, Lifetime, ManualClock, tag_hash};

use crate::map::START;

/// What is wrong with a shared store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    AlwaysSaysYes,
    ExpireRemoves,
    ExpireDoesNothing,
    ExpireProlongs,
    RefusesFills,
    LandsAnyFill,
    FillKeepsLease,
    VacatesAnyway,
    VacatesNothing,
    PutKeepsLease,
    ExpireKeepsLease,
    RemoveKeepsLeaseOfAbsent,
    ClearKeepsLeases,
    StoreKeepsLease,
    CopiesHandles,
    SilentExpire,
    TellsTwice,
    TellsItself,
    SilentWhereAbsent,
    TellsRefused,
    StoreIsSilent,
    OtherHandleIsSilent,
    LosesTags,
    InvalidatesByFirstTag,
    InvalidatesLater,
    ExpiresNoTags,
    ExpiresFromLast,
    FillsEndedTags,
    FillsExpiredTags,
    KeepsPlaceOfEndedTags,
}

/// Each defect, and the rule that must notice it.
pub(crate) const SHARED_DEFECTS: &[(Defect, &str)] = &[
    (Defect::AlwaysSaysYes, "mutation-lands"),
    (Defect::ExpireRemoves, "expire-makes-stale"),
    (Defect::ExpireDoesNothing, "expire-makes-stale"),
    (Defect::ExpireProlongs, "expire-keeps-windows"),
    (Defect::RefusesFills, "fill-lands"),
    (Defect::LandsAnyFill, "fill-needs-lease"),
    (Defect::FillKeepsLease, "fill-ends-lease"),
    (Defect::VacatesAnyway, "vacate-needs-lease"),
    (Defect::VacatesNothing, "vacate-lands"),
    (Defect::PutKeepsLease, "mutation-ends-lease"),
    (Defect::ExpireKeepsLease, "mutation-ends-lease"),
    (Defect::RemoveKeepsLeaseOfAbsent, "mutation-ends-lease"),
    (Defect::ClearKeepsLeases, "clear-ends-leases"),
    (Defect::StoreKeepsLease, "store-mutates"),
    (Defect::CopiesHandles, "shared-handles-agree"),
    (Defect::SilentExpire, "changes-are-told"),
    (Defect::TellsTwice, "changes-are-told"),
    (Defect::TellsItself, "own-changes-are-not-told"),
    (Defect::SilentWhereAbsent, "absent-keys-are-told"),
    (Defect::TellsRefused, "refused-is-not-told"),
    (Defect::StoreIsSilent, "store-tells"),
    (Defect::OtherHandleIsSilent, "handles-tell"),
    (Defect::LosesTags, "tags-stay"),
    (Defect::InvalidatesByFirstTag, "tag-invalidates"),
    (Defect::InvalidatesLater, "tag-invalidates"),
    (Defect::ExpiresNoTags, "tag-expires"),
    (Defect::ExpiresFromLast, "tag-keeps-windows"),
    (Defect::FillsEndedTags, "tag-refuses-fills"),
    (Defect::FillsExpiredTags, "tag-expires-fills"),
    (Defect::KeepsPlaceOfEndedTags, "tag-leaves-room"),
];

#[derive(Clone, Default)]
struct State {
    /// Value, life, and when it was that.
    entries: BTreeMap<String, (u64, Lifetime, Instant)>,
    /// An entry's tags, and how many changes of tags came before it.
    tags: BTreeMap<String, (Vec<u64>, usize)>,
    /// All changes of tags.
    changes: Vec<(u64, TagChange, Instant)>,
    leases: BTreeMap<String, ([u8; 16], Instant)>,
    count: u128,
    ears: Vec<(Station, Weak<dyn Receiver<String>>)>,
}

impl State {
    fn life(&self, key: &str, now: Instant) -> Option<(u64, Lifetime)> {
        let (value, life, at) = *self.entries.get(key)?;
        let life = life.aged(life.age.saturating_add(now.saturating_since(at)));
        (!life.remaining().is_zero()).then_some((value, life))
    }

    /// The changes of an entry's tags since it was put.
    fn changed(
        &self,
        key: &str,
        defect: Option<Defect>,
    ) -> impl DoubleEndedIterator<Item = (TagChange, Instant)> {
        let (mut tags, mut seen) = self.tags.get(key).cloned().unwrap_or_default();
        if defect == Some(Defect::InvalidatesByFirstTag) {
            tags.truncate(1);
        }
        if defect == Some(Defect::InvalidatesLater) {
            seen = 0;
        }
        let later = self.changes.iter().skip(seen);
        later.filter(move |(tag, ..)| tags.contains(tag)).map(|(_, change, at)| (*change, *at))
    }

    /// The same, by what has become of its tags.
    fn tagged(&self, key: &str, now: Instant, defect: Option<Defect>) -> Option<(u64, Lifetime)> {
        if self.changed(key, defect).any(|(change, _)| change == TagChange::Invalidate) {
            return None;
        }
        let (value, mut life) = self.life(key, now)?;
        let mut changes = self.changed(key, defect);
        let from_last = defect == Some(Defect::ExpiresFromLast);
        let expired = if from_last { changes.next_back() } else { changes.next() };
        if let Some((_, at)) = expired.filter(|_| defect != Some(Defect::ExpiresNoTags)) {
            life.ttl = life.ttl.min(life.age.saturating_sub(now.saturating_since(at)));
        }
        (!life.remaining().is_zero()).then_some((value, life))
    }

    fn holds(&self, key: &str, lease: &HeldLease, now: Instant) -> bool {
        let held = self.leases.get(key);
        held.is_some_and(|(token, until)| token == lease.token() && !now.has_reached(*until))
    }
}

pub(crate) struct SharedMap {
    state: Rc<RefCell<State>>,
    defect: Option<Defect>,
    second: bool,
}

/// What is told.
enum News<'a> {
    Changed(&'a str),
    Filled(&'a str),
    Expired(&'a str),
    Cleared,
}

impl SharedMap {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn tell(&self, by: Station, news: &News<'_>) {
        if self.has(Defect::OtherHandleIsSilent) && self.second {
            return;
        }
        let mut ears = self.state.borrow().ears.clone();
        if self.has(Defect::TellsItself) {
            ears.iter_mut().for_each(|ear| ear.0 = Station::NOBODY);
        }
        let others = ears.iter().filter(|(station, _)| *station != by || by == Station::NOBODY);
        for ear in others.filter_map(|(_, ear)| ear.upgrade()) {
            match *news {
                News::Changed(key) => ear.changed(key.to_owned()),
                News::Filled(key) => ear.filled(key.to_owned()),
                News::Expired(key) => ear.expired(key.to_owned()),
                News::Cleared => ear.cleared(),
            }
        }
    }

    /// Whether a mutation of this kind leaves the lease alone, which it should not.
    fn keeps_lease(&self, mutation: &Mutation<'_, u64>, there: bool) -> bool {
        match mutation {
            Mutation::Put { .. } => self.has(Defect::PutKeepsLease),
            Mutation::Fill { .. } => self.has(Defect::FillKeepsLease),
            Mutation::Expire => self.has(Defect::ExpireKeepsLease),
            _ => self.has(Defect::RemoveKeepsLeaseOfAbsent) && !there,
        }
    }

    fn apply(&self, key: &str, mutation: &Mutation<'_, u64>, now: Instant) -> bool {
        let mut state = self.state.borrow_mut();
        let there = state.life(key, now);
        match mutation {
            Mutation::Put { value, lifetime, tags, .. }
            | Mutation::Fill { value, lifetime, tags, .. } => {
                let now_seen = state.changes.len();
                let seen = mutation.lease().map_or(now_seen, |lease| lease.tags_seen() as usize);
                let seen = if self.has(Defect::FillsExpiredTags) { now_seen } else { seen };
                state.tags.insert(key.to_owned(), (tags.to_vec(), seen));
                state.entries.insert(key.to_owned(), (**value, *lifetime, now));
                return true;
            }
            Mutation::Expire if self.has(Defect::ExpireRemoves) => {
                state.entries.remove(key);
            }
            Mutation::Expire if self.has(Defect::ExpireDoesNothing) => {}
            Mutation::Expire => {
                if let Some((value, life)) = there {
                    let anew = self.has(Defect::ExpireProlongs);
                    let age = if anew { life.ttl } else { life.age.max(life.ttl) };
                    state.entries.insert(key.to_owned(), (value, life.aged(age), now));
                }
            }
            Mutation::Vacate { .. } if !self.has(Defect::VacatesNothing) => {
                state.entries.remove(key);
                return true;
            }
            _ => {
                state.entries.remove(key);
            }
        }
        there.is_some() || self.has(Defect::AlwaysSaysYes)
    }

    fn change(&self, key: &str, mutation: &Mutation<'_, u64>, by: Station, now: Instant) -> bool {
        let news = match mutation {
            Mutation::Expire => News::Expired(key),
            Mutation::Fill { .. } => News::Filled(key),
            _ => News::Changed(key),
        };
        if let Some(lease) = mutation.lease() {
            let holds = self.state.borrow().holds(key, lease, now);
            let fills = matches!(mutation, Mutation::Fill { .. });
            let lax = if fills { Defect::LandsAnyFill } else { Defect::VacatesAnyway };
            let ended = self.ends(mutation) && !self.has(Defect::FillsEndedTags);
            if holds && ended {
                self.state.borrow_mut().leases.remove(key);
            }
            let refused = ended || !holds && !self.has(lax);
            if refused || self.has(Defect::RefusesFills) {
                if self.has(Defect::TellsRefused) {
                    self.tell(by, &news);
                }
                return false;
            }
        }
        let there = self.state.borrow().life(key, now).is_some();
        if !self.keeps_lease(mutation, there) {
            self.state.borrow_mut().leases.remove(key);
        }
        let done = self.apply(key, mutation, now);
        let silent = self.has(Defect::SilentExpire) && matches!(mutation, Mutation::Expire)
            || self.has(Defect::SilentWhereAbsent) && !done;
        if self.has(Defect::TellsTwice) && matches!(mutation, Mutation::Expire) {
            self.tell(by, &News::Changed(key));
        }
        if !silent {
            self.tell(by, &news);
        }
        done
    }

    /// Whether this is a fill with a tag that was invalidated since.
    fn ends(&self, mutation: &Mutation<'_, u64>) -> bool {
        let Mutation::Fill { tags, lease, .. } = mutation else { return false };
        let state = self.state.borrow();
        let mut later = state.changes.iter().skip(lease.tags_seen() as usize);
        later.any(|(tag, change, _)| *change == TagChange::Invalidate && tags.contains(tag))
    }

    /// A change by way of the store alone.
    fn plain(&self, key: &str, mutation: &Mutation<'_, u64>, now: Instant) -> bool {
        let kept = self.state.borrow().leases.get(key).copied();
        let done = if self.has(Defect::StoreIsSilent) {
            self.state.borrow_mut().leases.remove(key);
            self.apply(key, mutation, now)
        } else {
            self.change(key, mutation, Station::NOBODY, now)
        };
        if let Some(lease) = kept
            && self.has(Defect::StoreKeepsLease)
        {
            self.state.borrow_mut().leases.insert(key.to_owned(), lease);
        }
        done
    }
}

impl Store<str, u64> for SharedMap {
    fn get(&self, key: &str, now: Instant) -> Result<Option<Stored<u64>>, StoreError> {
        let state = self.state.borrow();
        let found = state.tagged(key, now, self.defect);
        let tags = state.tags.get(key).map(|(tags, _)| tags.clone()).unwrap_or_default();
        let tags = if self.has(Defect::LosesTags) { vec![] } else { tags };
        Ok(found.map(|(value, life)| Stored::new(value, life).tagged(tags)))
    }

    fn put(&self, key: &str, value: &u64, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.plain(key, &Mutation::put(value, life), now);
        Ok(())
    }

    fn remove(&self, key: &str, now: Instant) -> Result<bool, StoreError> {
        Ok(self.plain(key, &Mutation::Remove, now))
    }

    fn put_if_absent(
        &self,
        key: &str,
        value: &u64,
        life: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let state = self.state.borrow();
        let there = match self.defect {
            Some(Defect::KeepsPlaceOfEndedTags) => state.life(key, now),
            defect => state.tagged(key, now, defect),
        };
        drop(state);
        let absent = !there.is_some_and(|(_, life)| life.is_present());
        Ok(absent && self.plain(key, &Mutation::put(value, life), now))
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        self.clear_all(Station::NOBODY, now)
    }
}

impl SharedStore<str, u64> for SharedMap {
    fn mutate(
        &self,
        key: &str,
        mutation: Mutation<'_, u64>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        Ok(self.change(key, &mutation, by, now))
    }

    fn keeps_tags(&self) -> bool {
        true
    }

    fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        _: Station,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.state.borrow_mut().changes.push((tag_hash(tag), change, now));
        Ok(())
    }

    fn clear_all(&self, by: Station, _: Instant) -> Result<(), StoreError> {
        self.state.borrow_mut().entries.clear();
        if !self.has(Defect::ClearKeepsLeases) {
            self.state.borrow_mut().leases.clear();
        }
        self.tell(by, &News::Cleared);
        Ok(())
    }
}

impl Leases<str> for SharedMap {
    fn acquire(
        &self,
        key: &str,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        let mut state = self.state.borrow_mut();
        if state.leases.get(key).is_some_and(|(_, until)| !now.has_reached(*until)) {
            return Ok(None);
        }
        state.count += 1;
        let token = state.count.to_le_bytes();
        state.leases.insert(key.to_owned(), (token, now + ttl));
        let lease = HeldLease::new(token, state.count as u64);
        Ok(Some(lease.after_tags(state.changes.len() as u64)))
    }

    fn renew(&self, _: &str, _: &HeldLease, _: Duration, _: Instant) -> Result<bool, StoreError> {
        Err(StoreError::unsupported("renew"))
    }

    fn release(&self, key: &str, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        let held = self.state.borrow().holds(key, &lease, now);
        if held {
            self.state.borrow_mut().leases.remove(key);
        }
        Ok(held)
    }
}

pub(crate) struct TestShared {
    clock: ManualClock,
    defect: Option<Defect>,
}

impl TestShared {
    pub(crate) fn with(defect: Option<Defect>) -> Self {
        Self { clock: ManualClock::starting_at(START), defect }
    }
}

impl Harness for TestShared {
    type Key = str;

    fn key(&self, n: u64) -> String {
        format!("key {n}")
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.clock.advance(span);
        self.clock.now()
    }
}

impl SharedHarness for TestShared {
    type Value = u64;
    type Store = SharedMap;

    fn make(&self) -> SharedMap {
        SharedMap { state: Rc::default(), defect: self.defect, second: false }
    }

    fn value(&self, n: u64) -> u64 {
        n
    }

    fn another(&self, store: &SharedMap) -> Option<SharedMap> {
        let state = match self.defect {
            Some(Defect::CopiesHandles) => Rc::new(RefCell::new(store.state.borrow().clone())),
            _ => Rc::clone(&store.state),
        };
        Some(SharedMap { state, defect: self.defect, second: true })
    }

    fn listen(&self, store: &SharedMap, receiver: Weak<dyn Receiver<String>>) -> Option<Station> {
        let mut state = store.state.borrow_mut();
        state.count += 1;
        let station = Station::new(state.count);
        state.ears.push((station, receiver));
        Some(station)
    }
}
