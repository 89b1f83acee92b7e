//! Every table against a plain map: what is put in is found until it leaves, nothing is there twice,
//! and the bound holds.
#![cfg(all(feature = "hashbrown", feature = "heapless", feature = "sets"))]

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use cache_core::local::Cache;
use cache_core::shard::plain::{self, Look};
use cache_core::shard::{At, Rules, Timing};
use cache_core::table::{
    Bound, HashTable, HeapSet, LinearTable, LocalTable, SetTable, Table, WAYS,
};
use cache_core::{Cause, Instant, Loaded, Policy, Stats};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Get(u8),
    Remove(u8),
    /// Time goes on by so many seconds, and what has passed is swept.
    Wait(u8),
    /// Another bound, to which the table is cut in pieces of so many entries.
    Bound(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..60_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..60_u8).prop_map(Step::Get),
        1 => (0..60_u8).prop_map(Step::Remove),
        1 => (0..9_u8).prop_map(Step::Wait),
        1 => (1..60_u8, 1..9_u8).prop_map(|(most, piece)| Step::Bound(most, piece)),
    ];
    prop::collection::vec(step, 1..400)
}

/// A table under `shard::plain`, next to a map of what may be in it, with the time of each put.
struct Pair<T> {
    table: T,
    model: HashMap<u8, (u8, u64)>,
    timing: Timing,
    now: u64,
    hash: fn(u8) -> u64,
}

const TTL: u64 = 20;

impl<T: Table<u8, u8>> Pair<T> {
    fn new(table: T, hash: fn(u8) -> u64) -> Self {
        let policy = Policy::ttl(core::time::Duration::from_secs(TTL)).jitter_percent(0);
        let timing = Rules::new(policy.build().unwrap(), 0).timing();
        Self { table, model: HashMap::new(), timing, now: 1_000, hash }
    }

    fn here<'a, Q>(&self, key: u8, asked: &'a Q) -> At<'a, Q> {
        At { hash: (self.hash)(key), key: asked, now: Instant::from_secs(self.now) }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Put(key, value) => self.put(key, value),
            Step::Get(key) => self.get(key),
            Step::Remove(key) => {
                let here = self.here(key, &key);
                let held = self.table.find(here.hash, &key).is_some();
                let fresh = self.model.remove(&key).is_some_and(|(_, at)| self.now < at + TTL);
                let found =
                    plain::invalidate(&mut self.table, &self.timing, here, &mut |_, _, _| {});
                assert_eq!(found, held && fresh);
            }
            Step::Wait(seconds) => self.wait(seconds.into()),
            Step::Bound(most, piece) => self.bound(most.into(), piece.into()),
        }
        self.check();
    }

    fn put(&mut self, key: u8, value: u8) {
        let (at, model) = (self.here(key, &()), &mut self.model);
        let out = &mut |cause, key: Option<u8>, value| {
            if cause == Cause::Capacity {
                let (held, _) = model.remove(&key.unwrap()).expect("what is evicted was there");
                assert_eq!(held, value);
            }
        };
        let rest = self.timing.rest(at.now, at.hash).expect("the ttl is not zero");
        let newcomer = plain::Newcomer { hash: at.hash, key, rest, value, weight: 1 };
        let put = plain::put(&mut self.table, newcomer, out);
        assert!(matches!(put, plain::Placed::Stored | plain::Placed::Replaced(_)), "{put:?}");
        self.model.insert(key, (value, self.now));
        assert!(self.table.find(at.hash, &key).is_some(), "what was just stored is there");
    }

    fn get(&mut self, key: u8) {
        let here = self.here(key, &key);
        let fresh = self.model.get(&key).filter(|(_, at)| self.now < at + TTL);
        let held = self.table.find(here.hash, &key).is_some();
        let expected = match fresh {
            Some((value, _)) => Look::Fresh(*value),
            None if held => Look::Ask,
            None => Look::Absent,
        };
        assert_eq!(plain::look(&mut self.table, here).cloned(), expected);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        let (now, model) = (Instant::from_secs(self.now), &mut self.model);
        let out = &mut |cause, key: Option<u8>, _| {
            assert_eq!(cause, Cause::Expired);
            model.remove(&key.unwrap());
        };
        plain::sweep(&mut self.table, &self.timing, now, 1_000, out);
        assert!(self.model.values().all(|(_, at)| self.now < at + TTL), "the sweep missed one");
    }

    fn bound(&mut self, most: usize, piece: usize) {
        let model = &mut self.model;
        let out = &mut |cause, key: Option<u8>, value| {
            assert_eq!(cause, Cause::Capacity);
            let (held, _) = model.remove(&key.unwrap()).expect("what is evicted was there");
            assert_eq!(held, value);
        };
        let before = evictions(&self.table);
        self.table.set_bound(Bound::Entries(most));
        let mut went = 0;
        loop {
            let piece_went = plain::evict(&mut self.table, piece, out);
            went += piece_went as u64;
            assert!(piece_went <= piece);
            if piece_went < piece {
                break;
            }
        }
        assert_eq!(evictions(&self.table), before + went, "each is counted");
    }

    fn check(&self) {
        let Bound::Entries(most) = self.table.bound() else { panic!("bounded by number") };
        assert!(self.table.len() <= most);
        assert_eq!(self.table.len(), self.model.len(), "what left was told");
        let held = (0..self.table.slots()).filter_map(|at| self.table.get(at));
        for (hash, key, entry) in held {
            assert_eq!(hash, (self.hash)(*key));
            assert_eq!(Some(entry.value()), self.model.get(key).map(|(value, _)| value));
        }
    }
}

