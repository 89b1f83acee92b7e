//! Times that are zero or huge.

use std::time::Duration;

use advanced_caching::future::Cache;
use advanced_caching::{Freshness, PolicyBuilder};
use tokio::time::advance;

use super::calls::{Calls, ask, builder, told};
use crate::world::{Told, ms, on_paused_time, secs, settled};

const ZERO: Duration = Duration::ZERO;

#[test]
fn zero_spans_and_limits_are_errors_that_name_the_setting() {
    let base = || Cache::<u8, u32>::builder().ttl(secs(1));
    for (field, builder) in [
        ("ttl", Cache::<u8, u32>::builder().ttl(ZERO)),
        ("soft_timeout", base().soft_timeout(ZERO)),
        ("hard_timeout", base().hard_timeout(ZERO)),
        ("lease", base().lease(ZERO)),
        ("load_limit", base().load_limit(ZERO)),
        ("max_refreshes", base().max_refreshes(0)),
        ("max_loads", base().max_loads(0)),
        ("max_waiters", base().max_waiters(0)),
        ("max_waiters_per_key", base().max_waiters_per_key(0)),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.field(), field);
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn a_clock_that_is_years_ahead_ends_every_span_and_harms_nothing() {
    on_paused_time(async {
        let year = secs(365 * 86_400);
        let cache = builder().ttl(10 * year).stale_while_revalidate(30 * year).build().unwrap();
        let calls = Calls::new();
        cache.put(1, 1).await;
        let caller = ask(&cache, 2, calls.never());
        settled().await;
        advance(11 * year).await;
        let told_late = told(caller).await;
        assert_eq!(told_late, Told::TimedOut { retry_in: ZERO });
        assert_eq!(told(ask(&cache, 1, calls.load(ms(10), Ok(2)))).await, Told::Value(1));
        advance(ms(10)).await;
        settled().await;
        assert_eq!((cache.get(&1), cache.stats().abandoned), (Some(2), 1));
        advance(41 * year).await;
        assert_eq!(cache.freshness(&1), None);
        assert_eq!(told(ask(&cache, 1, calls.load(ms(10), Ok(3)))).await, Told::Value(3));
        advance(100 * year).await;
        assert_eq!(told(ask(&cache, 2, calls.load(ms(10), Ok(4)))).await, Told::Value(4));
    });
}

#[test]
fn endless_spans_and_patience_are_as_good_as_any() {
    on_paused_time(async {
        let policy =
            PolicyBuilder::new().forever().hard_timeout(Duration::MAX).lease(Duration::MAX);
        let cache = builder().policy(policy).load_limit(Duration::MAX).build().unwrap();
        let calls = Calls::new();
        let caller = ask(&cache, 1, calls.load(secs(100 * 86_400), Ok(7)));
        settled().await;
        let follower = ask(&cache, 1, calls.never());
        assert_eq!((told(caller).await, told(follower).await), (Told::Value(7), Told::Value(7)));
        advance(secs(100 * 365 * 86_400)).await;
        assert_eq!((cache.freshness(&1), calls.count()), (Some(Freshness::Fresh), 1));
    });
}
