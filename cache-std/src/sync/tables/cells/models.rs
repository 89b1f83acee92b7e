//! The four rules of the two-lock memory, and the change of its policy, under a scheduler that tries
//! many interleavings: each holds as it is written, and a variant without the rule is caught.

use core::time::Duration;
use std::sync::Arc;

use cache_core::shard::Spare;
use cache_core::table::{Bound, HeapSet};
use cache_core::{Action, Loaded, Ticket};
use shuttle::thread;

use super::super::lock::Spin;
use super::*;

const KEY: u8 = 1;
const NOW: Instant = Instant::from_secs(9);
/// Interleavings that are tried for each model.
const RUNS: usize = 3_000;

type Memory = Cells<u8, u8, Spin<HeapSet<u8, u8>>>;

fn memory() -> Arc<Memory> {
    let policy = Policy::ttl(Duration::from_secs(60)).build().unwrap();
    Arc::new(Cells::new(
        [HeapSet::new(0, 4), HeapSet::new(1, 4)].into_iter(),
        policy,
        Limits::default(),
        0,
    ))
}

/// Any hash does: both tables share one book or have neighbouring ones.
const HASH: u64 = 7 << 50;

fn put(memory: &Memory, value: u8) {
    if let Err((_, value)) = memory.put((HASH, KEY), (value, 1), NOW) {
        put_by_book(memory, value);
    }
}

fn put_by_book(memory: &Memory, value: u8) {
    let mut desk = memory.desk::<HeapSet<u8, u8>>(HASH);
    let here = At { hash: desk.hash, key: &KEY, now: NOW };
    let spare = &mut Spare::one(KEY);
    let _ = desk.shard().put(here, spare, Loaded::value(value), 1, &mut |_, _, _| {});
    desk.close(&mut Leaving::new(None));
}

/// What a read that may load is told; the flight is left to the caller.
#[derive(Debug)]
enum Told {
    Value,
    Load(Ticket),
    Wait,
}

fn ask(memory: &Memory) -> Told {
    if held(memory).is_some() {
        return Told::Value;
    }
    let mut desk = memory.desk::<HeapSet<u8, u8>>(HASH);
    let here = At { hash: desk.hash, key: &KEY, now: NOW };
    let (spare, contract) = (&mut Spare::one(KEY), cache_core::Contract::new());
    let told = match desk.shard().lookup(here, spare, &contract, &mut |_, _, _| {}) {
        Action::Serve { .. } => Told::Value,
        Action::Load { ticket, .. } => Told::Load(ticket),
        Action::Wait { .. } => Told::Wait,
        other => panic!("{other:?}"),
    };
    desk.close(&mut Leaving::new(None));
    told
}

fn complete(memory: &Memory, ticket: Ticket, value: u8) {
    let mut desk = memory.desk::<HeapSet<u8, u8>>(HASH);
    let here = At { hash: desk.hash, key: &KEY, now: NOW };
    let spare = &mut Spare::one(KEY);
    let _ = desk.shard().complete(here, spare, ticket, Loaded::value(value), 1, &mut |_, _, _| {});
    desk.close(&mut Leaving::new(None));
}

fn load(memory: &Memory, value: u8) {
    if let Told::Load(ticket) = ask(memory) {
        complete(memory, ticket, value);
    }
}

fn held(memory: &Memory) -> Option<u8> {
    memory.hit::<HeapSet<u8, u8>, _>(HASH, &KEY, NOW)
}

/// Runs two threads to their ends, then checks.
fn race(
    one: impl FnOnce(&Memory) + Send + 'static,
    other: impl FnOnce(&Memory) + Send + 'static,
    check: impl FnOnce(&Memory),
) {
    let memory = memory();
    let (first, second) = (Arc::clone(&memory), Arc::clone(&memory));
    let first = thread::spawn(move || one(&first));
    let second = thread::spawn(move || other(&second));
    first.join().unwrap();
    second.join().unwrap();
    check(&memory);
}

/// Rule 1: the book's lock first.
#[test]
fn who_takes_both_locks_never_blocks_for_ever() {
    let model = || race(|m| load(m, 1), |m| m.clear::<HeapSet<u8, u8>>(), |_| {});
    shuttle::check_random(model, RUNS);
}

#[test]
#[should_panic(expected = "deadlock")]
fn with_the_tables_lock_first_they_do() {
    let backwards = |memory: &Memory| {
        let (_, number, _) = memory.locate::<HeapSet<u8, u8>>(HASH);
        let table = memory.table::<HeapSet<u8, u8>>(number);
        let ledger = memory.ledger(number);
        drop((table, ledger));
    };
    shuttle::check_random(move || race(backwards, |m| m.clear::<HeapSet<u8, u8>>(), |_| {}), RUNS);
}

