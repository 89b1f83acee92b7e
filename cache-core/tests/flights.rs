//! What becomes of one flight: cases that random walks rarely meet.
#![cfg(feature = "hashbrown")]

use std::time::Duration;

use cache_core::local::Cache;
use cache_core::shard::Limits;
use cache_core::table::{Bound, HashTable, WhenFull};
use cache_core::{
    Action, Completion, Contract, Freshness, Instant, Loaded, Policy, PolicyBuilder, Put, Refusal,
    Ticket,
};

type Hasher = foldhash::fast::FixedState;
type Flown = Cache<u8, &'static str, HashTable<u8, &'static str, Hasher>>;

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::from_secs(1_000) + Duration::from_millis(millis)
}

fn cache(policy: PolicyBuilder) -> Flown {
    let table = HashTable::new(Bound::Entries(100), Hasher::default());
    Cache::with_table(policy.jitter_percent(0).build().unwrap(), table)
}

fn ticket(action: Action<'_, &'static str>) -> Ticket {
    action.into_ticket().expect("this read was to load")
}

#[test]
fn a_result_whose_tag_was_invalidated_during_the_flight_is_refused() {
    let mut cache = cache(Policy::ttl(SECOND));
    for expire in [true, false] {
        let flight = ticket(cache.lookup(&1, at(0)));
        if expire {
            cache.expire_tag("tenant", at(1));
        } else {
            cache.invalidate_tag("tenant");
        }
        let end = cache.complete(&1, flight, Loaded::value("old").tag("tenant"), at(2));
        assert_eq!(end, Completion::Superseded(Some("old")));
        assert_eq!(cache.get(&1, at(3)), None);
    }
    let flight = ticket(cache.lookup(&1, at(4)));
    let end = cache.complete(&1, flight, Loaded::value("new").tag("tenant"), at(5));
    assert_eq!(end, Completion::Applied(&"new"));
}

#[test]
fn a_flight_is_refused_when_a_tag_of_the_old_value_was_invalidated() {
    let mut cache = cache(Policy::ttl(SECOND).stale_while_revalidate(SECOND));
    cache.put(1, Loaded::value("v1").tag("tenant"), at(0));
    let flight = ticket(cache.lookup(&1, at(1_500)));
    cache.invalidate_tag("tenant");
    // The loader read before the invalidation and does not know of the tag.
    let end = cache.complete(&1, flight, "v1 again", at(1_600));
    assert_eq!(end, Completion::Superseded(Some("v1 again")));
    assert_eq!(cache.get(&1, at(1_600)), None);
}

#[test]
fn the_tags_of_the_old_value_outlive_it_while_a_flight_is_under_way() {
    let policy = Policy::ttl(SECOND).stale_while_revalidate(SECOND * 60).jitter_percent(0);
    for evict in [true, false] {
        let table = HashTable::new(Bound::Entries(1), Hasher::default());
        let mut cache = Cache::with_table(policy.clone().build().unwrap(), table);
        cache.put(1, Loaded::value("v1").tag("tenant"), at(0));
        let flight = ticket(cache.lookup(&1, at(1_500)));
        if evict {
            cache.put(2, "other", at(1_500));
        }
        cache.invalidate_tag("tenant");
        cache.tick(at(1_600), 100);
        cache.check_invariants();
        assert!(cache.entry(&1, at(1_600)).is_none());
        let next = ticket(cache.lookup(&1, at(1_600)));
        let end = cache.complete(&1, flight, "v1 again", at(1_700));
        assert_eq!(end, Completion::Superseded(Some("v1 again")), "evicted: {evict}");
        assert_eq!(cache.complete(&1, next, "v2", at(1_800)), Completion::Applied(&"v2"));
    }
}

#[test]
fn an_expired_entry_can_still_be_renewed_by_the_flight_that_found_it() {
    let mut cache = cache(Policy::ttl(SECOND));
    cache.put(1, Loaded::value("v1").etag("\"abc\""), at(0));
    let flight = ticket(cache.lookup(&1, at(5_000)));
    let previous = cache.previous(&1).expect("kept for the flight");
    assert_eq!((*previous.entry.value, previous.etag), ("v1", Some("\"abc\"")));
    assert_eq!(previous.age(at(5_000)), 5 * SECOND);
    assert_eq!(cache.tick(at(5_000), 100), 0, "a sweep leaves it to the flight");
    let end = cache.complete(&1, flight, Loaded::not_modified(), at(5_001));
    assert_eq!(end, Completion::Applied(&"v1"));
    assert_eq!(cache.explain(&1, at(5_900)).etag(), Some("\"abc\""), "the etag holds as well");
    assert_eq!(cache.get(&1, at(6_000)), Some(&"v1"));
    assert_eq!(cache.get(&1, at(6_001)), None);
}

