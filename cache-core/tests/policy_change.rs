//! A cache whose policy was changed and one that had the policy from the start agree on every entry.
#![cfg(all(feature = "hashbrown", feature = "heapless"))]

use std::time::Duration;

use cache_core::local::Cache;
use cache_core::shard::Limits;
use cache_core::table::{Bound, HashTable, LocalTable, SetTable};
use cache_core::{Action, Completion, Entry, Freshness, Instant, Loaded, Policy, PolicyBuilder};
use proptest::prelude::*;

type Table = HashTable<u8, u64, foldhash::fast::FixedState>;

/// Resting deadlines are kept in steps of 64 ns, and two of them are rounded.
const ROUNDING: Duration = Duration::from_nanos(128);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A policy that keeps what is stale for an hour, so that nothing goes before it is changed.
fn policies() -> impl Strategy<Value = Policy> {
    let ttl = prop_oneof![
        4 => (1..2_000u64).prop_map(|ttl| Policy::ttl(ms(ttl))),
        1 => Just(Policy::forever()),
    ];
    let early = prop::option::of(1..100u8);
    (ttl, 1..500u64, 0..=50u8, early).prop_filter_map("a contradiction", |parts| {
        let (policy, swr, jitter, early) = parts;
        let policy = policy.stale_while_revalidate(ms(swr)).stale_if_error(ms(3_600_000));
        let policy = policy.jitter_percent(jitter);
        early.into_iter().fold(policy, PolicyBuilder::early_refresh_percent).build().ok()
    })
}

fn cache(policy: Policy) -> Cache<u8, u64, Table> {
    let table = HashTable::new(Bound::Entries(300), Default::default());
    Cache::with_limits(policy, table, Limits::default(), 7)
}

fn nearly(one: Instant, other: Instant) -> bool {
    one.saturating_since(other) <= ROUNDING && other.saturating_since(one) <= ROUNDING
}

fn alike(one: Entry<&u64>, other: Entry<&u64>, now: Instant) -> bool {
    one.value == other.value
        && one.age(now).abs_diff(other.age(now)) <= ROUNDING
        && nearly(one.fresh_until(), other.fresh_until())
        && nearly(one.stale_until(), other.stale_until())
        && nearly(one.gone_at(), other.gone_at())
}

fn kind(action: &Action<'_, u64>) -> (u8, Option<Freshness>) {
    match action {
        Action::Serve { freshness, .. } => (0, Some(*freshness)),
        Action::ServeAndRefresh { freshness, .. } => (1, Some(*freshness)),
        Action::Load { fallback, .. } => (2 + u8::from(fallback.is_some()), None),
        other => panic!("nobody else loads: {other:?}"),
    }
}

/// Values, with a ttl of their own or not, each so long after the one before.
type Puts = Vec<(u8, u64, Option<u64>)>;

fn agree<T: LocalTable<u8, u64>>(
    [mut changed, mut constant]: [Cache<u8, u64, T>; 2],
    new: &Policy,
    puts: Puts,
    late: u64,
) {
    let mut latest = Instant::from_secs(1_000);
    for (n, (key, wait, own)) in (0..).zip(puts) {
        latest = latest + ms(wait);
        for cache in [&mut changed, &mut constant] {
            let loaded = Loaded::value(n);
            cache.put(key, own.into_iter().fold(loaded, |l, ttl| l.ttl(ms(ttl))), latest);
        }
    }
    changed.set_policy(new.clone());
    assert_eq!(changed.policy(), new);
    changed.check_invariants();
    let now = latest + ms(late);
    for key in 0..=u8::MAX {
        match (changed.entry(&key, now), constant.entry(&key, now)) {
            (Some(one), Some(other)) => {
                assert!(alike(one, other, now), "key {key}: {one:?} {other:?}");
            }
            (one, other) => assert_eq!(one, other),
        }
        let (one, other) = (changed.lookup(&key, now), constant.lookup(&key, now));
        assert_eq!(kind(&one), kind(&other), "key {key}");
    }
    changed.check_invariants();
}

