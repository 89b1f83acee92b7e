//! Values kept by tasks, on paused time.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cache_core::schedule::InsertError;
use cache_tokio::TokioTime;
use cache_tokio::future::{
    Background, BackgroundBuilder, Cache, MissedTick, NotReady, Scheduler, StartError,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance, sleep, timeout};

#[path = "background/ends.rs"]
mod ends;
#[path = "background/readers.rs"]
mod readers;
#[path = "background/shared.rs"]
mod shared;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A job in a scheduler of its own.
fn job(name: &str, every: Duration) -> BackgroundBuilder {
    Background::builder(name).every(every).scheduler(&Scheduler::new())
}

type Load = Pin<Box<dyn Future<Output = Result<u32, String>> + Send>>;

/// The origin of a job: each run says that it has begun and waits for its answer.
struct Runs(mpsc::UnboundedReceiver<oneshot::Sender<Result<u32, String>>>);

fn asks_the_test() -> (impl Fn() -> Load + Send + Sync, Runs) {
    let (begun, runs) = mpsc::unbounded_channel();
    let loader = move || -> Load {
        let begun = begun.clone();
        Box::pin(async move {
            let (origin, answer) = oneshot::channel();
            begun.send(origin).expect("the test goes on");
            answer.await.expect("the test answers")
        })
    };
    (loader, Runs(runs))
}

impl Runs {
    /// Waits for the next run to begin; paused time moves on to it.
    async fn next(&mut self) -> oneshot::Sender<Result<u32, String>> {
        self.0.recv().await.expect("the job goes on")
    }

    async fn answer(&mut self, answer: Result<u32, &str>) {
        self.next().await.send(answer.map_err(Into::into)).unwrap();
        settle().await;
    }
}

/// A loader that answers with the number of the run.
fn counts() -> (impl Fn() -> Load + Send + Sync, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&runs);
    let loader = move || -> Load {
        Box::pin(std::future::ready(Ok(counter.fetch_add(1, Ordering::SeqCst) + 1)))
    };
    (loader, runs)
}

/// Lets all tasks do what they can do now.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

/// Moves the clock, and lets all tasks do what they can do then.
async fn pass(span: Duration) {
    advance(span).await;
    settle().await;
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

type Reader = JoinHandle<Result<Arc<u32>, NotReady>>;

async fn ten_readers(job: &Background<u32>) -> Vec<Reader> {
    let read = |_| {
        let job = job.clone();
        tokio::spawn(async move { job.ready().await })
    };
    let readers = (0..10).map(read).collect();
    settle().await;
    readers
}

#[tokio::test(start_paused = true)]
async fn s13_the_next_run_comes_before_the_value_can_expire() {
    let (loader, runs) = counts();
    let job = job("prices", secs(300)).valid_for(secs(80)).start(loader).unwrap();
    assert_eq!(*job.ready().await.unwrap(), 1);
    for run in 2..=10 {
        settle().await;
        assert_eq!(job.status().unwrap().next_run, Some(secs(70)), "7/8 of the ttl");
        pass(secs(70) - ms(1)).await;
        assert_eq!(runs.load(Ordering::SeqCst), run - 1);
        pass(ms(1)).await;
        assert_eq!(*job.get().unwrap(), run);
    }
}

#[tokio::test(start_paused = true)]
async fn s13_a_failed_refresh_keeps_the_last_good_value_and_is_tried_again_with_back_off() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).valid_for(secs(80)).start(loader).unwrap();
    runs.answer(Ok(1)).await;
    let mut last = Instant::now();
    let mut waits = Vec::new();
    for failures in 1..=8 {
        runs.answer(Err("down")).await;
        waits.push((Instant::now() - last).as_secs());
        last = Instant::now();
        let status = job.status().unwrap();
        assert_eq!((status.failures, &*status.last_error.unwrap().1), (failures, "down"));
        assert_eq!((job.get().as_deref(), *job.look().unwrap()), (Some(&1), 1));
        assert_eq!(*job.ready().await.unwrap(), 1);
    }
    assert_eq!(waits, [70, 1, 2, 4, 8, 16, 30, 30]);
    runs.answer(Ok(2)).await;
    let status = job.status().unwrap();
    assert_eq!((status.failures, status.next_run), (0, Some(secs(70))), "the rhythm is back");
    assert_eq!(job.get().as_deref(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn s13_readers_never_wait_for_a_refresh() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(10)).start(loader).unwrap();
    runs.answer(Ok(1)).await;
    let refresh = runs.next().await;
    let asked = Instant::now();
    assert!(job.status().unwrap().running);
    assert_eq!((job.get().as_deref(), job.ready().await.as_deref()), (Some(&1), Ok(&1)));
    let look = job.look().unwrap();
    assert_eq!(Instant::now(), asked, "nobody waited");
    refresh.send(Ok(2)).unwrap();
    settle().await;
    assert_eq!((*look, *job.look().unwrap()), (1, 2), "a look stays what it was");
}