#[test]
fn not_modified_without_an_old_value_is_a_failure() {
    let mut cache = cache(Policy::ttl(SECOND).fail_fast(true));
    let flight = ticket(cache.lookup(&1, at(0)));
    let end = cache.complete(&1, flight, Loaded::not_modified(), at(1));
    assert_eq!(end, Completion::NothingToRenew);
    let held_back = cache.lookup(&1, at(2));
    assert!(matches!(held_back, Action::Fail { cause: Refusal::CoolingDown, .. }), "{held_back:?}");
}

#[test]
fn a_ticket_used_with_another_key_lands_nowhere() {
    let mut cache = cache(Policy::ttl(SECOND));
    let (one, two) = (ticket(cache.lookup(&1, at(0))), ticket(cache.lookup(&2, at(0))));
    assert_eq!(cache.complete(&2, one, "one", at(1)), Completion::Superseded(Some("one")));
    assert_eq!(cache.complete(&1, two, "two", at(1)), Completion::Superseded(Some("two")));
    assert!(cache.is_empty());
}

#[test]
fn a_ticket_from_before_a_clear_lands_nowhere() {
    let mut cache = cache(Policy::ttl(SECOND));
    let old = ticket(cache.lookup(&1, at(0)));
    cache.clear();
    let new = ticket(cache.lookup(&1, at(1)));
    assert_eq!(cache.complete(&1, old, "old", at(2)), Completion::Superseded(Some("old")));
    assert_eq!(cache.complete(&1, new, "new", at(3)), Completion::Applied(&"new"));
}

#[test]
fn missing_replaces_the_old_value_and_is_absent_for_put_if_absent() {
    let mut cache = cache(Policy::ttl(SECOND).stale_if_error(SECOND * 9).missing_ttl(SECOND * 2));
    cache.put(1, "v1", at(0));
    let flight = ticket(cache.lookup(&1, at(1_500)));
    assert_eq!(cache.complete(&1, flight, Loaded::missing(), at(1_600)), Completion::Missing);
    assert!(matches!(cache.lookup(&1, at(3_599)), Action::Missing));
    assert!(cache.entry(&1, at(1_600)).is_none(), "no old value is kept for errors");
    assert_eq!(cache.put_if_absent(1, "v2", at(1_700)), Put::Stored);
    assert_eq!(cache.get(&1, at(1_700)), Some(&"v2"));
}

#[test]
fn what_is_known_to_be_missing_is_forgotten_in_time() {
    let mut cache = cache(Policy::ttl(SECOND).missing_ttl(SECOND * 2));
    let flight = ticket(cache.lookup(&1, at(0)));
    assert_eq!(cache.complete(&1, flight, Loaded::missing(), at(0)), Completion::Missing);
    assert!(matches!(cache.lookup(&1, at(1_999)), Action::Missing));
    assert!(matches!(cache.lookup(&1, at(2_000)), Action::Load { .. }));
}

#[test]
fn no_store_delivers_and_removes_the_old_entry() {
    let mut cache = cache(Policy::ttl(SECOND).stale_while_revalidate(SECOND));
    cache.put(1, "v1", at(0));
    let flight = ticket(cache.lookup(&1, at(1_500)));
    let end = cache.complete(&1, flight, Loaded::value("private").no_store(), at(1_600));
    assert_eq!(end, Completion::NotKept("private"));
    assert!(cache.is_empty());
}

#[test]
fn a_policy_of_no_store_still_shares_loads() {
    let mut cache = cache(Policy::no_store());
    let flight = ticket(cache.lookup(&1, at(0)));
    assert!(matches!(cache.lookup(&1, at(1)), Action::Wait { .. }));
    assert_eq!(cache.complete(&1, flight, "v", at(2)), Completion::NotKept("v"));
    assert!(matches!(cache.lookup(&1, at(3)), Action::Load { .. }));
}

