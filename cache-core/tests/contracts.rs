//! What a read accepts, and what a flight may find elsewhere before it asks the origin.
#![cfg(feature = "hashbrown")]

use std::time::Duration;

use cache_core::local::Cache;
use cache_core::shard::{At, Book, Limits, Shard, Spare, View};
use cache_core::table::{Bound, HashTable, LocalTable};
use cache_core::{
    Action, Completion, Contract, Freshness, Instant, Loaded, Policy, PolicyBuilder, Refusal,
    Ticket,
};

type Hasher = foldhash::fast::FixedState;
type Read = Cache<u8, &'static str, HashTable<u8, &'static str, Hasher>>;

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::from_secs(1_000) + Duration::from_millis(millis)
}

fn table() -> HashTable<u8, &'static str, Hasher> {
    HashTable::new(Bound::Entries(100), Hasher::default())
}

fn policy() -> PolicyBuilder {
    Policy::ttl(SECOND).jitter_percent(0).stale_while_revalidate(SECOND).stale_if_error(SECOND * 9)
}

fn cache() -> Read {
    Cache::with_table(policy().build().unwrap(), table())
}

#[test]
fn only_if_cached_starts_nothing_and_waits_for_nothing() {
    let mut cache = cache();
    let contract = Contract::new().only_if_cached();
    let told = |cache: &mut Read, contract: &Contract, millis| match cache.lookup_within(
        &1,
        contract,
        at(millis),
    ) {
        Action::Serve { freshness, .. } => Ok(freshness),
        Action::Fail { cause, .. } => Err(cause),
        other => panic!("neither served nor refused: {other:?}"),
    };
    assert_eq!(told(&mut cache, &contract, 0), Err(Refusal::OnlyIfCached));
    cache.put(1, "v1", at(0));
    assert_eq!(told(&mut cache, &contract, 999), Ok(Freshness::Fresh));
    assert_eq!(told(&mut cache, &contract, 1_999), Ok(Freshness::Stale));
    assert_eq!(told(&mut cache, &contract, 2_000), Err(Refusal::OnlyIfCached), "kept for errors");
    let older = contract.max_stale(SECOND * 5);
    assert_eq!(told(&mut cache, &older, 5_999), Ok(Freshness::Expired), "the caller said so");
    assert_eq!(told(&mut cache, &older, 6_000), Err(Refusal::OnlyIfCached));
    assert_eq!(cache.stats().loads, 0);
    // A flight under way changes nothing for such a caller.
    assert!(matches!(cache.lookup(&1, at(6_000)), Action::Load { .. }));
    assert_eq!(told(&mut cache, &contract, 6_000), Err(Refusal::OnlyIfCached));
}

#[test]
fn a_refresh_may_be_asked_for_while_the_value_is_fresh() {
    let mut cache = cache();
    cache.put(1, "v1", at(0));
    let contract = Contract::new().refresh();
    let Action::ServeAndRefresh { value: &"v1", freshness: Freshness::Fresh, ticket } =
        cache.lookup_within(&1, &contract, at(100))
    else {
        panic!("a fresh value is served while its refresh is granted");
    };
    let again = cache.lookup_within(&1, &contract, at(100));
    assert!(matches!(again, Action::Serve { value: &"v1", .. }), "one at a time: {again:?}");
    assert_eq!(cache.complete(&1, ticket, "v2", at(200)), Completion::Applied(&"v2"));
    assert_eq!(cache.get(&1, at(1_199)), Some(&"v2"));
}

/// A key whose flight finds an old value in a store behind the cache.
struct Flown {
    table: Words,
    book: Book<u8, Records>,
}

type Words = HashTable<u8, &'static str, Hasher>;
type Records = <Words as LocalTable<u8, &'static str>>::Records;

impl Flown {
    fn new() -> Self {
        let table = table();
        let book = Book::new(table.records(), policy().build().unwrap(), Limits::default(), 0);
        Self { table, book }
    }

    fn shard(&mut self) -> Shard<'_, u8, &'static str, Words, Records> {
        Shard::new(&mut self.table, &mut self.book)
    }

    fn lookup(&mut self, millis: u64) -> Action<'_, &'static str> {
        let mut spare = Spare::one(1);
        self.shard().lookup(here(millis), &mut spare, &Contract::new(), &mut |_, _, _| {})
    }

    /// What is handed back.
    fn adopt(&mut self, ticket: &Ticket, age: Duration, millis: u64) -> Option<&'static str> {
        let loaded = Loaded::value("old").ttl(SECOND).age(age);
        let mut spare = Spare::storing(1, &loaded);
        self.shard().adopt(here(millis), &mut spare, ticket, loaded, 1, &mut |_, _, _| {})
    }
}