/// Keeps times of their own beside the entries, where a hash table needs records for them.
fn in_sets(policy: Policy) -> Cache<u8, u64, SetTable<u8, u64, 16, 300>> {
    Cache::with_limits(policy, SetTable::default(), Limits::default(), 7)
}

proptest! {
    #[test]
    fn as_if_the_policy_had_been_so_from_the_start(
        old in policies(), new in policies(), late in 0..4_000u64,
        puts in prop::collection::vec((any::<u8>(), 0..2_000u64, prop::option::of(1..2_000u64)), 1..60),
    ) {
        agree([cache(old.clone()), cache(new.clone())], &new, puts.clone(), late);
        agree([in_sets(old), in_sets(new.clone())], &new, puts, late);
    }
}

#[test]
fn a_flight_lands_by_the_new_policy_and_its_old_value_has_the_new_windows() {
    let start = Instant::from_secs(5);
    let mut cache = cache(Policy::ttl(ms(100)).stale_if_error(ms(900)).build().unwrap());
    cache.put(1, 10, start);
    let Action::Load { ticket, fallback: Some(10) } = cache.lookup(&1, start + ms(500)) else {
        panic!("kept for errors, so loaded")
    };
    let new = Policy::ttl(ms(2_000)).jitter_percent(0).build().unwrap();
    cache.set_policy(new);
    let now = start + ms(600);
    assert_eq!(cache.get(&1, now), Some(&10), "600 ms old, and fresh for 2 s");
    let landed = cache.complete(&1, ticket, Loaded::value(11), now);
    assert!(matches!(landed, Completion::Applied(11)));
    let entry = cache.entry(&1, now).unwrap();
    assert_eq!((*entry.value, entry.remaining(now)), (11, ms(2_000)));
    cache.check_invariants();
}

#[test]
fn under_a_policy_that_keeps_nothing_everything_goes() {
    let now = Instant::from_secs(5);
    let mut cache = cache(Policy::ttl(ms(100)).build().unwrap());
    cache.put(1, 10, now);
    cache.put(2, Loaded::value(20).tag("of its own"), now);
    cache.set_policy(Policy::no_store().build().unwrap());
    assert!(cache.is_empty());
    cache.put(3, 30, now);
    assert!(cache.is_empty());
    cache.set_policy(Policy::ttl(ms(100)).build().unwrap());
    cache.put(3, 30, now);
    assert_eq!(cache.get(&3, now), Some(&30));
    cache.check_invariants();
}

#[test]
fn a_ttl_of_its_own_is_kept_also_where_it_is_the_caches() {
    let (now, minute) = (Instant::from_secs(100), ms(60_000));
    let policy = |ttl| Policy::ttl(ttl).jitter_percent(0).stale_if_error(minute).build().unwrap();
    let mut cache = cache(policy(minute));
    cache.put(1, Loaded::value(1).ttl(minute), now);
    cache.put(2, 2, now);
    cache.set_policy(policy(60 * minute));
    let left = |key| cache.entry(&key, now).unwrap().remaining(now);
    assert_eq!((left(1), left(2)), (minute, 60 * minute));
}

/// In trouble, an entry's windows stand in its record.
#[test]
fn a_ttl_of_its_own_is_kept_while_loads_fail() {
    let (start, minute) = (Instant::from_secs(100), ms(60_000));
    let policy =
        |ttl| Policy::ttl(ttl).jitter_percent(0).stale_if_error(9 * minute).build().unwrap();
    let mut cache = cache(policy(minute));
    cache.put(1, Loaded::value(1).ttl(minute), start);
    cache.put(2, 2, start);
    let now = start + 2 * minute;
    for key in [1, 2] {
        let Action::Load { ticket, .. } = cache.lookup(&key, now) else {
            panic!("kept for errors")
        };
        cache.fail(&key, ticket, &"down", now);
    }
    cache.set_policy(policy(60 * minute));
    let left = |key| cache.entry(&key, now).unwrap().remaining(now);
    assert_eq!((left(1), left(2)), (Duration::ZERO, 58 * minute));
    cache.check_invariants();
}
