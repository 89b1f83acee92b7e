//! Loads as tasks, on paused time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cache_tokio::TokioTime;
use cache_tokio::future::{Cache, LoadError};
use tokio::time::{Instant, advance, sleep};

type Answer<V = u64> = Result<V, LoadError<String>>;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn cache() -> Cache<u64, u64> {
    let cache = Cache::builder().ttl(ms(1_000)).jitter_percent(0).time(TokioTime::new());
    cache.build().unwrap()
}

#[derive(Clone, Default)]
struct Origin(Arc<AtomicUsize>);

impl Origin {
    fn calls(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn load(&self, takes: Duration, value: u64) -> impl FnOnce() -> Load + Send + 'static {
        let origin = self.clone();
        move || {
            Box::pin(async move {
                origin.0.fetch_add(1, Ordering::Relaxed);
                sleep(takes).await;
                Ok(value)
            })
        }
    }
}

type Load = std::pin::Pin<Box<dyn Future<Output = Result<u64, String>> + Send>>;

#[tokio::test(start_paused = true)]
async fn pa_a_hundred_callers_share_one_load() {
    let (cache, origin, start) = (cache(), Origin::default(), Instant::now());
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (cache, load) = (cache.clone(), origin.load(ms(50), 7));
            tokio::spawn(async move { cache.get_or_load(&1, load).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), 7);
    }
    assert_eq!((origin.calls(), start.elapsed()), (1, ms(50)));
    assert_eq!(cache.get(&1), Some(7));
}

#[tokio::test(start_paused = true)]
async fn pb_ten_followers_are_answered_though_the_leader_is_cancelled() {
    let (cache, origin, start) = (cache(), Origin::default(), Instant::now());
    let leader = {
        let (cache, load) = (cache.clone(), origin.load(ms(200), 7));
        tokio::spawn(async move { cache.get_or_load(&1, load).await })
    };
    sleep(ms(10)).await;
    let followers: Vec<_> = (0..10)
        .map(|_| {
            let (cache, load) = (cache.clone(), origin.load(ms(200), 8));
            tokio::spawn(async move { cache.get_or_load(&1, load).await })
        })
        .collect();
    sleep(ms(40)).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap(), 7);
    }
    assert_eq!((origin.calls(), start.elapsed()), (1, ms(200)));
}

#[tokio::test(start_paused = true)]
async fn pb2_a_leader_who_is_not_polled_keeps_nobody_waiting() {
    let (cache, origin, start) = (cache(), Origin::default(), Instant::now());
    let mut leader = pin!(cache.get_or_load(&1, origin.load(ms(100), 7)));
    assert!(leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let follower: Answer = cache.get_or_load(&1, origin.load(ms(100), 8)).await;
    assert_eq!((follower.unwrap(), start.elapsed()), (7, ms(100)));
    sleep(ms(900)).await;
    assert_eq!((leader.await.unwrap(), origin.calls()), (7, 1));
}

#[tokio::test(start_paused = true)]
async fn pc_all_are_told_of_a_failure_and_who_comes_later_may_load() {
    let (cache, start) = (cache(), Instant::now());
    let calls = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (cache, calls) = (cache.clone(), Arc::clone(&calls));
            let load = || async move {
                calls.fetch_add(1, Ordering::Relaxed);
                sleep(ms(50)).await;
                Err("down".to_owned())
            };
            tokio::spawn(async move { cache.get_or_load(&1, load).await })
        })
        .collect();
    for caller in callers {
        let told: Answer = caller.await.unwrap();
        assert!(matches!(&told, Err(LoadError::Failed(error)) if **error == "down"), "{told:?}");
    }
    assert_eq!((calls.load(Ordering::Relaxed), start.elapsed()), (1, ms(50)));
    assert_eq!(cache.get_or_load(&1, || async { Ok::<_, String>(3) }).await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn pp_nobody_hangs_when_the_load_panics() {
    let cache = cache();
    let callers: Vec<_> = (0..11)
        .map(|_| {
            let cache = cache.clone();
            let load = || async {
                sleep(ms(50)).await;
                std::panic::resume_unwind(Box::new("oh"));
                #[allow(unreachable_code)]
                Ok(1)
            };
            tokio::spawn(async move { cache.get_or_load(&1, load).await })
        })
        .collect();
    for caller in callers {
        let told: Answer = caller.await.unwrap();
        assert!(matches!(&told, Err(LoadError::Panicked(text)) if &**text == "oh"), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pt_a_soft_timeout_serves_the_old_value_and_a_hard_one_is_told() {
    let cache: Cache<u64, u64> = Cache::builder()
        .ttl(ms(100))
        .jitter_percent(0)
        .stale_if_error(ms(60_000))
        .soft_timeout(ms(200))
        .hard_timeout(ms(1_000))
        .lease(ms(2_000))
        .time(TokioTime::new())
        .build()
        .unwrap();
    let (origin, start) = (Origin::default(), Instant::now());
    cache.put(1, 1).await;
    advance(ms(500)).await;
    let served: Answer = cache.get_or_load(&1, origin.load(ms(700), 2)).await;
    assert_eq!((served.unwrap(), start.elapsed()), (1, ms(700)));
    sleep(ms(510)).await;
    assert_eq!((cache.get(&1), origin.calls()), (Some(2), 1), "the load has landed");
    let start = Instant::now();
    let told: Answer = cache.get_or_load(&2, origin.load(ms(1_500), 2)).await;
    assert!(matches!(told, Err(LoadError::TimedOut { .. })), "{told:?}");
    assert_eq!(start.elapsed(), ms(1_000));
    sleep(ms(510)).await;
    assert_eq!(cache.get(&2), Some(2), "and so has this one");
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_once_and_refreshed() {
    let cache: Cache<u64, u64> = Cache::builder()
        .ttl(ms(100))
        .jitter_percent(0)
        .stale_while_revalidate(ms(1_000))
        .time(TokioTime::new())
        .build()
        .unwrap();
    let (origin, start) = (Origin::default(), Instant::now());
    cache.put(1, 1).await;
    advance(ms(150)).await;
    for _ in 0..3 {
        let served: Answer = cache.get_or_load(&1, origin.load(ms(50), 2)).await;
        assert_eq!((served.unwrap(), start.elapsed()), (1, ms(150)));
    }
    sleep(ms(60)).await;
    assert_eq!((cache.get(&1), origin.calls()), (Some(2), 1));
}

/// A caller who goes away at any point leaves no mark: the next one is answered.
#[tokio::test(start_paused = true)]
async fn a_caller_dropped_at_any_point_leaves_nothing_behind() {
    for polls in 0..6 {
        let (cache, origin) = (cache(), Origin::default());
        {
            let mut call = pin!(cache.get_or_load(&1, origin.load(ms(30), 7)));
            for _ in 0..polls {
                let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if let Poll::Ready(answer) = polled {
                    assert_eq!(answer.unwrap(), 7);
                    break;
                }
                sleep(ms(10)).await;
            }
        }
        let answer: Answer = cache.get_or_load(&1, origin.load(ms(30), 7)).await;
        assert_eq!((answer.unwrap(), origin.calls()), (7, 1));
        assert!(cache.explain(&1).flight.is_none());
    }
}
