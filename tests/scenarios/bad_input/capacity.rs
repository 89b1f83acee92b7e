//! Caches too small for what is put into them.

use advanced_caching::local;
use advanced_caching::sync::{BuildError, Builder, Cache};
use advanced_caching::table::{Bound, HashTable, LinearTable, LocalTable};
use advanced_caching::{Action, Completion, Instant, Policy, Put};

use crate::world::{
    Driver, Hand, KeyHash, Origin, Setup, Tasks, Threads, Told, panic_quietly, secs,
    within_a_minute,
};

#[test]
fn zero_limits_are_errors_that_name_the_setting() {
    let base = || Cache::<u8, u32>::builder().ttl(secs(1));
    let weighed = || base().weigher(|_, value| *value);
    let cases: [(&str, Builder<u8, u32>); 7] = [
        ("capacity", base().capacity(0)),
        ("weight_limit", weighed().weight_limit(0)),
        ("weight_limit", weighed().weight_limit(9).capacity(9)),
        ("weigher", weighed()),
        ("weigher", base().weight_limit(9)),
        ("max_loads", base().max_loads(0)),
        ("max_waiters", base().max_waiters(0)),
    ];
    for (field, builder) in cases {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, BuildError::Setting { .. }), "{error:?}");
        assert_eq!(error.field(), field);
    }
}

#[test]
fn a_capacity_of_one_serves_every_key_and_keeps_the_last() {
    fn check<D: Driver>() {
        let policy = Policy::ttl(secs(60)).into();
        let mut d = D::new(Setup { capacity: 1, ..policy });
        for key in 0..20 {
            d.load(key, u32::from(key));
            assert_eq!((d.len(), d.get(key)), (1, Some(u32::from(key))));
        }
        assert_eq!((d.stats().landed, d.stats().evictions), (20, 19));
        // Two loads at once: both are told, one is kept.
        let callers = [d.wait_for(30), d.wait_for(31)];
        d.end(21, 30);
        d.end(22, 31);
        let told = callers.map(|caller| d.told(caller));
        assert_eq!(told, [Some(Told::Value(30)), Some(Told::Value(31))]);
        assert_eq!((d.len(), d.get(30), d.get(31)), (1, None, Some(31)));
    }
    Hand::watch(check::<Hand>);
    Threads::watch(check::<Threads>);
    Tasks::watch(check::<Tasks>);
}

/// A table without any room: what is put is handed back, what is loaded is for who waits.
fn assert_delivers<T: LocalTable<u8, u32>>(table: T) {
    let policy = Policy::ttl(secs(60)).build().unwrap();
    let now = Instant::from_secs(9);
    let mut cache = local::Cache::with_table(policy, table);
    assert_eq!(cache.put(1, 7, now), Put::NotKept(7));
    match cache.lookup(&1, now) {
        Action::Load { ticket, .. } => {
            assert_eq!(cache.complete(&1, ticket, 8, now), Completion::NotKept(8));
        }
        // Without room for a record there is none for a load.
        Action::Busy => {}
        other => panic!("{other:?}"),
    }
    assert_eq!((cache.len(), cache.flights(), cache.get(&1, now)), (0, 0, None));
}

#[test]
fn a_table_without_room_hands_everything_back() {
    assert_delivers(HashTable::new(Bound::Entries(0), KeyHash::default()));
    assert_delivers(HashTable::new(Bound::Weight(0), KeyHash::default()));
    assert_delivers(LinearTable::<u8, u32, 0>::new());
    assert_delivers(LinearTable::<u8, u32, 0, 4>::new());
}

/// A cache of weight 10, in which a value weighs as much as it says.
fn of_weight_ten() -> Cache<u8, u32> {
    let cache = Cache::builder().ttl(secs(60)).weight_limit(10).weigher(|_, value| *value);
    cache.build().unwrap()
}

#[test]
fn a_value_heavier_than_the_cache_is_handed_back_by_a_put() {
    let cache = of_weight_ten();
    assert_eq!(cache.put(1, 10), Put::Stored);
    assert_eq!(cache.put(2, 11), Put::NotKept(11));
    assert_eq!(cache.put(2, u32::MAX), Put::NotKept(u32::MAX));
    assert_eq!((cache.get(&1), cache.weight()), (Some(10), 10), "nobody had to go for it");
    // In the place of an old value it is not kept either, and the old value is no longer right.
    assert_eq!(cache.put(1, 12), Put::NotKept(12));
    assert_eq!((cache.get(&1), cache.weight(), cache.len()), (None, 0, 0));
    assert_eq!(cache.stats().not_kept, 3);
}

#[test]
fn a_value_heavier_than_the_cache_is_delivered_by_a_load() {
    within_a_minute(|| {
        let cache = of_weight_ten();
        for _ in 0..3 {
            assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(11)).unwrap(), 11);
        }
        assert_eq!((cache.len(), cache.stats().loads, cache.stats().not_kept), (0, 3, 3));
    });
}

#[test]
fn a_weightless_value_is_kept() {
    let cache = of_weight_ten();
    for key in 0..50 {
        assert_eq!(cache.put(key, 0), Put::Stored);
    }
    assert_eq!((cache.len(), cache.weight()), (50, 0));
}

#[test]
fn a_weigher_that_panics_fails_the_load_and_harms_nothing() {
    within_a_minute(|| {
        let weigh = |_: &u8, value: &u32| if *value == 3 { panic_quietly("weigher") } else { 1 };
        let cache = Cache::builder().ttl(secs(60)).weight_limit(10).weigher(weigh).max_loads(1);
        let cache = cache.build().unwrap();
        let error = cache.get_or_load(&1, || Ok::<_, Origin>(3)).unwrap_err();
        assert!(error.to_string().contains("weigher"), "{error}");
        let put = std::panic::AssertUnwindSafe(|| cache.put(1, 3));
        assert!(std::panic::catch_unwind(put).is_err(), "it is the caller's own panic");
        assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(4)).unwrap(), 4);
        assert_eq!((cache.get(&1), cache.weight()), (Some(4), 1));
    });
}
