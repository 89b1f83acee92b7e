//! S13, S22, S24: runs that fail.

use std::sync::mpsc::channel;
use std::thread;

use advanced_caching::sync::{Background, NotReady};

use super::{Texts, World, asks_the_test};
use crate::world::{Origin, ms, panic_quietly, secs, within_a_minute};

/// A job that failed again and again for hours after its first run.
fn down_for_hours(world: &World) -> Background<u32> {
    let (loader, runs) = asks_the_test();
    let job = world.job("prices", secs(300)).valid_for(secs(80)).start(loader).unwrap();
    runs.next().send(Ok(1)).unwrap();
    let mut status = world.settled(&job);
    for failures in 1..=500 {
        world.time.advance(status.next_run.unwrap());
        runs.next().send(Err(Origin("down"))).unwrap();
        status = world.settled(&job);
        assert_eq!(status.failures, failures);
    }
    assert!(status.last_ok.unwrap() > secs(4 * 3_600), "{status:?}");
    job
}

#[test]
fn s13_a_failed_refresh_keeps_the_last_good_value_whatever_its_ttl() {
    within_a_minute(|| {
        let world = World::new();
        let job = down_for_hours(&world);
        assert_eq!(job.get().as_deref(), Some(&1), "valid for 80 s, hours ago");
        assert_eq!(job.ready().as_deref(), Ok(&1));
        let (_, text) = job.status().unwrap().last_error.unwrap();
        assert_eq!(&*text, "down");
    });
}

#[test]
fn s13_a_failed_refresh_is_tried_again_soon_with_back_off() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).valid_for(secs(80)).start(loader).unwrap();
        let mut waits = Vec::new();
        for _ in 0..7 {
            runs.next().send(Err(Origin("down"))).unwrap();
            let next = world.settled(&job).next_run.unwrap();
            waits.push(next.as_secs());
            // Not a moment too soon.
            assert_eq!(world.advance(next - ms(1), &job).next_run, Some(ms(1)));
            world.time.advance(ms(1));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        runs.next().send(Ok(1)).unwrap();
        let status = world.settled(&job);
        assert_eq!((status.failures, status.next_run), (0, Some(secs(70))), "the rhythm is back");
    });
}

#[test]
fn s13_a_retry_does_not_come_later_than_the_next_regular_run() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("often", secs(5)).back_off(secs(4), 3, secs(60)).start(loader).unwrap();
        for next in [4, 5, 5] {
            runs.next().send(Err(Origin("down"))).unwrap();
            assert_eq!(world.settled(&job).next_run, Some(secs(next)));
            world.time.advance(secs(next));
        }
    });
}

#[test]
fn s22_who_listens_for_errors_changes_nothing() {
    within_a_minute(|| {
        let texts = Texts::default();
        let told = texts.clone();
        let deaf = a_mixed_life(&World::new(), None);
        let listened = a_mixed_life(&World::new(), Some(Box::new(move |text| told.note(&text))));
        let panicking = a_mixed_life(&World::new(), Some(Box::new(|_| panic_quietly("listener"))));
        assert_eq!(deaf, [(1, 0), (1, 1), (1, 2), (4, 0)]);
        assert_eq!((&listened, &panicking), (&deaf, &deaf));
        assert_eq!(texts.taken(), ["first", "second"]);
    });
}

type Listener = Box<dyn Fn(String) + Send + Sync>;

/// One run that goes well, two that fail, one that goes well again; returns value and failures
/// after each.
fn a_mixed_life(world: &World, on_error: Option<Listener>) -> Vec<(u32, u32)> {
    let (loader, runs) = asks_the_test();
    let mut builder = world.job("prices", secs(300));
    if let Some(told) = on_error {
        builder = builder.on_error(move |error| told(error.to_string()));
    }
    let job = builder.start(loader).unwrap();
    let answers = [Ok(1), Err(Origin("first")), Err(Origin("second")), Ok(4)];
    let live = |answer| {
        // The next run, if one is planned; the first is due from the start.
        world.time.advance(job.status().and_then(|status| status.next_run).unwrap_or_default());
        runs.next().send(answer).unwrap();
        let status = world.settled(&job);
        (*job.get().unwrap(), status.failures)
    };
    answers.into_iter().map(live).collect()
}

#[test]
fn s24_a_value_comes_after_its_first_load_failed() {
    within_a_minute(|| {
        let (world, (loader, runs)) = (World::new(), asks_the_test());
        let job = world.job("prices", secs(300)).start(loader).unwrap();
        let first = runs.next();
        let reader = job.clone();
        let waits = thread::spawn(move || reader.ready());
        world.time.until_parked(2);
        first.send(Err(Origin("not yet"))).unwrap();
        let failed = NotReady::Failed("not yet".into());
        assert_eq!(waits.join().unwrap().unwrap_err(), failed, "who waited is told");
        world.settled(&job);
        assert_eq!((job.get(), job.ready().unwrap_err()), (None, failed));
        world.time.advance(secs(1));
        runs.next().send(Ok(1)).unwrap();
        world.settled(&job);
        assert_eq!((job.get().as_deref(), job.ready().as_deref()), (Some(&1), Ok(&1)));
    });
}

#[test]
fn s20_a_run_that_panics_has_failed_and_the_next_one_comes() {
    within_a_minute(|| {
        let (world, texts) = (World::new(), Texts::default());
        let (runs, told) = (std::sync::atomic::AtomicU32::new(0), texts.clone());
        let loader = move || match runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => panic_quietly("on purpose"),
            n => Ok::<_, Origin>(n),
        };
        let job = world.job("prices", secs(300)).on_error(move |error| told.note(error));
        let job = job.start(loader).unwrap();
        assert_eq!(world.settled(&job).failures, 1);
        assert!(texts.taken()[0].contains("on purpose"));
        let status = world.advance(secs(1), &job);
        assert_eq!((job.get().as_deref(), status.failures), (Some(&1), 0));
    });
}

#[test]
fn bad_input_an_error_that_cannot_be_shown_is_a_failure_like_any() {
    struct Unspeakable;
    impl std::fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic_quietly("no words")
        }
    }
    within_a_minute(|| {
        let world = World::new();
        let job = world.job("prices", secs(300)).start(|| Err::<u32, _>(Unspeakable)).unwrap();
        assert_eq!(world.settled(&job).failures, 1);
        let (told, telling) = channel();
        let reader = job.clone();
        thread::spawn(move || told.send(reader.ready()));
        // No time passes: who asks is told of the failure, and does not wait for a time-out.
        let answer = telling.recv().unwrap();
        assert!(matches!(answer, Err(NotReady::Failed(_))), "{answer:?}");
    });
}
