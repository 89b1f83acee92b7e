//! Making up for what the store, and those who share it, have missed.

use super::*;

/// How often it is tried to end a lease: for a minute or so, if the store does not answer. Then it ends by
/// itself.
const TRIES: u8 = 60;

impl<K: Clone + Eq + Hash, V> Second<K, V> {
    /// Whether there is anything to be made up for.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.doubts.any() || self.untold.any() || self.left.len() > 0
    }

    /// Makes up for some of what the store, and those who share it, have missed. Whether more may be tried
    /// at once; `None` where the store is in trouble.
    pub(crate) async fn settle_some(&self, timer: &impl Timer, now: Instant) -> Option<bool> {
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
        // Last, as they end by themselves.
        let given_back = self.give_back(timer, now).await;
        let more = settled? || given_back == Some(true);
        (told && (more || given_back.is_some())).then_some(more)
    }

    /// Ends leases that were left. Whether there are more; `None` where some are not to be ended now.
    async fn give_back(&self, timer: &impl Timer, now: Instant) -> Option<bool> {
        let mut failed = 0;
        for _ in 0..self.left.len().min(64) {
            let Some(mut left) = self.left.take() else { break };
            if !self.end_leftover(timer, &left, now).await {
                left.tries += 1;
                failed += 1;
                if left.tries < TRIES {
                    self.left.add(left);
                }
            }
            // Where some are out of reach, others may not be; but each takes its time.
            if failed == 3 {
                break;
            }
        }
        (failed == 0).then(|| self.left.len() > 0)
    }

    /// `false` where it may be in force still.
    async fn end_leftover(&self, timer: &impl Timer, left: &Leftover<K>, now: Instant) -> bool {
        let Leftover { key, lease, outdated, .. } = left;
        if !*outdated {
            return self.end_lease(timer, (key, lease), now).await;
        }
        let renewing = self.store.renew(key, lease, self.terms.lease, now);
        match self.ask(timer, renewing).await {
            // What was to replace it has not come, and nothing else has since. This ends the lease, too. Old
            // values serve on meanwhile, here and elsewhere.
            Ok(true) => self.mutate(timer, key, Mutation::Expire, now).await.is_ok(),
            Ok(false) | Err(Trouble::Unfit | Trouble::Unsupported) => true,
            Err(Trouble::Failed | Trouble::Late) => false,
        }
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
