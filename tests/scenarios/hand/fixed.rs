//! E2: a table of fixed capacity without a heap. Full, it evicts or hands the item back, as told.

use std::cell::RefCell;

use advanced_caching::local::Cache;
use advanced_caching::table::{LinearTable, WhenFull};
use advanced_caching::{Action, Cause, Completion, Instant, Loaded, Policy, Put};

use crate::world::secs;

const NOW: Instant = Instant::from_secs(9);

/// Room for four entries and `R` records.
type Fixed<const R: usize> = Cache<u8, u32, LinearTable<u8, u32, 4, R>>;

fn cache<const R: usize>(when_full: WhenFull) -> Fixed<R> {
    let policy = Policy::ttl(secs(60)).jitter_percent(0).build().unwrap();
    Cache::with_table(policy, LinearTable::new().when_full(when_full))
}

/// Keys 1 to 4, each with ten times its number.
fn full<const R: usize>(when_full: WhenFull) -> Fixed<R> {
    let mut cache = cache(when_full);
    for key in 1..=4u8 {
        assert_eq!(cache.put(key, u32::from(key) * 10, NOW), Put::Stored);
    }
    cache
}

thread_local! {
    static GONE: RefCell<Vec<(Cause, Option<u8>, u32)>> = const { RefCell::new(Vec::new()) };
}

fn note(cause: Cause, key: Option<u8>, value: u32) {
    GONE.with_borrow_mut(|gone| gone.push((cause, key, value)));
}

#[test]
fn e2_a_full_table_evicts_what_was_not_used() {
    let mut cache = full::<4>(WhenFull::Evict).on_removal(note);
    for key in [1, 2, 4] {
        assert!(cache.get(&key, NOW).is_some());
    }
    assert_eq!(cache.put(5, 50, NOW), Put::Stored);
    assert_eq!(GONE.take(), [(Cause::Capacity, Some(3), 30)], "the one that nobody used");
    assert_eq!((cache.len(), cache.stats().evictions), (4, 1));
    assert_eq!(cache.get(&3, NOW), None);
    assert_eq!(cache.get(&5, NOW), Some(&50));
}

#[test]
fn e2_a_full_table_that_may_not_evict_hands_the_item_back() {
    let mut cache = full::<4>(WhenFull::HandBack);
    assert_eq!(cache.put(5, 50, NOW), Put::NotKept(50));
    let ticket = cache.lookup(&5, NOW).into_ticket().expect("a cold key");
    assert_eq!(cache.complete(&5, ticket, 51, NOW), Completion::NotKept(51), "for who waits");
    assert_eq!((cache.len(), cache.stats().evictions, cache.stats().not_kept), (4, 0, 2));
    for key in 1..=4u8 {
        assert_eq!(cache.get(&key, NOW), Some(&(u32::from(key) * 10)), "nobody was disturbed");
    }
    // A key that is there is replaced; a key that leaves makes room.
    assert_eq!(cache.put(1, 11, NOW), Put::Stored);
    assert!(cache.invalidate(&2, NOW));
    assert_eq!(cache.put(5, 52, NOW), Put::Stored);
    assert_eq!(cache.put(6, 60, NOW), Put::NotKept(60));
}

#[test]
fn e2_expired_entries_make_room_by_ticks() {
    let mut cache = full::<4>(WhenFull::HandBack);
    let later = NOW + secs(60);
    assert_eq!(cache.put(5, 50, later), Put::NotKept(50));
    while cache.poll_at().is_some_and(|at| later.has_reached(at)) {
        cache.tick(later, 2);
    }
    assert_eq!(cache.put(5, 50, later), Put::Stored);
    assert_eq!((cache.len(), cache.stats().expirations), (1, 4));
}

#[test]
fn e2_without_room_for_a_record_a_reader_is_told_that_the_cache_is_busy() {
    let mut cache = cache::<1>(WhenFull::Evict);
    let first = cache.lookup(&1, NOW).into_ticket().expect("a cold key");
    assert!(matches!(cache.lookup(&2, NOW), Action::Busy), "one load at a time");
    assert_eq!((cache.stats().busy, cache.flights()), (1, 1));
    let _ = cache.complete(&1, first, 10, NOW);
    assert!(matches!(cache.lookup(&2, NOW), Action::Load { .. }));
}

#[test]
fn e2_without_room_for_windows_of_its_own_a_value_is_handed_back() {
    let mut cache = cache::<1>(WhenFull::Evict);
    let own = |value| Loaded::value(value).ttl(secs(5));
    assert_eq!(cache.put(1, own(10), NOW), Put::Stored);
    // Kept without its windows it would serve too long.
    assert_eq!(cache.put(2, own(20), NOW), Put::NotKept(20));
    assert_eq!(cache.get(&2, NOW), None);
    assert_eq!(cache.len(), 1);
    assert_eq!(cache.get(&1, NOW + secs(5)), None, "the first kept its own");
    assert_eq!(cache.put(2, 21, NOW), Put::Stored, "plain values need no record");
}
