//! Making up for what the store, and those who share it, have missed.

use super::*;

impl<K: Clone + Eq + Hash, V> Second<K, V> {
    /// Whether there is anything to be made up for.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.doubts.any() || self.untold.any() || self.left.any()
    }

    /// Makes up for some of what the store, and those who share it, have missed. Whether more may be tried
    /// at once; `None` where the store is in trouble.
    pub(crate) async fn settle_some(&self, timer: &impl Timer, now: Instant) -> Option<bool> {
        let given_back = self.give_back(timer, now).await;
        let told = self.tell_untold(timer, u64::MAX, now).await;
        let settled = match self.doubts.some(64) {
            Doubted::Nothing => Some(false),
            Doubted::All => {
                let _turns = self.all_turns(timer).await;
                self.clear_again(timer, now).await.then_some(true)
            }
            Doubted::Keys(keys) => self.settle_keys(timer, keys, now).await.then_some(true),
        };
        let told = told.is_ok() || told == Err(Trouble::Unsupported);
        settled.filter(|more| told && (given_back || *more))
    }

    /// Ends leases that were left, up to the first that is not to be ended now: then the others go first.
    async fn give_back(&self, timer: &impl Timer, now: Instant) -> bool {
        while let Some(left) = self.left.take() {
            let is_over = now.has_reached(left.until);
            if !is_over && !self.end_lease(timer, (&left.key, &left.lease), now).await {
                self.left.add(left);
                return false;
            }
        }
        true
    }

    async fn settle_keys(&self, timer: &impl Timer, keys: Vec<(u64, K)>, now: Instant) -> bool {
        for (hash, key) in keys {
            // So that what is put just now is not lost.
            let _turn = self.turn(timer, hash).await;
            if !self.settle(timer, &key, now).await {
                return false;
            }
        }
        true
    }

    pub(super) async fn clear_again(&self, timer: &impl Timer, now: Instant) -> bool {
        let as_of = self.doubts.mark();
        let cleared = self.ask(timer, self.store.clear(self.line.station(), now)).await.is_ok();
        if cleared {
            self.doubts.cleared(as_of);
        }
        cleared
    }

    /// Whether a key is in no doubt, after an attempt to remove it from the store if it was. All who
    /// share the store hear of that.
    pub(super) async fn settle(&self, timer: &impl Timer, key: &K, now: Instant) -> bool {
        if !self.doubts.has(key) {
            return true;
        }
        self.mend(); // the runtime of who has begun it may have ended
        let as_of = self.doubts.mark();
        if matches!(self.doubts.some(1), Doubted::All)
            || self.mutate(timer, key, Mutation::Remove, now).await.is_err()
        {
            return false;
        }
        self.doubts.settle(key, as_of);
        !self.doubts.has(key)
    }
}
