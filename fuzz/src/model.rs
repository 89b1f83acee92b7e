//! A cache as a plain map: everything the slow and obvious way. Times in milliseconds.

use std::collections::HashMap;

use crate::operation::Terms;

/// The policy of every cache here.
pub(crate) const TTL: u64 = 100;
pub(crate) const SIE: u64 = 120;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) value: u64,
    fresh_until: u64,
    tag: Option<bool>,
    /// How often its tag was expired.
    expiries: u8,
}

impl Kept {
    const fn gone_at(&self) -> u64 {
        self.fresh_until + SIE
    }
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    kept: HashMap<u8, Kept>,
    /// Until when the next load of a key is held back while an old value can serve.
    cooling: HashMap<u8, u64>,
    pub(crate) now: u64,
}

impl Model {
    /// What could still serve, if only after an error.
    pub(crate) fn live(&self, key: u8) -> Option<Kept> {
        self.kept.get(&key).copied().filter(|kept| self.now < kept.gone_at())
    }

    pub(crate) fn fresh(&self, key: u8) -> Option<u64> {
        self.live(key).filter(|kept| self.now < kept.fresh_until).map(|kept| kept.value)
    }

    pub(crate) fn count(&self) -> usize {
        self.kept.keys().filter(|key| self.live(**key).is_some()).count()
    }

    pub(crate) fn is_cooling(&self, key: u8) -> bool {
        self.cooling.get(&key).is_some_and(|until| self.now < *until)
    }

    pub(crate) fn cools_until(&mut self, key: u8, until: u64) {
        self.cooling.insert(key, until);
    }

    /// Whether it is kept.
    pub(crate) fn store(&mut self, key: u8, value: u64, terms: Terms) -> bool {
        self.forget(key);
        let fresh_until = self.now + terms.ttl.map_or(TTL, u64::from);
        if !terms.no_store {
            self.kept.insert(key, Kept { value, fresh_until, tag: terms.tag, expiries: 0 });
        }
        !terms.no_store
    }

    pub(crate) fn forget(&mut self, key: u8) {
        self.kept.remove(&key);
        self.cooling.remove(&key);
    }

    pub(crate) fn expire(&mut self, key: u8) {
        self.cooling.remove(&key);
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.fresh_until = kept.fresh_until.min(self.now);
        }
    }

    /// How often this has happened to the value.
    pub(crate) fn expire_by_tag(&mut self, key: u8) -> u8 {
        self.expire(key);
        self.kept.get_mut(&key).map_or(0, |kept| {
            kept.expiries += 1;
            kept.expiries
        })
    }

    pub(crate) fn clear(&mut self) {
        *self = Self { now: self.now, ..Self::default() };
    }

    pub(crate) fn tagged(&self, tag: bool) -> Vec<u8> {
        let tagged = self.kept.iter().filter(|(_, kept)| kept.tag == Some(tag));
        tagged.map(|(key, _)| *key).collect()
    }
}
