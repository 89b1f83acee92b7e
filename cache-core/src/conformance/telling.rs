//! Rules about what listeners are told of a store's changes.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};

use super::harness::{Harness, SharedHarness};
use super::mutations::Desk;
use super::trial::{Finding, Rule, ensure, fresh_for};
use crate::store::{HeldLease, Mutation, Receiver, Station, Store, StoreError};

pub(super) const fn rules<H: SharedHarness>() -> [Rule<H>; 6] {
    [
        Rule {
            id: "changes-are-told",
            demand: "every change is told to those who listen, in order",
            check: changes_are_told,
        },
        Rule {
            id: "own-changes-are-not-told",
            demand: "a station is told of what others do, and not of what it did",
            check: own_changes_are_not_told,
        },
        Rule {
            id: "absent-keys-are-told",
            demand: "a change of a key that has no entry is told: others may have its value",
            check: absent_keys_are_told,
        },
        Rule {
            id: "refused-is-not-told",
            demand: "a fill or vacation that was refused, or put_if_absent in vain, is not told",
            check: refused_is_not_told,
        },
        Rule {
            id: "store-tells",
            demand: "put, remove, clear, and put_if_absent that stored, are told to all",
            check: store_tells,
        },
        Rule {
            id: "handles-tell",
            demand: "what another handle changes is told",
            check: handles_tell,
        },
    ]
}

const NO_BACKPLANE: Finding = Finding::NotApplicable("the harness has no backplane");

/// Keys that listeners know. The last is the end mark.
const KEYS: u64 = 8;
const END: u64 = KEYS - 1;

const CHANGED: u8 = 0x10;
const EXPIRED: u8 = 0x20;
const CLEARED: u8 = 0x30;
const FILLED: u8 = 0x40;
const OTHER: u8 = 0x50;

/// Writes down what it is told, as numbers: a key's is added to what happened to it.
struct Listener<K> {
    keys: Vec<K>,
    told: [AtomicU8; 32],
    count: AtomicUsize,
}

impl<K: PartialEq> Listener<K> {
    fn note(&self, told: u8) {
        let at = self.count.fetch_add(1, SeqCst);
        if let Some(place) = self.told.get(at) {
            place.store(told, SeqCst);
        }
    }

    fn note_key(&self, what: u8, key: &K) {
        let number = self.keys.iter().position(|known| known == key).unwrap_or(0xf);
        self.note(what | number as u8);
    }

    fn told(&self) -> Vec<u8> {
        let told = self.told.iter().map(|place| place.load(SeqCst));
        told.take(self.count.load(SeqCst)).collect()
    }
}

impl<K: PartialEq + Send + Sync> Receiver<K> for Listener<K> {
    fn opened(&self) {}

    fn closed(&self) {
        self.note(OTHER);
    }

    fn changed(&self, key: K) {
        self.note_key(CHANGED, &key);
    }

    fn filled(&self, key: K) {
        self.note_key(FILLED, &key);
    }

    fn expired(&self, key: K) {
        self.note_key(EXPIRED, &key);
    }

    fn cleared(&self) {
        self.note(CLEARED);
    }

    fn tag_expired(&self, _: &str) {
        self.note(OTHER);
    }

    fn tag_invalidated(&self, _: &str) {
        self.note(OTHER);
    }
}

/// One who listens, and its station.
struct Ear<K> {
    listener: Arc<Listener<K>>,
    station: Station,
}

type Owned<H> = <<H as Harness>::Key as ToOwned>::Owned;

impl<H: SharedHarness> Desk<'_, H> {
    fn listen(&self) -> Option<Ear<Owned<H>>> {
        let listener = Arc::new(Listener {
            keys: (0..KEYS).map(|n| self.harness.key(n)).collect(),
            told: [const { AtomicU8::new(0) }; 32],
            count: AtomicUsize::new(0),
        });
        let receiver: Arc<dyn Receiver<Owned<H>>> = listener.clone();
        let station = self.harness.listen(&self.store, Arc::downgrade(&receiver))?;
        Some(Ear { listener, station })
    }

    /// Marks the end, waits for it, and compares what was told before.
    fn expect_told(&self, ear: &Ear<Owned<H>>, expected: &[u8], what: &str) -> Result<(), String> {
        self.put(END, 0, fresh_for(self.harness, 100))?;
        let end = CHANGED | END as u8;
        let ends = |told: &[u8]| told.iter().filter(|each| **each == end).count();
        let in_order = self.harness.told_in_order();
        for _ in 0..200 {
            let told = ear.listener.told();
            if ends(&told) > ends(expected) && (in_order || told.len() > expected.len()) {
                break;
            }
            self.harness.advance(self.harness.unit() / 20);
        }
        let (mut told, mut expected) = (ear.listener.told(), expected.to_vec());
        if !in_order {
            // The end may have overtaken others.
            told.sort_by_key(|each| (*each == end, *each));
            expected.sort_by_key(|each| (*each == end, *each));
        }
        ensure(
            told.pop() == Some(end),
            &format!("a change was not told, or not in its place: {what}"),
        )?;
        let said = format!("{told:x?} was told where {expected:x?} had happened: {what}");
        ensure(told == expected, &said)
    }
}

