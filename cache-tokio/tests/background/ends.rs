//! S19: what ends, and what goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use cache_tokio::future::{Background, NotReady};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{advance, sleep};

use super::{asks_the_test, counts, job, pass, secs, settle, tasks};

fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn s19_the_last_handle_ends_the_task_and_its_timer() {
    assert_eq!(tasks(), 0);
    let job = job("prices", secs(10)).start(counts().0).unwrap();
    let (other, mut watcher) = (job.clone(), job.watch());
    settle().await;
    pass(secs(10)).await;
    assert_eq!(tasks(), 1);
    drop(job);
    settle().await;
    assert_eq!(tasks(), 1, "another handle is left");
    drop(other);
    settle().await;
    assert_eq!(tasks(), 0);
    assert_eq!(*watcher.changed().await.unwrap(), 2, "a watcher still has the last value");
    assert!(watcher.changed().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn s19_the_last_handle_ends_a_run_that_would_never_end() {
    let hangs = || std::future::pending::<Result<u32, String>>();
    let scheduler = cache_tokio::future::Scheduler::new();
    let start = || Background::builder("stuck").every(secs(10)).scheduler(&scheduler).start(hangs);
    let stuck = start().unwrap();
    settle().await;
    assert!(stuck.status().unwrap().running);
    drop(stuck);
    settle().await;
    assert_eq!((tasks(), scheduler.shutdown(Duration::ZERO).await), (0, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn s19_a_stopped_or_a_shut_down_job_has_no_task() {
    let (one, other) = (job("one", secs(10)), job("other", secs(10)));
    let (one, other) = (one.start(counts().0).unwrap(), other.start(counts().0).unwrap());
    settle().await;
    assert_eq!(tasks(), 2);
    one.stop();
    assert_eq!(other.shutdown(secs(1)).await, Ok(()));
    settle().await;
    assert_eq!((tasks(), one.get().as_deref(), other.get().as_deref()), (0, Some(&1), Some(&1)));
}

#[tokio::test(start_paused = true)]
async fn s19_a_loader_may_drop_the_last_handle_on_its_value() {
    let handle = Arc::new(Mutex::new(None));
    let (held, ends) = (Arc::clone(&handle), Arc::new(AtomicU32::new(0)));
    let ended = Arc::clone(&ends);
    let own = job("own", secs(10)).start(move || {
        let (held, ended) = (Arc::clone(&held), Arc::clone(&ended));
        async move {
            sleep(secs(1)).await;
            drop(held.lock().unwrap().take());
            ended.fetch_add(1, Ordering::SeqCst);
            sleep(secs(1)).await;
            ended.fetch_add(1, Ordering::SeqCst);
            Ok::<u32, String>(1)
        }
    });
    *handle.lock().unwrap() = Some(own.unwrap());
    settle().await;
    pass(secs(1)).await;
    assert_eq!((ends.load(Ordering::SeqCst), tasks()), (1, 0), "dropped at its next await");
}

#[test]
fn s19_a_value_goes_on_when_it_is_read_from_another_runtime() {
    let job = Arc::new(OnceLock::new());
    let own = Arc::clone(&job);
    paused().block_on(async move {
        own.set(super::job("static", secs(10)).start(counts().0).unwrap()).unwrap();
        let job: &Background<u32> = own.get().unwrap();
        assert_eq!(*job.ready().await.unwrap(), 1);
        // The clock of the next runtime is far behind.
        advance(secs(1_000)).await;
        settle().await;
        assert_eq!(job.get().as_deref(), Some(&2));
    });
    let job = job.get().unwrap();
    assert_eq!(job.get().as_deref(), Some(&2), "the value stays, also where no runtime is");
    paused().block_on(async {
        settle().await;
        assert_eq!((tasks(), job.look().as_deref(), tasks()), (0, Some(&2), 1));
        settle().await;
        assert_eq!(job.status().unwrap().next_run, Some(secs(10)), "it goes on as it was");
        pass(secs(10)).await;
        assert_eq!(job.get().as_deref(), Some(&3));
    });
    paused().block_on(async {
        assert!(job.refresh_now());
        settle().await;
        assert_eq!((job.get().as_deref(), tasks()), (Some(&4), 1));
    });
}

#[test]
fn s19_a_run_that_ends_with_its_runtime_is_made_again_on_the_next() {
    let (loader, mut runs) = asks_the_test();
    let job = paused().block_on(async {
        let job = job("static", secs(10)).start(loader).unwrap();
        drop(runs.next().await);
        settle().await;
        drop(runs.next().await);
        job
    });
    let status = job.status().unwrap();
    assert!(!status.running && status.failures >= 2, "{status:?}");
    paused().block_on(async {
        let reader = job.clone();
        let reader = tokio::spawn(async move { reader.ready().await });
        settle().await;
        assert_eq!(tasks(), 2);
        runs.next().await.send(Ok(7)).unwrap();
        assert_eq!(reader.await.unwrap().as_deref(), Ok(&7), "at once, and without an error");
    });
}

#[test]
fn s19_a_value_may_be_started_where_no_runtime_is() {
    let job = job("static", secs(10)).ready_timeout(secs(60)).start(counts().0).unwrap();
    assert!(job.get().is_none() && job.refresh_now());
    paused().block_on(async {
        assert_eq!(*job.ready().await.unwrap(), 1);
        pass(secs(10)).await;
        assert_eq!(*job.get().unwrap(), 2);
    });
    job.stop();
    assert!(matches!(paused().block_on(job.ready()).as_deref(), Ok(2)));
    let cold = super::job("cold", secs(10)).start(counts().0).unwrap();
    cold.stop();
    assert_eq!(paused().block_on(cold.ready()).unwrap_err(), NotReady::Stopped);
}
