//! Mutations in the middle of loads.

use advanced_caching::{Freshness, Loaded, Policy, PolicyBuilder};

use crate::world::{Driver, Reply, Told, secs};

fn policy() -> PolicyBuilder {
    Policy::ttl(secs(10)).stale_while_revalidate(secs(60)).jitter_percent(0)
}

/// A stale value 1 whose refresh, load 2, is under way.
fn refreshing<D: Driver>() -> D {
    let mut d = D::with(policy());
    d.load(1, 1);
    d.advance(secs(10));
    assert_eq!(d.read(1), Reply::Served(1, Freshness::Stale));
    d
}

/// Three callers who wait for load 1.
fn three_wait<D: Driver>() -> (D, [usize; 3]) {
    let mut d = D::with(policy());
    let callers = [d.wait_for(1), d.wait_for(1), d.wait_for(1)];
    assert_eq!(d.loads(), 1);
    (d, callers)
}

fn assert_told<D: Driver>(d: &D, callers: [usize; 3], told: &Told) {
    assert_eq!(callers.map(|caller| d.told(caller)), [(); 3].map(|()| Some(told.clone())));
}

pub(crate) fn s15_a_put_during_a_refresh_wins<D: Driver>() {
    let mut d: D = refreshing();
    assert!(d.put(1, Loaded::value(9)));
    d.end(2, 2);
    assert_eq!(d.read(1), Reply::Served(9, Freshness::Fresh));
    assert_eq!((d.stats().superseded, d.stats().landed), (1, 1));
}

pub(crate) fn s15_an_expire_during_a_refresh_wins<D: Driver>() {
    let mut d: D = refreshing();
    assert!(d.expire(1));
    // The refresh began before, so it does not answer the question that the expiry asks.
    assert_eq!(d.read(1), Reply::Served(1, Freshness::Stale));
    assert_eq!(d.loads(), 3, "a new refresh, not the old one");
    d.end(2, 2);
    assert_eq!(d.read(1), Reply::Served(1, Freshness::Stale));
    d.end(3, 3);
    assert_eq!(d.read(1), Reply::Served(3, Freshness::Fresh));
    assert_eq!(d.stats().superseded, 1);
}

pub(crate) fn pg_after_an_invalidation_nobody_sees_the_load_that_it_interrupted<D: Driver>() {
    let (mut d, callers) = three_wait::<D>();
    assert!(!d.invalidate(1), "there was no value yet");
    let later = d.wait_for(1);
    assert_eq!(d.loads(), 2, "who comes after it does not wait for the old load");
    d.end(1, 1);
    assert_told(&d, callers, &Told::Value(1));
    assert_eq!((d.told(later), d.get(1)), (None, None));
    d.end(2, 2);
    assert_eq!(d.told(later), Some(Told::Value(2)));
    assert_eq!(d.read(1), Reply::Served(2, Freshness::Fresh));
    assert_eq!((d.stats().superseded, d.stats().landed), (1, 1));
}

pub(crate) fn pg_a_load_that_ends_after_an_invalidation_leaves_nothing<D: Driver>() {
    let (mut d, callers) = three_wait::<D>();
    d.invalidate(1);
    d.end(1, 1);
    assert_told(&d, callers, &Told::Value(1));
    assert_eq!((d.get(1), d.len()), (None, 0));
    d.load(1, 2);
    assert_eq!(d.loads(), 2);
}

pub(crate) fn pg_an_invalidated_tag_refuses_the_load_that_began_before<D: Driver>() {
    let (mut d, callers) = three_wait::<D>();
    // The cache learns only with the answer that the tag concerns this key.
    d.invalidate_tag("team");
    d.end(1, Loaded::value(1).tag("team"));
    assert_told(&d, callers, &Told::Value(1));
    assert_eq!((d.get(1), d.stats().superseded), (None, 1));
    let caller = d.wait_for(1);
    d.end(2, Loaded::value(2).tag("team"));
    assert_eq!(d.told(caller), Some(Told::Value(2)));
    assert_eq!(d.get(1), Some(2), "a load that began after it lands");
}

pub(crate) fn pg_a_clear_refuses_the_loads_that_began_before<D: Driver>() {
    let (mut d, callers) = three_wait::<D>();
    d.clear();
    d.end(1, 1);
    assert_told(&d, callers, &Told::Value(1));
    assert_eq!((d.len(), d.stats().superseded), (0, 1));
    d.load(1, 2);
}

pub(crate) fn ph_after_a_put_nobody_sees_the_load_that_it_interrupted<D: Driver>() {
    let (mut d, callers) = three_wait::<D>();
    assert!(d.put(1, Loaded::value(2)));
    assert_eq!(d.read(1), Reply::Served(2, Freshness::Fresh));
    d.end(1, 1);
    assert_told(&d, callers, &Told::Value(1));
    assert_eq!(d.read(1), Reply::Served(2, Freshness::Fresh));
    assert_eq!((d.loads(), d.stats().superseded, d.stats().landed), (1, 1, 0));
}

pub(crate) fn ph_a_put_that_finds_a_fresh_value_interrupts_nothing<D: Driver>() {
    let mut d = D::with(policy().early_refresh_percent(50));
    d.load(1, 1);
    d.advance(secs(5));
    assert_eq!(d.read(1), Reply::Served(1, Freshness::Fresh), "fresh, and refreshed early");
    assert_eq!(d.loads(), 2);
    assert!(!d.put_if_absent(1, Loaded::value(9)));
    d.end(2, 2);
    assert_eq!(d.read(1), Reply::Served(2, Freshness::Fresh));
    assert_eq!((d.stats().superseded, d.stats().landed), (0, 2));
}
