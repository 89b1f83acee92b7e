//! What holds across operations on a shard.

use super::*;
use crate::loaded::Loaded;
use core::time::Duration;

/// A ttl of its own costs an entry two instants beside it, and no record.
#[test]
fn times_of_its_own_need_no_record() {
    use crate::table::{Bound, HashTable, LocalTable};
    type Hasher = core::hash::BuildHasherDefault<crate::table::Fnv1a>;
    let policy = Policy::ttl(Duration::from_secs(60)).stale_if_error(Duration::from_secs(9));
    let mut table: HashTable<u8, u8, _> = HashTable::new(Bound::Entries(4), Hasher::default());
    let records = table.records();
    let mut book = Book::new(records, policy.build().unwrap(), Limits::default(), 0);
    let at = |secs| At { hash: 0, key: &1_u8, now: Instant::from_secs(secs) };
    let loaded = Loaded::value(7_u8).ttl(Duration::from_secs(5)).age(Duration::from_secs(2));
    let out = &mut |_, _, _| {};
    let put = Shard::new(&mut table, &mut book).put(at(100), &mut Spare::two(1, 1), loaded, 1, out);
    assert!(put.is_stored());
    assert_eq!(book.records.len(), 0);
    let entry = View::new(&table, &book).entry(at(101)).unwrap();
    assert_eq!(entry.age(Instant::from_secs(101)), Duration::from_secs(3));
    assert_eq!(entry.fresh_until(), Instant::from_secs(103));
    assert_eq!(entry.gone_at(), Instant::from_secs(112));
    assert!(Shard::new(&mut table, &mut book).expire(at(101), &mut Spare::one(1), out));
    assert_eq!(book.records.len(), 0);
    assert_eq!(plain::sweep(&mut table, &book.rules.timing(), Instant::from_secs(109), 9, out), 0);
    assert_eq!(plain::sweep(&mut table, &book.rules.timing(), Instant::from_secs(110), 9, out), 1);
}

/// Two tables share a book that has room for one record. Whose record has to go keeps its entry,
/// and one that was put meanwhile keeps its own deadline.
#[cfg(feature = "sets")]
#[test]
fn an_entry_of_another_table_outlives_its_record() {
    use crate::action::Action;
    use crate::contract::Contract;
    use crate::table::{HashPlaces, HeapSet};
    let at = |set, now| At { hash: HeapSet::<u8, u8>::hash(set, 0), key: &1_u8, now };
    let later = Instant::from_secs(100);
    for put_meanwhile in [false, true] {
        let policy = Policy::ttl(Duration::from_secs(60)).jitter_percent(0);
        let policy = policy.stale_while_revalidate(Duration::from_secs(90)).build().unwrap();
        let limits = Limits { flights: 1, remembered: 0 };
        let mut book = Book::new(HashPlaces::new(9), policy, limits, 0);
        let (mut one, mut other) = (HeapSet::new(0, 4), HeapSet::new(1, 4));
        let out = &mut |_, _, _| {};
        let now = Instant::from_secs(10);
        let put = |book: &Book<_, _>, one: &mut HeapSet<u8, u8>, value, now| {
            let hash = at(0, now).hash;
            let rest = book.rules.timing().rest(now, hash).unwrap();
            let newcomer = plain::Newcomer { hash, key: 1, rest, value, weight: 1 };
            plain::put(one, newcomer, &mut |_, _, _| {});
        };
        put(&book, &mut one, 7, now);
        let mut spare = Spare::one(1);
        let shard = Shard::new(&mut one, &mut book);
        let asked = shard.lookup(at(0, later), &mut spare, &Contract::new(), out);
        let Action::ServeAndRefresh { ticket, .. } = asked else { panic!("it is stale") };
        Shard::new(&mut one, &mut book).fail(at(0, later), &mut spare, ticket, &"down", out);
        assert!(one.entry(0).unwrap().mark.has_record());
        let shard = Shard::new(&mut other, &mut book);
        let asked = shard.lookup(at(1, later), &mut Spare::one(1), &Contract::new(), out);
        assert!(matches!(asked, Action::Load { .. }), "there was room to be made");
        let displaced = book.take_displaced().expect("the record of the other table went");
        if put_meanwhile {
            put(&book, &mut one, 8, later);
        }
        displaced.settle(&mut one, out);
        let fresh_until = View::new(&one, &book).entry(at(0, later)).unwrap().fresh_until();
        let expected = if put_meanwhile { 160 } else { 70 };
        assert_eq!(fresh_until, Instant::from_secs(expected));
    }
}

