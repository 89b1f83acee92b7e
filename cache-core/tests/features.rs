//! What single features add.

#[cfg(all(feature = "spin", feature = "hashbrown"))]
#[test]
fn a_shared_cache_is_used_by_several_threads() {
    use cache_core::local::{Cache, Shared};
    use cache_core::table::{Bound, HashTable};
    use cache_core::{Action, Instant, Policy};

    let policy = Policy::forever().build().unwrap();
    let table = HashTable::new(Bound::Entries(10), foldhash::fast::FixedState::default());
    let shared = Shared::new(Cache::<u8, u64, _>::with_table(policy, table));
    let now = Instant::from_secs(1);
    let loads = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let ticket = shared.with(|cache| match cache.lookup(&1, now) {
                    Action::Load { ticket, .. } => Some(ticket),
                    _ => None,
                });
                if let Some(ticket) = ticket {
                    loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    shared.with(|cache| drop(cache.complete(&1, ticket, 42, now)));
                }
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(shared.get(&1, now), Some(42));
    assert_eq!(shared.into_inner().len(), 1);
}

#[cfg(feature = "serde")]
#[test]
fn a_lifetime_and_the_counters_survive_being_written_down() {
    use cache_core::{Lifetime, Stats};
    use core::time::Duration;

    let lifetime = Lifetime::fresh_for(Duration::MAX).aged(Duration::from_millis(1_500));
    let text = serde_json::to_string(&lifetime).unwrap();
    assert_eq!(serde_json::from_str::<Lifetime>(&text).unwrap(), lifetime);
    let mut stats = Stats::default();
    (stats.hits, stats.misses) = (3, 1);
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<Stats>(&text).unwrap(), stats);
    assert_eq!(serde_json::from_str::<Stats>("{\"hits\":3}").unwrap().hits, 3);
}
