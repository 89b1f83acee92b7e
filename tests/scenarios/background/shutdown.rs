//! S19: shutdown, from wherever it is asked for, deadlocks with nobody.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use advanced_caching::sync::{Background, Cache, NotReady, StartError, StillRunning};

use super::{World, asks_the_test};
use crate::world::{Origin, secs, within_a_minute};

#[test]
fn s19_a_job_may_shut_its_own_scheduler_down() {
    within_a_minute(|| {
        let world = World::new();
        let (done, end) = channel();
        let scheduler = world.scheduler.clone();
        let job = world.job("last", secs(10)).start(move || {
            let ended = scheduler.shutdown(Duration::MAX);
            done.send(ended).map_err(|_| Origin("the test is over"))
        });
        let job = job.unwrap();
        assert_eq!(end.recv().unwrap(), Ok(()), "it does not wait for itself");
        assert_eq!(job.ready().as_deref(), Ok(&()), "its own run still counts");
        let late = world.job("late", secs(1)).start(|| Ok::<u32, Origin>(1));
        assert_eq!(late.unwrap_err(), StartError::Closed);
        assert_eq!(world.scheduler.shutdown(secs(1)), Ok(()), "twice is not too often");
    });
}

#[test]
fn s19_two_jobs_that_shut_down_at_once_do_not_wait_for_each_other() {
    within_a_minute(|| {
        let world = World::new();
        let (done, ends) = channel();
        let both = Arc::new(Barrier::new(2));
        let start = |name: &str| {
            let (done, both, scheduler) = (done.clone(), both.clone(), world.scheduler.clone());
            let job = move || {
                both.wait();
                let ended = scheduler.shutdown(Duration::MAX);
                done.send(ended).map_err(|_| Origin("the test is over"))
            };
            world.job(name, secs(10)).start(job).unwrap()
        };
        let jobs = (start("one"), start("other"));
        assert_eq!((ends.recv().unwrap(), ends.recv().unwrap()), (Ok(()), Ok(())));
        drop(jobs);
    });
}

/// A shutdown with a patience of 5 s, which has begun to count.
fn begun_shutdown(world: &World) -> thread::JoinHandle<Result<(), StillRunning>> {
    let scheduler = world.scheduler.clone();
    let shutdown = thread::spawn(move || scheduler.shutdown(secs(5)));
    let probe = || world.job("probe", secs(1)).run_immediately(false).start(|| Ok::<_, Origin>(1));
    while probe().is_ok() {
        thread::yield_now();
    }
    shutdown
}

#[test]
fn s19_shutdown_waits_for_a_job_that_reads_a_cache() {
    within_a_minute(|| {
        let world = World::new();
        let cache = Cache::<u8, u32>::builder().ttl(secs(60)).time(world.time.clone());
        let cache = cache.build().unwrap();
        let (begun, loads) = channel();
        let job = world.job("reader", secs(10)).start(move || {
            let begun = begun.clone();
            cache.get_or_load(&1, move || {
                let (go, wait) = channel();
                begun.send(go).unwrap();
                wait.recv().map_err(|_| Origin("the test is over"))
            })
        });
        let (job, load) = (job.unwrap(), loads.recv().unwrap());
        let shutdown = begun_shutdown(&world);
        load.send(7).unwrap();
        assert_eq!(shutdown.join().unwrap(), Ok(()), "in no time");
        assert_eq!(job.ready().as_deref(), Ok(&7), "the run went on to its end");
    });
}

#[test]
fn s19_shutdown_waits_no_longer_than_it_may() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("stuck", secs(10)).start(loader).unwrap();
        let run = runs.next();
        let shutdown = begun_shutdown(&world);
        world.time.advance(secs(5));
        assert_eq!(shutdown.join().unwrap().unwrap_err().jobs, 1);
        run.send(Ok(1)).unwrap();
        assert_eq!(world.scheduler.shutdown(Duration::MAX), Ok(()), "it has ended by then");
        assert_eq!(job.get().as_deref(), Some(&1), "what it loaded is kept");
    });
}

#[test]
fn s19_after_a_shutdown_nobody_waits_for_a_value_that_will_not_come() {
    within_a_minute(|| {
        let world = World::new();
        let job = world.job("never", secs(10)).run_immediately(false).ready_timeout(Duration::MAX);
        let job = job.start(|| Ok::<u32, Origin>(1)).unwrap();
        let reader = job.clone();
        let waits = thread::spawn(move || reader.ready());
        world.time.until_parked(2);
        world.scheduler.shutdown(secs(1)).unwrap();
        assert_eq!(waits.join().unwrap().unwrap_err(), NotReady::Stopped);
        assert_eq!(job.ready().unwrap_err(), NotReady::Stopped);
        assert!(!job.refresh_now(), "there is nobody to run it");
    });
}

#[test]
fn s19_a_job_may_drop_the_last_handle_on_itself() {
    within_a_minute(|| {
        let World { time, scheduler } = World::new();
        let handle = Arc::new(OnceLock::<Background<u32>>::new());
        let (own, (done, ends)) = (Arc::downgrade(&handle), channel());
        let (go, wait) = channel::<Arc<OnceLock<Background<u32>>>>();
        let wait = std::sync::Mutex::new(wait);
        let job =
            Background::builder("own").every(secs(10)).scheduler(&scheduler).start(move || {
                drop(wait.lock().unwrap().recv());
                done.send(own.strong_count()).unwrap();
                Ok::<u32, Origin>(1)
            });
        handle.set(job.unwrap()).unwrap();
        drop(scheduler);
        go.send(handle).unwrap();
        assert_eq!(ends.recv().unwrap(), 0, "the job's run dropped job and scheduler");
        time.until_parked(0); // and the scheduler's thread ends
    });
}