#[test]
fn a_rejected_error_takes_the_old_value_away() {
    let mut cache = cache(Policy::ttl(SECOND).stale_if_error(SECOND * 60));
    cache.put(1, "secret", at(0));
    let flight = ticket(cache.lookup(&1, at(2_000)));
    cache.reject(&1, flight, &"permission revoked", at(2_001));
    assert!(cache.entry(&1, at(2_001)).is_none());
    assert!(matches!(cache.lookup(&1, at(2_002)), Action::Load { fallback: None, .. }));
}

#[test]
fn an_early_refresh_runs_once_and_late_readers_still_get_the_fresh_value() {
    let mut cache = cache(Policy::ttl(SECOND * 10).early_refresh_percent(80));
    cache.put(1, "v1", at(0));
    assert!(matches!(cache.lookup(&1, at(7_999)), Action::Serve { .. }));
    let flight = match cache.lookup(&1, at(8_000)) {
        Action::ServeAndRefresh { freshness: Freshness::Fresh, ticket, .. } => ticket,
        other => panic!("{other:?}"),
    };
    let served = cache.lookup(&1, at(8_500));
    assert!(matches!(served, Action::Serve { freshness: Freshness::Fresh, .. }), "{served:?}");
    assert_eq!(cache.get(&1, at(9_999)), Some(&"v1"));
    assert_eq!(cache.get(&1, at(10_000)), None, "in flight or not, freshness ends");
    assert_eq!(cache.complete(&1, flight, "v2", at(10_001)), Completion::Applied(&"v2"));
}

#[test]
fn a_stale_value_in_flight_is_served_to_the_end_of_its_window_and_no_longer() {
    let mut cache = cache(Policy::ttl(SECOND).stale_while_revalidate(SECOND).lease(SECOND * 60));
    cache.put(1, "v1", at(0));
    let flight = ticket(cache.lookup(&1, at(1_000)));
    let served = cache.lookup(&1, at(1_999));
    assert!(matches!(served, Action::Serve { freshness: Freshness::Stale, .. }), "{served:?}");
    assert!(matches!(cache.lookup(&1, at(2_000)), Action::Wait { fallback: None, .. }));
    assert_eq!(cache.fail(&1, flight, &"late", at(2_001)), None);
}

#[test]
fn soft_and_hard_timeouts_bound_the_wait() {
    let policy = Policy::ttl(SECOND)
        .stale_if_error(SECOND * 600)
        .soft_timeout(SECOND)
        .hard_timeout(SECOND * 5)
        .lease(SECOND * 60);
    let mut cache = cache(policy);
    cache.put(1, "v1", at(0));
    let started = 2_000;
    let _flight = ticket(cache.lookup(&1, at(started)));
    match cache.lookup(&1, at(started + 1)) {
        Action::Wait { until, fallback: Some(&"v1"), .. } => assert_eq!(until, at(started + 1_000)),
        other => panic!("{other:?}"),
    }
    let served = cache.lookup(&1, at(started + 1_000));
    assert!(matches!(served, Action::Serve { freshness: Freshness::Expired, .. }), "{served:?}");

    let _cold = ticket(cache.lookup(&2, at(started)));
    match cache.lookup(&2, at(started + 1)) {
        Action::Wait { until, fallback: None, .. } => assert_eq!(until, at(started + 5_000)),
        other => panic!("{other:?}"),
    }
    let late = cache.lookup(&2, at(started + 5_000));
    assert!(matches!(late, Action::Fail { cause: Refusal::TimedOut, .. }), "{late:?}");
    let patient = Contract::new().give_up(at(started + 100));
    let late = cache.lookup_within(&2, &patient, at(started + 100));
    assert!(matches!(late, Action::Fail { cause: Refusal::TimedOut, .. }), "{late:?}");
}

#[test]
fn a_renewed_lease_keeps_others_away() {
    let mut cache = cache(Policy::ttl(SECOND).lease(SECOND));
    let mut flight = ticket(cache.lookup(&1, at(0)));
    assert!(cache.renew(&1, &mut flight, at(10_000), at(900)));
    assert!(matches!(cache.lookup(&1, at(9_999)), Action::Wait { .. }));
    let taken_over = ticket(cache.lookup(&1, at(10_000)));
    assert!(!cache.renew(&1, &mut flight, at(20_000), at(10_001)), "another has the key");
    cache.abandon(&1, taken_over, at(10_002));
    assert_eq!(cache.complete(&1, flight, "v", at(10_003)), Completion::Applied(&"v"));
}