fn here(millis: u64) -> At<'static, u8> {
    At { hash: 1, key: &1, now: at(millis) }
}

#[test]
fn an_old_value_found_elsewhere_serves_while_the_flight_goes_on() {
    let mut flown = Flown::new();
    let ticket = flown.lookup(0).into_ticket().unwrap();
    assert_eq!(flown.adopt(&ticket, SECOND + SECOND / 2, 0), None);
    let entry = View::new(&flown.table, &flown.book).entry(here(100)).unwrap();
    assert_eq!((entry.value, entry.age(at(100))), (&"old", Duration::from_millis(1_600)));
    let stale = flown.lookup(100);
    assert!(matches!(stale, Action::Serve { freshness: Freshness::Stale, .. }), "{stale:?}");
    assert!(matches!(flown.lookup(600), Action::Wait { fallback: Some(_), .. }));
    let fallback =
        flown.shard().fail(here(700), &mut Spare::one(1), ticket, &"down", &mut |_, _, _| {});
    assert_eq!(fallback, Some(&"old"), "kept for errors");
    let cooling = flown.lookup(701);
    assert!(matches!(cooling, Action::Serve { freshness: Freshness::Expired, .. }), "{cooling:?}");
}

#[test]
fn what_is_no_newer_or_comes_too_late_is_handed_back() {
    let mut flown = Flown::new();
    let ticket = flown.lookup(0).into_ticket().unwrap();
    assert_eq!(flown.adopt(&ticket, SECOND * 10, 0), Some("old"), "its windows have passed");
    assert_eq!(flown.adopt(&ticket, SECOND, 0), None);
    assert_eq!(flown.adopt(&ticket, SECOND, 0), Some("old"), "it is here already");
    assert!(flown.shard().invalidate(here(1), &mut |_, _, _| {}));
    assert_eq!(flown.adopt(&ticket, SECOND / 2, 2), Some("old"), "the flight is void");
    assert!(matches!(flown.lookup(3), Action::Load { fallback: None, .. }));
}

#[test]
fn who_bypasses_the_cache_takes_nothing_from_it_and_keeps_what_is_loaded() {
    let mut cache = cache();
    let bypass = Contract::new().bypass(true);
    cache.put(1, "v1", at(0));
    assert_eq!(cache.get_within(&1, &bypass, at(1)), None, "fresh, and not asked for");
    assert_eq!(cache.get(&1, at(1)), Some(&"v1"));
    let Action::Load { ticket, fallback: None } = cache.lookup_within(&1, &bypass, at(1)) else {
        panic!("the origin is asked")
    };
    let joined = cache.lookup_within(&1, &bypass, at(2));
    assert!(matches!(joined, Action::Wait { fallback: None, .. }), "{joined:?}");
    assert!(matches!(cache.lookup(&1, at(2)), Action::Serve { value: &"v1", .. }));
    let landed = cache.complete(&1, ticket, Loaded::value("v2"), at(3));
    assert!(matches!(landed, Completion::Applied(&"v2")));
    assert_eq!(cache.get(&1, at(3)), Some(&"v2"));
    let only = bypass.only_if_cached();
    let Action::Fail { cause, .. } = cache.lookup_within(&1, &only, at(3)) else {
        panic!("nothing is cached for whom nothing is there")
    };
    assert_eq!(cause, Refusal::OnlyIfCached);
}

#[test]
fn who_bypasses_the_cache_asks_for_a_missing_key_again_and_is_told_of_failures() {
    let mut cache = cache();
    let bypass = Contract::new().bypass(true);
    let Action::Load { ticket, .. } = cache.lookup(&1, at(0)) else { panic!("cold") };
    let missing = cache.complete(&1, ticket, Loaded::missing(), at(0));
    assert!(matches!(missing, Completion::Missing));
    assert!(matches!(cache.lookup(&1, at(1)), Action::Missing));
    let Action::Load { ticket, .. } = cache.lookup_within(&1, &bypass, at(1)) else {
        panic!("not told from memory that it is missing")
    };
    let landed = cache.complete(&1, ticket, Loaded::value("v1"), at(1));
    assert!(matches!(landed, Completion::Applied(&"v1")));
    // Held back for others by its failure, but not for who has no old value to take.
    let Action::ServeAndRefresh { ticket, .. } = cache.lookup(&1, at(1_500)) else {
        panic!("stale")
    };
    cache.fail(&1, ticket, &"down", at(1_500));
    assert!(matches!(cache.lookup(&1, at(1_501)), Action::Serve { .. }));
    assert!(matches!(
        cache.lookup_within(&1, &bypass, at(1_501)),
        Action::Load { fallback: None, .. }
    ));
}
