//! Runtimes that are not there, that end, and that follow one another.

use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use advanced_caching::future::{Builder, Cache, LoadError};
use advanced_caching::{ManualTime, MonotonicTime, Time};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::calls::{Answer, Calls, Load, Users, ask, told};
use crate::world::{Origin, Told, ms, paused, secs, settled, within_a_minute};

fn builder(time: impl Time) -> Builder<u8, u32> {
    Cache::builder().ttl(secs(60)).jitter_percent(0).time(time)
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What a future comes to that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// A task of this runtime that asks for a key, and has come as far as it can.
fn ask_on(
    runtime: &Runtime,
    cache: &Users,
    key: u8,
    load: impl FnOnce() -> Load + Send + 'static,
) -> JoinHandle<Answer> {
    let _entered = runtime.enter();
    let caller = ask(cache, key, load);
    runtime.block_on(settled());
    caller
}

fn at_once_read(cache: &Users, key: u8) -> Answer {
    at_once(cache.get_or_load(&key, || -> Load { Box::pin(async { Ok(9) }) }))
}

#[test]
fn on_no_runtime_hits_work_and_a_miss_is_told_so() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let windows = builder(time.clone()).stale_while_revalidate(secs(10));
        let cache = windows.stale_if_error(secs(30)).build().unwrap();
        assert!(at_once(cache.put(1, 1)).is_stored());
        assert_eq!(at_once_read(&cache, 1).unwrap(), 1);
        let miss = at_once_read(&cache, 2).unwrap_err();
        assert!(matches!(miss, LoadError::NoRuntime), "{miss:?}");
        let load =
            |keys: Vec<u8>| async move { Ok::<_, Origin>(keys.into_iter().map(|key| (key, 9))) };
        for (key, told) in [1, 2].iter().zip(at_once(cache.get_or_load_each([&1, &2], load))) {
            let no_runtime = matches!(told, Err(LoadError::NoRuntime));
            assert!(no_runtime == (*key == 2), "{key}: {told:?}");
        }
        // What was stale, or kept for errors, serves all the same.
        for age in [60, 10] {
            time.advance(secs(age));
            assert_eq!(at_once_read(&cache, 1).unwrap(), 1);
        }
        assert!(!cache.refresh(&1, || async { Ok::<_, Origin>(9) }));
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.abandoned, stats.landed), (5, 5, 0));
        // No key is taken by what could not start.
        assert!([1, 2].iter().all(|key| cache.explain(key).flight.is_none()));
        paused().block_on(async {
            for key in [1, 2] {
                let caller = ask(&cache, key, || Box::pin(async { Ok(7) }));
                assert_eq!(told(caller).await, Told::Value(7));
            }
        });
    });
}

#[test]
fn on_no_runtime_a_loader_of_many_keys_is_not_called_and_its_callers_are_told() {
    within_a_minute(|| {
        let load =
            |keys: Vec<u8>| async move { Ok::<_, Origin>(keys.into_iter().map(|key| (key, 9))) };
        let cache = builder(ManualTime::new()).stale_while_revalidate(secs(10)).batch_loader(load);
        let cache = cache.build().unwrap();
        assert!(at_once(cache.put(1, 1)).is_stored() && at_once(cache.expire(&1)).found);
        assert_eq!(at_once(cache.load(&1)).unwrap(), 1, "a stale value serves");
        let miss = at_once(cache.load(&2)).unwrap_err();
        assert!(matches!(miss, LoadError::NoRuntime), "{miss:?}");
        let misses = at_once(cache.load_many([&2, &3])).unwrap_err();
        assert!(matches!(misses, LoadError::NoRuntime), "{misses:?}");
        assert!([1, 2, 3].iter().all(|key| cache.explain(key).flight.is_none()));
        assert_eq!(paused().block_on(cache.load(&2)).unwrap(), 9);
    });
}

#[test]
fn on_no_runtime_who_waits_for_anothers_load_needs_a_clock_that_rings() {
    within_a_minute(|| {
        let runtime = paused();
        // By hand, there are alarms; real time needs a runtime for them.
        let time = ManualTime::new();
        let (rings, silent) = (builder(time.clone()), builder(MonotonicTime::new()));
        for (cache, can_wait) in [(rings, true), (silent, false)] {
            let cache = cache.build().unwrap();
            let (go, wait) = tokio::sync::oneshot::channel();
            let load = || -> Load { Box::pin(async { Ok(wait.await.unwrap()) }) };
            let leader = ask_on(&runtime, &cache, 1, load);
            let mut follower = pin!(cache.get_or_load(&1, || async { Ok::<_, Origin>(9) }));
            let first = poll(follower.as_mut());
            if can_wait {
                assert!(first.is_pending());
            } else {
                assert!(matches!(first, Poll::Ready(Err(LoadError::NoRuntime))), "{first:?}");
            }
            go.send(7).unwrap();
            assert_eq!(runtime.block_on(told(leader)), Told::Value(7));
            if can_wait {
                assert!(matches!(poll(follower), Poll::Ready(Ok(7))));
            }
        }
        assert_eq!(time.parked(), 0);
    });
}

