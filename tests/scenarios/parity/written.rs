//! Scripts with the trace that they must give, by whichever driver.

use advanced_caching::{Loaded, Policy};

use super::script::Event::{
    self, Advance, Clear, End, Expire, ExpireTag, Get, Invalidate, InvalidateTag, Put, PutIfAbsent,
    Read,
};
use super::script::{observed, trace};
use crate::world::{Answer, Driver, Hand, Setup, Tasks, Threads, secs};

/// Runs a script for key 1 by every driver and compares each line with what was expected.
fn assert_gives(setup: &Setup, script: &[(Event, &str)]) {
    let events: Vec<_> = script.iter().map(|(event, _)| event.clone()).collect();
    let (by_hand, counted_by_hand) = trace::<Hand>(setup, &[1], &events);
    for ((event, expected), line) in script.iter().zip(&by_hand) {
        assert_eq!(line, expected, "by hand, {event:?}");
    }
    let by_hand = (by_hand, counted_by_hand);
    assert_eq!(trace::<Threads>(setup, &[1], &events), by_hand, "by threads");
    assert_eq!(trace::<Tasks>(setup, &[1], &events), by_hand, "by tasks");
}

fn setup() -> Setup {
    Policy::ttl(secs(10))
        .stale_while_revalidate(secs(10))
        .stale_if_error(secs(60))
        .cool_down(secs(2), 2, secs(8))
        .soft_timeout(secs(1))
        .hard_timeout(secs(5))
        .lease(secs(30))
        .jitter_percent(0)
        .into()
}

fn value(value: u32) -> Answer {
    value.into()
}

#[test]
fn e1_the_life_of_an_entry() {
    Threads::watch(|| {
        let script = [
            (Read(1), "caller 1 waits, load 1 begins; 1 none Wait"),
            (Read(1), "caller 2 waits; 1 none Wait"),
            (Advance(50), "50 ms; 1 none Wait"),
            (
                End(0, value(7)),
                "load 1 lands, caller 1 is told 7, caller 2 is told 7; 1 Fresh Serve",
            ),
            (Read(1), "served 7 Fresh; 1 Fresh Serve"),
            (Advance(9_999), "9999 ms; 1 Fresh Serve"),
            (Advance(1), "1 ms; 1 Stale ServeAndRefresh"),
            (Get(1), "got None; 1 Stale ServeAndRefresh"),
            (Read(1), "served 7 Stale, load 2 begins; 1 Stale Serve"),
            (Read(1), "served 7 Stale; 1 Stale Serve"),
            (End(0, Loaded::not_modified().into()), "load 2 lands; 1 Fresh Serve"),
            (Advance(20_000), "20000 ms; 1 Expired Load"),
            (Read(1), "caller 6 waits, load 3 begins; 1 Expired Wait"),
            (
                End(0, Answer::Error("down")),
                "load 3 fails, caller 6 is told 7; 1 Expired ServeKept",
            ),
            (Read(1), "served 7 Expired; 1 Expired ServeKept"),
            (Advance(50_000), "50000 ms; 1 none Load"),
            (Read(1), "caller 8 waits, load 4 begins; 1 none Wait"),
            (
                End(0, Loaded::missing().into()),
                "load 4 lands, caller 8 is told Missing; 1 none Missing",
            ),
            (Read(1), "Missing; 1 none Missing"),
            (Advance(10_000), "10000 ms; 1 none Load"),
        ];
        assert_gives(&setup(), &script);
    });
}

