//! Everything stale at once: for a cache that may have missed what others did to what it copies.
//!
//! A driver with several tables does it to the book first, then to each of its tables. What is stored
//! in between may be made stale as well.

use super::{Book, Out, Rules, plain};
use crate::action::Cause;
use crate::record::Record;
use crate::resting::Times;
use crate::slot::{Site, Slot};
use crate::table::{Places, Table};
use crate::time::Instant;

impl<K, R: Places<K, Record>> Book<K, R> {
    /// Makes what it has records of stale from `now` on. What flights under way load does not land; until a
    /// mutation voids them as well, they are [suspects](super::View::is_suspect). The tables are to
    /// [follow](expire_all). O(records).
    pub fn expire_all(&mut self, now: Instant) {
        for at in 0..self.records.slots() {
            let Some((hash, _, _)) = self.records.get(at) else { continue };
            let hash = self.rules.spread(hash);
            let Some(record) = self.records.get_mut(at) else { continue };
            let mut slot = Slot { windows: record.windows, record: core::mem::take(record) };
            let was_own = slot.record.own;
            slot.mistrust(Site { policy: &self.rules.policy, hash, now });
            self.own_records += usize::from(slot.record.own && !was_own);
            *record = Record { windows: slot.windows, ..slot.record };
        }
        self.sweep.expect(Instant::ORIGIN);
    }
}

/// Makes a table's entries stale from `now` on. An entry whose table has no place for times of its own
/// goes. O(entries); calls no user code but `out`.
pub fn expire_all<K, V, T: Table<K, V>>(
    table: &mut T,
    rules: &Rules,
    now: Instant,
    out: Out<'_, K, V>,
) {
    for at in (0..table.slots()).rev() {
        let Some((hash, _, entry)) = table.get(at) else { continue };
        let mark = entry.mark;
        if mark.has_record() {
            // Its windows stand in the record. The next read looks there, and moves the mark.
            set_mark(table, at, |mark| mark.moved(Instant::ORIGIN, true, false));
            continue;
        }
        let mut windows = rules.windows(mark, table.times(at), hash);
        if now.has_reached(windows.fresh_until) {
            continue;
        }
        windows.expire(now);
        let times = Times { stored_at: windows.stored_at, fresh_until: windows.fresh_until };
        if table.set_times(at, times) {
            let until = windows.fresh_until;
            set_mark(table, at, |mark| mark.moved(until, false, false).with_own_times());
        } else {
            plain::expire(table, at, Cause::Expired, out);
        }
    }
    table.house_mut().sweep.expect(Instant::ORIGIN);
}

fn set_mark<K, V, T: Table<K, V>>(
    table: &mut T,
    at: usize,
    change: impl FnOnce(crate::resting::Mark) -> crate::resting::Mark,
) {
    if let Some(entry) = table.get_mut(at) {
        entry.mark = change(entry.mark);
    }
}
