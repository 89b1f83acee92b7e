//! S13, S17, S18: when runs come.

use std::thread;
use std::time::Duration;

use advanced_caching::schedule::InsertError;
use advanced_caching::sync::{Background, MissedTick, StartError};

use super::{World, asks_the_test, counts};
use crate::world::{ms, secs, within_a_minute};

#[test]
fn s13_the_next_run_comes_before_the_value_can_expire() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), counts());
        let job = world.job("prices", secs(300)).valid_for(secs(80)).start(loader).unwrap();
        let status = world.settled(&job);
        assert_eq!(status.next_run, Some(secs(70)), "7/8 of the ttl, not the interval");
        for run in 2..=10 {
            // A millisecond before, the value is 69.999 s old and has 10 s to live.
            world.advance(secs(70) - ms(1), &job);
            assert_eq!(*runs.lock().unwrap(), run - 1);
            let status = world.advance(ms(1), &job);
            assert_eq!((*job.get().unwrap(), status.last_ok), (run, Some(secs(0))));
        }
    });
}

#[test]
fn s13_without_a_ttl_the_interval_counts() {
    within_a_minute(|| {
        let (world, (loader, _)) = (World::new(), counts());
        let job = world.job("prices", secs(300)).run_immediately(false).start(loader).unwrap();
        assert_eq!(world.settled(&job).next_run, Some(secs(300)));
        assert_eq!(job.get(), None);
        world.advance(secs(300), &job);
        assert_eq!(job.get().as_deref(), Some(&1));
    });
}

#[test]
fn bad_input_an_endless_interval_runs_once_and_when_it_is_asked_to() {
    within_a_minute(|| {
        let (world, (loader, _)) = (World::new(), counts());
        let job = world.job("once", Duration::MAX).start(loader).unwrap();
        assert_eq!(*job.ready().unwrap(), 1);
        world.time.advance(secs(1_000_000_000));
        while job.status().unwrap().running {
            thread::yield_now();
        }
        let status = job.status().unwrap();
        assert_eq!((status.next_run, status.missed, job.get().as_deref()), (None, 0, Some(&1)));
        assert!(job.refresh_now());
        while job.get().as_deref() != Some(&2) {
            thread::yield_now();
        }
    });
}

#[test]
fn s17_a_name_that_is_taken_is_an_error() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), counts());
        let job = world.job("prices", secs(300)).start(loader).unwrap();
        let other = world.job("prices", secs(5)).start(|| Ok::<u32, StartError>(99));
        assert_eq!(other.unwrap_err(), StartError::Insert(InsertError::Duplicate));
        world.settled(&job);
        world.advance(secs(300), &job);
        assert_eq!((job.get().as_deref(), *runs.lock().unwrap()), (Some(&2), 2));
        // The name is free again once its job has gone.
        drop(job);
        let other = world.job("prices", secs(5)).start(|| Ok::<u32, StartError>(99)).unwrap();
        assert_eq!(*other.ready().unwrap(), 99);
    });
}

#[test]
fn s17_a_name_whose_last_run_goes_on_is_not_free_yet() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).start(loader).unwrap();
        let run = runs.next();
        drop(job);
        let start = || world.job("prices", secs(5)).start(|| Ok::<u32, StartError>(99));
        assert_eq!(start().unwrap_err(), StartError::Insert(InsertError::Ending));
        run.send(Ok(1)).unwrap();
        let other = loop {
            match start() {
                Ok(job) => break job,
                Err(error) => assert_eq!(error, StartError::Insert(InsertError::Ending)),
            }
        };
        assert_eq!(*other.ready().unwrap(), 99);
    });
}

/// Runs each 10 s; the second run is held up for 35 s, in which three ticks pass. Returns, for each
/// run after it, how long after the start it began, and how many ticks were counted as missed.
fn after_a_late_run(missed: MissedTick, runs_after: usize) -> (Vec<u64>, u64) {
    let (world, (loader, runs)) = (World::new(), asks_the_test());
    let job = world.job("slow", secs(10)).missed(missed).start(loader).unwrap();
    runs.next().send(Ok(1)).unwrap();
    world.settled(&job);
    world.time.advance(secs(10));
    let late = runs.next();
    world.time.advance(secs(35));
    late.send(Ok(2)).unwrap();
    let (mut now, mut begun) = (45, Vec::new());
    while begun.len() < runs_after {
        let next = job.status().and_then(|status| status.next_run).filter(|next| !next.is_zero());
        match (runs.begun.try_recv(), next) {
            (Ok(run), _) => {
                begun.push(now);
                run.send(Ok(3)).unwrap();
            }
            // Nothing runs and nothing is due.
            (Err(_), Some(next)) => {
                world.time.advance(next);
                now += next.as_secs();
            }
            (Err(_), None) => thread::yield_now(),
        }
    }
    (begun, world.settled(&job).missed)
}

#[test]
fn s18_a_tick_that_is_late_runs_late_and_the_others_are_counted() {
    within_a_minute(|| {
        // The ticks at 20, 30 and 40 s have passed. One of them runs at 45 s, two are counted.
        assert_eq!(after_a_late_run(MissedTick::Delay, 3), (vec![45, 55, 65], 2));
        assert_eq!(after_a_late_run(MissedTick::Skip, 3), (vec![45, 50, 60], 2));
        // Each runs, at once; then the rhythm is back.
        assert_eq!(after_a_late_run(MissedTick::Burst, 5), (vec![45, 45, 45, 50, 60], 0));
    });
}

#[test]
fn s18_after_a_long_sleep_of_the_machine_every_tick_is_accounted_for() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), counts());
        let job = world.job("hourly", secs(3_600)).missed(MissedTick::Skip).start(loader).unwrap();
        world.settled(&job);
        let status = world.advance(secs(100 * 3_600), &job);
        assert_eq!((*runs.lock().unwrap(), status.missed), (2, 99), "100 ticks");
        assert_eq!(status.next_run, Some(secs(3_600)));
    });
}

#[test]
fn s18_many_jobs_at_once_all_run() {
    within_a_minute(|| {
        let world = World::new();
        let start = |n: u32| {
            let (loader, runs) = counts();
            let job = world.job(&format!("job {n}"), secs(10)).start(loader).unwrap();
            (job, runs)
        };
        let jobs: Vec<(Background<u32>, _)> = (0..300).map(start).collect();
        for round in 1..=5 {
            for (job, runs) in &jobs {
                let missed = world.settled(job).missed;
                assert_eq!((*runs.lock().unwrap(), missed), (round, 0));
            }
            world.time.advance(secs(10));
        }
    });
}
