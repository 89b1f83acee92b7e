//! What the store has.

use super::*;

impl<K: Clone + Eq + Hash, V> Second<K, V> {
    /// What the store has for a key, if that can be trusted. Who has an old value does not wait long.
    pub(crate) async fn get(
        &self,
        timer: &impl Timer,
        key: &K,
        now: Instant,
        has_old: bool,
    ) -> Found<V> {
        if !self.settle(timer, key, now).await {
            return Found::Trouble;
        }
        let told = self.untold.told_so_far();
        match self.ask_within(timer, self.limit(has_old), self.store.get(key, now)).await {
            // What has come into doubt meanwhile may be what was read.
            Ok(Some(_)) if self.doubts.has(key) => Found::Trouble,
            Ok(Some(stored)) if self.untold.has(stored.tags(), told) => Found::Trouble,
            Ok(Some(stored)) => {
                add_one(&self.counts.hits);
                Found::Stored(stored)
            }
            Ok(None) => {
                add_one(&self.counts.misses);
                Found::Nothing
            }
            // To be loaded anew, and replaced.
            Err(Trouble::Unfit) => {
                add_one(&self.counts.misses);
                Found::Nothing
            }
            Err(_) => Found::Trouble,
        }
    }

    /// The same for many keys.
    pub(crate) async fn get_many(
        &self,
        timer: &impl Timer,
        keys: &[&K],
        now: Instant,
    ) -> Vec<Found<V>> {
        let mut finds: Vec<_> = keys.iter().map(|_| None).collect();
        // What is removed while this is asked may have been found before.
        let doubted: Vec<_> = keys.iter().map(|key| self.doubts.has(key)).collect();
        let told = self.untold.told_so_far();
        let asking = self.store.get_many(keys, now, &mut finds);
        let answered = self.ask(timer, asking).await.is_ok();
        let found =
            finds.into_iter().zip(keys).zip(doubted).map(|((found, key), doubted)| match found {
                _ if doubted || self.doubts.has(key) => Found::Trouble,
                Some(stored) if self.untold.has(stored.tags(), told) => Found::Trouble,
                Some(stored) => {
                    add_one(&self.counts.hits);
                    Found::Stored(stored)
                }
                None if answered => {
                    add_one(&self.counts.misses);
                    Found::Nothing
                }
                None => Found::Trouble,
            });
        found.collect()
    }
}
