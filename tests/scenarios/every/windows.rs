//! What serves when, and for how long a caller waits.

use advanced_caching::{Freshness, Loaded, Policy, PolicyBuilder};

use crate::world::{Answer, Driver, Origin, Reply, Told, Value, ms, secs};

/// Reads key 1 at 4 Hz for 6.5 s; each load takes `origin`. Returns when, in milliseconds, a read
/// started a refresh.
fn refreshes_at_4_hz<D: Driver>(d: &mut D, origin: u64) -> Vec<u64> {
    let mut refreshes = Vec::new();
    let mut newest = 0;
    d.load(1, newest);
    let mut ends_at = None;
    for now in (0..=6_500).step_by(50) {
        if ends_at == Some(now) {
            newest += 1;
            d.end(d.loads(), newest);
            ends_at = None;
        }
        if now % 250 == 0 {
            let loads = d.loads();
            let reply = d.read(1);
            assert!(matches!(reply, Reply::Served(value, _) if value == newest), "{reply:?}");
            if d.loads() > loads {
                refreshes.push(now);
                ends_at = Some(now + origin);
            }
        }
        if origin == 0 && ends_at.take().is_some() {
            newest += 1;
            d.end(d.loads(), newest);
        }
        d.advance(ms(50));
    }
    refreshes
}

fn one_and_six() -> PolicyBuilder {
    Policy::ttl(secs(1)).stale_while_revalidate(secs(6)).jitter_percent(0)
}

pub(crate) fn s2_an_instant_refresh_comes_each_time_an_entry_is_stale<D: Driver>() {
    let mut d = D::with(one_and_six());
    let refreshes = refreshes_at_4_hz(&mut d, 0);
    assert_eq!(refreshes, [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]);
    let stats = d.stats();
    assert_eq!((stats.misses, stats.stale_hits, stats.hits, stats.landed), (1, 6, 21, 7));
}

pub(crate) fn s2_a_slow_refresh_comes_each_time_an_entry_is_stale<D: Driver>() {
    let mut d = D::with(one_and_six());
    // Stored at 1.05 s, so fresh until 2.05 s; the next read is at 2.25 s.
    assert_eq!(refreshes_at_4_hz(&mut d, 50), [1_000, 2_250, 3_500, 4_750, 6_000]);
    assert_eq!((d.stats().loads, d.stats().landed), (6, 6));
}

pub(crate) fn s2_the_right_to_refresh_is_given_back_at_once<D: Driver>() {
    // A value that is stale from the start needs a refresh at every read.
    let stale_at_once = |value| Loaded::value(value).ttl(ms(0));
    let mut d = D::with(one_and_six());
    assert!(d.put(1, stale_at_once(0)));
    for n in 1..=5 {
        assert_eq!(d.read(1), Reply::Served(n - 1, Freshness::Stale));
        assert_eq!(d.read(1), Reply::Served(n - 1, Freshness::Stale), "one refresh at a time");
        assert_eq!(d.loads(), n as usize);
        d.end(d.loads(), stale_at_once(n));
    }
    assert_eq!((d.stats().loads, d.stats().landed), (5, 5));
}

fn one_two_and_sixty() -> PolicyBuilder {
    Policy::ttl(secs(1))
        .stale_while_revalidate(secs(2))
        .stale_if_error(secs(60))
        .cool_down(secs(1), 2, secs(30))
        .jitter_percent(0)
}

/// A value that is `age` old.
fn aged<D: Driver>(policy: PolicyBuilder, value: Value, age: u64) -> D {
    let mut d = D::with(policy);
    d.load(1, value);
    d.advance(ms(age));
    d
}

pub(crate) fn s14_after_the_stale_window_the_old_value_serves_while_the_origin_is_down<
    D: Driver,
>() {
    let mut d: D = aged(one_two_and_sixty(), 7, 5_000);
    let caller = d.wait_for(1);
    d.end(2, Answer::Error("down"));
    assert_eq!(d.told(caller), Some(Told::Value(7)), "the old value instead of the error");
    // While it cools down, the kept value serves at once and is marked as such.
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Expired));
    assert_eq!(d.loads(), 2);
    // The cool-down is over: the next caller asks the origin, which is back.
    d.advance(secs(1));
    let caller = d.wait_for(1);
    d.end(3, 8);
    assert_eq!(d.told(caller), Some(Told::Value(8)));
    assert_eq!(d.read(1), Reply::Served(8, Freshness::Fresh));
}

pub(crate) fn s14_after_all_windows_the_error_is_told<D: Driver>() {
    // Kept until 61 s after it was stored: at 60.9 s it still may serve, at 61 s no more.
    let mut d: D = aged(one_two_and_sixty(), 7, 60_900);
    let caller = d.wait_for(1);
    d.advance(ms(99));
    d.end(2, Answer::Error("down"));
    assert_eq!(d.told(caller), Some(Told::Value(7)));
    let mut d: D = aged(one_two_and_sixty(), 7, 60_900);
    let caller = d.wait_for(1);
    d.advance(ms(100));
    d.end(2, Answer::Error("down"));
    assert_eq!(d.told(caller), Some(Told::Failed(Origin("down"))), "the window is half-open");
}