/// A table is cut while its keys are in flight: their records part from the entries, and the flights
/// land.
#[test]
fn records_part_from_entries_that_a_lower_bound_evicts() {
    use crate::action::{Action, Completion};
    use crate::contract::Contract;
    use crate::table::{Bound, HashTable, LocalTable};
    type Hasher = core::hash::BuildHasherDefault<crate::table::Fnv1a>;
    let policy = Policy::ttl(Duration::from_secs(60)).stale_while_revalidate(Duration::MAX);
    let mut table: HashTable<u8, u8, _> = HashTable::new(Bound::Entries(9), Hasher::default());
    let records = table.records();
    let mut book = Book::new(records, policy.build().unwrap(), Limits::default(), 0);
    fn at(key: &u8) -> At<'_, u8> {
        At { hash: u64::from(*key), key, now: Instant::from_secs(100) }
    }
    let out = &mut |_, _, _| {};
    for key in [0, 1, 2_u8] {
        let loaded = Loaded::value(key).tag("all").age(Duration::from_secs(61));
        let spare = &mut Spare::two(key, key);
        let put = Shard::new(&mut table, &mut book).put(at(&key), spare, loaded, 1, out);
        assert!(put.is_stored());
    }
    let tickets = [0, 1, 2].map(|key| {
        let (mut spare, contract) = (Spare::one(key), Contract::new());
        let shard = Shard::new(&mut table, &mut book);
        let Action::ServeAndRefresh { ticket, .. } =
            shard.lookup(at(&key), &mut spare, &contract, out)
        else {
            panic!("it is stale")
        };
        ticket
    });
    table.set_bound(Bound::Entries(1));
    let mut went = alloc::vec::Vec::new();
    let out = &mut |cause, key: Option<u8>, value| went.push((cause, key.unwrap(), value));
    assert_eq!(Shard::new(&mut table, &mut book).evict(1, out), 1);
    View::new(&table, &book).check_invariants();
    assert_eq!(Shard::new(&mut table, &mut book).evict(9, out), 1);
    View::new(&table, &book).check_invariants();
    assert_eq!(went, [(Cause::Capacity, 0, 0), (Cause::Capacity, 1, 1)]);
    for (key, ticket) in (0..).zip(tickets) {
        let (spare, loaded) = (&mut Spare::two(key, key), Loaded::value(7));
        let shard = Shard::new(&mut table, &mut book);
        let landed = shard.complete(at(&key), spare, ticket, loaded, 1, &mut |_, _, _| {});
        assert!(matches!(landed, Completion::Applied(7)));
        View::new(&table, &book).check_invariants();
    }
    assert_eq!((table.len(), book.flights()), (1, 0));
}

/// What a flight loads across an `expire_all` does not land, and is a suspect until something voids it.
#[test]
fn a_flight_that_may_have_missed_something_is_told_from_one_that_is_void() {
    use crate::action::{Action, Completion};
    use crate::contract::Contract;
    use crate::table::{Bound, HashTable, LocalTable};
    type Hasher = core::hash::BuildHasherDefault<crate::table::Fnv1a>;
    let at = |millis| At {
        hash: 0,
        key: &1_u8,
        now: Instant::from_secs(100) + Duration::from_millis(millis),
    };
    let out = &mut |_, _, _| {};
    for voided in ["not", "by a put", "by a later load", "by a failure"] {
        let lease = Duration::from_secs(30);
        let policy = Policy::ttl(Duration::from_secs(60)).lease(lease).build().unwrap();
        let mut table: HashTable<u8, u8, _> = HashTable::new(Bound::Entries(4), Hasher::default());
        let mut book = Book::new(table.records(), policy, Limits::default(), 0);
        let mut ask = |book: &mut Book<_, _>, table: &mut _, millis| {
            let shard = Shard::new(table, book);
            let asked = shard.lookup(at(millis), &mut Spare::one(1), &Contract::new(), out);
            let Action::Load { ticket, .. } = asked else { panic!("{voided}: {asked:?}") };
            ticket
        };
        let first = ask(&mut book, &mut table, 0);
        assert!(!View::new(&table, &book).is_suspect(0, &1, &first));
        book.expire_all(at(1).now);
        assert!(View::new(&table, &book).is_suspect(0, &1, &first));
        let later = ask(&mut book, &mut table, 2);
        let until = later.lease_until().saturating_since(at(2).now);
        assert_eq!(until, lease, "nothing has lapsed");
        assert!(!View::new(&table, &book).is_suspect(0, &1, &later));
        let mut spare = Spare::two(1, 1);
        let mut shard = Shard::new(&mut table, &mut book);
        match voided {
            "by a put" => drop(shard.put(at(3), &mut spare, Loaded::value(8), 1, out)),
            "by a later load" => {
                let end = shard.complete(at(3), &mut spare, later, Loaded::value(8), 1, out);
                assert_eq!(end, Completion::Applied(&8));
            }
            "by a failure" => {
                shard.fail(at(3), &mut spare, later, &"down", out);
            }
            _ => {}
        }
        let suspect = View::new(&table, &book).is_suspect(0, &1, &first);
        assert_eq!(suspect, matches!(voided, "not" | "by a failure"), "{voided}");
        let shard = Shard::new(&mut table, &mut book);
        let end = shard.complete(at(4), &mut spare, first, Loaded::value(7), 1, out);
        assert_eq!(end, Completion::Superseded(Some(7)), "{voided}");
    }
}
