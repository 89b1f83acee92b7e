//! What people do besides reading.

use cache_std::sync::Reach;

use super::super::tags::{self, TAGS, Tag};
use super::*;

impl Plot {
    /// What a mutation that has returned says.
    fn returned(&self, node: usize, key: Key, value: Value, reach: Reach) {
        let (now, at) = (self.world.millis(), usize::from(key));
        let mut facts = self.facts();
        facts.tally.mutations += 1;
        facts.here[node][at] = facts.here[node][at].max(value);
        if reach == Reach::Everywhere {
            facts.everywhere[at].push((now, value));
        }
        drop(facts);
        self.world.note(|| format!("node {node}: {value} of {key} has reached {reach:?}"));
    }

    /// A new version in the origin, unless somebody holds it.
    fn write(&self, key: Key, holds: bool) -> Option<Value> {
        let mut facts = self.facts();
        let key = usize::from(key);
        if facts.putting[key] {
            return None;
        }
        facts.putting[key] = holds;
        facts.torn[key] = None;
        facts.origin[key] += 1;
        Some(facts.origin[key])
    }

    pub(super) async fn change(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let Some(value) = self.write(key, false) else { return };
        self.world.note(|| format!("node {node}: the origin has {value} of {key}"));
        let leaves = self.profile != Profile::Restarts && self.world.percent(15);
        if leaves {
            let gone = async {
                cache.invalidate(&key).await;
            };
            let (ended, sent) = self.leave(gone, 20).await;
            if !ended {
                self.world.note(|| format!("node {node}: left an invalidation of {key}"));
                // What was sent is enough, whatever becomes of it.
                if sent && self.world.percent(50) {
                    return;
                }
            }
        }
        let reach = cache.invalidate(&key).await.reach;
        self.returned(node, key, value, reach);
    }

    /// Only one at a time may, or what is put is not what the origin has.
    pub(super) async fn change_and_put(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let Some(value) = self.write(key, true) else { return };
        self.world.note(|| format!("node {node}: puts {value} of {key}"));
        let _ = cache.put(key, tags::tagged(key, value)).await;
        self.facts().putting[usize::from(key)] = false;
        self.returned(node, key, value, Reach::Queued); // who else knows is not told
    }

    /// A program that is none of the nodes puts a new version into the store, where all hear that something has
    /// happened to the key.
    pub(super) fn others_put(&self, key: Key) {
        if !self.server.takes_of_others(key) {
            return;
        }
        let Some(value) = self.write(key, false) else { return };
        self.world.note(|| format!("others put {value} of {key}"));
        self.server.put_by_others(key, value);
        let now = self.world.millis();
        self.facts().everywhere[usize::from(key)].push((now, value));
    }

    pub(super) async fn make_stale(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let Some(value) = self.write(key, false) else { return };
        let reach = cache.expire(&key).await.reach;
        self.returned(node, key, value, reach);
    }

    /// Whether it was put is told; where it was not, what was there goes.
    pub(super) async fn put_if_absent(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let Some(value) = self.write(key, true) else { return };
        self.world.note(|| format!("node {node}: puts {value} of {key}, if it is absent"));
        let put = cache.put_if_absent(key, tags::tagged(key, value)).await.is_stored();
        self.facts().putting[usize::from(key)] = false;
        if put {
            self.returned(node, key, value, Reach::Queued);
        } else {
            let reach = cache.invalidate(&key).await.reach;
            self.returned(node, key, value, reach);
        }
    }

    /// New versions of all values with a tag, which then changes.
    pub(super) async fn change_tag(&self, node: usize) {
        let Some(cache) = self.at(node) else { return };
        let tag = TAGS[self.world.below(TAGS.len() as u64) as usize];
        let expires = self.world.percent(30);
        let values = self.write_tagged(tag);
        self.world.note(|| format!("node {node}: the origin has {values:?}, which have {tag}"));
        let change = async || match expires {
            true => cache.expire_tag(tag).await,
            false => cache.invalidate_tag(tag).await,
        };
        if self.profile != Profile::Restarts && self.world.percent(15) {
            let (ended, sent) = self
                .leave(
                    async {
                        let _ = change().await;
                    },
                    20,
                )
                .await;
            if !ended {
                self.world.note(|| format!("node {node}: left a change of {tag}"));
                if sent && self.world.percent(50) {
                    return;
                }
            }
        }
        let reach = change().await;
        for (key, value) in values {
            self.returned(node, key, value, reach);
        }
    }

    /// New versions of all values with a tag. What is being put meanwhile may come before or after.
    fn write_tagged(&self, tag: Tag) -> Vec<(Key, Value)> {
        let mut facts = self.facts();
        let mut values = vec![];
        for key in (0..KEYS as Key).filter(|key| tags::of(*key).contains(&tag)) {
            let at = usize::from(key);
            if facts.putting[at] && self.profile.breaks_store() {
                // Which of the two came last, nobody knows: it stays the newest.
            } else if facts.putting[at] {
                facts.torn[at] = facts.torn[at].or(Some(facts.origin[at]));
                facts.origin[at] += 1;
            } else {
                facts.torn[at] = None;
                facts.origin[at] += 1;
                values.push((key, facts.origin[at]));
            }
        }
        values
    }

    pub(super) async fn clear(&self, node: usize) {
        let Some(cache) = self.at(node) else { return };
        let (before, torn) = {
            let facts = self.facts();
            (facts.origin, facts.torn)
        };
        let reach = cache.clear().await;
        for (key, value) in (0..).zip(before) {
            let at = usize::from(key);
            let is_torn = torn[at].or(self.facts().torn[at]).is_some();
            // What is being put meanwhile may come after.
            if !is_torn && !self.facts().putting[at] {
                self.returned(node, key, value, reach);
            }
        }
    }
}
