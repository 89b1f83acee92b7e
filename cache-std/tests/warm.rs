//! Values loaded ahead of their readers: at a rate, a few at a time, once each.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use cache_std::sync::{Builder, Cache, LoadError, LoadingCache, Progress, WarmUpEnd};
use cache_std::{Clock, Freshness, Instant, Loaded, ManualTime, MemoryStore};

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

fn builder(time: &ManualTime) -> Builder<u64, u64> {
    Cache::builder().ttl(SECOND * 600).jitter_percent(0).time(time.clone())
}

fn cache(time: &ManualTime) -> Cache<u64, u64> {
    builder(time).build().unwrap()
}

fn double(key: &u64) -> Result<u64, String> {
    Ok(key * 2)
}

/// A loader that tells of its calls.
fn telling(
    time: &ManualTime,
) -> (Receiver<Instant>, impl Fn(&u64) -> Result<u64, String> + Send + Sync + use<>) {
    let (tell, told) = channel();
    let (tell, time) = (Mutex::new(tell), time.clone());
    let load = move |key: &u64| {
        tell.lock().unwrap().send(time.now()).unwrap();
        double(key)
    };
    (told, load)
}

/// A loader that says that it was called, and waits to be told what to answer.
struct Gate(Sender<u64>, Mutex<Receiver<Result<u64, String>>>);

impl Gate {
    fn new() -> (Receiver<u64>, Sender<Result<u64, String>>, Self) {
        let ((called, calls), (tell, told)) = (channel(), channel());
        (calls, tell, Self(called, Mutex::new(told)))
    }

    fn load(&self, key: &u64) -> Result<u64, String> {
        self.0.send(*key).unwrap();
        self.1.lock().unwrap().recv().unwrap()
    }
}

#[test]
fn the_rate_is_kept_to_the_nanosecond_however_many_threads() {
    for at_once in [0, 1, 4] {
        let time = ManualTime::new();
        let (cache, (starts, load)) = (cache(&time), telling(&time));
        let start = time.now();
        thread::scope(|scope| {
            let warm_up = cache.warm_up(0..20, load).rate(30).at_most_at_once(at_once);
            let warmed = scope.spawn(|| warm_up.run());
            let interval = Duration::from_nanos(33_333_334);
            for n in 0..20 {
                assert_eq!(starts.recv().unwrap(), start + interval * n);
                if n < 19 {
                    time.until_parked(1);
                    time.advance(interval - NANO);
                    time.until_parked(1);
                    time.advance(NANO);
                }
            }
            let warmed = warmed.join().unwrap();
            assert_eq!((warmed.progress.loaded, warmed.end), (20, WarmUpEnd::Finished));
        });
        assert!((0..20).all(|key| cache.get(&key) == Some(key * 2)));
    }
}

#[test]
fn time_that_was_lost_is_not_made_up_for() {
    let time = ManualTime::new();
    let (cache, (starts, load)) = (cache(&time), telling(&time));
    let start = time.now();
    thread::scope(|scope| {
        let warmed = scope.spawn(|| cache.warm_up(0..3, load).every(SECOND).run());
        assert_eq!(starts.recv().unwrap(), start);
        time.until_parked(1);
        time.advance(SECOND * 10);
        assert_eq!(starts.recv().unwrap(), start + SECOND * 10);
        time.until_parked(1);
        time.advance(SECOND);
        assert_eq!(starts.recv().unwrap(), start + SECOND * 11);
        assert_eq!(warmed.join().unwrap().progress.loaded, 3);
    });
}

#[test]
fn what_is_known_takes_no_time_and_no_load() {
    let time = ManualTime::new();
    let (cache, (starts, load)) = (cache(&time), telling(&time));
    (0..100).for_each(|key| assert!(cache.put(key, 7).is_stored()));
    let _ = cache.put(100, Loaded::missing());
    let warmed = cache.warm_up(0..102, load).rate(1).run();
    let Progress { done, loaded, present, missing, failed, total, .. } = warmed.progress;
    assert_eq!((done, loaded, present, missing, failed), (102, 1, 100, 1, 0));
    assert_eq!((total, starts.try_iter().count()), (Some(102), 1));
    assert_eq!((cache.get(&5), cache.get(&101)), (Some(7), Some(202)));
}

#[test]
fn what_is_stale_is_loaded_and_stays_when_that_fails() {
    let time = ManualTime::new();
    let cache = builder(&time).stale_while_revalidate(SECOND * 600).build().unwrap();
    (0..2).for_each(|key| assert!(cache.put(key, 7).is_stored()));
    time.advance(SECOND * 601);
    let load = |key: &u64| if *key == 0 { Err("down".to_owned()) } else { double(key) };
    let warmed = cache.warm_up([0, 1], load).run();
    assert_eq!((warmed.progress.loaded, warmed.progress.failed), (1, 1));
    assert_eq!((cache.freshness(&0), cache.get(&1)), (Some(Freshness::Stale), Some(2)));
}