#[test]
fn failures_of_cold_keys_are_remembered_within_a_bound() {
    let mut limits = Limits::default();
    (limits.flights, limits.remembered) = (4, 4);
    let policy = Policy::ttl(SECOND).fail_fast(true).build().unwrap();
    let table = HashTable::new(Bound::Entries(4), Hasher::default());
    let mut cache = Cache::with_limits(policy, table, limits, 0);
    for key in 0..100u8 {
        let flight = ticket(cache.lookup(&key, at(0)));
        assert_eq!(cache.fail(&key, flight, &"down", at(1)), None);
        cache.check_invariants();
    }
    let remembered = (0..100u8).filter(|key| cache.explain(key, at(2)).failures > 0).count();
    assert!((1..=8).contains(&remembered), "{remembered} failures are remembered");
    assert_eq!(cache.stats().forgotten, 100 - remembered as u64, "what is dropped is counted");
}

#[test]
fn beyond_the_limit_of_flights_a_cold_read_is_told_busy_and_a_stale_one_is_served() {
    let mut limits = Limits::default();
    limits.flights = 2;
    let policy = Policy::ttl(SECOND).stale_while_revalidate(SECOND).build().unwrap();
    let table = HashTable::new(Bound::Entries(10), Hasher::default());
    let mut cache = Cache::with_limits(policy, table, limits, 0);
    cache.put(9, "old", at(0));
    let _flights = [ticket(cache.lookup(&1, at(1_100))), ticket(cache.lookup(&2, at(1_100)))];
    assert!(matches!(cache.lookup(&3, at(1_100)), Action::Busy));
    let served = cache.lookup(&9, at(1_100));
    assert!(matches!(served, Action::Serve { freshness: Freshness::Stale, .. }), "{served:?}");
    assert_eq!(cache.stats().busy, 1);
}

#[test]
fn a_full_table_that_hands_back_keeps_what_it_has() {
    let policy = Policy::ttl(SECOND).build().unwrap();
    let table = HashTable::new(Bound::Entries(1), Hasher::default());
    let mut cache = Cache::with_table(policy, table.when_full(WhenFull::HandBack));
    assert_eq!(cache.put(1, "one", at(0)), Put::Stored);
    assert_eq!(cache.put(2, "two", at(0)), Put::NotKept("two"));
    let flight = ticket(cache.lookup(&2, at(0)));
    assert_eq!(cache.complete(&2, flight, "two", at(0)), Completion::NotKept("two"));
    assert_eq!(cache.put(1, "uno", at(0)), Put::Stored, "a known key has its room");
    assert_eq!(cache.get(&1, at(0)), Some(&"uno"));
    assert_eq!(cache.len(), 1);
}

#[test]
fn weight_bounds_the_table_and_what_is_too_heavy_is_handed_back() {
    let policy = Policy::ttl(SECOND).build().unwrap();
    let table = HashTable::new(Bound::Weight(10), Hasher::default());
    let mut cache = Cache::with_table(policy, table).weigher(|_, text: &&str| text.len() as u32);
    for key in 0..20 {
        assert_eq!(cache.put(key, "four", at(0)), Put::Stored);
        assert!(cache.weight() <= 10);
    }
    assert_eq!(cache.put(1, "eleven chars", at(0)), Put::NotKept("eleven chars"));
    assert_eq!(cache.get(&1, at(0)), None, "the old value does not outlive its successor");
    assert_eq!(cache.put(2, "ten chars!", at(0)), Put::Stored);
    assert_eq!((cache.len(), cache.weight()), (1, 10));
    cache.check_invariants();
}

