//! S20: what becomes of a key when the right to load it is given up, lost, or lapses.

use advanced_caching::{Freshness, Policy, PolicyBuilder};

use crate::world::{Driver, Hand, Reply, Told, ms, secs};

fn policy() -> PolicyBuilder {
    Policy::ttl(secs(60)).stale_while_revalidate(secs(600)).lease(secs(30)).jitter_percent(0)
}

#[test]
fn s20_after_an_abandoned_load_the_next_caller_loads_at_once() {
    let mut d = Hand::with(policy());
    d.wait_for(1);
    let (ticket, now) = (d.take_ticket(1), d.now());
    d.cache().abandon(&1, ticket, now);
    d.load(1, 7);
    assert_eq!((d.stats().loads, d.stats().abandoned, d.stats().failures), (2, 1, 0));
    assert_eq!(d.cache().flights(), 0);
}

#[test]
fn s20_an_abandoned_refresh_is_the_next_readers() {
    let mut d = Hand::with(policy());
    d.load(1, 7);
    d.advance(secs(60));
    for load in 2..5 {
        assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
        assert_eq!(d.loads(), load, "no cool-down: nothing has failed");
        let (ticket, now) = (d.take_ticket(load), d.now());
        d.cache().abandon(&1, ticket, now);
    }
    assert_eq!((d.stats().abandoned, d.explain(1).failures), (3, 0));
}

#[test]
fn s20_a_dropped_ticket_holds_its_key_until_the_lease_ends() {
    let mut d = Hand::with(policy());
    d.wait_for(1);
    drop(d.take_ticket(1));
    d.advance(ms(29_999));
    let follower = d.wait_for(1);
    assert_eq!(d.loads(), 1);
    d.advance(ms(1));
    assert_eq!(d.loads(), 2, "the lease has ended: who waited takes over");
    let leader = d.told(1).expect("its patience was as long as the lease");
    assert!(matches!(leader, Told::TimedOut { .. }), "{leader:?}");
    d.end(2, 7);
    assert_eq!(d.told(follower), Some(Told::Value(7)));
    assert_eq!((d.stats().loads, d.stats().landed), (2, 1));
}

#[test]
fn s20_each_lost_ticket_doubles_the_lease() {
    let mut d = Hand::with(policy());
    d.load(1, 7);
    d.advance(secs(60));
    for (load, lease) in [(2, 30), (3, 60), (4, 120)] {
        assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
        assert_eq!(d.loads(), load);
        drop(d.take_ticket(load));
        d.advance(secs(lease) - ms(1));
        assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale), "readers never wait");
        assert_eq!(d.loads(), load);
        d.advance(ms(1));
    }
}

#[test]
fn s20_a_lease_that_is_renewed_is_not_taken_over() {
    let mut d = Hand::with(policy());
    d.wait_for(1);
    let mut ticket = d.take_ticket(1);
    d.advance(secs(29));
    let (now, until) = (d.now(), d.now() + secs(30));
    assert!(d.cache().renew(&1, &mut ticket, until, now));
    assert_eq!(ticket.lease_until(), until);
    d.advance(ms(29_999));
    // Past the hard time-out of 30 s a caller is told; it does not load.
    assert_eq!(d.read(1), Reply::Told(Told::TimedOut { retry_in: ms(1) }));
    let now = d.now();
    let _ = d.cache().complete(&1, ticket, 7, now);
    assert_eq!((d.get(1), d.loads()), (Some(7), 1));
}
