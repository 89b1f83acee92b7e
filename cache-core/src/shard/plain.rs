//! What needs a table alone: reads of values whose next decision lies ahead, and changes of keys
//! that have no record.
//!
//! A driver may call what changes something only while no key of the table has a record, and must
//! keep others from making one meanwhile.

use core::borrow::Borrow;

use super::{At, Hit, Out, Rest, Timing};
use crate::action::Cause;
use crate::entry::Freshness;
use crate::resting::Resting;
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
    table.serve(at, |_| true).map(|entry| hit_of(entry))
}

const fn hit_of<V>(entry: &Resting<V>) -> Hit<'_, V> {
    let freshness = if entry.mark.is_stale() { Freshness::Stale } else { Freshness::Fresh };
    Hit { value: &entry.value, freshness }
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
#[inline(always)]
pub fn hit<'t, K, V, T, Q>(table: &'t mut T, here: At<'_, Q>) -> Option<Hit<'t, V>>
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let at = table.find(here.hash, here.key)?;
    table.serve(at, |mark| mark.covers(here.now)).map(|entry| hit_of(entry))
}

/// The same for a fresh value: `None` says nothing, and counts nothing. O(1), one comparison of time.
#[inline(always)]
pub fn fresh_hit<'t, K, V, T, Q>(table: &'t mut T, here: At<'_, Q>) -> Option<&'t V>
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let at = table.find(here.hash, here.key)?;
    lend(table, at, || here.now).map(|value| &*value)
}

/// What a table alone knows of a key's fresh value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // a driver must handle every answer
pub enum Look<V> {
    /// This is it.
    Fresh(V),
    /// There is no entry.
    Absent,
    /// There is one, and the book is to be asked about it.
    Ask,
}

impl<V: Clone> Look<&V> {
    /// The same with a copy of the value.
    #[inline]
    pub fn cloned(self) -> Look<V> {
        match self {
            Self::Fresh(value) => Look::Fresh(value.clone()),
            Self::Absent => Look::Absent,
            Self::Ask => Look::Ask,
        }
    }
}

/// The fast way to a fresh value: one whose next decision lies ahead. Counts a hit, or a miss where
/// there is no entry. O(1), one comparison of time.
#[inline(always)] // a call would cost every hit a few saved registers
pub fn look<'t, K, V, T, Q>(table: &'t mut T, here: At<'_, Q>) -> Look<&'t V>
where
    K: Borrow<Q>,
    T: Table<K, V>,
    Q: Eq + ?Sized,
{
    let Some(at) = table.find(here.hash, here.key) else {
        table.count_miss();
        return Look::Absent;
    };
    lend(table, at, || here.now).map_or(Look::Ask, |value| Look::Fresh(value))
}

/// Lends the value at a position if it is fresh, and counts a hit and a use. It is lent exclusively,
/// as a lock's guard wants it that is to hold the value alone. O(1), one comparison of time.
#[inline(always)]
pub fn lend<K, V, T: Table<K, V>>(
    table: &mut T,
    at: usize,
    now: impl FnOnce() -> Instant,
) -> Option<&mut V> {
    table.serve(at, |mark| mark.answers(now())).map(|entry| &mut entry.value)
}

/// What became of a value that was to be stored. Keys and values are handed out, to be dropped
/// elsewhere.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums)] // a driver must handle every end
pub enum Placed<K, V> {
    /// It has a place of its own.
    Stored,
    /// It has the place of this one.
    Replaced(V),
    /// There was no room for it.
    NotKept(K, V),
}

/// A value that is to be stored with the cache's own windows.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // what a driver hands over, always together
pub struct Newcomer<K, V> {
    /// The key's hash, as the table knows it.
    pub hash: u64,
    /// The key.
    pub key: K,
    /// From [`Timing::rest`].
    pub rest: Rest,
    /// The value.
    pub value: V,
    /// Its weight.
    pub weight: u32,
}

/// Stores a value: [`replace`], or else [`insert`]. For drivers that need not keep the key from
/// being dropped here.
pub fn put<K: Eq, V, T: Table<K, V>>(
    table: &mut T,
    newcomer: Newcomer<K, V>,
    out: Out<'_, K, V>,
) -> Placed<K, V> {
    let Newcomer { hash, key, rest, value, weight } = newcomer;
    let found = table.find_to_put(hash, &key);
    match replace(table, found, rest, value, weight, |_| ()) {
        Ok(old) => Placed::Replaced(old),
        Err(value) => insert(table, found, Newcomer { hash, key, rest, value, weight }, out),
    }
}

