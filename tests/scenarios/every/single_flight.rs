//! One load for a key, however many ask, and whatever becomes of it.

use advanced_caching::{Freshness, Policy, PolicyBuilder};

use crate::world::{Answer, Driver, Origin, Reply, Told, ms, secs};

fn policy() -> PolicyBuilder {
    Policy::ttl(secs(60)).jitter_percent(0)
}

/// `n` callers ask for key 1; the one load takes 50 ms and ends with `answer`. Returns what each
/// of them was told.
fn one_load_for<D: Driver>(d: &mut D, n: usize, answer: impl Into<Answer>) -> Vec<Option<Told>> {
    let loads = d.loads();
    let callers: Vec<_> = (0..n).map(|_| d.wait_for(1)).collect();
    d.advance(ms(50));
    assert_eq!(d.loads() - loads, 1, "one load for all");
    assert!(callers.iter().all(|caller| d.told(*caller).is_none()), "nobody was told too soon");
    d.end(d.loads(), answer);
    assert_eq!(d.loads() - loads, 1, "nobody loaded again");
    callers.iter().map(|caller| d.told(*caller)).collect()
}

pub(crate) fn s1_a_cold_key_is_loaded_once_for_fifty_callers<D: Driver>() {
    let mut d = D::with(policy());
    assert_eq!(one_load_for(&mut d, 50, 7), vec![Some(Told::Value(7)); 50]);
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Fresh));
    let stats = d.stats();
    assert_eq!((stats.loads, stats.landed, stats.misses, stats.hits), (1, 1, 50, 1));
}

pub(crate) fn s1_a_too_old_entry_is_loaded_once_for_fifty_callers<D: Driver>() {
    let windows = policy().stale_while_revalidate(secs(10)).stale_if_error(secs(30));
    // Past every window; and past the stale one, while kept for errors.
    for age in [100, 80] {
        let mut d = D::with(windows.clone());
        d.load(1, 6);
        d.advance(secs(age));
        assert_eq!(one_load_for(&mut d, 50, 7), vec![Some(Told::Value(7)); 50]);
        assert_eq!(d.stats().loads, 2);
    }
}

pub(crate) fn pa_a_hundred_callers_of_a_cold_key_make_one_load<D: Driver>() {
    let mut d = D::with(policy());
    assert_eq!(one_load_for(&mut d, 100, 7), vec![Some(Told::Value(7)); 100]);
    assert_eq!(d.stats().loads, 1);
}

pub(crate) fn pc_all_who_wait_are_told_of_one_failure_and_a_later_caller_may_load<D: Driver>() {
    let mut d = D::with(policy());
    let failed = Told::Failed(Origin("origin down"));
    assert_eq!(one_load_for(&mut d, 20, Answer::Error("origin down")), vec![Some(failed); 20]);
    assert_eq!(d.stats().failures, 1);
    // No time has passed since, and nothing holds the next caller back.
    d.load(1, 7);
    assert_eq!(d.stats().loads, 2);
}

pub(crate) fn pp_when_the_first_load_panics_nobody_hangs_and_all_are_told<D: Driver>() {
    let mut d = D::with(policy());
    let panicked = Told::Panicked("on purpose".into());
    assert_eq!(one_load_for(&mut d, 10, Answer::Panic("on purpose")), vec![Some(panicked); 10]);
    assert_eq!((d.stats().loads, d.stats().failures), (1, 1));
    assert!(d.explain(1).flight.is_none(), "the key is free");
}

pub(crate) fn pp_when_a_refresh_panics_the_old_value_serves<D: Driver>() {
    let mut d = D::with(policy().stale_while_revalidate(secs(10)).stale_if_error(secs(30)));
    d.load(1, 6);
    d.advance(secs(80));
    let old = Some(Told::Value(6));
    assert_eq!(one_load_for(&mut d, 10, Answer::Panic("on purpose")), vec![old; 10]);
    assert_eq!(d.explain(1).last_error(), "on purpose");
}

pub(crate) fn s20_after_a_loader_that_panicked_the_next_caller_loads<D: Driver>() {
    let mut d = D::with(policy());
    let first = d.wait_for(1);
    d.end(1, Answer::Panic("on purpose"));
    assert_eq!(d.told(first), Some(Told::Panicked("on purpose".into())));
    d.load(1, 7);
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Fresh));
    assert_eq!((d.stats().loads, d.stats().failures, d.stats().landed), (2, 1, 1));
}

pub(crate) fn s24_a_key_works_after_its_first_load_failed<D: Driver>() {
    let mut d = D::with(policy().stale_while_revalidate(secs(10)));
    let first = d.wait_for(1);
    d.end(1, Answer::Error("not yet"));
    assert_eq!(d.told(first), Some(Told::Failed(Origin("not yet"))));
    assert_eq!(d.explain(1).failures, 1);
    d.load(1, 7);
    assert_eq!(d.explain(1).failures, 0, "the failure is forgotten");
    // The whole life of the entry follows, refresh included.
    d.advance(secs(60));
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
    d.end(3, 8);
    assert_eq!(d.read(1), Reply::Served(8, Freshness::Fresh));
}