#[test]
fn failures_and_panics_are_counted_and_the_rest_is_loaded() {
    let time = ManualTime::new();
    let load = |key: &u64| match key % 4 {
        0 => Err("down".to_owned()),
        1 => panic!("on purpose"),
        2 => Ok(Loaded::missing()),
        _ => Ok(Loaded::value(*key).tag("odd")),
    };
    for at_once in [1, 3] {
        let cache = cache(&time);
        let mut seen = Vec::new();
        let listen = |now: Progress| {
            seen.push(now);
            ControlFlow::Continue(())
        };
        let warm_up = cache.warm_up(0..20, load).at_most_at_once(at_once);
        let warmed = warm_up.on_progress(listen).run();
        let Progress { done, loaded, missing, failed, .. } = warmed.progress;
        assert_eq!((done, loaded, missing, failed), (20, 5, 5, 10));
        assert_eq!(warmed.end, WarmUpEnd::Finished);
        let error = warmed.error.unwrap();
        assert!(error.error().is_some() || matches!(error, LoadError::Panicked(_)));
        assert!(seen.iter().map(|now| now.done).eq(1..=20));
        assert_eq!(seen.last(), Some(&warmed.progress));
        cache.invalidate_tag("odd");
        assert_eq!(cache.get(&3), None);
    }
}

#[test]
fn no_more_run_at_once_than_were_asked_for() {
    let time = ManualTime::new();
    let cache = cache(&time);
    let (three, running, most) = (Barrier::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = Mutex::new(HashSet::new());
    let load = |key: &u64| {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        threads.lock().unwrap().insert(thread::current().id());
        three.wait(); // goes on only when three are here
        running.fetch_sub(1, Ordering::SeqCst);
        double(key)
    };
    let warmed = cache.warm_up(0..30, load).at_most_at_once(3).run();
    assert_eq!((warmed.progress.loaded, most.into_inner()), (30, 3));
    let threads = threads.into_inner().unwrap();
    assert!(threads.len() == 3 && threads.contains(&thread::current().id()));
}

#[test]
fn a_reader_shares_the_load_of_a_warm_up() {
    let time = ManualTime::new();
    let (cache, (calls, tell, gate)) = (cache(&time), Gate::new());
    thread::scope(|scope| {
        let warmed = scope.spawn(|| cache.warm_up([1], |key| gate.load(key)).run());
        assert_eq!(calls.recv().unwrap(), 1);
        let reader = scope.spawn(|| cache.get_or_load(&1, || Err("a second load".to_owned())));
        time.until_parked(1);
        tell.send(Ok(5)).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 5);
        assert_eq!(warmed.join().unwrap().progress.loaded, 1);
    });
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn a_warm_up_shares_the_load_of_a_reader() {
    let time = ManualTime::new();
    let (cache, (calls, tell, gate)) = (cache(&time), Gate::new());
    thread::scope(|scope| {
        let (cache, gate) = (&cache, &gate);
        let reader = scope.spawn(move || cache.get_or_load_here(&1, || gate.load(&1)));
        assert_eq!(calls.recv().unwrap(), 1);
        let again = |_: &u64| Err::<u64, _>("a second load".to_owned());
        let warmed = scope.spawn(move || cache.warm_up([1], again).run());
        time.until_parked(1);
        tell.send(Ok(5)).unwrap();
        let warmed = warmed.join().unwrap();
        assert_eq!((warmed.progress.loaded, warmed.progress.failed), (1, 0));
        assert_eq!(reader.join().unwrap().unwrap(), 5);
    });
}

#[test]
fn a_load_of_others_that_hangs_is_a_failure_when_its_time_is_over() {
    let time = ManualTime::new();
    let cache = builder(&time).hard_timeout(SECOND * 5).build().unwrap();
    let (calls, tell, gate) = Gate::new();
    thread::scope(|scope| {
        let (cache, gate) = (&cache, &gate);
        let reader = scope.spawn(move || cache.get_or_load_here(&1, || gate.load(&1)));
        assert_eq!(calls.recv().unwrap(), 1);
        let warmed = scope.spawn(move || cache.warm_up([1, 2], double).run());
        time.until_parked(1);
        time.advance(SECOND * 5);
        let warmed = warmed.join().unwrap();
        assert_eq!((warmed.progress.loaded, warmed.progress.failed), (1, 1));
        assert!(warmed.error.unwrap().is_timeout());
        tell.send(Ok(5)).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 5);
    });
}

