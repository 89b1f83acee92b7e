//! The same seed, the same faults; and what each fault is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cache_core::store::{Store, StoreError};
use cache_core::{Clock, Instant, Lifetime};

use super::*;
use crate::{ManualTime, MemoryStore};

const SECOND: Duration = Duration::from_secs(1);
const NOW: Instant = Instant::from_secs(9);

/// A plan with a bit of everything.
fn everything(seed: u64, time: &ManualTime) -> Chaos {
    let chaos = Chaos::seeded(seed).errors(20).unsupported(10).panics(10).lost(20).corrupt(20);
    let chaos = chaos.delays(20, SECOND, time.leaping());
    chaos.jumps(20, SECOND).stalls(10, SECOND).setbacks(20, SECOND)
}

/// What a call came to, as text.
fn told<T: fmt::Debug, E: fmt::Debug>(call: impl FnOnce() -> Result<T, E>) -> String {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => format!("{answer:?}"),
        Err(payload) => format!("panic: {:?}", payload.downcast_ref::<&str>()),
    }
}

/// What becomes of many calls of all kinds.
fn life(seed: u64) -> (Vec<String>, Counts) {
    let time = ManualTime::new();
    let chaos = everything(seed, &time);
    let (store, clock) = (chaos.store(MemoryStore::<u64, u64>::new(10)), chaos.clock(time.clone()));
    let mut seen = Vec::new();
    for n in 0..200 {
        let (key, life) = (n % 3, Lifetime::fresh_for(SECOND * 1_000));
        seen.push(told(|| chaos.loader(|| Ok::<_, Fault>(n))()));
        seen.push(told(|| store.put(&key, &n, life, NOW)));
        seen.push(told(|| store.get(&key, NOW).map(|found| found.map(|stored| stored.value))));
        seen.push(told(|| Store::<u64, u64>::remove(&store, &key, NOW)));
        seen.push(format!("{:?} {:?}", time.now(), clock.now()));
    }
    (seen, chaos.counts())
}

#[test]
fn the_same_seed_brings_the_same_faults_and_another_one_others() {
    let (seen, counts) = life(7);
    assert_eq!((&seen, counts), (&life(7).0, life(7).1));
    assert_ne!(seen, life(8).0);
    let Counts { errors, unsupported, delays, panics, lost, corrupt, .. } = counts;
    let Counts { calls, jumps, stalls, setbacks, .. } = counts;
    let all = [errors, unsupported, delays, panics, lost, corrupt, jumps, stalls, setbacks];
    assert!(all.iter().all(|met| *met > 0), "{counts:?}");
    assert_eq!((calls, counts.faults()), (1_000, all.iter().sum()));
}

#[test]
fn without_rates_there_are_no_faults() {
    let chaos = Chaos::seeded(7);
    let store = chaos.store(MemoryStore::<u64, u64>::new(10));
    let hour = Lifetime::fresh_for(SECOND * 3_600);
    for n in 0..100 {
        store.put(&1, &n, hour, NOW).unwrap();
        assert_eq!(store.get(&1, NOW).unwrap().map(|found| found.value), Some(n));
        assert_eq!(chaos.call(|| Ok::<_, Fault>(n)), Ok(n));
    }
    assert_eq!((chaos.counts().faults(), chaos.counts().calls), (0, 300));
}

#[test]
fn what_one_rate_does_does_not_depend_on_the_others() {
    let failing = |chaos: Chaos| -> Vec<bool> {
        (0..200).map(|n| chaos.call(|| Ok::<_, Fault>(n)).is_err()).collect()
    };
    let (few, more) = (Chaos::seeded(7).errors(10), Chaos::seeded(7).errors(30));
    let (few, more) = (failing(few), failing(more));
    assert!(few.iter().zip(&more).all(|(few, more)| more | !few), "a higher rate adds to them");
    let delayed = Chaos::seeded(7).errors(10).delays(50, SECOND, ManualTime::new().leaping());
    assert_eq!(failing(delayed), few);
}

