//! Caches and jobs that are dropped while they load.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use advanced_caching::ManualTime;
use advanced_caching::sync::{Background, Cache, Scheduler};

use crate::world::{Origin, alone, holding_refreshes, secs, within_a_minute};

/// A value; how many of it are held anywhere is its count.
type Token = Arc<()>;

fn cache(time: &ManualTime) -> Cache<u32, Token> {
    let cache = Cache::builder().ttl(secs(10)).stale_while_revalidate(secs(600)).jitter_percent(0);
    cache.time(time.clone()).build().unwrap()
}

fn until_held_by(token: &Token, holders: usize) {
    while Arc::strong_count(token) != holders {
        thread::yield_now();
    }
}

/// A loader that says that it runs, and answers with what it is sent.
fn held_up()
-> (impl FnOnce() -> Result<Token, Origin> + Send + 'static, Receiver<()>, Sender<Token>) {
    let (begin, begun) = channel();
    let (go, wait) = channel();
    let load = move || {
        begin.send(()).unwrap();
        wait.recv().map_err(|_| Origin("the test is over"))
    };
    (load, begun, go)
}

#[test]
fn a_cache_dropped_during_a_refresh_is_gone_at_once_and_the_loader_ends() {
    holding_refreshes(|| {
        let (time, old, new) = (ManualTime::new(), Token::default(), Token::default());
        let cache = cache(&time);
        for key in 0..50 {
            cache.put(key, Arc::clone(&old));
        }
        time.advance(secs(10));
        let (load, begun, go) = held_up();
        drop(cache.get_or_load(&1, load).unwrap());
        begun.recv().unwrap();
        assert_eq!(Arc::strong_count(&old), 51);
        drop(cache);
        assert_eq!(Arc::strong_count(&old), 1, "the load does not keep the cache alive");
        go.send(Arc::clone(&new)).unwrap();
        until_held_by(&new, 1);
    });
}

#[test]
fn a_cache_whose_owner_drops_it_during_a_load_answers_those_who_wait() {
    within_a_minute(|| {
        let (time, value) = (ManualTime::new(), Token::default());
        let cache = cache(&time);
        let (load, begun, go) = held_up();
        let reader = cache.clone();
        let leader = thread::spawn(move || reader.get_or_load(&1, load));
        begun.recv().unwrap();
        let reader = cache.clone();
        let unused = || Err(Origin("one load is enough"));
        let follower = thread::spawn(move || reader.get_or_load(&1, unused));
        time.until_parked(2);
        drop(cache);
        go.send(Arc::clone(&value)).unwrap();
        for caller in [leader, follower] {
            assert!(Arc::ptr_eq(&caller.join().unwrap().unwrap(), &value));
        }
        until_held_by(&value, 1);
    });
}

#[test]
fn refreshes_that_wait_for_a_worker_go_with_the_cache() {
    alone(|| {
        let (time, old, held) = (ManualTime::new(), Token::default(), Token::default());
        let cache = cache(&time);
        (0..100).for_each(|key| drop(cache.put(key, Arc::clone(&old))));
        time.advance(secs(10));
        // More refreshes than there are workers for them; each loader holds something.
        let (go, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for key in 0..100 {
            let (wait, held) = (Arc::clone(&wait), Arc::clone(&held));
            let load = move || {
                let _ = wait.lock().unwrap().recv();
                drop(held);
                Err(Origin("the test is over"))
            };
            cache.get_or_load(&key, load).unwrap();
        }
        assert_eq!(Arc::strong_count(&held), 101);
        drop(cache);
        assert_eq!(Arc::strong_count(&old), 1);
        drop(go);
        until_held_by(&held, 1);
    });
}

#[test]
fn a_job_dropped_during_a_run_drops_what_the_run_loads() {
    within_a_minute(|| {
        let (time, value) = (ManualTime::new(), Token::default());
        let scheduler = Scheduler::with_time(time.clone());
        let (begin, begun) = channel();
        let (go, wait) = channel::<Token>();
        let origin = Mutex::new((begin, wait));
        let job = Background::builder("job").every(secs(10)).scheduler(&scheduler);
        let job = job.start(move || {
            let (begin, wait) = &*origin.lock().unwrap();
            begin.send(()).unwrap();
            wait.recv().map_err(|_| Origin("the test is over"))
        });
        begun.recv().unwrap();
        drop((job, scheduler));
        go.send(Arc::clone(&value)).unwrap();
        until_held_by(&value, 1);
        time.until_parked(0);
    });
}