#[test]
fn a_shutdown_ends_the_wait_for_the_next_load() {
    let time = ManualTime::new();
    for at_once in [1, 3] {
        let cache = cache(&time);
        thread::scope(|scope| {
            let warm_up = cache.warm_up(0.., double).every(SECOND * 3_600);
            let warmed = scope.spawn(move || warm_up.at_most_at_once(at_once).run());
            time.until_parked(1);
            // One thread waits for the second load's time; another may be about to begin the first.
            while !cache.contains(&0) {
                thread::yield_now();
            }
            assert_eq!(cache.control().shutdown(SECOND), Ok(()));
            let warmed = warmed.join().unwrap();
            assert_eq!((warmed.progress.done, warmed.progress.loaded), (1, 1));
            assert_eq!((warmed.end, warmed.progress.total), (WarmUpEnd::ShutDown, None));
        });
        let warmed = cache.warm_up([7], double).run();
        assert_eq!((warmed.progress.done, warmed.end), (0, WarmUpEnd::ShutDown));
    }
}

#[test]
fn a_shutdown_waits_for_the_loads_of_a_warm_up() {
    let time = ManualTime::new();
    let (cache, (calls, tell, gate)) = (cache(&time), Gate::new());
    thread::scope(|scope| {
        let warmed = scope.spawn(|| cache.warm_up(0..9, |key| gate.load(key)).run());
        assert_eq!(calls.recv().unwrap(), 0);
        let shutdown = scope.spawn(|| cache.control().shutdown(SECOND));
        time.until_parked(1);
        tell.send(Ok(5)).unwrap();
        assert_eq!(shutdown.join().unwrap(), Ok(()));
        let warmed = warmed.join().unwrap();
        assert_eq!((warmed.progress.done, warmed.end), (1, WarmUpEnd::ShutDown));
    });
    assert_eq!(cache.get(&0), Some(5));
}

#[test]
fn the_listener_may_end_it() {
    let time = ManualTime::new();
    for at_once in [1, 4] {
        let (cache, told) = (cache(&time), AtomicUsize::new(0));
        let warm_up = cache.warm_up(0.., double).at_most_at_once(at_once).on_progress(|now| {
            told.fetch_add(1, Ordering::Relaxed);
            if now.done < 7 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let warmed = warm_up.run();
        // Those that were under way end, and are counted.
        assert!((7..7 + at_once as u64).contains(&warmed.progress.done));
        assert_eq!((warmed.end, told.into_inner()), (WarmUpEnd::Stopped, 7));
    }
}

#[test]
fn a_panic_that_is_not_the_loaders_ends_it_and_goes_on_here() {
    let time = ManualTime::new();
    for at_once in [1, 4] {
        let (cache, told) = (cache(&time), AtomicUsize::new(0));
        let warm_up = cache.warm_up(0.., double).at_most_at_once(at_once).on_progress(|_| {
            told.fetch_add(1, Ordering::Relaxed);
            panic!("the listener")
        });
        let payload = catch_unwind(AssertUnwindSafe(|| warm_up.run())).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"the listener"));
        assert_eq!(told.into_inner(), 1);
        let keys = (0..3).inspect(|key| assert!(*key < 2, "the keys"));
        let warm_up = cache.warm_up(keys, double).at_most_at_once(at_once);
        assert!(catch_unwind(AssertUnwindSafe(|| warm_up.run())).is_err());
        assert!(cache.get(&1).is_some());
    }
}

#[test]
fn the_store_behind_the_cache_is_asked_first() {
    let time = ManualTime::new();
    let store = Arc::new(MemoryStore::new(10));
    let before = builder(&time).l2(Arc::clone(&store)).build().unwrap();
    assert!(before.put(1, 7).is_stored());
    let cache = builder(&time).l2(store).build().unwrap();
    let asked = Mutex::new(Vec::new());
    let load = |key: &u64| {
        asked.lock().unwrap().push(*key);
        double(key)
    };
    assert_eq!(cache.warm_up([1, 2], load).run().progress.loaded, 2);
    assert_eq!(asked.into_inner().unwrap(), [2]);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(7), Some(4)));
}

#[test]
fn a_loading_cache_warms_itself_by_its_loader() {
    let time = ManualTime::new();
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let cache: LoadingCache<u64, u64, String> = builder(&time)
        .loader(move |key: &u64| match is_down.load(Ordering::Relaxed) {
            true => Err("down".to_owned()),
            false => double(key),
        })
        .build()
        .unwrap();
    assert_eq!(cache.load(&3).unwrap(), 6);
    let warmed = cache.warm_up(vec![1, 2, 3, 3]).run();
    assert_eq!((warmed.progress.loaded, warmed.progress.present), (2, 2));
    down.store(true, Ordering::Relaxed);
    let warmed = cache.clone().warm_up([4]).at_most_at_once(usize::MAX).run();
    assert_eq!(warmed.error.unwrap().to_string(), "down");
}
