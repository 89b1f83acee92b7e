//! Whole caches under a scheduler that tries many interleavings: leaders that fall out, are late,
//! or meet a mutation, those who follow them, and the shutdown. Each rule holds as it is written, and
//! a variant without it is caught. Time moves only where a model moves it, so that whoever hangs is
//! found as a deadlock.

use core::hash::BuildHasherDefault;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use cache_core::{Contract, Loaded};
use shuttle::thread;

use super::call::{Call, Step};
use super::lead::Lead;
use super::{Builder, Threads};
use crate::error::LoadError;
use crate::time::ManualTime;

const KEY: u8 = 1;
const SECOND: Duration = Duration::from_secs(1);
/// Interleavings that are tried for each model.
const RUNS: usize = 1_500;

type Hasher = BuildHasherDefault<std::hash::DefaultHasher>;
type Cache = super::Cache<u8, u8, Hasher>;
type Answer = Result<u8, LoadError<String>>;

fn cache(time: &ManualTime) -> Cache {
    let builder = Builder::new(Threads).capacity(4).ttl(SECOND * 60).jitter_percent(0);
    let builder = builder.lease(SECOND * 10).hard_timeout(SECOND * 25);
    builder.hasher(Hasher::default()).time(time.clone()).build().unwrap()
}

fn load(cache: &Cache, value: u8) -> Answer {
    cache.get_or_load_here(&KEY, || {
        thread::yield_now();
        Ok(value)
    })
}

/// The right to load the key, and the place that goes with it.
fn lead(cache: &Cache) -> Option<Lead<u8, u8, Hasher>> {
    let (hash, now) = (cache.inner.hash(&KEY), cache.inner.now());
    match Call::new(&cache.inner, hash, &KEY, Contract::new()).step(now, false, &mut None) {
        Step::Load(lead, _) => Some(lead),
        _ => None,
    }
}

/// A leader does as it likes while another reads; returns what that one was told.
fn led(lead: fn(&Cache), check: fn(&Cache, Answer)) {
    let model = move || {
        let cache = cache(&ManualTime::new());
        let leader = cache.clone();
        let leader = thread::spawn(move || lead(&leader));
        let told = load(&cache, 2);
        leader.join().unwrap();
        check(&cache, told);
    };
    shuttle::check_random(model, RUNS);
}

fn panics(cache: &Cache) {
    let load = || cache.get_or_load_here::<_, _, String>(&KEY, || resume_unwind(Box::new("oh")));
    drop(catch_unwind(AssertUnwindSafe(load)));
}

#[test]
fn who_follows_a_leader_that_panics_is_told_so_or_loads() {
    led(panics, |cache, told| {
        let panicked = matches!(&told, Err(LoadError::Panicked(text)) if &**text == "oh");
        assert!(panicked || told.as_ref().is_ok_and(|value| *value == 2), "{told:?}");
        assert!(load(cache, 2).is_ok_and(|value| value == 2), "the next caller loads");
    });
}

