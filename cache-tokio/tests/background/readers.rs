//! S20, S23, S24: readers, watchers, and what loaders do to them.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use cache_tokio::future::{NotReady, Watcher};
use futures_core::Stream;
use tokio::time::Instant;

use super::{asks_the_test, counts, job, ms, pass, secs, settle, ten_readers};

async fn next(watcher: &mut Watcher<u32>) -> Option<u32> {
    let item = poll_fn(|context| Pin::new(&mut *watcher).poll_next(context)).await;
    item.map(|value| *value)
}

#[tokio::test(start_paused = true)]
async fn s23_ten_readers_of_a_cold_value_make_one_load_and_get_ten_answers() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).start(loader).unwrap();
    let (run, readers) = (runs.next().await, ten_readers(&job).await);
    run.send(Ok(7)).unwrap();
    let first = job.ready().await.unwrap();
    for reader in readers {
        assert!(Arc::ptr_eq(&reader.await.unwrap().unwrap(), &first), "one and the same");
    }
    assert!(runs.0.try_recv().is_err(), "one load");
}

#[tokio::test(start_paused = true)]
async fn s23_readers_wait_no_longer_than_they_may() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).ready_timeout(secs(5)).start(loader).unwrap();
    let (start, run, readers) = (Instant::now(), runs.next().await, ten_readers(&job).await);
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap_err(), NotReady::TimedOut);
    }
    assert_eq!(start.elapsed(), secs(5));
    run.send(Ok(7)).unwrap();
    assert_eq!(job.ready().await.as_deref(), Ok(&7), "the run went on");
}

#[tokio::test(start_paused = true)]
async fn s23_a_reader_who_is_cancelled_harms_nobody() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).start(loader).unwrap();
    let (run, mut readers) = (runs.next().await, ten_readers(&job).await);
    readers.pop().unwrap().abort();
    settle().await;
    run.send(Ok(7)).unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap().as_deref(), Ok(&7));
    }
}

#[tokio::test(start_paused = true)]
async fn s23_a_slow_watcher_sees_the_latest_value_and_none_twice() {
    let job = job("prices", secs(10)).start(counts().0).unwrap();
    let (mut slow, mut quick) = (job.watch(), job.watch());
    for value in 1..=5 {
        assert_eq!(next(&mut quick).await, Some(value));
    }
    assert_eq!(*slow.changed().await.unwrap(), 5, "not one after the other");
    let start = Instant::now();
    let mut late = job.watch();
    assert_eq!(*slow.changed().await.unwrap(), 6);
    assert_eq!(start.elapsed(), secs(10), "the next one");
    assert_eq!(*late.changed().await.unwrap(), 6, "what came after it was made");
    drop(job);
    assert_eq!(next(&mut quick).await, Some(6), "the last value first");
    assert_eq!((next(&mut quick).await, slow.changed().await.is_err()), (None, true));
}

#[tokio::test(start_paused = true)]
async fn s23_a_wait_for_a_change_that_is_dropped_loses_nothing() {
    let job = job("prices", secs(10)).start(counts().0).unwrap();
    let mut watcher = job.watch();
    assert_eq!(next(&mut watcher).await, Some(1));
    for _ in 0..3 {
        assert!(tokio::time::timeout(secs(1), watcher.changed()).await.is_err());
    }
    pass(secs(20)).await;
    assert_eq!(*watcher.changed().await.unwrap(), *job.get().unwrap());
}

#[tokio::test(start_paused = true)]
async fn s24_a_value_comes_after_its_first_load_failed() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).start(loader).unwrap();
    let (first, readers) = (runs.next().await, ten_readers(&job).await);
    first.send(Err("not yet".into())).unwrap();
    let failed = NotReady::Failed("not yet".into());
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap_err(), failed, "who waited is told");
    }
    assert_eq!((job.get(), job.ready().await.unwrap_err()), (None, failed));
    pass(secs(1)).await;
    let (again, readers) = (runs.next().await, ten_readers(&job).await);
    again.send(Ok(1)).unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap().as_deref(), Ok(&1));
    }
}

#[tokio::test(start_paused = true)]
async fn s24_who_asks_while_the_first_retry_is_due_waits_for_it() {
    let (loader, mut runs) = asks_the_test();
    let job = job("prices", secs(300)).start(loader).unwrap();
    runs.answer(Err("not yet")).await;
    assert!(job.refresh_now());
    let readers = ten_readers(&job).await;
    runs.answer(Ok(1)).await;
    for reader in readers {
        assert_eq!(reader.await.unwrap().as_deref(), Ok(&1));
    }
}

#[tokio::test]
async fn s24_without_a_runtime_to_wait_by_there_is_a_typed_answer() {
    let job = job("cold", secs(300)).run_immediately(false).start(counts().0).unwrap();
    let elsewhere = std::thread::spawn(move || {
        let mut context = Context::from_waker(Waker::noop());
        let mut ready = std::pin::pin!(job.ready());
        ready.as_mut().poll(&mut context)
    });
    assert_eq!(elsewhere.join().unwrap(), Poll::Ready(Err(NotReady::NoRuntime)));
}

/// A panic that prints nothing.
fn panic_quietly(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// What the last error says, and what `on_error` was told.
async fn after_a_run<L>(loader: impl Fn() -> L + Send + Sync + 'static) -> (String, Vec<String>)
where
    L: Future<Output = Result<u32, Unspeakable>> + Send + 'static,
{
    let texts = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&texts);
    let job = job("prices", secs(300)).on_error(move |error| {
        told.lock().unwrap().push(error.to_string());
        panic_quietly("a listener, too");
    });
    let job = job.start(loader).unwrap();
    let answer = job.ready().await.unwrap_err();
    let status = job.status().unwrap();
    assert_eq!((status.failures, status.next_run), (1, Some(secs(1))), "tried again");
    let NotReady::Failed(text) = answer else { panic!("{answer:?}") };
    assert_eq!(text, status.last_error.unwrap().1);
    pass(secs(1)).await;
    assert_eq!(job.status().unwrap().failures, 2, "and again");
    let texts = texts.lock().unwrap().clone();
    (text.to_string(), texts)
}

struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_quietly("no words")
    }
}

#[tokio::test(start_paused = true)]
async fn s20_a_loader_that_panics_has_failed_and_is_told_of() {
    let early = || -> std::future::Ready<Result<u32, Unspeakable>> { panic_quietly("at once") };
    let late = || async {
        tokio::time::sleep(ms(0)).await;
        panic_quietly("on purpose")
    };
    let unspeakable = || async { Err(Unspeakable) };
    for (said, text) in [
        (after_a_run(early).await, "at once"),
        (after_a_run(late).await, "on purpose"),
        (after_a_run(unspeakable).await, "no words"),
    ] {
        assert_eq!(said, (text.to_owned(), vec![text.to_owned(); 2]));
    }
}