#[tokio::test(start_paused = true)]
async fn s13_a_refresh_by_hand_runs_once_more_however_often_it_is_asked_for() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).start(loader).unwrap();
    let first = runs.next().await;
    assert!((0..5).all(|_| job.refresh_now()));
    first.send(Ok(1)).unwrap();
    runs.answer(Ok(2)).await;
    assert_eq!((job.get().as_deref(), job.status().unwrap().next_run), (Some(&2), Some(secs(300))));
    assert!(runs.0.try_recv().is_err());
    let asked = Instant::now();
    assert!(job.refresh_now());
    runs.answer(Ok(3)).await;
    assert_eq!((job.get().as_deref(), Instant::now()), (Some(&3), asked));
}

#[tokio::test(start_paused = true)]
async fn s13_jitter_shortens_each_interval_and_follows_from_the_name() {
    async fn waits(name: &str) -> Vec<Duration> {
        let job = job(name, secs(100)).jitter_percent(20).start(counts().0).unwrap();
        let mut waits = Vec::new();
        while waits.len() < 10 {
            settle().await;
            let next = job.status().unwrap().next_run.unwrap();
            waits.push(next);
            // Tokio's timers count whole milliseconds.
            pass(next + ms(1)).await;
        }
        waits
    }
    let (one, other) = (waits("one").await, waits("other").await);
    assert!(one.iter().chain(&other).all(|wait| (secs(80)..=secs(100)).contains(wait)));
    assert!(one != other && one[0] != one[1], "{one:?}");
    let wrong = job("one", secs(1)).jitter_percent(100).start(counts().0).unwrap_err();
    assert!(matches!(wrong, StartError::Job(error) if error.field() == "jitter_percent"));
}

#[tokio::test(start_paused = true)]
async fn s17_a_name_that_is_taken_is_an_error_and_free_again_when_its_job_is_gone() {
    let scheduler = Scheduler::new();
    let start = || {
        let job = Background::builder("prices").every(secs(5)).scheduler(&scheduler);
        job.start(counts().0)
    };
    let (loader, mut runs) = asks_the_test();
    let job = Background::builder("prices").every(secs(5)).scheduler(&scheduler);
    let job = job.start(loader).unwrap();
    assert_eq!(start().unwrap_err(), StartError::Insert(InsertError::Duplicate));
    let run = runs.next().await;
    job.stop();
    assert_eq!(start().unwrap_err(), StartError::Insert(InsertError::Ending));
    run.send(Ok(7)).unwrap();
    settle().await;
    assert_eq!(job.get().as_deref(), Some(&7), "the run went on to its end");
    let other = start().unwrap();
    drop(job);
    assert_eq!(*other.ready().await.unwrap(), 1);
    assert!(other.status().is_some(), "who has stopped takes nothing from who has the name now");
}

#[tokio::test(start_paused = true)]
async fn s17_what_cannot_be_is_refused() {
    let (loader, runs) = counts();
    assert_eq!(Background::builder("x").start(loader).unwrap_err(), StartError::NoInterval);
    let zero = job("x", Duration::ZERO).start(counts().0).unwrap_err();
    assert!(matches!(zero, StartError::Job(error) if error.field() == "every"));
    assert_eq!((runs.load(Ordering::SeqCst), tasks()), (0, 0));
}

/// Runs each 10 s; the second run is held up for 35 s, in which three ticks pass. Returns, for each
/// run after it, how long after the start it began, and how many ticks were counted as missed.
async fn after_a_late_run(missed: MissedTick, runs_after: usize) -> (Vec<u64>, u64) {
    let (start, (loader, mut runs)) = (Instant::now(), asks_the_test());
    let job = job("slow", secs(10)).missed(missed).start(loader).unwrap();
    runs.answer(Ok(1)).await;
    let late = runs.next().await;
    advance(secs(35)).await;
    late.send(Ok(2)).unwrap();
    let mut begun = Vec::new();
    while begun.len() < runs_after {
        let run = runs.next().await;
        begun.push((Instant::now() - start).as_secs());
        run.send(Ok(3)).unwrap();
    }
    settle().await;
    (begun, job.status().unwrap().missed)
}

