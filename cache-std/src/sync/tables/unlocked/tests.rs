//! Reads without the lock, one by one and against a thread that writes.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::thread;

use cache_core::shard::At;
use cache_core::shard::plain;

use super::super::Leaving;
use super::*;

type Key = [u64; 2];
type Value = [u64; 8];

const NOW: Instant = Instant::from_secs(9);

fn sets(count: usize, share: u64) -> PlainSets<Key, Value> {
    let policy = Policy::ttl(Duration::from_secs(60)).jitter_percent(0).build().unwrap();
    let shares = (0..count).map(|number| (number, share));
    PlainSets::new(shares, Plain::prove().unwrap(), policy, Limits::default(), 0)
}

const fn hash(key: u64) -> u64 {
    key.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

fn put(sets: &PlainSets<Key, Value>, key: u64, value: u64) {
    let put = sets.put::<PlainSet<_, _>>((hash(key), [key; 2]), ([value; 8], 1), NOW);
    assert_eq!(put, Ok(None));
}

/// A read under the lock: a use that counts.
fn use_it(sets: &PlainSets<Key, Value>, key: u64) -> Option<Value> {
    match sets.look::<PlainSet<_, _>, _>(hash(key), &[key; 2], NOW) {
        Look::Fresh(value) => Some(value),
        _ => None,
    }
}

#[test]
fn what_is_there_is_found_without_the_lock_until_its_time_has_passed() {
    let sets = sets(3, 28);
    for key in 0..20 {
        put(&sets, key, key);
    }
    let found = |key, now| sets.look_unlocked(hash(key), &[key; 2], now);
    assert_eq!(found(1, NOW), Look::Fresh([1; 8]));
    assert_eq!(found(1, NOW + Duration::from_secs(60)), Look::Ask);
    assert_eq!((found(2, NOW), found(99, NOW)), (Look::Fresh([2; 8]), Look::Absent));
    let here = At { hash: hash(1), key: &[1; 2], now: NOW };
    assert!(matches!(
        sets.invalidate::<PlainSet<_, _>, _>(here, &mut Leaving::new(None)),
        Ok(true)
    ));
    assert_eq!(found(1, NOW), Look::Absent);
    let mut stats = Stats::default();
    sets.add_counts(&mut stats);
    assert_eq!((stats.hits, stats.misses), (2, 2));
}

#[test]
fn uses_count_without_the_lock() {
    let sets = sets(1, 28);
    (0..28).for_each(|key| put(&sets, key, key));
    for key in 9..28 {
        assert_eq!(sets.look_unlocked(hash(key), &[key; 2], NOW), Look::Fresh([key; 8]));
    }
    // Nine were not used: they go first.
    (100..109).for_each(|key| put(&sets, key, key));
    let kept = |key: &u64| sets.look_unlocked(hash(*key), &[*key; 2], NOW) != Look::Absent;
    assert_eq!((0..28).filter(kept).collect::<Vec<_>>(), (9..28).collect::<Vec<_>>());
}

/// The ways that callers' hits take, where they have a place to count in.
#[test]
fn what_is_hot_serves_by_its_mark_and_only_if_it_is_hot() {
    let sets = sets(1, 28);
    sets.counts.increment::<MISSES>(); // this thread has a place of its own from now on
    put(&sets, 1, 7);
    let (hash, key) = (hash(1), &[1; 2]);
    assert_eq!(sets.hot(hash, key, NOW), None, "its first uses are to be counted");
    (0..3).for_each(|_| assert!(sets.hit_unlocked(hash, key, NOW, false).is_some()));
    let over = NOW + Duration::from_secs(60);
    assert_eq!((sets.hot(hash, key, NOW), sets.hot(hash, key, over)), (Some([7; 8]), None));
    assert_eq!(sets.hot_or_stale(hash, key, NOW), Some([7; 8]));
    assert_eq!(sets.hot_or_stale(hash, key, over), None);
    put(&sets, 1, 8);
    assert_eq!(sets.hot(hash, key, NOW), Some([8; 8]));
    assert_eq!(sets.counts.sum::<HITS>(), 6);
}

#[test]
fn who_comes_to_a_free_place_has_no_uses_of_who_was_there() {
    let sets = sets(1, 28);
    put(&sets, 1, 7);
    let (cell, known) = sets.cell(hash(1));
    let found = peek(cell, known, &[1; 2], Used::live, |_| true);
    let Some(Look::Fresh(Found { at, used, .. })) = found else { panic!("it is there") };
    let here = At { hash: hash(1), key: &[1; 2], now: NOW };
    let _ = sets.invalidate::<PlainSet<_, _>, _>(here, &mut Leaving::new(None));
    (0..3).for_each(|_| used.note(at));
    put(&sets, 2, 8);
    assert_eq!((used.live(), used.full()), (1 << at, 0));
}

#[test]
fn who_counts_late_does_not_bring_back_what_has_gone() {
    let sets = sets(1, 28);
    put(&sets, 1, 7);
    let (cell, known) = sets.cell(hash(1));
    let found = peek(cell, known, &[1; 2], Used::live, |_| true);
    let Some(Look::Fresh(Found { at, used, .. })) = found else { panic!("it is there") };
    let here = At { hash: hash(1), key: &[1; 2], now: NOW };
    let _ = sets.invalidate::<PlainSet<_, _>, _>(here, &mut Leaving::new(None));
    (0..3).for_each(|_| used.note(at));
    assert_eq!((used.full(), used.live()), (1 << at, 0));
    sets.counts.increment::<HITS>(); // now this thread has a place of its own
    assert_eq!(sets.hot(hash(1), &[1; 2], NOW), None);
    assert_eq!(sets.look_unlocked(hash(1), &[1; 2], NOW), Look::Absent);
    put(&sets, 2, 8);
    assert_eq!(sets.look_unlocked(hash(2), &[2; 2], NOW), Look::Fresh([8; 8]));
}

#[test]
fn nothing_is_found_while_somebody_has_the_lock() {
    let sets = sets(1, 9);
    put(&sets, 1, 7);
    (0..3).for_each(|_| assert!(use_it(&sets, 1).is_some()));
    let held = sets.table::<PlainSet<_, _>>(0);
    assert_eq!(sets.look_unlocked(hash(1), &[1; 2], NOW), Look::Ask);
    drop(held);
    assert_eq!(sets.look_unlocked(hash(1), &[1; 2], NOW), Look::Fresh([7; 8]));
}

/// Few sets, many keys: rows are overwritten, moved and removed all the time.
#[test]
fn nothing_torn_and_nobody_elses_is_ever_seen() {
    let (sets, done) = (sets(2, 9), AtomicBool::new(false));
    let step = |random: &mut u64| {
        *random = hash(*random ^ (*random >> 29)) | 1;
        *random >> 40
    };
    let write = || {
        let random = &mut 7;
        for round in 0..200_000 {
            let key = step(random) % 24;
            if round % 3 == 0 {
                let here = At { hash: hash(key), key: &[key; 2], now: NOW };
                let _ = sets.invalidate::<PlainSet<_, _>, _>(here, &mut Leaving::new(None));
            } else {
                put(&sets, key, (round << 8) | key);
            }
            for _ in 0..3 {
                let _ = use_it(&sets, key);
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    let read = || {
        let (random, mut hits) = (&mut 9, 0);
        while !done.load(Ordering::Relaxed) {
            let key = step(random) % 24;
            let found = sets.hit_unlocked(hash(key), &[key; 2], NOW, false);
            let Some(value) = found else { continue };
            assert_eq!(value, [value[0]; 8], "a torn value");
            assert_eq!(value[0] & 0xff, key, "another key's value");
            hits += 1;
        }
        hits
    };
    thread::scope(|scope| {
        let reader = scope.spawn(read);
        write();
        assert_eq!(reader.join().unwrap(), sets.counts.sum::<HITS>());
    });
    plain::clear(&mut *sets.table::<PlainSet<_, _>>(0), &mut |_, _, _| {});
}

#[test]
fn a_table_that_was_held_in_a_panic_is_swept() {
    let sets = sets(3, 28);
    put(&sets, 1, 7);
    sets.purge::<PlainSet<_, _>>(NOW);
    assert!(!sets.is_due(NOW));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _desk = sets.desk::<PlainSet<_, _>>(hash(1));
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err() && sets.is_due(NOW));
}

#[test]
fn who_goes_sooner_than_the_value_before_it_is_swept_in_time() {
    let sets = sets(3, 28);
    let put = |now| sets.put::<PlainSet<_, _>>((hash(1), [1; 2]), ([7; 8], 1), now);
    assert_eq!(put(NOW + Duration::from_secs(100)), Ok(None));
    let over = NOW + Duration::from_secs(61);
    assert!(!sets.is_due(over) && sets.is_due(NOW + Duration::from_secs(161)));
    assert_eq!(put(NOW), Ok(None));
    assert!(sets.is_due(over));
    assert_eq!(sets.maintain::<PlainSet<_, _>>(over, 100), 1);
}