#[test]
fn e1_mutations_and_loads_cross() {
    Threads::watch(|| {
        let tagged = || Loaded::value(4).tag("t");
        let script = [
            (Read(1), "caller 1 waits, load 1 begins; 1 none Wait"),
            (Invalidate(1), "found false; 1 none Load"),
            (Read(1), "caller 2 waits, load 2 begins; 1 none Wait"),
            (End(0, value(1)), "load 1 is superseded, caller 1 is told 1; 1 none Wait"),
            (Put(1, 3.into()), "stored true; 1 Fresh Serve"),
            (End(0, value(2)), "load 2 is superseded, caller 2 is told 2; 1 Fresh Serve"),
            (Read(1), "served 3 Fresh; 1 Fresh Serve"),
            (PutIfAbsent(1, 9.into()), "stored false; 1 Fresh Serve"),
            (Expire(1), "found true; 1 Stale ServeAndRefresh"),
            (PutIfAbsent(1, tagged()), "stored true; 1 Fresh Serve"),
            (ExpireTag("t"), "tag t expired; 1 Stale ServeAndRefresh"),
            (Read(1), "served 4 Stale, load 3 begins; 1 Stale Serve"),
            (InvalidateTag("t"), "tag t invalidated; 1 none Load"),
            (Read(1), "caller 5 waits, load 4 begins; 1 none Wait"),
            (End(1, tagged().into()), "load 4 lands, caller 5 is told 4; 1 Fresh Serve"),
            (End(0, value(5)), "load 3 is superseded; 1 Fresh Serve"),
            (Read(1), "served 4 Fresh; 1 Fresh Serve"),
            (Clear, "cleared; 1 none Load"),
        ];
        assert_gives(&setup(), &script);
    });
}

#[test]
fn e1_time_outs_leases_and_cool_downs() {
    Threads::watch(|| {
        let late = "TimedOut { retry_in: 25s }";
        let late_line = format!("5000 ms, caller 1 is told {late}; 1 none Fail");
        let told_line = format!("{late}; 1 none Fail");
        let script = [
            (Read(1), "caller 1 waits, load 1 begins; 1 none Wait"),
            (Advance(5_000), &*late_line),
            (Read(1), &*told_line),
            (Advance(25_000), "25000 ms; 1 none Load"),
            (Read(1), "caller 3 waits, load 2 begins; 1 none Wait"),
            (End(0, value(1)), "load 1 lands; 1 Fresh Serve"),
            (Read(1), "served 1 Fresh; 1 Fresh Serve"),
            (End(0, value(2)), "load 2 lands, caller 3 is told 2; 1 Fresh Serve"),
            (Advance(20_000), "20000 ms; 1 Expired Load"),
            (Read(1), "caller 5 waits, load 3 begins; 1 Expired Wait"),
            (Advance(500), "500 ms; 1 Expired Wait"),
            (Read(1), "caller 6 waits; 1 Expired Wait"),
            (Advance(500), "500 ms, caller 5 is told 2, caller 6 is told 2; 1 Expired ServeKept"),
            (Read(1), "served 2 Expired; 1 Expired ServeKept"),
            (End(0, Answer::Panic("on purpose")), "load 3 fails; 1 Expired ServeKept"),
            (Advance(2_000), "2000 ms; 1 Expired Load"),
            (Read(1), "caller 8 waits, load 4 begins; 1 Expired Wait"),
            (Clear, "cleared; 1 none Load"),
            (
                End(0, Loaded::not_modified().into()),
                "load 4 is superseded, caller 8 is told 2; 1 none Load",
            ),
        ];
        assert_gives(&setup(), &script);
    });
}

/// S22: who looks changes nothing.
fn assert_looking_changes_nothing<D: Driver>() {
    let events = [
        Read(1),
        Read(1),
        End(0, value(1)),
        Advance(10_000),
        Read(1),
        Advance(500),
        End(0, Answer::Error("down")),
        Read(1),
        Advance(12_000),
        Read(1),
        Advance(1_000),
        End(0, Loaded::missing().into()),
        Read(1),
        Put(2, 5.into()),
        Expire(2),
        Read(2),
        Clear,
    ];
    let (trace, counted) = trace::<D>(&setup(), &[1, 2], &events);
    assert_eq!(observed::<D>(&setup(), &[1, 2], &events), (trace, counted));
    assert_eq!((counted.loads, counted.landed, counted.failures), (4, 2, 1));
}

#[test]
fn s22_looking_changes_nothing_by_hand() {
    Hand::watch(assert_looking_changes_nothing::<Hand>);
}

#[test]
fn s22_looking_changes_nothing_with_threads() {
    Threads::watch(assert_looking_changes_nothing::<Threads>);
}

#[test]
fn s22_looking_changes_nothing_with_tasks() {
    Tasks::watch(assert_looking_changes_nothing::<Tasks>);
}