/// Gives the entry that was found, if there is one of the same weight, another value and new times.
/// Returns the old value, or else the new one. Tells `sooner` when the entry may have to go, unless
/// that is no earlier than what was told of the old value.
///
/// # Errors
/// The value, where it must be [inserted](insert).
#[inline(always)]
pub fn replace<K, V, T: Table<K, V>>(
    table: &mut T,
    found: Option<usize>,
    rest: Rest,
    value: V,
    weight: u32,
    sooner: impl FnOnce(Instant),
) -> Result<V, V> {
    let Some(at) = found.filter(|at| table.weight_at(*at) == weight) else { return Err(value) };
    let Some(entry) = table.get_mut(at) else { return Err(value) };
    // What the sweep expects of the old value is early enough for one that stays longer.
    let is_sooner = rest.is_sooner_than(entry.mark) || entry.mark.has_times_elsewhere();
    entry.mark = entry.mark.moved(rest.deadline(), false, false);
    let old = core::mem::replace(&mut entry.value, value);
    if is_sooner {
        table.house_mut().sweep.expect(rest.gone_at());
        sooner(rest.gone_at());
    }
    Ok(old)
}

/// Stores a value under a key that has no entry, or one of another weight where one was found.
#[inline]
pub fn insert<K: Eq, V, T: Table<K, V>>(
    table: &mut T,
    found: Option<usize>,
    newcomer: Newcomer<K, V>,
    out: &mut (impl FnMut(Cause, Option<K>, V) + ?Sized),
) -> Placed<K, V> {
    let Newcomer { hash, key, rest, value, weight } = newcomer;
    if let Some((key, entry)) = found.and_then(|at| table.remove(at)) {
        out(Cause::Replaced, Some(key), entry.value);
    }
    table.house_mut().sweep.expect(rest.gone_at());
    let evicted = &mut |_, key, entry: Resting<V>| out(Cause::Capacity, Some(key), entry.value);
    let entry = Resting::new(value, rest.mark());
    match table.insert(hash, key, entry, weight, evicted) {
        Ok(_) => Placed::Stored,
        Err((key, entry)) => Placed::NotKept(key, entry.value),
    }
}

/// Removes an entry. Returns whether anything could still have served it.
pub fn invalidate<K, V, T, Q>(
    table: &mut T,
    timing: &Timing,
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
    let gone_at = timing.gone_at(entry.mark, times, here.hash);
    out(Cause::Invalidated, Some(key), entry.value);
    !here.now.has_reached(gone_at)
}

/// Looks at up to `budget` positions and removes the entries without a record whose windows have
/// passed; returns how many went. Does nothing before the table's house says that it is due.
pub fn sweep<K, V, T: Table<K, V>>(
    table: &mut T,
    timing: &Timing,
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
        let Some((hash, _, entry)) = table.get(at) else {
            table.house_mut().sweep.advance();
            continue;
        };
        let (mark, recorded) = (entry.mark, entry.mark.has_record());
        let gone_at = if recorded { now } else { timing.gone_at(mark, table.times(at), hash) };
        let stays = recorded || !now.has_reached(gone_at);
        if stays {
            let sweep = &mut table.house_mut().sweep;
            sweep.saw(gone_at);
            sweep.advance();
        } else {
            removed += usize::from(expire(table, at, Cause::Expired, out));
            pass_gap(table, at);
        }
    }
    removed
}

/// Lets a sweep go on behind a position whose entry went, unless another took its place.
pub(super) fn pass_gap<K, V, T: Table<K, V>>(table: &mut T, at: usize) {
    if table.entry(at).is_none() {
        table.house_mut().sweep.advance();
    }
}

/// Removes the entry at a position because its time has passed, or its tag was invalidated.
pub(super) fn expire<K, V, T: Table<K, V>>(
    table: &mut T,
    at: usize,
    cause: Cause,
    out: Out<'_, K, V>,
) -> bool {
    let Some((key, entry)) = table.remove(at) else { return false };
    table.house_mut().tally.expirations += u64::from(cause == Cause::Expired);
    out(cause, Some(key), entry.value);
    true
}

/// Evicts up to `budget` entries that are beyond the table's bound; returns how many went.
pub fn evict<K, V, T: Table<K, V>>(table: &mut T, budget: usize, out: Out<'_, K, V>) -> usize {
    table.evict(budget, &mut |_, key, entry| out(Cause::Capacity, Some(key), entry.value))
}

/// Removes all entries. O(entries).
pub fn clear<K, V, T: Table<K, V>>(table: &mut T, out: Out<'_, K, V>) {
    for at in (0..table.slots()).rev() {
        if let Some((key, entry)) = table.remove(at) {
            out(Cause::Cleared, Some(key), entry.value);
        }
    }
}
