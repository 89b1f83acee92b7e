//! An origin that is down, and what is counted of it.

use advanced_caching::{Freshness, Loaded, Policy, PolicyBuilder, Stats};

use crate::world::{Answer, Driver, Origin, Reply, Setup, Told, ms, secs};

fn policy() -> PolicyBuilder {
    Policy::ttl(secs(10))
        .stale_while_revalidate(secs(20))
        .stale_if_error(secs(600))
        .cool_down(secs(1), 2, secs(8))
        .jitter_percent(0)
}

/// Five reads 60 ms apart of a value that is `age` old while the origin is down. Each must be
/// answered with the old value; returns how often the origin was asked.
fn five_reads_while_down<D: Driver>(d: &mut D, age: u64) -> usize {
    d.load(1, 7);
    d.advance(secs(age));
    let loads = d.loads();
    for _ in 0..5 {
        let reply = d.read(1);
        for load in d.running() {
            d.end(load, Answer::Error("down"));
        }
        match reply {
            Reply::Served(7, _) => {}
            Reply::Waits(caller) => assert_eq!(d.told(caller), Some(Told::Value(7))),
            other => panic!("{other:?} instead of the old value"),
        }
        d.advance(ms(60));
    }
    d.loads() - loads
}

pub(crate) fn pf_five_reads_of_a_stale_value_make_one_call_while_the_origin_is_down<D: Driver>() {
    let mut d = D::with(policy());
    assert_eq!(five_reads_while_down(&mut d, 10), 1);
    assert_eq!((d.stats().stale_hits, d.stats().failures), (5, 1));
}

pub(crate) fn pf_five_reads_of_a_kept_value_make_one_call_while_the_origin_is_down<D: Driver>() {
    let mut d = D::with(policy());
    assert_eq!(five_reads_while_down(&mut d, 100), 1);
    // The first read had to wait for the failure: a miss. The others were served at once.
    assert_eq!((d.stats().misses, d.stats().stale_hits, d.stats().failures), (2, 4, 1));
}

pub(crate) fn pf_the_cool_down_doubles_and_a_success_ends_it<D: Driver>() {
    let mut d = D::with(policy());
    d.load(1, 7);
    d.advance(secs(10));
    // The wait after each failure in a row; jitter only shortens it, by a tenth at most.
    for (failures, wait) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000)] {
        assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
        d.end(d.loads(), Answer::Error("down"));
        let explained = d.explain(1);
        assert_eq!(explained.failures, failures);
        let cooling = explained.cooling_for.expect("it cools down");
        assert!(cooling <= ms(wait) && cooling >= ms(wait * 9 / 10), "{cooling:?} of {wait} ms");
        d.advance(cooling - ms(1));
        assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
        assert!(d.running().is_empty(), "not yet");
        d.advance(ms(1));
    }
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
    d.end(d.loads(), 8);
    assert_eq!((d.explain(1).failures, d.explain(1).cooling_for), (0, None));
    assert_eq!((d.stats().loads, d.stats().failures), (6, 4));
}

pub(crate) fn pf_with_fail_fast_a_cold_key_cools_down_too<D: Driver>() {
    let mut d = D::with(policy().fail_fast(true));
    let caller = d.wait_for(1);
    d.end(1, Answer::Error("down"));
    assert_eq!(d.told(caller), Some(Told::Failed(Origin("down"))));
    let cooling = d.explain(1).cooling_for.expect("it cools down");
    assert_eq!(d.read(1), Reply::Told(Told::CoolingDown { retry_in: cooling }));
    assert_eq!(d.loads(), 1);
    d.advance(cooling);
    d.load(1, 7);
}

/// A cache of two entries and one load at a time, in which everything happens that is counted.
fn everything_once<D: Driver>() -> D {
    let mut d = D::new(Setup { capacity: 2, max_loads: 1, ..policy().into() });
    d.load(1, 10); // misses 1, loads 1, landed 1
    assert_eq!(d.get(1), Some(10)); // hits 1
    let caller = d.wait_for(2); // misses 2, loads 2
    assert_eq!(d.read(3), Reply::Told(Told::Busy)); // misses 3, busy 1
    assert!(d.put(2, Loaded::value(20)));
    d.end(2, 21); // superseded 1
    assert_eq!(d.told(caller), Some(Told::Value(21)));
    assert!(d.put(3, Loaded::value(30))); // evictions 1
    let gone = d.wait_for(4); // misses 4, loads 3
    d.end(3, Loaded::missing()); // landed 2
    assert_eq!(d.told(gone), Some(Told::Missing));
    assert_eq!(d.read(4), Reply::Told(Told::Missing)); // hits 2
    let passing = d.wait_for(5); // misses 5, loads 4
    d.end(4, Loaded::value(50).no_store()); // landed 3, not_kept 1
    assert_eq!(d.told(passing), Some(Told::Value(50)));
    assert_eq!(d.get(9), None); // misses 6
    d.advance(secs(10));
    assert_eq!(d.read(3), Reply::Served(30, Freshness::Stale)); // stale_hits 1, loads 5
    d.end(5, Answer::Error("down")); // failures 1
    d.advance(secs(2_000));
    assert_eq!(d.purge(), 2); // expirations 2
    d
}

pub(crate) fn s22_every_outcome_is_counted<D: Driver>() {
    let counted = everything_once::<D>().stats();
    let mut expected = Stats::default();
    (expected.hits, expected.stale_hits, expected.misses) = (2, 1, 6);
    (expected.loads, expected.landed, expected.superseded) = (5, 3, 1);
    (expected.failures, expected.busy, expected.not_kept) = (1, 1, 1);
    (expected.evictions, expected.expirations) = (1, 2);
    assert_eq!(counted, expected);
    assert_eq!(counted.reads(), 9);
}
