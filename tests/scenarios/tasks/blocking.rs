//! Threads that block, next to tasks.

use std::sync::{Arc, Barrier};

use advanced_caching::ManualTime;
use advanced_caching::future::{Cache, LoadError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};

use super::calls::{Answer, Load, Users, ask, told};
use crate::world::{Origin, Told, paused, secs, within_a_minute};

/// A runtime of two threads.
fn workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn cache() -> (ManualTime, Users) {
    let time = ManualTime::new();
    let cache = Cache::builder().ttl(secs(60)).jitter_percent(0).time(time.clone());
    (time, cache.build().unwrap())
}

/// A task that asks for key 1, and what answers its load. It waits when this returns.
async fn leader(time: &ManualTime, cache: &Users) -> (JoinHandle<Answer>, oneshot::Sender<u32>) {
    let (go, wait) = oneshot::channel();
    let load =
        || -> Load { Box::pin(async { wait.await.map_err(|_| Origin("the test is over")) }) };
    let leader = ask(cache, 1, load);
    // The caller by its time-out, and the load by its limit.
    until_parked(time, 2, &leader).await;
    (leader, go)
}

/// Waits until so many wait by the clock, or a caller who should wait has been told.
async fn until_parked<T>(time: &ManualTime, n: usize, caller: &JoinHandle<T>) {
    while time.parked() != n {
        assert!(!caller.is_finished(), "it should wait");
        yield_now().await;
    }
}

/// A thread that asks for key 1.
fn ask_blocking(cache: &Users) -> JoinHandle<Answer> {
    let blocking = cache.blocking().clone();
    spawn_blocking(move || blocking.get_or_load(&1, || Ok(8)))
}

#[test]
fn a_thread_joins_the_load_of_a_task() {
    for runtime in [paused, workers] {
        within_a_minute(move || {
            runtime().block_on(async {
                let (time, cache) = cache();
                let (leader, go) = leader(&time, &cache).await;
                let follower = ask_blocking(&cache);
                until_parked(&time, 3, &follower).await;
                go.send(7).unwrap();
                assert_eq!(
                    (told(leader).await, told(follower).await),
                    (Told::Value(7), Told::Value(7))
                );
                assert_eq!((cache.stats().loads, time.parked()), (1, 0));
            });
        });
    }
}

#[test]
fn a_task_joins_the_load_of_a_thread() {
    within_a_minute(|| {
        paused().block_on(async {
            let (time, cache) = cache();
            let (go, wait) = std::sync::mpsc::channel();
            let blocking = cache.blocking().clone();
            let leader: JoinHandle<Answer> = spawn_blocking(move || {
                blocking
                    .get_or_load(&1, move || wait.recv().map_err(|_| Origin("the test is over")))
            });
            until_parked(&time, 1, &leader).await;
            let follower = ask(&cache, 1, || Box::pin(async { Ok(8) }));
            until_parked(&time, 2, &follower).await;
            go.send(7).unwrap();
            assert_eq!(
                (told(leader).await, told(follower).await),
                (Told::Value(7), Told::Value(7))
            );
            assert_eq!((cache.stats().loads, time.parked()), (1, 0));
        });
    });
}

#[test]
fn who_would_keep_a_load_from_running_is_told_so() {
    within_a_minute(|| {
        paused().block_on(async {
            let (time, cache) = cache();
            let (leader, go) = leader(&time, &cache).await;
            let here = cache.blocking().get_or_load(&1, || Ok::<_, Origin>(8)).unwrap_err();
            assert!(matches!(here, LoadError::WouldHang), "{here:?}");
            // A load of its own runs on a worker: it keeps nobody from anything.
            assert_eq!(cache.blocking().get_or_load(&2, || Ok::<_, Origin>(8)).unwrap(), 8);
            go.send(7).unwrap();
            assert_eq!(told(leader).await, Told::Value(7));
            assert_eq!(cache.blocking().get_or_load(&1, || Ok::<_, Origin>(8)).unwrap(), 7);
        });
    });
}

/// The load was begun on a thread for what blocks, and runs on the one thread of the runtime.
#[test]
fn a_load_begun_elsewhere_hangs_when_the_thread_that_runs_it_is_blocked() {
    within_a_minute(|| {
        paused().block_on(async {
            let (time, cache) = cache();
            let (go, wait) = oneshot::channel();
            let (reader, here) = (cache.clone(), Handle::current());
            let load = || async { wait.await.map_err(|_| Origin("the test is over")) };
            let leader: JoinHandle<Answer> =
                spawn_blocking(move || here.block_on(reader.get_or_load(&1, load)));
            until_parked(&time, 2, &leader).await;
            let here = cache.blocking().get_or_load(&1, || Ok::<_, Origin>(8)).unwrap_err();
            assert!(matches!(here, LoadError::WouldHang), "{here:?}");
            let follower = ask_blocking(&cache);
            until_parked(&time, 3, &follower).await;
            go.send(7).unwrap();
            assert_eq!(
                (told(leader).await, told(follower).await),
                (Told::Value(7), Told::Value(7))
            );
        });
    });
}

/// One worker is blocked by a loader; the hits of a task on the other go on, as that has to let it
/// go.
#[test]
fn a_loader_that_blocks_does_not_stall_the_hits_of_other_workers() {
    within_a_minute(|| {
        workers().block_on(async {
            let (_, cache) = cache();
            cache.put(2, 2).await;
            let (begun, meet) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
            let (begins, ends) = (Arc::clone(&begun), Arc::clone(&meet));
            let blocks = move || -> Load {
                Box::pin(async move {
                    begins.wait();
                    ends.wait();
                    Ok(7)
                })
            };
            let slow = ask(&cache, 1, blocks);
            begun.wait();
            let reader = cache.clone();
            let hits = tokio::spawn(async move {
                for _ in 0..1_000 {
                    let hit: Answer = reader.get_or_load(&2, || async { Err(Origin("no")) }).await;
                    assert_eq!(hit.unwrap(), 2);
                }
                meet.wait();
            });
            hits.await.unwrap();
            assert_eq!((told(slow).await, cache.stats().loads), (Told::Value(7), 1));
        });
    });
}