#[test]
fn when_all_is_made_stale_no_flight_lands_and_old_values_stay_as_fallback() {
    let mut cache = cache(Policy::ttl(SECOND).stale_if_error(SECOND));
    cache.put(1, "old", at(0));
    cache.put(2, Loaded::value("own").ttl(9 * SECOND), at(0));
    let flight = ticket(cache.lookup(&3, at(100)));
    cache.expire_all(at(200));
    let end = cache.complete(&3, flight, "outdated", at(300));
    assert_eq!(end, Completion::Superseded(Some("outdated")));
    for (key, value) in [(1, "old"), (2, "own")] {
        assert_eq!(cache.get(&key, at(300)), None);
        let flight = ticket(cache.lookup(&key, at(300)));
        assert_eq!(cache.fail(&key, flight, &"down", at(400)), Some(&value), "an old value serves");
        assert_eq!(cache.peek(&key, at(1_300)), None);
    }
    cache.put(1, "new", at(500));
    assert_eq!(cache.get(&1, at(1_400)), Some(&"new"));
}

#[test]
fn tickets_that_were_dropped_keep_no_other_key_from_loading_for_longer_than_their_lease() {
    let mut limits = Limits::default();
    limits.flights = 4;
    let table = HashTable::new(Bound::Entries(100), Hasher::default());
    let policy = Policy::ttl(SECOND).build().unwrap();
    let mut cache: Flown = Cache::with_limits(policy, table, limits, 0);
    let mut dropped = (1..=4).map(|key| ticket(cache.lookup(&key, at(0)))).collect::<Vec<_>>();
    assert!(matches!(cache.lookup(&5, at(1)), Action::Busy));
    let later = at(3_600_000);
    let fifth = ticket(cache.lookup(&5, later));
    assert_eq!((cache.flights(), cache.stats().forgotten), (4, 1));
    assert_eq!(cache.complete(&5, fifth, "five", later), Completion::Applied(&"five"));
    // Three of the four may still land.
    let ends = dropped.drain(..).zip(1..).map(|(ticket, key)| {
        matches!(cache.complete(&key, ticket, "late", later), Completion::Applied(_))
    });
    assert_eq!(ends.filter(|landed| *landed).count(), 3);
}

#[test]
fn a_lapsed_flight_is_given_up_for_another_key_that_loads_and_for_nothing_else() {
    let mut limits = Limits::default();
    limits.flights = 2;
    let table = HashTable::new(Bound::Entries(100), Hasher::default());
    let policy = Policy::ttl(SECOND).build().unwrap();
    let mut cache: Flown = Cache::with_limits(policy, table, limits, 0);
    let later = at(3_600_000);
    let slow = ticket(cache.lookup(&1, at(0)));
    let _dropped = ticket(cache.lookup(&2, at(0)));
    cache.put(3, Loaded::value("three").tag("t"), later);
    for _ in 0..9 {
        assert!(matches!(cache.lookup(&3, later), Action::Serve { .. }), "it is fresh");
        let only = Contract::new().only_if_cached();
        assert!(matches!(cache.lookup_within(&4, &only, later), Action::Fail { .. }));
    }
    // One that takes over needs no place of another's.
    let _again = ticket(cache.lookup(&2, later));
    assert_eq!((cache.flights(), cache.stats().forgotten), (2, 0));
    assert_eq!(cache.complete(&1, slow, "slow", later), Completion::Applied(&"slow"));
}

#[test]
fn a_missing_key_is_refreshed_when_asked_to_be() {
    let mut cache = cache(Policy::ttl(SECOND).missing_ttl(SECOND * 60));
    let first = ticket(cache.lookup(&1, at(0)));
    assert_eq!(cache.complete(&1, first, Loaded::missing(), at(0)), Completion::Missing);
    assert!(matches!(cache.lookup(&1, at(1)), Action::Missing));
    let again = ticket(cache.lookup_within(&1, &Contract::new().refresh(), at(1)));
    // Meanwhile it is missing.
    assert!(matches!(cache.lookup(&1, at(2)), Action::Missing));
    assert_eq!(cache.complete(&1, again, "there", at(3)), Completion::Applied(&"there"));
    assert_eq!(cache.get(&1, at(4)), Some(&"there"));
}

#[test]
fn an_entry_whose_tag_was_invalidated_has_not_expired_whoever_finds_it() {
    let mut cache = cache(Policy::ttl(SECOND));
    for sweep in [true, false] {
        cache.put(1, Loaded::value("old").tag("tenant"), at(0));
        cache.invalidate_tag("tenant");
        if sweep {
            assert_eq!(cache.tick(at(1), 100), 1);
        }
        assert_eq!(cache.get(&1, at(1)), None);
        assert_eq!((cache.len(), cache.stats().expirations), (0, 0));
    }
}
