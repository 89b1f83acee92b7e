//! S13, S19, S23: readers of a background value.

use std::sync::Arc;
use std::thread;

use advanced_caching::Clock;
use advanced_caching::sync::{Background, NotReady};

use super::{World, asks_the_test};
use crate::world::{Origin, secs, within_a_minute};

/// Threads that wait until the value is there.
fn ten_readers(job: &Background<u32>) -> Vec<thread::JoinHandle<Result<Arc<u32>, NotReady>>> {
    let read = |_| {
        let job = job.clone();
        thread::spawn(move || job.ready())
    };
    (0..10).map(read).collect()
}

#[test]
fn s23_ten_readers_of_a_cold_value_make_one_load_and_get_ten_answers() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).start(loader).unwrap();
        let run = runs.next();
        let readers = ten_readers(&job);
        world.time.until_parked(11); // the readers and the scheduler
        run.send(Ok(7)).unwrap();
        let first = job.ready().unwrap();
        for reader in readers {
            assert!(Arc::ptr_eq(&reader.join().unwrap().unwrap(), &first), "one and the same");
        }
        world.settled(&job);
        assert!(runs.begun.try_recv().is_err(), "one load");
    });
}

#[test]
fn s23_readers_wait_no_longer_than_they_may() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).ready_timeout(secs(5)).start(loader).unwrap();
        let run = runs.next();
        let readers = ten_readers(&job);
        world.time.until_parked(11);
        world.time.advance(secs(5));
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap_err(), NotReady::TimedOut);
        }
        run.send(Ok(7)).unwrap();
        assert_eq!(job.ready().as_deref(), Ok(&7), "the run went on");
    });
}

#[test]
fn s13_readers_never_wait_for_a_refresh() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).valid_for(secs(80)).start(loader).unwrap();
        runs.next().send(Ok(1)).unwrap();
        world.settled(&job);
        world.time.advance(secs(70));
        let refresh = runs.next();
        let asked = world.time.now();
        for _ in 0..3 {
            assert_eq!((job.get().as_deref(), job.ready().as_deref()), (Some(&1), Ok(&1)));
        }
        let look = job.look().unwrap();
        assert_eq!(world.time.now(), asked, "nobody waited");
        refresh.send(Ok(2)).unwrap();
        world.settled(&job);
        assert_eq!((*look, *job.look().unwrap()), (1, 2), "a look stays what it was");
        assert_eq!(job.get().as_deref(), Some(&2));
    });
}

#[test]
fn s13_a_refresh_by_hand_runs_once_however_often_it_is_asked_for() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).start(loader).unwrap();
        let first = runs.next();
        for _ in 0..5 {
            assert!(job.refresh_now());
        }
        first.send(Ok(1)).unwrap();
        runs.next().send(Ok(2)).unwrap();
        assert_eq!(world.settled(&job).next_run, Some(secs(300)));
        assert_eq!(job.get().as_deref(), Some(&2));
        assert!(runs.begun.try_recv().is_err());
    });
}

#[test]
fn s19_a_stopped_job_keeps_its_value_and_frees_those_who_wait() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).start(loader).unwrap();
        let run = runs.next();
        let readers = ten_readers(&job);
        world.time.until_parked(11);
        job.stop();
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap_err(), NotReady::Stopped);
        }
        assert!(!job.refresh_now() && job.status().is_none());
        run.send(Err(Origin("too late"))).unwrap();
        assert_eq!(job.ready().unwrap_err(), NotReady::Stopped);
    });
}
