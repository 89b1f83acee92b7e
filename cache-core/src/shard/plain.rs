//! What needs a table alone: reads of values whose next decision lies ahead, and changes of keys
//! that have no record.
//!
//! A driver may call what changes something only while no key of the table has a record, and must
//! keep others from making one meanwhile.

use core::borrow::Borrow;

use super::{At, Hit, Out, Rules};
use crate::action::Cause;
use crate::entry::Freshness;
use crate::resting::{Mark, Resting};
use crate::table::Table;
use crate::time::Instant;

/// Where the value is if its next decision lies ahead. O(1), one comparison of time.
#[inline]
pub(crate) fn covered<K, V, T, Q>(table: &T, here: At<'_, Q>) -> Option<usize>
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let at = table.find(here.hash, here.key)?;
    table.entry(at).is_some_and(|entry| entry.mark.covers(here.now)).then_some(at)
}

/// Counts a use of the entry at a position, and lends its value.
#[inline]
pub(crate) fn serve<K, V, T: Table<K, V>>(table: &mut T, at: usize) -> Option<Hit<'_, V>> {
    let mark = table.entry(at)?.mark;
    let mut freshness = Freshness::Fresh;
    if mark.is_settled() {
        table.count_hit();
    } else {
        table.get_mut(at)?.note_use();
        count_hit(table, mark.is_stale());
        if mark.is_stale() {
            freshness = Freshness::Stale;
        }
    }
    Some(Hit { value: &table.entry(at)?.value, freshness })
}

#[inline]
pub(crate) fn count_hit<K, V, T: Table<K, V>>(table: &mut T, stale: bool) {
    if stale {
        table.house_mut().tally.stale_hits += 1;
    } else {
        table.count_hit();
    }
}

/// The fast way: a value whose next decision lies ahead. O(1), one comparison of time.
#[inline]
pub fn hit<'t, K, V, T, Q>(table: &'t mut T, here: At<'_, Q>) -> Option<Hit<'t, V>>
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let at = covered(table, here)?;
    serve(table, at)
}

/// The fast way to a fresh value: one whose next decision lies ahead.
#[inline]
pub fn fresh<'t, K, V, T, Q>(table: &'t mut T, here: At<'_, Q>) -> Option<&'t V>
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let at = table.find(here.hash, here.key)?;
    let mark = table.entry(at)?.mark;
    if !mark.covers(here.now) {
        return None;
    }
    if !mark.is_settled() {
        // One test for the hot, two more for the others.
        let entry = table.get_mut(at).filter(|_| !mark.is_stale())?;
        entry.note_use();
    }
    table.count_hit();
    Some(&table.entry(at)?.value)
}

/// Whether there is no entry: then that is counted as a miss.
pub fn is_absent<K, V, T, Q>(table: &mut T, here: At<'_, Q>) -> bool
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let absent = table.find(here.hash, here.key).is_none();
    table.house_mut().tally.misses += u64::from(absent);
    absent
}

/// What became of a value that was to be stored. Values are handed out to be dropped elsewhere.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums)] // a driver must handle every end
pub enum Placed<V> {
    /// It has a place of its own.
    Stored,
    /// It has the place of this one.
    Replaced(V),
    /// There was no room for it.
    NotKept(V),
    /// The table alone cannot store it: the book has to be asked.
    Ask(V),
}

/// Stores a value with the cache's own windows. `key` is taken if the table had none.
pub fn put<K: Eq, V, T: Table<K, V>>(
    table: &mut T,
    rules: &Rules,
    at: At<'_, ()>,
    key: &mut Option<K>,
    value: V,
    weight: u32,
    out: Out<'_, K, V>,
) -> Placed<V> {
    let At { hash, now, .. } = at;
    let rest = rules.rest(now, hash).filter(|(_, gone_at)| !now.has_reached(*gone_at));
    let Some((deadline, gone_at)) = rest else { return Placed::Ask(value) };
    let found = key.as_ref().and_then(|key| table.find(hash, key));
    if let Some(at) = found.filter(|at| table.weight_at(*at) == weight)
        && let Some(entry) = table.get_mut(at)
    {
        // What the sweep expects of the old value is early enough for one that stays longer.
        let sooner = deadline < entry.mark.deadline() || entry.mark.has_own_times();
        entry.mark = entry.mark.moved(deadline, false, false);
        let old = core::mem::replace(&mut entry.value, value);
        if sooner {
            table.house_mut().sweep.expect(gone_at);
        }
        return Placed::Replaced(old);
    }
    if let Some((key, entry)) = found.and_then(|at| table.remove(at)) {
        out(Cause::Replaced, Some(key), entry.value);
    }
    let Some(owned) = key.take() else { return Placed::Ask(value) };
    table.house_mut().sweep.expect(gone_at);
    let evicted = &mut |_, key, entry: Resting<V>| out(Cause::Capacity, Some(key), entry.value);
    let entry = Resting::new(value, Mark::new(deadline));
    match table.insert(hash, owned, entry, weight, evicted) {
        Ok(_) => Placed::Stored,
        Err((owned, entry)) => {
            *key = Some(owned);
            Placed::NotKept(entry.value)
        }
    }
}

/// Removes an entry. Returns whether anything could still have served it.
pub fn invalidate<K, V, T, Q>(
    table: &mut T,
    rules: &Rules,
    here: At<'_, Q>,
    out: Out<'_, K, V>,
) -> bool
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let Some(at) = table.find(here.hash, here.key) else { return false };
    let times = table.times(at);
    let Some((key, entry)) = table.remove(at) else { return false };
    let gone_at = rules.gone_at(entry.mark, times, here.hash);
    out(Cause::Invalidated, Some(key), entry.value);
    !here.now.has_reached(gone_at)
}

/// Looks at up to `budget` positions and removes the entries without a record whose windows have
/// passed; returns how many went. Does nothing before the table's house says that it is due.
pub fn sweep<K, V, T: Table<K, V>>(
    table: &mut T,
    rules: &Rules,
    now: Instant,
    budget: usize,
    out: Out<'_, K, V>,
) -> usize {
    let mut removed = 0;
    for _ in 0..budget {
        let slots = table.slots();
        let sweep = &mut table.house_mut().sweep;
        if !sweep.is_due(now) {
            break;
        }
        let Some(at) = sweep.position(slots) else { continue };
        let Some((hash, _, entry)) = table.get(at) else { continue };
        let (mark, recorded) = (entry.mark, entry.mark.has_record());
        let gone_at = if recorded { now } else { rules.gone_at(mark, table.times(at), hash) };
        let stays = recorded || !now.has_reached(gone_at);
        if stays {
            let sweep = &mut table.house_mut().sweep;
            sweep.saw(gone_at);
            sweep.advance();
        } else {
            removed += usize::from(expire(table, at, out));
        }
    }
    removed
}

/// Removes the entry at a position because its time has passed.
pub(super) fn expire<K, V, T: Table<K, V>>(table: &mut T, at: usize, out: Out<'_, K, V>) -> bool {
    let Some((key, entry)) = table.remove(at) else { return false };
    table.house_mut().tally.expirations += 1;
    out(Cause::Expired, Some(key), entry.value);
    true
}

/// Removes all entries. O(entries).
pub fn clear<K, V, T: Table<K, V>>(table: &mut T, out: Out<'_, K, V>) {
    for at in (0..table.slots()).rev() {
        if let Some((key, entry)) = table.remove(at) {
            out(Cause::Cleared, Some(key), entry.value);
        }
    }
}
