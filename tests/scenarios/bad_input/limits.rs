//! Limits on loads and waiters, reached.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle};

use advanced_caching::sync::{Builder, Cache, LoadError};
use advanced_caching::{Freshness, ManualTime, Policy};

use crate::world::{
    Driver, Hand, Origin, Reply, Setup, Tasks, Threads, Told, holding_refreshes, secs,
    within_a_minute,
};

#[test]
fn at_the_limit_of_loads_who_has_no_old_value_is_told_and_who_has_one_is_served() {
    fn check<D: Driver>() {
        let policy = Policy::ttl(secs(10)).stale_while_revalidate(secs(10));
        let policy = policy.stale_if_error(secs(100)).jitter_percent(0).into();
        let mut d = D::new(Setup { max_loads: 1, ..policy });
        d.load(1, 1);
        d.advance(secs(10));
        d.load(2, 2);
        d.advance(secs(5));
        let caller = d.wait_for(3);
        assert_eq!(d.read(1), Reply::Served(1, Freshness::Stale));
        assert_eq!(d.read(4), Reply::Told(Told::Busy));
        d.advance(secs(5));
        assert_eq!(d.read(1), Reply::Served(1, Freshness::Expired), "kept for errors");
        assert_eq!(d.read(2), Reply::Served(2, Freshness::Stale));
        assert_eq!((d.loads(), d.stats().busy), (3, 1), "nobody loaded");
        let follower = d.wait_for(3);
        d.end(3, 3);
        let three = Some(Told::Value(3));
        assert_eq!((d.told(caller), d.told(follower)), (three.clone(), three));
        d.load(4, 4);
    }
    Hand::watch(check::<Hand>);
    Threads::watch(check::<Threads>);
    Tasks::watch(check::<Tasks>);
}

#[test]
fn a_load_that_was_voided_still_counts_until_it_ends() {
    fn check<D: Driver>() {
        let mut d = D::new(Setup { max_loads: 1, ..Policy::ttl(secs(10)).into() });
        let voided = d.wait_for(1);
        d.invalidate(1);
        assert_eq!(d.read(1), Reply::Told(Told::Busy), "it still runs");
        d.end(1, 1);
        assert_eq!(d.told(voided), Some(Told::Value(1)));
        d.load(1, 2);
    }
    Hand::watch(check::<Hand>);
    Threads::watch(check::<Threads>);
    Tasks::watch(check::<Tasks>);
}

#[test]
fn callers_together_share_the_one_load_that_may_run() {
    within_a_minute(|| {
        for _ in 0..200 {
            let cache: Cache<u8, u32> =
                Cache::builder().ttl(secs(60)).max_loads(1).build().unwrap();
            let start = Arc::new(Barrier::new(20));
            let read = |_| {
                let (cache, start) = (cache.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    cache.get_or_load(&1, || Ok::<_, Origin>(7))
                })
            };
            let callers: Vec<_> = (0..20).map(read).collect();
            for caller in callers {
                assert_eq!(caller.join().unwrap().unwrap(), 7, "one load runs, as one may");
            }
            assert_eq!((cache.stats().loads, cache.stats().busy), (1, 0));
        }
    });
}

#[test]
fn never_do_more_loads_run_than_may() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = Cache::builder().ttl(secs(60)).max_loads(5).capacity(100_000);
        let cache: Cache<u32, u32> = cache.time(time.clone()).build().unwrap();
        let start = Arc::new(Barrier::new(100));
        let (go, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let runs = Arc::new(AtomicUsize::new(0));
        let read = |key| {
            let (cache, start) = (cache.clone(), Arc::clone(&start));
            let (wait, runs) = (Arc::clone(&wait), Arc::clone(&runs));
            let load = move || {
                runs.fetch_add(1, Ordering::SeqCst);
                let _ = wait.lock().unwrap().recv();
                Ok::<_, Origin>(key)
            };
            thread::spawn(move || {
                start.wait();
                cache.get_or_load(&key, load)
            })
        };
        let callers: Vec<_> = (0..100).map(read).collect();
        // Five wait for their loads, which have begun or will; all others have been told.
        while cache.stats().busy < 95 {
            thread::yield_now();
        }
        time.until_parked(5);
        drop(go);
        let answers = callers.into_iter().map(|caller| caller.join().unwrap());
        let (served, told): (Vec<_>, Vec<_>) = answers.partition(Result::is_ok);
        assert!(told.into_iter().all(|error| error.unwrap_err().is_busy()));
        assert_eq!((served.len(), runs.load(Ordering::SeqCst), cache.stats().busy), (5, 5, 95));
    });
}

type Caller = JoinHandle<Result<u32, LoadError<Origin>>>;

/// A caller of key 1 whose load ends when the sender says so.
fn caller(cache: &Cache<u8, u32>) -> (Caller, Sender<u32>) {
    let (go, wait) = channel();
    let cache = cache.clone();
    let load = move || wait.recv().map_err(|_| Origin("the test is over"));
    (thread::spawn(move || cache.get_or_load(&1, load)), go)
}

fn two_may_wait(time: &ManualTime) -> Builder<u8, u32> {
    Cache::builder().ttl(secs(10)).jitter_percent(0).max_waiters(2).time(time.clone())
}

#[test]
fn at_the_limit_of_waiters_who_has_no_old_value_is_told() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = two_may_wait(&time).build().unwrap();
        let (leader, go) = caller(&cache);
        time.until_parked(1);
        let (follower, _unused) = caller(&cache);
        time.until_parked(2);
        let error = cache.get_or_load(&1, || Ok::<_, Origin>(9)).unwrap_err();
        assert!(error.is_busy(), "{error:?}");
        go.send(7).unwrap();
        assert_eq!((leader.join().unwrap().unwrap(), follower.join().unwrap().unwrap()), (7, 7));
        assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(9)).unwrap(), 7);
        assert_eq!(cache.stats().loads, 1);
    });
}

#[test]
fn at_the_limit_of_waiters_who_has_an_old_value_is_served() {
    holding_refreshes(|| {
        let time = ManualTime::new();
        let cache = two_may_wait(&time).stale_if_error(secs(100)).build().unwrap();
        cache.put(1, 6);
        time.advance(secs(10));
        let (leader, go) = caller(&cache);
        time.until_parked(1);
        let (follower, _unused) = caller(&cache);
        time.until_parked(2);
        assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(9)).unwrap(), 6);
        go.send(7).unwrap();
        assert_eq!((leader.join().unwrap().unwrap(), follower.join().unwrap().unwrap()), (7, 7));
    });
}

#[test]
fn at_the_limit_of_waiters_a_load_that_was_begun_goes_on_and_lands() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = two_may_wait(&time).build().unwrap();
        let (leader, go) = caller(&cache);
        time.until_parked(1);
        let (follower, _unused) = caller(&cache);
        time.until_parked(2);
        // It is granted a load of another key, and may not wait for it.
        let (end, wait) = channel();
        let load = move || wait.recv().map_err(|_| Origin("the test is over"));
        let error = cache.get_or_load(&2, load).unwrap_err();
        assert!(error.is_busy(), "{error:?}");
        end.send(9).unwrap();
        while cache.stats().landed == 0 {
            thread::yield_now();
        }
        assert_eq!(cache.get(&2), Some(9));
        drop(go);
        let told = [leader.join().unwrap(), follower.join().unwrap()];
        assert!(told.iter().all(Result::is_err), "{told:?}");
    });
}