fn changes_are_told<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let Some(ear) = desk.listen() else { return Ok(NO_BACKPLANE) };
    let life = fresh_for(harness, 100);
    desk.put(0, 1, life)?;
    desk.put(1, 1, life.stale_if_error(life.ttl))?;
    desk.mutate(1, Mutation::Expire, Station::NOBODY)?;
    desk.mutate(0, Mutation::Remove, Station::NOBODY)?;
    let lease = desk.acquire(2, 100, "though nobody held it")?;
    desk.fill(2, 1, lease, Station::NOBODY)?;
    let lease = desk.acquire(2, 100, "after a fill")?;
    desk.mutate(2, Mutation::vacate(lease), Station::NOBODY)?;
    desk.clear(Station::NOBODY)?;
    desk.put(0, 2, life)?;
    let first = [CHANGED, CHANGED | 1, EXPIRED | 1, CHANGED, FILLED | 2, CHANGED | 2];
    let all = [&first[..], &[CLEARED, CHANGED]].concat();
    desk.expect_told(&ear, &all, "put, put, expire, remove, fill, vacate, clear, put")?;
    Ok(Finding::Holds)
}

fn own_changes_are_not_told<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let (Some(one), Some(two)) = (desk.listen(), desk.listen()) else { return Ok(NO_BACKPLANE) };
    let (value, life) = (harness.value(1), fresh_for(harness, 100));
    ensure(one.station != two.station, "two who listen have the same station")?;
    ensure(one.station != Station::NOBODY, "one who listens has the station of nobody")?;
    let by = one.station;
    desk.mutate(0, Mutation::put(&value, life), by)?;
    let lease = desk.acquire(1, 100, "though nobody held it")?;
    desk.fill(1, 1, lease, by)?;
    desk.mutate(1, Mutation::Expire, by)?;
    desk.mutate(0, Mutation::Remove, by)?;
    desk.clear(by)?;
    desk.expect_told(&one, &[], "its own put, fill, expire, remove, clear")?;
    let all = [CHANGED, FILLED | 1, EXPIRED | 1, CHANGED, CLEARED];
    desk.expect_told(&two, &[&all[..], &[CHANGED | END as u8]].concat(), "what another did")?;
    Ok(Finding::Holds)
}

fn absent_keys_are_told<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let Some(ear) = desk.listen() else { return Ok(NO_BACKPLANE) };
    desk.mutate(0, Mutation::Remove, Station::NOBODY)?;
    desk.mutate(1, Mutation::Expire, Station::NOBODY)?;
    desk.expect_told(&ear, &[CHANGED, EXPIRED | 1], "remove and expire of absent keys")?;
    Ok(Finding::Holds)
}

fn refused_is_not_told<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let Some(ear) = desk.listen() else { return Ok(NO_BACKPLANE) };
    let (value, life) = (harness.value(1), fresh_for(harness, 100));
    let lease = desk.acquire(0, 100, "though nobody held it")?;
    desk.mutate(0, Mutation::put(&value, life), Station::NOBODY)?;
    let copy = HeldLease::new(*lease.token(), lease.fence());
    desk.fill(0, 2, lease, Station::NOBODY)?;
    desk.mutate(0, Mutation::vacate(copy), Station::NOBODY)?;
    let (key, now) = (harness.key(0), harness.now());
    // Where the store cannot do it, there is nothing to be told either.
    let _ = desk.store.put_if_absent(key.borrow(), &value, life, now);
    desk.expect_told(&ear, &[CHANGED], "a put, then a fill and a put_if_absent in vain")?;
    Ok(Finding::Holds)
}

fn store_tells<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let Some(ear) = desk.listen() else { return Ok(NO_BACKPLANE) };
    let (value, life) = (harness.value(1), fresh_for(harness, 100));
    let (store, now) = (&desk.store, harness.now());
    let keys = [0, 1].map(|n| harness.key(n));
    let mut expected = Vec::new();
    let mut done = |answer: Result<(), StoreError>, told| match answer {
        Ok(()) => {
            expected.push(told);
            Ok(())
        }
        Err(StoreError::Unsupported { .. }) => Ok(()),
        Err(error) => Err(format!("an operation failed: {error}")),
    };
    let [one, other] = keys.each_ref().map(Borrow::borrow);
    done(store.put(one, &value, life, now), CHANGED)?;
    done(Store::<H::Key, H::Value>::remove(store, one, now).map(drop), CHANGED)?;
    done(store.put_if_absent(other, &value, life, now).map(drop), CHANGED | 1)?;
    done(Store::<H::Key, H::Value>::clear(store, now), CLEARED)?;
    desk.expect_told(&ear, &expected, "put, remove, put_if_absent, clear of the store")?;
    Ok(Finding::Holds)
}

fn handles_tell<H: SharedHarness>(harness: &H) -> Result<Finding, String> {
    let desk = Desk::new(harness);
    let Some(ear) = desk.listen() else { return Ok(NO_BACKPLANE) };
    let Some(store) = harness.another(&desk.store) else {
        return Ok(Finding::NotApplicable("the harness has no second handle"));
    };
    let other = Desk { harness, store };
    other.put(0, 1, fresh_for(harness, 100))?;
    other.clear(Station::NOBODY)?;
    desk.expect_told(&ear, &[CHANGED, CLEARED], "a put and a clear through another handle")?;
    Ok(Finding::Holds)
}