pub(crate) fn s16_what_has_expired_goes_without_being_read_again<D: Driver>() {
    let mut d = D::with(one_two_and_sixty());
    for key in 0..50 {
        assert!(d.put(key, Loaded::value(1)));
    }
    d.advance(ms(60_999));
    assert_eq!((d.purge(), d.len()), (0, 50), "all of them may still serve");
    d.advance(ms(1));
    assert_eq!((d.purge(), d.len()), (50, 0));
    assert_eq!((d.stats().expirations, d.stats().reads()), (50, 0));
}

pub(crate) fn pe_the_first_read_after_freshness_ended_is_served_in_no_time<D: Driver>() {
    let mut d: D = aged(one_two_and_sixty(), 7, 1_000);
    let asked = d.now();
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
    assert_eq!(d.now(), asked, "nobody waited");
    // The origin takes 200 ms; meanwhile the old value serves, afterwards the new one.
    d.advance(ms(199));
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Stale));
    d.advance(ms(1));
    d.end(2, 8);
    assert_eq!(d.read(1), Reply::Served(8, Freshness::Fresh));
    assert_eq!(d.stats().loads, 2);
}

fn with_time_outs() -> PolicyBuilder {
    one_two_and_sixty().soft_timeout(secs(1)).hard_timeout(secs(5)).lease(secs(30))
}

pub(crate) fn pt_past_the_soft_time_out_the_old_value_serves_and_the_load_lands<D: Driver>() {
    let mut d: D = aged(with_time_outs(), 7, 5_000);
    let caller = d.wait_for(1);
    d.advance(ms(999));
    assert_eq!(d.told(caller), None, "a millisecond of patience is left");
    d.advance(ms(1));
    assert_eq!(d.told(caller), Some(Told::Value(7)));
    d.advance(secs(3));
    d.end(2, 8);
    assert_eq!(d.read(1), Reply::Served(8, Freshness::Fresh), "the load went on and landed");
    assert_eq!(d.stats().loads, 2);
}

pub(crate) fn pt_followers_are_bound_by_the_soft_time_out_of_the_flight<D: Driver>() {
    let mut d: D = aged(with_time_outs(), 7, 5_000);
    let leader = d.wait_for(1);
    d.advance(ms(600));
    let follower = d.wait_for(1);
    d.advance(ms(400));
    let old = Some(Told::Value(7));
    assert_eq!((d.told(leader), d.told(follower)), (old.clone(), old));
    // Who comes later finds a flight that is late and has the old value at once.
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Expired));
    assert_eq!(d.stats().loads, 2);
}

pub(crate) fn pt_past_the_hard_time_out_a_typed_error_is_told_and_the_load_lands<D: Driver>() {
    let mut d = D::with(with_time_outs());
    let caller = d.wait_for(1);
    d.advance(ms(4_999));
    assert_eq!(d.told(caller), None);
    d.advance(ms(1));
    // The next load may start when the lease of this one ends, 30 s after it began.
    assert_eq!(d.told(caller), Some(Told::TimedOut { retry_in: secs(25) }));
    d.end(1, 7);
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Fresh));
    assert_eq!((d.stats().loads, d.stats().landed), (1, 1));
}

pub(crate) fn pt_followers_are_bound_by_the_hard_time_out_of_the_flight<D: Driver>() {
    let mut d = D::with(with_time_outs());
    let leader = d.wait_for(1);
    d.advance(secs(3));
    let follower = d.wait_for(1);
    d.advance(secs(2));
    let timed_out = Told::TimedOut { retry_in: secs(25) };
    assert_eq!(d.told(leader), Some(timed_out.clone()));
    assert_eq!(d.told(follower), Some(timed_out.clone()));
    assert_eq!(d.read(1), Reply::Told(timed_out), "a late comer is told at once");
    // The load ends at its lease: then another may start, and the late one still may land.
    d.advance(secs(25));
    let caller = d.wait_for(1);
    assert_eq!(d.loads(), 2);
    d.end(1, 7);
    assert_eq!(d.read(1), Reply::Served(7, Freshness::Fresh));
    d.end(2, 8);
    assert_eq!(d.told(caller), Some(Told::Value(8)));
    assert_eq!(d.read(1), Reply::Served(8, Freshness::Fresh), "the later load landed over it");
}

pub(crate) fn pt_a_load_past_both_time_outs_serves_what_the_windows_allow<D: Driver>() {
    // The kept value's windows end 0.5 s after the read, before the soft time-out.
    let mut d: D = aged(with_time_outs(), 7, 60_500);
    let caller = d.wait_for(1);
    d.advance(secs(1));
    assert_eq!(d.told(caller), None, "no old value any more: patience up to the hard time-out");
    d.advance(secs(4));
    assert_eq!(d.told(caller), Some(Told::TimedOut { retry_in: secs(25) }));
}
