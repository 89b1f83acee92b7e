//! Another policy for a cache in use.
//!
//! What was stored by the cache's own ttl gets the new windows, counted from when it was stored; what
//! has a ttl of its own keeps that. A driver with several tables changes the book first, then each of
//! its tables, and lets nobody at a table in between but those who look at marks alone.

use super::{Book, Out, Rules, plain};
use crate::policy::Policy;
use crate::record::Record;
use crate::slot::{Site, Slot};
use crate::table::{Places, Table};
use crate::tags::Verdict;
use crate::time::Instant;

impl<K, R: Places<K, Record>> Book<K, R> {
    /// Goes by another policy from now on, and gives what it has records of the new windows. The
    /// tables are to [follow](carry_over). Returns the rules until now. O(records).
    ///
    /// Flights under way keep their leases and time-outs; what they load is kept by the new policy.
    /// If that keeps nothing, all records go, and flights are void.
    pub fn change_policy(&mut self, policy: Policy) -> Rules {
        let new = self.rules.with_policy(policy);
        let old = core::mem::replace(&mut self.rules, new);
        // Left by an operation that a key's `Eq` has ended: it speaks of the old policy's deadline, and
        // its entry goes with the next read.
        self.displaced = None;
        if !self.rules.keeps_anything() {
            self.clear();
            return old;
        }
        for at in 0..self.records.slots() {
            let Some((hash, _, _)) = self.records.get(at) else { continue };
            let spread = self.rules.spread(hash);
            let Some(record) = self.records.get_mut(at) else { continue };
            // A tag that has expired meanwhile speaks of the windows until now.
            if let Verdict::Expired(at) = self.tags.verdict(record.label.tags(), record.tags_seen) {
                let mut slot = Slot { windows: record.windows, record: core::mem::take(record) };
                let site = Site { policy: &old.policy, hash: spread, now: at };
                slot.expire(site, &mut self.tickets);
                slot.record.tags_seen = self.tags.sequence();
                *record = Record { windows: slot.windows, ..slot.record };
            }
            let new = &self.rules.policy;
            let is_own = record.own && record.label.is_empty();
            record.windows = record.windows.map(|windows| match is_own {
                true => new.follow(&old.policy, windows),
                false => new.carry_over(&old.policy, windows, spread),
            });
        }
        self.sweep.expect(Instant::ORIGIN);
        old
    }
}

/// Lets a table follow its book from the old rules to the new ones. O(entries); calls no user code
/// but `out`.
pub fn carry_over<K, V, T: Table<K, V>>(
    table: &mut T,
    old: &Rules,
    new: &Rules,
    out: Out<'_, K, V>,
) {
    if !new.keeps_anything() {
        return plain::clear(table, out);
    }
    for at in 0..table.slots() {
        let Some((hash, _, entry)) = table.get(at) else { continue };
        let mark = entry.mark;
        let mark = if mark.has_record() {
            // Its windows stand in the record. The next read looks there, and moves the mark.
            mark.moved(Instant::ORIGIN, true, false)
        } else {
            let windows = old.windows(mark, table.times(at), hash);
            let spread = new.spread(hash);
            if mark.has_own_times() {
                // A ttl that rests beside the entry is its own, also where it is the cache's.
                let windows = new.policy.follow(&old.policy, windows);
                let deadline = windows.early_at(new.policy.early_percent());
                mark.moved(deadline, false, false).with_own_times()
            } else {
                let windows = new.policy.carry_over(&old.policy, windows, spread);
                mark.moved(new.policy.resting_deadline(&windows), false, false)
            }
        };
        if let Some(entry) = table.get_mut(at) {
            entry.mark = mark;
        }
    }
    table.house_mut().sweep.expect(Instant::ORIGIN);
}
