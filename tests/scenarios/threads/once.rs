//! S1, PA, PP, S20: one load for threads that are let go together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use advanced_caching::sync::{Cache, LoadError};
use advanced_caching::{Clock, ManualTime, Time};

use crate::world::{Origin, message, ms, panic_quietly, secs, within_a_minute};

type Result<T = u32> = std::result::Result<T, LoadError<Origin>>;

/// A loader that takes 50 ms of virtual time and counts its runs.
fn slow(
    time: &ManualTime,
    runs: &Arc<AtomicUsize>,
) -> impl FnOnce() -> std::result::Result<u32, Origin> + use<> {
    let (time, runs) = (time.clone(), Arc::clone(runs));
    move || {
        runs.fetch_add(1, Ordering::SeqCst);
        time.sleep_until(time.now() + ms(50));
        Ok(7)
    }
}

/// `n` threads that begin to read at the same moment.
fn together<T: Send + 'static>(
    n: usize,
    read: impl Fn() -> T + Clone + Send + 'static,
) -> Vec<JoinHandle<T>> {
    let start = Arc::new(Barrier::new(n));
    let read = |_| {
        let (start, read) = (Arc::clone(&start), read.clone());
        thread::spawn(move || {
            start.wait();
            read()
        })
    };
    (0..n).map(read).collect()
}

fn answers<T>(callers: Vec<JoinHandle<T>>) -> Vec<T> {
    callers.into_iter().map(|caller| caller.join().expect("a caller panicked")).collect()
}

/// Lets fifty threads read key 1, and the one load take its 50 ms.
fn fifty_callers_one_load(time: &ManualTime, cache: &Cache<u8, u32>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let (cache, loader) = (cache.clone(), (time.clone(), Arc::clone(&runs)));
    let read = move || -> Result { cache.get_or_load(&1, slow(&loader.0, &loader.1)) };
    let callers = together(50, read);
    time.until_parked(51); // the callers, and the loader in its sleep
    time.advance(ms(50));
    assert!(answers(callers).into_iter().all(|answer| answer.unwrap() == 7));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn s1_fifty_threads_at_once_make_one_load_of_a_cold_key() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = Cache::builder().ttl(secs(60)).time(time.clone()).build().unwrap();
        fifty_callers_one_load(&time, &cache);
        assert_eq!((cache.stats().loads, cache.stats().misses), (1, 50));
    });
}

#[test]
fn s1_fifty_threads_at_once_make_one_load_of_a_too_old_entry() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = Cache::builder().ttl(secs(60)).time(time.clone()).build().unwrap();
        cache.put(1, 6);
        time.advance(secs(61));
        fifty_callers_one_load(&time, &cache);
        assert_eq!((cache.stats().loads, cache.stats().misses), (1, 50));
    });
}

#[test]
fn pa_a_hundred_threads_at_once_make_one_load() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let (clock, counter) = (time.clone(), Arc::clone(&runs));
        let loader = move |_: &u8| slow(&clock, &counter)();
        let cache = Cache::builder().ttl(secs(60)).time(time.clone()).loader(loader);
        let cache = cache.build().unwrap();
        let callers = together(100, move || cache.load(&1));
        time.until_parked(101);
        time.advance(ms(50));
        assert!(answers(callers).into_iter().all(|answer| answer.unwrap() == 7));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

/// A caller whose loader runs on its own thread and panics once nine others wait for it.
fn panicking_owner(time: &ManualTime, cache: &Cache<u8, u32>) -> JoinHandle<Result> {
    let (time, cache) = (time.clone(), cache.clone());
    thread::spawn(move || {
        cache.get_or_load_here(&1, || -> std::result::Result<u32, Origin> {
            time.until_parked(9);
            panic_quietly("on purpose")
        })
    })
}

#[test]
fn pp_a_panic_on_the_owners_thread_goes_on_there_and_is_told_to_the_others() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = Cache::builder().ttl(secs(60)).time(time.clone()).build().unwrap();
        let owner = panicking_owner(&time, &cache);
        while cache.stats().loads == 0 {
            thread::yield_now();
        }
        let (reader, unused) = (cache.clone(), || Ok(9));
        let others = together(9, move || -> Result { reader.get_or_load(&1, unused) });
        for answer in answers(others) {
            let told = matches!(&answer, Err(LoadError::Panicked(text)) if &**text == "on purpose");
            assert!(told, "{answer:?}");
        }
        let payload = owner.join().expect_err("the panic goes on in its thread");
        assert_eq!(message(&*payload), "on purpose");
        assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(7)).unwrap(), 7);
        assert_eq!((cache.stats().loads, cache.stats().failures), (2, 1));
    });
}

#[test]
fn s20_a_loader_that_hangs_is_taken_over_when_its_lease_ends() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache =
            Cache::<u8, u32>::builder().ttl(secs(60)).lease(secs(10)).hard_timeout(secs(25));
        let cache = cache.time(time.clone()).build().unwrap();
        let (clock, hangs) = (time.clone(), time.now() + secs(20));
        let reader = cache.clone();
        let owner = thread::spawn(move || -> Result {
            reader.get_or_load(&1, move || {
                clock.sleep_until(hangs);
                Ok(1)
            })
        });
        time.until_parked(2);
        let reader = cache.clone();
        let follower = thread::spawn(move || -> Result { reader.get_or_load(&1, || Ok(2)) });
        time.until_parked(3);
        time.advance(secs(10));
        assert_eq!(follower.join().unwrap().unwrap(), 2, "who waited has loaded");
        assert_eq!(cache.get(&1), Some(2));
        // The first load comes to its end after all: told to its caller, and not stored.
        time.until_parked(2);
        time.advance(secs(10));
        assert_eq!(owner.join().unwrap().unwrap(), 1);
        assert_eq!(cache.get(&1), Some(2));
        assert_eq!((cache.stats().landed, cache.stats().superseded), (1, 1));
    });
}
