//! Bad input: every worker of the process taken. A process of its own, since all caches of one share
//! its workers; and its tests run one at a time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use advanced_caching::ManualTime;
use advanced_caching::sync::{Background, Cache, Scheduler};

use crate::world::{Origin, alone, secs};

#[path = "../scenarios/world/mod.rs"]
#[allow(dead_code, unused_imports)] // shared with the scenarios, which use the rest of it
mod world;

/// Loads that wait until the sender is dropped.
fn gate() -> (Sender<()>, Arc<Mutex<Receiver<()>>>) {
    let (go, wait) = channel();
    (go, Arc::new(Mutex::new(wait)))
}

/// Blocks until the gate's sender is dropped; nothing is ever sent.
fn wait_at(gate: &Mutex<Receiver<()>>) {
    let _ = gate.lock().unwrap().recv();
}

#[test]
fn six_hundred_loads_that_need_each_other_all_end() {
    alone(|| {
        let time = ManualTime::new();
        let cache: Cache<u32, u32> =
            Cache::builder().ttl(secs(60)).max_loads(4_096).time(time.clone()).build().unwrap();
        // Each ends only when all run; and each loads another key while it runs.
        let all = Arc::new(Barrier::new(600));
        let read = |key: u32| {
            let (cache, all) = (cache.clone(), Arc::clone(&all));
            let call = move || {
                let inner = cache.clone();
                cache.get_or_load(&key, move || {
                    all.wait();
                    inner.get_or_load(&(key + 1_000), move || Ok::<_, Origin>(key))
                })
            };
            thread::Builder::new().stack_size(256 << 10).spawn(call).expect("a thread")
        };
        let callers: Vec<_> = (0..600).map(read).collect();
        for (key, caller) in (0..).zip(callers) {
            assert_eq!(caller.join().unwrap().unwrap(), key);
        }
        assert_eq!((cache.stats().loads, cache.stats().landed), (1_200, 1_200));
    });
}

#[test]
fn with_every_worker_taken_a_background_job_still_runs() {
    alone(|| {
        let time = ManualTime::new();
        let cache: Cache<u32, u32> = Cache::builder().ttl(secs(60)).build().unwrap();
        let (go, gate) = gate();
        let (begin, begun) = channel();
        let read = |key: u32| {
            let (cache, gate, begin) = (cache.clone(), Arc::clone(&gate), begin.clone());
            let call = move || {
                cache.get_or_load(&key, move || {
                    begin.send(()).unwrap();
                    wait_at(&gate);
                    Ok::<_, Origin>(key)
                })
            };
            thread::Builder::new().stack_size(256 << 10).spawn(call).expect("a thread")
        };
        let callers: Vec<_> = (0..600).map(read).collect();
        begun.iter().take(600).for_each(drop);
        let scheduler = Scheduler::with_time(time.clone());
        let job = |name: &str| {
            let job = Background::builder(name).every(secs(10)).scheduler(&scheduler);
            job.start(|| Ok::<_, Origin>(7)).unwrap()
        };
        let jobs = [job("one"), job("two"), job("three")];
        for job in &jobs {
            assert_eq!(*job.ready().unwrap(), 7);
        }
        drop(go);
        callers.into_iter().for_each(|caller| assert!(caller.join().unwrap().is_ok()));
    });
}

/// A cache with `n` stale values, each the number of its key.
fn stale(n: u32) -> (ManualTime, Cache<u32, u32>) {
    let time = ManualTime::new();
    let cache = Cache::builder().ttl(secs(10)).stale_while_revalidate(secs(10)).capacity(100_000);
    let cache = cache.stale_if_error(secs(1_000)).jitter_percent(0).max_loads(10_000);
    let cache = cache.soft_timeout(secs(25)).hard_timeout(secs(25));
    let cache = cache.time(time.clone()).build().unwrap();
    (0..n).for_each(|key| assert!(cache.put(key, key).is_stored()));
    time.advance(secs(10));
    (time, cache)
}

/// Reads `keys`, whose refreshes wait at the gate and then load the key's number plus 10,000.
fn read_all(cache: &Cache<u32, u32>, keys: std::ops::Range<u32>, gate: &Arc<Mutex<Receiver<()>>>) {
    for key in keys {
        let gate = Arc::clone(gate);
        let refresh = move || {
            wait_at(&gate);
            Ok::<_, Origin>(key + 10_000)
        };
        assert_eq!(cache.get_or_load(&key, refresh).unwrap(), key, "served at once");
    }
}

fn until_ended(cache: &Cache<u32, u32>) {
    let over = || {
        let stats = cache.stats();
        stats.loads == stats.landed + stats.abandoned
    };
    while !over() {
        thread::yield_now();
    }
}

#[test]
fn refreshes_beyond_the_queue_are_given_up_and_asked_for_again() {
    const KEYS: u32 = 2_000;
    alone(|| {
        let (_, cache) = stale(KEYS);
        let (go, gate) = gate();
        read_all(&cache, 0..KEYS, &gate);
        let stats = cache.stats();
        // Some run, 1,024 wait; the others were given up, and counted.
        let kept = u64::from(KEYS) - stats.abandoned;
        assert!((1_024..=1_024 + 16).contains(&kept), "{stats:?}");
        assert_eq!((stats.stale_hits, stats.loads), (u64::from(KEYS), u64::from(KEYS)));
        drop(go);
        until_ended(&cache);
        assert_eq!(cache.stats().landed, kept, "what was queued has landed");
        // Who reads next refreshes what was given up.
        let still_old = (0..KEYS).filter(|key| cache.get(key).is_none()).count();
        assert_eq!(still_old as u64, stats.abandoned);
        read_all(&cache, KEYS - 1..KEYS, &gate);
        until_ended(&cache);
        assert_eq!(cache.get(&(KEYS - 1)), Some(KEYS - 1 + 10_000));
    });
}

#[test]
fn a_queued_refresh_is_pulled_forward_by_who_must_wait_for_it() {
    alone(|| {
        let (time, cache) = stale(101);
        let (go, gate) = gate();
        read_all(&cache, 0..100, &gate);
        let last = cache.get_or_load(&100, || Ok::<_, Origin>(7));
        assert_eq!(last.unwrap(), 100, "served; its refresh waits behind the others");
        // Past the stale window a reader must wait for that refresh, which none will run.
        time.advance(secs(10));
        let unused = || Err(Origin("it is being loaded already"));
        assert_eq!(cache.get_or_load(&100, unused).unwrap(), 7);
        drop(go);
        until_ended(&cache);
        assert_eq!((cache.stats().loads, cache.stats().landed), (101, 101));
    });
}