/// Rule 2: a value put by hand is never overwritten by a load that began before it.
fn put_outlives_load(put: fn(&Memory, u8)) {
    shuttle::check_random(
        move || race(|m| load(m, 1), move |m| put(m, 2), |m| assert_eq!(held(m), Some(2))),
        RUNS,
    );
}

#[test]
fn a_put_voids_the_flights_that_it_meets() {
    put_outlives_load(put);
}

#[test]
#[should_panic(expected = "left == right")]
fn with_the_count_asked_before_the_lock_a_put_is_lost() {
    put_outlives_load(|memory, value| {
        let (_, number, hash) = memory.locate::<HeapSet<u8, u8>>(HASH);
        if !memory.counts.is_zero(number) {
            return put_by_book(memory, value);
        }
        let mut table = memory.table::<HeapSet<u8, u8>>(number);
        let rest = memory.timing.read().rest(NOW, hash).unwrap();
        let newcomer = plain::Newcomer { hash, key: KEY, rest, value, weight: 1 };
        let _ = plain::put(&mut *table, newcomer, &mut |_, _, _| {});
    });
}

/// Rule 2: records part from entries that a lower bound evicts.
fn records_follow(cut: fn(&Memory)) {
    let model = move || {
        let mut memory = memory();
        Arc::get_mut(&mut memory).unwrap().limit_to(Bound::Entries(8), 8);
        let other = Arc::clone(&memory);
        let other = thread::spawn(move || cut(&other));
        // The oldest is the first to go.
        put_with_tag(&memory, KEY);
        put_with_tag(&memory, KEY + 1);
        other.join().unwrap();
        let desk = memory.desk::<HeapSet<u8, u8>>(HASH);
        desk.view().check_invariants();
        desk.close(&mut Leaving::new(None));
        assert!(memory.sum(|table: &HeapSet<u8, u8>| table.len() as u64) <= 2);
    };
    shuttle::check_random(model, RUNS);
}

/// An entry with a tag, and so with a record.
fn put_with_tag(memory: &Memory, key: u8) {
    let mut desk = memory.desk::<HeapSet<u8, u8>>(HASH);
    let here = At { hash: desk.hash, key: &key, now: NOW };
    let (spare, loaded) = (&mut Spare::two(key, key), Loaded::value(1).tag("blue"));
    let _ = desk.shard().put(here, spare, loaded, 1, &mut |_, _, _| {});
    desk.close(&mut Leaving::new(None));
}

#[test]
fn a_lower_bound_parts_records_from_what_it_evicts() {
    records_follow(|memory| memory.set_bound::<HeapSet<u8, u8>>(Bound::Entries(2)).unwrap());
}

#[test]
#[should_panic(expected = "a record and its entry disagree")]
fn with_the_tables_lock_alone_they_do_not() {
    records_follow(|memory| {
        for number in 0..2 {
            let mut table = memory.table::<HeapSet<u8, u8>>(number);
            table.set_bound(Bound::Entries(1));
            plain::evict(&mut *table, 4, &mut |_, _, _| {});
        }
    });
}

/// Where two change the bound, both tables end with the later one.
#[test]
fn the_last_bound_is_that_of_every_table() {
    let model = || {
        let mut memory = memory();
        Arc::get_mut(&mut memory).unwrap().limit_to(Bound::Entries(8), 8);
        let other = Arc::clone(&memory);
        let set = |memory: &Memory, entries| {
            memory.set_bound::<HeapSet<u8, u8>>(Bound::Entries(entries)).unwrap();
        };
        let other = thread::spawn(move || set(&other, 2));
        set(&memory, 6);
        other.join().unwrap();
        let Bound::Entries(last) = memory.bound() else { panic!("of entries") };
        for number in 0..2 {
            let bound = memory.table::<HeapSet<u8, u8>>(number).bound();
            assert_eq!(bound, Bound::Entries(last / 2));
        }
    };
    shuttle::check_random(model, RUNS);
}

/// Rule 3: who missed under one lock looks again under both.
fn load_gives_way_to_put(load: fn(&Memory, u8)) {
    let model = move || {
        race(
            move |m| load(m, 1),
            |m| put(m, 2),
            |m| assert_eq!(held(m), Some(2), "the load began when the value was there"),
        );
    };
    shuttle::check_random(model, RUNS);
}

#[test]
fn a_load_is_granted_only_where_nothing_is_found_under_both_locks() {
    load_gives_way_to_put(load);
}

#[test]
#[should_panic(expected = "the load began when the value was there")]
fn without_a_second_look_a_load_overwrites_what_came_before_it() {
    load_gives_way_to_put(|memory, value| {
        if held(memory).is_none() {
            put_by_book(memory, value);
        }
    });
}