/// Rule 1: a leader that goes without an end gives its flight up.
#[test]
fn who_follows_a_leader_that_is_dropped_takes_over() {
    led(|cache| drop(lead(cache)), |_, told| assert_eq!(told.ok(), Some(2)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_follows_a_leader_that_is_forgotten_waits_until_the_clock_moves() {
    led(|cache| core::mem::forget(lead(cache)), |_, _| {});
}

/// A leader, a follower, and a clock that moves past the lease: both are answered, whatever comes
/// first. Who takes over begins later, and its value stays.
fn late(end: fn(&Cache, Lead<u8, u8, Hasher>)) {
    let model = move || {
        let time = ManualTime::new();
        let cache = cache(&time);
        let lead = lead(&cache).expect("a cold key is loaded");
        let leader = cache.clone();
        let leader = thread::spawn(move || end(&leader, lead));
        let mover = thread::spawn(move || time.advance(SECOND * 10));
        let told = load(&cache, 2).unwrap();
        leader.join().unwrap();
        mover.join().unwrap();
        assert_eq!(cache.get(&KEY), Some(told), "what began later stays");
    };
    shuttle::check_random(model, RUNS);
}

/// Rule 2: a load lands by its ticket.
#[test]
fn who_takes_over_from_a_late_leader_is_not_overwritten_by_it() {
    late(|_, mut lead| drop(lead.run(|_| Ok::<_, String>(Loaded::value(1)))));
}

#[test]
#[should_panic(expected = "what began later stays")]
fn a_late_leader_that_puts_what_it_loaded_overwrites_a_newer_one() {
    late(|cache, lead| {
        cache.put(KEY, 1);
        drop(lead);
    });
}

/// A follower whose time-out ends at the moment at which the load does.
#[test]
fn a_time_out_and_the_end_of_a_load_answer_once() {
    let model = || {
        let time = ManualTime::new();
        let cache = cache(&time);
        let reader = cache.clone();
        let read = || reader.read(&KEY).wait_at_most(SECOND).get_or_load_here(|| Ok(2));
        let leader = cache.clone();
        let leader = thread::spawn(move || load(&leader, 1));
        let mover = thread::spawn(move || time.advance(SECOND));
        let told: Answer = read();
        assert!(
            told.as_ref().is_ok_and(|n| [1, 2].contains(n)) || told.is_err_and(|e| e.is_timeout())
        );
        assert!(leader.join().unwrap().is_ok());
        mover.join().unwrap();
        assert_eq!(cache.inner.waiters.load(Ordering::Relaxed), 0);
        assert!(cache.get(&KEY).is_some(), "the load went on, and landed");
    };
    shuttle::check_random(model, RUNS);
}

/// The origin changes and the cache is told, by `mutate`, while a load of the old value is under way.
fn mutated(lead: fn(&Cache, &AtomicU8), mutate: fn(&Cache)) {
    let model = move || {
        let (cache, origin) = (cache(&ManualTime::new()), Arc::new(AtomicU8::new(1)));
        let (leader, loads) = (cache.clone(), Arc::clone(&origin));
        let leader = thread::spawn(move || lead(&leader, &loads));
        let follower = cache.clone();
        let follower = thread::spawn(move || load(&follower, 2));
        origin.store(2, Ordering::SeqCst);
        mutate(&cache);
        let seen = cache.get_or_load_here(&KEY, || Ok::<_, String>(2));
        assert_eq!(seen.unwrap(), 2, "the old value has come back");
        leader.join().unwrap();
        assert!(follower.join().unwrap().is_ok_and(|value| [1, 2].contains(&value)));
        assert_eq!(cache.get(&KEY), Some(2), "the old value has come back");
    };
    shuttle::check_random(model, RUNS);
}

fn load_from(cache: &Cache, origin: &AtomicU8) {
    let load = || {
        let value = origin.load(Ordering::SeqCst);
        thread::yield_now();
        Ok::<_, String>(value)
    };
    cache.get_or_load_here(&KEY, load).unwrap();
}

/// Rule 3: a mutation voids the flights under way.
#[test]
fn pg_who_reads_after_an_invalidation_never_sees_what_was_loaded_before_it() {
    mutated(load_from, |cache| _ = cache.invalidate(&KEY));
    mutated(load_from, |cache| {
        cache.clear();
    });
}

#[test]
fn ph_who_reads_after_a_put_never_sees_what_was_loaded_before_it() {
    mutated(load_from, |cache| _ = cache.put(KEY, 2));
}

#[test]
#[should_panic(expected = "the old value has come back")]
fn a_load_that_lands_without_its_ticket_brings_the_old_value_back() {
    let untold = |cache: &Cache, origin: &AtomicU8| {
        let value = origin.load(Ordering::SeqCst);
        thread::yield_now();
        cache.put(KEY, value);
    };
    mutated(untold, |cache| _ = cache.invalidate(&KEY));
}

/// A load, and a shutdown that has all the time it wants.
fn shut_down(lead: fn(&Cache, &AtomicU8)) {
    let model = move || {
        let (cache, running) = (cache(&ManualTime::new()), Arc::new(AtomicU8::new(0)));
        let (leader, runs) = (cache.clone(), Arc::clone(&running));
        let leader = thread::spawn(move || lead(&leader, &runs));
        let follower = cache.clone();
        let follower = thread::spawn(move || load(&follower, 1));
        cache.control().shutdown(SECOND).unwrap();
        assert_eq!(running.load(Ordering::SeqCst), 0, "a load is under way");
        let told = load(&cache, 2);
        assert!(matches!(told, Ok(1) | Err(LoadError::ShutDown)), "{told:?}");
        leader.join().unwrap();
        let told = follower.join().unwrap();
        assert!(matches!(told, Ok(1) | Err(LoadError::ShutDown)), "{told:?}");
    };
    shuttle::check_random(model, RUNS);
}

fn run(running: &AtomicU8) -> Result<u8, String> {
    running.store(1, Ordering::SeqCst);
    thread::yield_now();
    running.store(0, Ordering::SeqCst);
    Ok(1)
}

/// Rule 4: whoever loads holds a place, and a shutdown waits for the last of them.
#[test]
fn a_shutdown_waits_for_the_loads_under_way_and_none_begins_after_it() {
    shut_down(|cache, running| drop(cache.get_or_load_here(&KEY, || run(running))));
}

#[test]
fn a_shutdown_waits_for_loads_that_panic() {
    shut_down(|cache, running| {
        let load = || {
            cache.get_or_load_here(&2, || -> Result<u8, String> {
                _ = run(running);
                resume_unwind(Box::new("oh"))
            })
        };
        drop(catch_unwind(AssertUnwindSafe(load)));
    });
}

#[test]
#[should_panic(expected = "a load is under way")]
fn a_load_without_a_place_outlives_the_shutdown() {
    shut_down(|cache, running| {
        if let Some(mut lead) = lead(cache) {
            lead.place = None;
            drop(lead.run(|_| run(running).map(Loaded::value)));
        }
    });
}
