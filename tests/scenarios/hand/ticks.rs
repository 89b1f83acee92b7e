//! E3: a counter of milliseconds in 32 bits, which wraps every 49.7 days, under a cache that runs
//! for a year.

use std::cell::Cell;

use advanced_caching::local::Cache;
use advanced_caching::table::LinearTable;
use advanced_caching::{
    Action, Clock, Completion, Freshness, Instant, Policy, PolicyBuilder, TickClock,
};

use crate::world::{ms, secs};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
/// When the counter has run through once.
const WRAP: u64 = 1 << 32;

/// A cache that knows the time only from the counter.
struct Device<'a> {
    /// The true time in milliseconds, which no device has.
    uptime: &'a Cell<u64>,
    clock: &'a dyn Clock,
    cache: Cache<u8, u32, LinearTable<u8, u32, 4>>,
}

/// Runs `body` on a device just switched on.
fn on_a_device(policy: PolicyBuilder, body: impl FnOnce(Device<'_>)) {
    let uptime = Cell::new(0u64);
    let clock = TickClock::new(1_000, || uptime.get() as u32);
    let cache = Cache::new(policy.jitter_percent(0).build().unwrap());
    body(Device { uptime: &uptime, clock: &clock, cache });
}

impl Device<'_> {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Lets time pass until `millis` after the start. The main loop looks at the clock once an hour.
    fn run_until(&self, millis: u64) {
        while self.uptime.get() < millis {
            self.uptime.set(millis.min(self.uptime.get() + HOUR));
            self.now();
        }
    }

    fn freshness(&self) -> Option<Freshness> {
        let now = self.now();
        self.cache.entry(&1, now).map(|entry| entry.freshness(now))
    }
}

/// The wraps of a year.
fn wraps() -> impl Iterator<Item = u64> {
    let wraps = YEAR / WRAP;
    assert_eq!(wraps, 7);
    (1..=wraps).map(|n| n * WRAP)
}

#[test]
fn e3_windows_hold_across_every_wrap_of_a_year() {
    let policy = Policy::ttl(secs(20)).stale_while_revalidate(secs(10)).stale_if_error(secs(30));
    on_a_device(policy, |mut device| {
        for wrap in wraps() {
            let stored = wrap - 10 * SECOND;
            device.run_until(stored);
            let now = device.now();
            device.cache.put(1, 7, now);
            for (after, expected) in [
                (9_999, Some(Freshness::Fresh)),
                (10_000, Some(Freshness::Fresh)), // the counter reads zero
                (19_999, Some(Freshness::Fresh)),
                (20_000, Some(Freshness::Stale)),
                (29_999, Some(Freshness::Stale)),
                (30_000, Some(Freshness::Expired)),
                (49_999, Some(Freshness::Expired)),
                (50_000, None),
            ] {
                device.run_until(stored + after);
                assert_eq!(device.freshness(), expected, "{after} ms after {stored}");
            }
        }
    });
}

#[test]
fn e3_a_window_longer_than_two_wraps_is_kept() {
    on_a_device(Policy::ttl(secs(100 * 24 * 3_600)), |mut device| {
        device.run_until(DAY);
        let now = device.now();
        device.cache.put(1, 7, now);
        device.run_until(101 * DAY - 1);
        let now = device.now();
        assert_eq!(device.cache.get(&1, now), Some(&7));
        let entry = device.cache.entry(&1, now).unwrap();
        assert_eq!(entry.age(now), ms(100 * DAY - 1));
        device.run_until(101 * DAY);
        let now = device.now();
        assert_eq!(device.cache.get(&1, now), None);
    });
}

#[test]
fn e3_a_load_across_a_wrap_keeps_its_lease_and_lands() {
    on_a_device(Policy::ttl(secs(60)).lease(secs(30)), |mut device| {
        for wrap in wraps() {
            device.run_until(wrap - 10 * SECOND);
            let now = device.now();
            let first = device.cache.lookup(&1, now).into_ticket().expect("nothing is left");
            device.run_until(wrap + 20 * SECOND - 1);
            let now = device.now();
            assert!(matches!(device.cache.lookup(&1, now), Action::Wait { .. }));
            device.run_until(wrap + 20 * SECOND);
            let now = device.now();
            let second = device.cache.lookup(&1, now).into_ticket().expect("the lease has ended");
            let landed = device.cache.complete(&1, first, 1, now);
            assert_eq!(landed, Completion::Applied(&1), "late, but nothing came in between");
            assert_eq!(device.cache.complete(&1, second, 2, now), Completion::Applied(&2));
        }
        assert_eq!(device.cache.stats().landed, 14);
    });
}

#[test]
fn e3_a_year_of_hourly_reads_loads_as_often_as_it_should() {
    let policy = Policy::ttl(secs(90 * 60)).stale_while_revalidate(secs(3_600));
    on_a_device(policy, |mut device| {
        for hour in 0..YEAR / HOUR {
            device.run_until(hour * HOUR);
            let now = device.now();
            assert_eq!(now, Instant::from_millis(hour * HOUR), "the clock does not drift");
            if let Some(ticket) = device.cache.lookup(&1, now).into_ticket() {
                let _ = device.cache.complete(&1, ticket, hour as u32, now);
            }
            device.cache.tick(now, 8);
        }
        // Fresh for an hour and a half: every other read finds the value stale and refreshes it.
        let stats = device.cache.stats();
        assert_eq!((stats.misses, stats.hits, stats.stale_hits), (1, 4_380, 4_379));
        assert_eq!((stats.loads, stats.landed, stats.superseded), (4_380, 4_380, 0));
    });
}
