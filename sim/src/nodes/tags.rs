//! What the store knows of tags: changes are numbered, and an entry says which of them came before its value.

use std::collections::BTreeMap;

use cache_core::tag_hash;
use cache_std::store::TagChange;
use cache_std::{Instant, Loaded};

use super::store::{Key, Value};

pub(super) type Tag = &'static str;

pub(super) const TAGS: [Tag; 2] = ["a", "b"];

/// The tags of a key's values.
pub(super) const fn of(key: Key) -> &'static [Tag] {
    match key {
        0 => &["a"],
        1 => &["a", "b"],
        2 => &["b"],
        _ => &[],
    }
}

/// A key's value with its tags.
pub(super) fn tagged(key: Key, value: Value) -> Loaded<Value> {
    of(key).iter().fold(Loaded::value(value), |loaded, tag| loaded.tag(tag))
}

/// The tag of this name.
pub(super) fn named(name: &str) -> Option<Tag> {
    TAGS.into_iter().find(|tag| *tag == name)
}

/// What has happened to tags.
#[derive(Default)]
pub(super) struct Tags {
    /// The number of the last change.
    last: u64,
    /// The number of the last loss: what is new since may have been changed before.
    lost: u64,
    known: BTreeMap<u64, History>,
}

struct History {
    invalidated: u64,
    expired: Vec<(u64, Instant)>,
}

/// What they make of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Untouched,
    StaleFrom(Instant),
    Gone,
}

impl Tags {
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Entries with these are to come.
    pub(super) fn used(&mut self, tags: &[u64]) {
        for tag in tags {
            let new = History { invalidated: self.lost, expired: vec![] };
            self.known.entry(*tag).or_insert(new);
        }
    }

    pub(super) fn change(&mut self, tag: Tag, change: TagChange, now: Instant) {
        let hash = tag_hash(tag);
        self.used(&[hash]);
        self.last += 1;
        let Some(history) = self.known.get_mut(&hash) else { return };
        match change {
            TagChange::Expire => history.expired.push((self.last, now)),
            TagChange::Invalidate => history.invalidated = self.last,
        }
    }

    /// Forgets everything but how far it has counted.
    pub(super) fn lose(&mut self) {
        self.last += 1;
        self.lost = self.last;
        self.known.clear();
    }

    /// What they make of an entry with these, whose value was loaded after the change `seen`.
    pub(super) fn verdict(&self, tags: &[u64], seen: u64) -> Verdict {
        let mut first = None;
        for tag in tags {
            let Some(history) = self.known.get(tag) else { return Verdict::Gone };
            if history.invalidated > seen {
                return Verdict::Gone;
            }
            let later = history.expired.iter().filter(|(number, _)| *number > seen);
            first = later.map(|(_, at)| *at).chain(first).min();
        }
        first.map_or(Verdict::Untouched, Verdict::StaleFrom)
    }
}
