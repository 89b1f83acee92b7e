//! Times that are zero, huge, or run backwards.

use std::time::Duration;

use advanced_caching::local::Cache;
use advanced_caching::sync::{Background, StartError};
use advanced_caching::table::{Bound, HashTable};
use advanced_caching::{
    Clock, Freshness, Instant, Loaded, ManualTime, Policy, PolicyBuilder, sync,
};

use crate::world::{
    Driver, Hand, KeyHash, Origin, Reply, Tasks, Threads, Told, ms, secs, within_a_minute,
};

const ZERO: Duration = Duration::ZERO;
const MAX: Duration = Duration::MAX;
/// The last instant that a clock can read.
const LAST: Instant = Instant::from_nanos(u64::MAX - 1);

#[test]
fn zero_spans_are_errors_that_name_the_setting() {
    let base = || Policy::ttl(secs(1));
    for (field, policy) in [
        ("ttl", Policy::ttl(ZERO)),
        ("stale_while_revalidate", base().stale_while_revalidate(ZERO)),
        ("stale_if_error", base().stale_if_error(ZERO)),
        ("missing_ttl", base().missing_ttl(ZERO)),
        ("lease", base().lease(ZERO)),
        ("soft_timeout", base().soft_timeout(ZERO)),
        ("hard_timeout", base().hard_timeout(ZERO)),
        ("cool_down", base().cool_down(ZERO, 2, secs(1))),
        ("cool_down", base().cool_down(secs(1), 0, secs(1))),
    ] {
        let error = policy.clone().build().unwrap_err();
        assert_eq!(error.field(), field);
        assert!(!error.mend().is_empty() && error.to_string().contains(field), "{error}");
        let error = sync::Cache::<u8, u8>::builder().policy(policy).build().unwrap_err();
        assert_eq!(error.field(), field);
    }
}

#[test]
fn zero_spans_of_a_job_are_errors_that_name_the_setting() {
    let job = || Background::builder("job").every(secs(1));
    for (field, builder) in [
        ("every", Background::builder("job").every(ZERO)),
        ("valid_for", job().valid_for(ZERO)),
        ("back_off", job().back_off(ZERO, 2, secs(1))),
        ("back_off", job().back_off(secs(1), 0, secs(1))),
        ("back_off", job().back_off(secs(2), 2, secs(1))),
    ] {
        match builder.start(|| Ok::<u8, Origin>(1)).unwrap_err() {
            StartError::Job(error) => assert_eq!(error.field(), field),
            other => panic!("{other:?} for {field}"),
        }
    }
    let unsaid = Background::builder("job").start(|| Ok::<u8, Origin>(1));
    assert_eq!(unsaid.unwrap_err(), StartError::NoInterval);
}

/// Every span as long as can be.
fn huge() -> PolicyBuilder {
    Policy::ttl(MAX - Duration::from_nanos(1))
        .stale_while_revalidate(MAX)
        .stale_if_error(MAX)
        .missing_ttl(MAX)
        .lease(MAX)
        .soft_timeout(MAX)
        .hard_timeout(MAX)
        .cool_down(MAX, u32::MAX, MAX)
        .jitter_percent(0)
}

type Local = Cache<u8, u32, HashTable<u8, u32, KeyHash>>;

fn local(policy: PolicyBuilder) -> Local {
    let table = HashTable::new(Bound::Entries(4), KeyHash::default());
    Cache::with_table(policy.build().unwrap(), table)
}

#[test]
fn a_ttl_without_end_must_be_said_by_its_name() {
    let error = Policy::ttl(MAX).build().unwrap_err();
    assert!(error.field() == "ttl" && error.mend().contains("forever()"), "{error}");
}

#[test]
fn huge_spans_saturate_by_hand() {
    for start in [Instant::ORIGIN, Instant::from_secs(9), LAST] {
        let mut cache = local(huge());
        let ticket = cache.lookup(&1, start).into_ticket().expect("a cold key");
        assert_eq!(ticket.lease_until(), Instant::FAR_FUTURE);
        let _ = cache.complete(&1, ticket, 7, start);
        assert_eq!(cache.get(&1, LAST), Some(&7));
        assert_eq!(cache.entry(&1, LAST).unwrap().freshness(LAST), Freshness::Fresh);
        // A failure is never forgotten, and a key once missing stays so.
        let ticket = cache.lookup(&2, start).into_ticket().expect("a cold key");
        cache.fail(&2, ticket, &"down", start);
        cache.put(3, Loaded::missing(), start);
        assert_eq!(cache.explain(&2, LAST).failures, 1);
        assert!(matches!(cache.lookup(&3, LAST), advanced_caching::Action::Missing));
        assert_eq!(cache.tick(LAST, 100), 0);
    }
}