/// Rule 4: at no time is there neither a value nor a flight.
fn one_load(end: fn(&Memory, Ticket)) {
    let model = move || {
        let memory = memory();
        let Told::Load(ticket) = ask(&memory) else { panic!("a cold key is loaded") };
        let leader = Arc::clone(&memory);
        let leader = thread::spawn(move || end(&leader, ticket));
        let told = ask(&memory);
        assert!(!matches!(told, Told::Load(_)), "a second load of one key");
        leader.join().unwrap();
        assert_eq!(held(&memory), Some(1));
    };
    shuttle::check_random(model, RUNS);
}

#[test]
fn a_flight_ends_with_its_value_in_place() {
    one_load(|memory, ticket| complete(memory, ticket, 1));
}

#[test]
#[should_panic(expected = "a second load of one key")]
fn with_the_record_gone_before_the_value_is_there_two_load() {
    one_load(|memory, ticket| {
        let mut desk = memory.desk::<HeapSet<u8, u8>>(HASH);
        let here = At { hash: desk.hash, key: &KEY, now: NOW };
        desk.shard().abandon(here, &mut Spare::none(), ticket, &mut |_, _, _| {});
        desk.close(&mut Leaving::new(None));
        put(memory, 1);
    });
}

/// An invalidation and a load that began before it: the value that was loaded does not stay.
#[test]
fn an_invalidation_voids_the_flights_that_it_meets() {
    let model = || {
        let memory = memory();
        let Told::Load(ticket) = ask(&memory) else { panic!("a cold key is loaded") };
        let leader = Arc::clone(&memory);
        let leader = thread::spawn(move || complete(&leader, ticket, 1));
        let mut leaving = Leaving::new(None);
        let here = At { hash: HASH, key: &KEY, now: NOW };
        if memory.invalidate::<HeapSet<u8, u8>, _>(here, &mut leaving).is_err() {
            let mut desk = memory.desk::<HeapSet<u8, u8>>(HASH);
            let here = At { hash: desk.hash, key: &KEY, now: NOW };
            desk.shard().invalidate(here, &mut |_, _, _| {});
            desk.close(&mut leaving);
        }
        leader.join().unwrap();
        assert_eq!(held(&memory), None);
    };
    shuttle::check_random(model, RUNS);
}

fn longer() -> Policy {
    Policy::ttl(Duration::from_secs(600)).jitter_percent(0).build().unwrap()
}

/// What was put while the policy changed is of no age, whichever policy it was stored by.
fn ages_hold(put: fn(&Memory, u8), change: fn(&Memory)) {
    let check = |memory: &Memory| {
        let desk = memory.desk::<HeapSet<u8, u8>>(HASH);
        let entry = desk.view().entry(At { hash: desk.hash, key: &KEY, now: NOW }).unwrap();
        assert_eq!(entry.age(NOW), Duration::ZERO, "an old mark was read by new rules");
        assert_eq!(entry.remaining(NOW), Duration::from_secs(600), "a new mark by old ones");
    };
    let model = move || race(move |m| (1..3).for_each(|value| put(m, value)), change, check);
    shuttle::check_random(model, RUNS);
}

#[test]
fn a_put_that_meets_another_policy_is_kept_by_that() {
    ages_hold(put, |memory| drop(memory.change_policy(&longer())));
}

#[test]
#[should_panic(expected = "old mark")]
fn with_the_timing_read_before_the_lock_it_is_kept_by_none() {
    let put = |memory: &Memory, value| {
        let (_, number, hash) = memory.locate::<HeapSet<u8, u8>>(HASH);
        let rest = memory.timing.read().rest(NOW, hash).unwrap();
        let mut table = memory.table::<HeapSet<u8, u8>>(number);
        if !memory.counts.is_zero(number) {
            drop(table);
            return put_by_book(memory, value);
        }
        let newcomer = plain::Newcomer { hash, key: KEY, rest, value, weight: 1 };
        let _ = plain::put(&mut *table, newcomer, &mut |_, _, _| {});
    };
    ages_hold(put, |memory| drop(memory.change_policy(&longer())));
}

#[test]
#[should_panic(expected = "mark")]
fn without_having_every_table_ask_its_book_meanwhile_it_is_kept_by_none_either() {
    let change = |memory: &Memory| {
        for book in 0..memory.books.len() {
            // As `change_book` finds them.
            (book..2).step_by(memory.books.len()).for_each(|table| memory.counts.add(table));
            drop(memory.change_book::<HeapSet<u8, u8>>(book, &longer()));
        }
    };
    ages_hold(put, change);
}