#[test]
fn when_a_runtime_ends_a_follower_on_another_takes_over() {
    within_a_minute(|| {
        let (first, second, time) = (paused(), paused(), ManualTime::new());
        let cache = builder(time.clone()).build().unwrap();
        let hangs = || -> Load { Box::pin(std::future::pending()) };
        let leader = ask_on(&first, &cache, 1, hangs);
        let follower = ask_on(&second, &cache, 1, || Box::pin(async { Ok(7) }));
        assert!(!follower.is_finished() && cache.stats().loads == 1);
        drop(first);
        assert_eq!(second.block_on(told(follower)), Told::Value(7));
        assert!(second.block_on(leader).unwrap_err().is_cancelled());
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.abandoned, stats.landed), (2, 1, 1));
        assert_eq!(time.parked(), 0);
    });
}

#[test]
fn when_the_runtime_of_a_load_ends_its_caller_elsewhere_is_told() {
    within_a_minute(|| {
        let (first, second) = (paused(), paused());
        let cache = builder(ManualTime::new()).build().unwrap();
        let mut leader = Box::pin(cache.get_or_load(&1, std::future::pending::<Result<_, Origin>>));
        {
            let _entered = first.enter();
            assert!(poll(leader.as_mut()).is_pending());
        }
        drop(first);
        let told = second.block_on(leader).unwrap_err();
        assert!(matches!(told, LoadError::GivenUp), "{told:?}");
        assert_eq!(
            second.block_on(cache.get_or_load(&1, || async { Ok::<_, Origin>(7) })).unwrap(),
            7
        );
    });
}

/// The runtime that ends runs one refresh and has another wait for its turn; a third waits on the
/// runtime that goes on.
#[test]
fn when_a_runtime_ends_its_refreshes_give_their_turns_to_those_of_another() {
    within_a_minute(|| {
        let (first, second) = (paused(), paused());
        let windows = builder(ManualTime::new()).stale_while_revalidate(secs(600));
        let cache = windows.max_refreshes(1).build().unwrap();
        for key in 1..=3 {
            at_once(cache.put(key, u32::from(key)));
            assert!(at_once(cache.expire(&key)).found);
        }
        for (runtime, key) in [(&first, 1), (&first, 2), (&second, 3)] {
            let hangs = || -> Load { Box::pin(std::future::pending()) };
            let ends = || -> Load { Box::pin(async { Ok(9) }) };
            let reader = match key {
                3 => ask_on(runtime, &cache, key, ends),
                _ => ask_on(runtime, &cache, key, hangs),
            };
            assert_eq!(runtime.block_on(told(reader)), Told::Value(key.into()));
        }
        assert_eq!(cache.get(&3), None, "its turn has not come");
        drop(first);
        second.block_on(settled());
        assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [None, None, Some(9)]);
        assert_eq!((cache.stats().loads, cache.stats().abandoned), (3, 2));
    });
}

#[test]
fn a_thousand_runtimes_that_end_leave_nobody_waiting() {
    within_a_minute(|| {
        let (own, cache) = (paused(), builder(ManualTime::new()).build().unwrap());
        for n in 0..1_000 {
            let runtime = paused();
            let hangs = || -> Load { Box::pin(std::future::pending()) };
            let leader = ask_on(&runtime, &cache, 1, hangs);
            let ask = |_| ask_on(&own, &cache, 1, move || Box::pin(async move { Ok(n) }));
            let followers: Vec<_> = (0..3).map(ask).collect();
            drop(runtime);
            for follower in followers {
                assert_eq!(own.block_on(told(follower)), Told::Value(n));
            }
            assert!(leader.is_finished() && at_once(cache.invalidate(&1)).found);
        }
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.abandoned, stats.landed), (2_000, 1_000, 1_000));
    });
}

static SHARED: LazyLock<(ManualTime, Users)> = LazyLock::new(|| {
    let time = ManualTime::new();
    let cache = builder(time.clone()).stale_while_revalidate(secs(600)).build().unwrap();
    (time, cache)
});

#[test]
fn a_cache_in_a_static_serves_one_runtime_after_another() {
    within_a_minute(|| {
        let (time, cache) = &*SHARED;
        for n in 0..5_u32 {
            let runtime = paused();
            runtime.block_on(async {
                let calls = Calls::new();
                let own = ask(cache, 10 + n as u8, calls.load(ms(10), Ok(n)));
                assert_eq!(told(own).await, Told::Value(n));
                // What earlier runtimes have loaded is there, and is refreshed by this one.
                for before in 0..n {
                    let reader = ask(cache, 10 + before as u8, calls.load(ms(10), Ok(before)));
                    assert_eq!(told(reader).await, Told::Value(before));
                }
                // The load that the runtime before left behind is made anew, and left behind again.
                let left = ask(cache, 1, calls.never());
                tokio::time::sleep(ms(10)).await;
                settled().await;
                assert!(!left.is_finished());
                assert_eq!(calls.count(), 2 + n as usize);
            });
            time.advance(secs(61));
        }
        assert_eq!((cache.stats().abandoned, cache.stats().failures), (5, 0));
        assert!(cache.explain(&1).flight.is_none());
        assert_eq!(time.parked(), 0);
    });
}