#[tokio::test(start_paused = true)]
async fn s18_a_tick_that_is_late_runs_late_and_the_others_are_counted() {
    assert_eq!(after_a_late_run(MissedTick::Delay, 3).await, (vec![45, 55, 65], 2));
    assert_eq!(after_a_late_run(MissedTick::Skip, 3).await, (vec![45, 50, 60], 2));
    assert_eq!(after_a_late_run(MissedTick::Burst, 5).await, (vec![45, 45, 45, 50, 60], 0));
}

#[tokio::test(start_paused = true)]
async fn s18_many_jobs_at_once_all_run() {
    let scheduler = Scheduler::new();
    let start = |n: u32| {
        let (loader, runs) = counts();
        let job = Background::builder(&format!("job {n}")).every(secs(10)).scheduler(&scheduler);
        (job.start(loader).unwrap(), runs)
    };
    let jobs: Vec<_> = (0..1_024).map(start).collect();
    let full = Background::builder("full").every(secs(10)).scheduler(&scheduler);
    let full = full.start(counts().0).unwrap_err();
    assert!(matches!(full, StartError::Insert(InsertError::Full { .. })));
    for round in 1..=5 {
        settle().await;
        for (job, runs) in &jobs {
            let missed = job.status().unwrap().missed;
            assert_eq!((runs.load(Ordering::SeqCst), missed), (round, 0));
        }
        pass(secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s18_an_endless_interval_runs_once_and_when_it_is_asked_to() {
    let job = job("once", Duration::MAX).start(counts().0).unwrap();
    assert_eq!(*job.ready().await.unwrap(), 1);
    pass(secs(1_000_000_000)).await;
    assert_eq!((job.get().as_deref(), job.status().unwrap().next_run), (Some(&1), None));
    assert!(job.refresh_now());
    settle().await;
    assert_eq!(job.get().as_deref(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn s18_a_job_that_nobody_reads_pauses_and_the_next_read_wakes_it() {
    let job = job("idle", secs(10)).stop_after_idle(secs(60)).start(counts().0).unwrap();
    for run in 1..=20 {
        settle().await;
        assert_eq!(job.get().as_deref(), Some(&run), "who reads keeps it going");
        advance(secs(10)).await;
    }
    sleep(secs(3_600)).await;
    let status = job.status().unwrap();
    assert_eq!((status.next_run, status.running), (None, false), "it rests, with no timer");
    let runs = *job.get().unwrap();
    assert!(runs <= 28, "{runs}: 60 s, and an interval that was under way");
    assert_eq!(*job.look().unwrap(), runs, "the last value, at once");
    settle().await;
    let status = job.status().unwrap();
    assert_eq!((*job.get().unwrap(), status.missed), (runs + 1, 0), "none of them was due");
    assert_eq!(status.next_run, Some(secs(10)));
}

#[tokio::test(start_paused = true)]
async fn s18_a_job_whose_value_is_waited_for_does_not_pause() {
    let (count, runs) = counts();
    let loader = move || {
        let run = count();
        async move { run.await.and_then(|n| if n < 100 { Err(n.to_string()) } else { Ok(n) }) }
    };
    let job = job("idle", secs(10)).back_off(secs(10), 1, secs(10)).stop_after_idle(secs(15));
    let (job, start) = (job.start(loader).unwrap(), Instant::now());
    let mut watcher = job.watch();
    let value = timeout(secs(2_000), watcher.changed()).await.expect("it goes on").unwrap();
    assert_eq!(*value, 100, "one wait, through all the failures");
    assert_eq!(start.elapsed(), secs(990));
    assert!(timeout(secs(1), watcher.changed()).await.is_err());
    sleep(secs(1_000)).await;
    assert_eq!(job.status().unwrap().next_run, None, "a wait that was cancelled is none");
    assert!(runs.load(Ordering::SeqCst) < 105);
}

#[tokio::test(start_paused = true)]
async fn s19_a_loader_may_shut_its_own_scheduler_and_its_own_value_down() {
    let (scheduler, own) = (Scheduler::new(), Arc::new(OnceLock::<Background<u32>>::new()));
    let (within, value) = (scheduler.clone(), Arc::downgrade(&own));
    let job = Background::builder("last").every(secs(10)).scheduler(&scheduler);
    let job = job.start(move || {
        let (scheduler, value) = (within.clone(), value.clone());
        async move {
            scheduler.shutdown(Duration::MAX).await.map_err(|error| error.to_string())?;
            let value = value.upgrade().and_then(|own| own.get().cloned()).expect("it is there");
            value.shutdown(Duration::MAX).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(1)
        }
    });
    let job = job.unwrap();
    own.set(job.clone()).unwrap();
    settle().await;
    assert_eq!(job.ready().await.as_deref(), Ok(&1), "its own run still counts");
    let late = Background::builder("late").every(secs(1)).scheduler(&scheduler);
    assert_eq!(late.start(counts().0).unwrap_err(), StartError::Closed);
    assert_eq!(scheduler.shutdown(secs(1)).await, Ok(()), "twice is not too often");
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn s19_two_jobs_that_shut_down_at_once_do_not_wait_for_each_other() {
    let (scheduler, ends) = (Scheduler::new(), Arc::new(AtomicU32::new(0)));
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let start = |name: &str| {
        let (both, scheduler, ends) = (both.clone(), scheduler.clone(), ends.clone());
        let job = Background::builder(name).every(secs(10)).scheduler(&scheduler.clone());
        job.start(move || {
            let (both, scheduler, ends) = (both.clone(), scheduler.clone(), ends.clone());
            async move {
                both.wait().await;
                assert_eq!(scheduler.shutdown(Duration::MAX).await, Ok(()));
                Ok::<_, String>(ends.fetch_add(1, Ordering::SeqCst))
            }
        })
    };
    let _jobs = (start("one").unwrap(), start("other").unwrap());
    settle().await;
    assert_eq!(ends.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn s19_shutdown_waits_for_a_job_that_reads_a_cache() {
    let cache = Cache::<u8, u32>::builder().ttl(secs(60)).time(TokioTime::new()).build().unwrap();
    let (scheduler, start) = (Scheduler::new(), Instant::now());
    let job = Background::builder("reader").every(secs(10)).scheduler(&scheduler);
    let job = job.start(move || {
        let cache = cache.clone();
        async move {
            let load = || async {
                sleep(secs(3)).await;
                Ok::<_, String>(7)
            };
            cache.get_or_load(&1, load).await
        }
    });
    let job = job.unwrap();
    sleep(secs(1)).await;
    assert_eq!(scheduler.shutdown(secs(5)).await, Ok(()));
    assert_eq!((start.elapsed(), job.get().as_deref()), (secs(3), Some(&7)), "to its end");
    assert_eq!((job.status().is_none(), job.refresh_now()), (true, false));
}

#[tokio::test(start_paused = true)]
async fn s19_shutdown_waits_no_longer_than_it_may() {
    let (scheduler, (loader, mut runs)) = (Scheduler::new(), asks_the_test());
    let job = Background::builder("stuck").every(secs(10)).scheduler(&scheduler);
    let job = job.start(loader).unwrap();
    let (run, start) = (runs.next().await, Instant::now());
    assert_eq!(job.shutdown(secs(3)).await.unwrap_err().jobs, 1);
    assert_eq!(scheduler.shutdown(secs(5)).await.unwrap_err().jobs, 1);
    assert_eq!(start.elapsed(), secs(8));
    run.send(Ok(1)).unwrap();
    assert_eq!(job.shutdown(Duration::MAX).await, Ok(()));
    assert_eq!(scheduler.shutdown(Duration::MAX).await, Ok(()), "it has ended by then");
    assert_eq!(job.get().as_deref(), Some(&1), "what it loaded is kept");
}

#[tokio::test(start_paused = true)]
async fn s19_a_stopped_job_keeps_its_value_and_frees_those_who_wait() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).ready_timeout(Duration::MAX).start(loader).unwrap();
    let (run, readers, mut watcher) = (runs.next().await, ten_readers(&job).await, job.watch());
    job.stop();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap_err(), NotReady::Stopped);
    }
    assert!(watcher.changed().await.is_err());
    assert!(!job.refresh_now() && job.status().is_none());
    run.send(Err("too late".into())).unwrap();
    settle().await;
    assert_eq!((job.ready().await.unwrap_err(), tasks()), (NotReady::Stopped, 0));
}