fn evictions<T: Table<u8, u8>>(table: &T) -> u64 {
    let mut stats = Stats::default();
    stats += table.tally();
    stats.evictions
}

fn run<T: Table<u8, u8>>(table: T, hash: fn(u8) -> u64, steps: &[Step]) {
    let mut pair = Pair::new(table, hash);
    steps.iter().for_each(|step| pair.step(step));
}

const SET: u32 = 77;

/// The two bytes that the set keeps are others for each key.
const fn in_set(key: u8) -> u64 {
    HeapSet::<u8, u8>::hash(SET, (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_set_keeps_what_it_is_given(steps in steps(), capacity in 1..=WAYS) {
        run(HeapSet::new(SET, capacity), in_set, &steps);
    }

    /// All keys have one hash: only comparing them tells them apart.
    #[test]
    fn a_set_tells_keys_apart_whose_hashes_are_alike(steps in steps()) {
        run(HeapSet::new(SET, WAYS), |_| HeapSet::<u8, u8>::hash(SET, 1 << 20), &steps);
    }

    #[test]
    fn a_hash_table_keeps_what_it_is_given(steps in steps(), capacity in 1..50_usize) {
        let table = HashTable::new(Bound::Entries(capacity), Hasher::default());
        run(table, |key| LocalTable::<u8, u8>::hash(&HashTable::<u8, u8, _>::new(Bound::Entries(1), Hasher::default()), &key), &steps);
    }

    #[test]
    fn a_linear_table_keeps_what_it_is_given(steps in steps()) {
        let hash = |key: u8| LinearTable::<u8, u8, 1>::new().hash(&key);
        run(LinearTable::<u8, u8, 20>::new(), hash, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_table_of_sets_keeps_what_it_is_given(steps in steps()) {
        let hash = |key: u8| SetTable::<u8, u8, 2, 1>::new().hash(&key);
        run(SetTable::<u8, u8, 2, 1>::new(), hash, &steps);
    }
}

/// A sweep looks once at a position whose entry goes, also where no other entry takes its place.
#[test]
fn a_sweep_of_a_set_needs_no_more_looks_than_positions() {
    let mut pair = Pair::new(HeapSet::<u8, u8>::new(SET, WAYS), in_set);
    (0..WAYS as u8).for_each(|key| pair.put(key, key));
    let now = Instant::from_secs(pair.now + TTL);
    let out = &mut |_, _, _| {};
    assert_eq!(plain::sweep(&mut pair.table, &pair.timing, now, WAYS, out), WAYS);
    assert_eq!(pair.table.len(), 0);
}

/// What was read often outlives a scan of a hundred times as many keys as fit.
#[test]
fn a_scan_does_not_wipe_out_what_is_hot() {
    let policy = Policy::forever().build().unwrap();
    let table = HashTable::new(
        Bound::Entries(100),
        BuildHasherDefault::<std::hash::DefaultHasher>::default(),
    );
    let mut cache: Cache<u32, u32, _> = Cache::with_table(policy, table);
    let now = Instant::from_secs(1);
    for _ in 0..3 {
        for key in 0..50 {
            if cache.get(&key, now).is_none() {
                cache.put(key, Loaded::value(key), now);
            }
        }
    }
    for key in 1_000..11_000 {
        cache.put(key, Loaded::value(key), now);
    }
    let kept = (0..50).filter(|key| cache.contains(key, now)).count();
    assert!(kept >= 45, "{kept} of 50 hot keys outlived the scan");
}

/// A table with `keys` entries, the first ten of which were read often, under another bound.
fn cut<T: Table<u8, u8>>(table: T, hash: fn(u8) -> u64, keys: u8, most: usize) -> Pair<T> {
    let mut pair = Pair::new(table, hash);
    (0..keys).for_each(|key| pair.put(key, key));
    (0..30).for_each(|read| pair.get(read % 10));
    pair.bound(most, 256);
    pair.check();
    pair
}

fn hot_ones<T: Table<u8, u8>>(pair: &Pair<T>) -> usize {
    (0..10).filter(|key| pair.table.find((pair.hash)(*key), key).is_some()).count()
}

type Hasher = BuildHasherDefault<std::hash::DefaultHasher>;

/// What a loop finds in sets, in %, when it is so many times as long as they are large.
fn hits_of_a_loop(times: f64) -> u32 {
    let policy = Policy::ttl(core::time::Duration::from_secs(TTL)).build().unwrap();
    let mut cache: Cache<u32, (), SetTable<u32, (), 64>> = Cache::new(policy);
    let (now, keys) = (Instant::from_secs(1), (64.0 * WAYS as f64 * times) as u32);
    let mut hits = 0;
    for round in 0..40 {
        for key in 0..keys {
            match cache.get(&key, now) {
                Some(()) => hits += u32::from(round >= 20),
                None => drop(cache.put(key, (), now)),
            }
        }
    }
    hits * 100 / (20 * keys)
}

/// If all who leave the main queue left ghosts, it would find 64 % of the shortest of these, not 83.
#[test]
fn a_loop_that_is_longer_than_all_sets_finds_a_part_of_itself() {
    let found = [1.1, 1.5, 2.0].map(hits_of_a_loop);
    assert!(found[0] >= 80 && found[1] >= 58 && found[2] >= 42, "{found:?}");
}

#[test]
fn what_is_hot_stays_when_a_table_is_cut() {
    let set = cut(HeapSet::new(SET, WAYS), in_set, 28, 12);
    assert_eq!((set.table.len(), hot_ones(&set)), (12, 10));
    let table = HashTable::new(Bound::Entries(200), Hasher::default());
    let table = cut(table, |key| u64::from(key) << 40, 200, 12);
    assert_eq!((table.table.len(), hot_ones(&table)), (12, 10));
}

#[test]
fn a_table_that_was_cut_grows_again() {
    let mut set = cut(HeapSet::new(SET, WAYS), in_set, 28, 3);
    set.bound(WAYS, 256);
    (100..128).for_each(|key| set.put(key, key));
    assert_eq!(set.table.len(), WAYS);
    assert_eq!(evictions(&set.table), 25 + 3);
}

/// Whoever stores something in a table that has yet to shrink to a lowered bound lets others go, and is
/// not handed back.
#[test]
fn a_newcomer_is_kept_while_a_table_has_yet_to_shrink() {
    let table = HashTable::new(Bound::Weight(10_000), Hasher::default());
    let mut pair: Pair<HashTable<u8, u8, Hasher>> = Pair::new(table, |_| 0);
    for hash in 0..10_000 {
        assert!(stored(&mut pair, hash, 1));
    }
    pair.table.set_bound(Bound::Weight(100));
    assert!(!stored(&mut pair, 10_000, 101), "it would never fit");
    for left in (0..38).map(|round| 10_000 - (round + 1) * 255) {
        assert!(stored(&mut pair, 10_000 + left, 1));
        assert_eq!(pair.table.weight(), left);
    }
    assert!(stored(&mut pair, 30_000, 1));
    assert_eq!((pair.table.len(), pair.table.weight()), (100, 100));
}

fn stored<T: Table<u8, u8>>(pair: &mut Pair<T>, hash: u64, weight: u32) -> bool {
    let rest = pair.timing.rest(Instant::from_secs(pair.now), hash).unwrap();
    let newcomer = plain::Newcomer { hash, key: 0, rest, value: 0, weight };
    let placed = plain::insert(&mut pair.table, None, newcomer, &mut |_, _, _| {});
    matches!(placed, plain::Placed::Stored)
}

/// A key that counts how often it was compared.
struct Compared<'a>(u64, &'a Cell<u32>);

impl PartialEq for Compared<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.1.update(|times| times + 1);
        self.0 == other.0
    }
}

impl Eq for Compared<'_> {}

/// All of a set's keys have one byte of their hashes in common, by which half of the positions know them, and
/// differ in the other.
#[test]
fn whoever_is_put_looks_at_no_stranger_of_the_same_tag() {
    fn compares<'a, T: Table<Compared<'a>, u64>>(
        mut table: T,
        times: &'a Cell<u32>,
        hash: fn(u64) -> u64,
    ) {
        let timing = Rules::new(Policy::forever().build().unwrap(), 0).timing();
        for (value, compared) in [(1, 0), (2, 20)] {
            times.set(0);
            for key in 0..20 {
                let hash = hash(key);
                let rest = timing.rest(Instant::from_secs(1), hash).unwrap();
                let key = Compared(key, times);
                let newcomer = plain::Newcomer { hash, key, rest, value, weight: 1 };
                match plain::put(&mut table, newcomer, &mut |_, _, _| {}) {
                    plain::Placed::Stored => assert_eq!(value, 1),
                    plain::Placed::Replaced(old) => assert_eq!((old, value), (1, 2)),
                    plain::Placed::NotKept(..) => unreachable!("there is room"),
                }
            }
            assert_eq!(times.get(), compared);
        }
    }
    let times = Cell::new(0);
    for hash in [|key: u64| key << 8 | 7, |key| 7 << 8 | key] {
        compares(HeapSet::new(0, WAYS), &times, hash);
        compares(SetTable::<_, _, 1, 1>::new(), &times, hash);
    }
}

/// Where nothing comes back, no newcomer ever asks the main queue for a place.
#[test]
fn what_nobody_reads_does_not_keep_its_place_for_ever() {
    let mut table: HashTable<u64, (), Hasher> =
        HashTable::new(Bound::Weight(100), Hasher::default());
    let timing = Rules::new(Policy::forever().build().unwrap(), 0).timing();
    let put = |table: &mut HashTable<u64, (), Hasher>, key: u64, weight: u32| {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let rest = timing.rest(Instant::from_secs(1), hash).unwrap();
        let newcomer = plain::Newcomer { hash, key, rest, value: (), weight };
        let placed = plain::put(table, newcomer, &mut |_, _, _| {});
        assert!(matches!(placed, plain::Placed::Stored));
    };
    put(&mut table, 0, 1);
    put(&mut table, 1, 90);
    let heavy = |table: &HashTable<u64, (), Hasher>| {
        (0..table.slots()).any(|at| table.get(at).is_some() && table.weight_at(at) == 90)
    };
    let stays = (2..1_000).take_while(|key| {
        put(&mut table, *key, 5);
        heavy(&table)
    });
    assert!(stays.count() < 500, "it keeps nine tenths of the table");
}