#[test]
fn huge_spans_saturate_with_threads() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = sync::Cache::builder().policy(huge()).time(time.clone()).build().unwrap();
        let load = |key: u8, value: u32| cache.get_or_load(&key, move || Ok::<_, Origin>(value));
        assert_eq!(load(1, 7).unwrap(), 7);
        let down = cache.get_or_load(&2, || Err(Origin("down")));
        assert_eq!(down.unwrap_err().error(), Some(&Origin("down")));
        assert_eq!(load(2, 8).unwrap(), 8, "a cold key is not held back, however long");
        time.advance(MAX);
        assert_eq!(time.now(), Instant::FAR_FUTURE);
        assert_eq!((load(1, 9).unwrap(), load(2, 9).unwrap()), (7, 8));
        assert_eq!(cache.purge_expired(), 0);
    });
}

#[test]
fn a_loaders_zero_and_huge_spans_are_taken_at_their_word() {
    fn check<D: Driver>() {
        let mut d = D::with(Policy::ttl(secs(10)).stale_while_revalidate(secs(5)));
        // Stale at once: the next reader is served and refreshes.
        assert!(d.put(1, Loaded::value(1).ttl(ZERO)));
        assert_eq!(d.read(1), Reply::Served(1, Freshness::Stale));
        // For ever, whatever the policy says.
        assert!(d.put(2, Loaded::value(2).ttl(MAX)));
        // Older than any window: told to who waits, and not kept.
        let caller = d.wait_for(3);
        d.end(2, Loaded::value(3).age(MAX));
        assert_eq!((d.told(caller), d.get(3)), (Some(Told::Value(3)), None));
        assert!(!d.put(4, Loaded::value(4).age(MAX)), "handed back");
        assert_eq!(d.stats().not_kept, 2);
        d.advance(secs(1_000_000_000));
        assert_eq!(d.read(2), Reply::Served(2, Freshness::Fresh));
    }
    Hand::watch(check::<Hand>);
    Threads::watch(check::<Threads>);
    Tasks::watch(check::<Tasks>);
}

#[test]
fn a_clock_that_runs_backwards_makes_nothing_older_by_hand() {
    let mut cache = local(Policy::ttl(secs(10)).stale_while_revalidate(secs(5)).jitter_percent(0));
    let (late, early) = (Instant::from_secs(1_000), Instant::from_secs(10));
    cache.put(1, 7, late);
    let entry = cache.entry(&1, early).unwrap();
    assert_eq!((entry.age(early), entry.freshness(early)), (ZERO, Freshness::Fresh));
    // A load that begins late and ends early lands, with windows from its end.
    let ticket = cache.lookup(&2, late).into_ticket().expect("a cold key");
    let _ = cache.complete(&2, ticket, 8, early);
    assert_eq!(cache.get(&2, early + secs(10) - ms(1)), Some(&8));
    assert_eq!(cache.get(&2, early + secs(10)), None);
    assert_eq!(cache.tick(early, 100), 0);
    assert_eq!(cache.get(&1, late), Some(&7), "back in its own time nothing is lost");
}

#[test]
fn a_clock_that_runs_backwards_keeps_callers_waiting_and_answers_them() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = sync::Cache::builder().ttl(secs(10)).jitter_percent(0).time(time.clone());
        let cache = cache.build().unwrap();
        cache.put(1, 7);
        let (go, wait) = std::sync::mpsc::channel();
        let reader = cache.clone();
        let caller = std::thread::spawn(move || {
            reader.get_or_load(&2, move || wait.recv().map_err(|_| Origin("the test is over")))
        });
        time.until_parked(1);
        time.set(Instant::ORIGIN);
        time.until_parked(1);
        assert_eq!((cache.get(&1), cache.entry(&1).unwrap().age(time.now())), (Some(7), ZERO));
        go.send(8).unwrap();
        assert_eq!(caller.join().unwrap().unwrap(), 8);
        assert_eq!(cache.get(&2), Some(8), "it landed");
    });
}

#[test]
fn any_order_of_any_instants_harms_nothing() {
    let edges = [0, 1, 63, 64, 1 << 32, 1 << 62, u64::MAX - 64, u64::MAX - 1, u64::MAX];
    let mut cache = local(Policy::ttl(secs(1)).stale_while_revalidate(MAX).stale_if_error(secs(1)));
    for (n, first) in edges.into_iter().enumerate() {
        for second in edges {
            let (a, b) = (Instant::from_nanos(first), Instant::from_nanos(second));
            let key = n as u8;
            cache.put(key, 1, a);
            cache.expire(&key, b);
            if let Some(ticket) = cache.lookup(&key, a).into_ticket() {
                let _ = cache.complete(&key, ticket, 2, b);
            }
            if let Some(ticket) = cache.lookup(&key, b).into_ticket() {
                cache.fail(&key, ticket, &"down", a);
            }
            cache.put(key, Loaded::value(3).ttl(MAX).age(secs(1)), b);
            cache.tick(a, 100);
            let shown = cache.explain(&key, b).to_string();
            assert!(cache.len() <= 4 && cache.flights() == 0, "{shown}");
        }
    }
}