#[test]
fn a_loader_meets_what_was_settled_when_it_was_made() {
    let answers = |order: &dyn Fn(usize) -> usize| -> Vec<bool> {
        let chaos = Chaos::seeded(7).errors(50);
        let mut loaders: Vec<_> =
            (0..50).map(|_| Some(chaos.loader(|| Ok::<_, Fault>(())))).collect();
        let mut answers = vec![false; 50];
        for n in (0..50).map(order) {
            answers[n] = loaders[n].take().map(|load| load()).unwrap().is_ok();
        }
        answers
    };
    assert_eq!(answers(&|n| n), answers(&|n| 49 - n));
}

#[test]
fn a_lost_write_leaves_nothing_and_a_failed_one_may_have_been_done() {
    let hour = Lifetime::fresh_for(SECOND * 3_600);
    let lost = Chaos::seeded(7).lost(100).store(MemoryStore::<u64, u64>::new(10));
    lost.inner().put(&1, &1, hour, NOW).unwrap();
    lost.put(&1, &2, hour, NOW).unwrap();
    assert!(lost.inner().is_empty(), "the old one would be a lie");
    let failing = Chaos::seeded(7).errors(100).store(MemoryStore::<u64, u64>::new(100));
    for n in 0..100 {
        assert!(matches!(failing.put(&n, &n, hour, NOW), Err(StoreError::Unavailable(_))));
    }
    assert!((20..80).contains(&failing.inner().len()), "half of them");
}

#[test]
fn what_cannot_be_read_is_said_or_left_out() {
    let store = Chaos::seeded(7).corrupt(50).store(MemoryStore::<u64, u64>::new(100));
    let keys: Vec<u64> = (0..100).collect();
    for key in &keys {
        store.put(key, key, Lifetime::fresh_for(SECOND), NOW).unwrap();
    }
    let corrupt = |key: &&u64| matches!(store.get(*key, NOW), Err(StoreError::Corrupt(_)));
    assert!((20..80).contains(&keys.iter().filter(corrupt).count()));
    let mut found = 0;
    store
        .get_many(&keys.iter().collect::<Vec<_>>(), NOW, &mut |at, stored| {
            assert_eq!(at as u64, stored.value);
            found += 1;
        })
        .unwrap();
    assert!((20..80).contains(&found));
}

#[test]
fn in_an_outage_every_call_fails() {
    let chaos = Chaos::seeded(7);
    chaos.outage(true);
    assert_eq!(chaos.call(|| Ok::<_, String>(1)), Err("a fault on purpose".to_owned()));
    assert_eq!(chaos.loader(|| Ok::<_, Fault>(1))(), Err(Fault));
    chaos.outage(false);
    assert_eq!(chaos.call(|| Ok::<_, Fault>(1)), Ok(1));
}

#[test]
fn a_clock_leaps_stands_still_is_set_back_and_can_be_waited_on() {
    let time = ManualTime::new();
    let start = time.now();
    let leaps = Chaos::seeded(7).jumps(100, SECOND).clock(time.clone());
    assert!(leaps.now() > start && leaps.now() > leaps.inner().now());
    let back = Chaos::seeded(7).setbacks(100, SECOND).clock(time.clone());
    assert!(back.now() < start && back.now() < start);
    let stalls = Chaos::seeded(7).stalls(100, SECOND).clock(time.clone());
    let stood = stalls.now();
    time.advance(Duration::from_nanos(1));
    assert_eq!((stood, stalls.now()), (start, start));
    for clock in [leaps, back, stalls] {
        let until = clock.now() + SECOND * 5;
        let (sleeper, free) = (clock.clone(), time.clone());
        let thread = std::thread::spawn(move || sleeper.sleep_until(until));
        free.until_parked(1);
        free.advance(SECOND * 10);
        thread.join().unwrap();
    }
}

#[test]
fn who_has_waited_finds_that_the_clock_has_come_there() {
    for seed in 0..200 {
        let time = ManualTime::new();
        let chaos = Chaos::seeded(seed).jumps(20, SECOND).stalls(20, SECOND * 9);
        let clock = chaos.clock(time.leaping());
        for _ in 0..20 {
            let until = clock.now() + SECOND;
            clock.sleep_until(until);
            assert!(clock.now().has_reached(until), "seed {seed}");
        }
    }
}
