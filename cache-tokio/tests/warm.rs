//! Values loaded ahead of their readers, on paused time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::Loaded;
use cache_tokio::TokioTime;
use cache_tokio::future::{Cache, Previous, WarmUpEnd};
use tokio::time::{Instant, sleep};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn cache() -> Cache<u64, u64> {
    Cache::builder().ttl(ms(60_000)).time(TokioTime::new()).build().unwrap()
}

/// Takes 100 ms; fails for 13.
async fn double(key: u64, _: Previous<u64>) -> Result<u64, String> {
    sleep(ms(100)).await;
    if key == 13 { Err("unlucky".into()) } else { Ok(2 * key) }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_fresh_is_loaded_a_few_at_a_time() {
    let (cache, start) = (cache(), Instant::now());
    cache.put(3, 0).await;
    let warmed = cache.warm_up(0..9, double).at_most_at_once(2).run().await;
    assert_eq!((warmed.progress.loaded, warmed.progress.present), (8, 1));
    assert_eq!((warmed.progress.total, warmed.end), (Some(9), WarmUpEnd::Finished));
    assert_eq!(start.elapsed(), ms(400));
    assert_eq!((cache.get(&3), cache.get(&8)), (Some(0), Some(16)));
}

#[tokio::test(start_paused = true)]
async fn no_faster_than_told_and_failures_are_counted() {
    let (cache, start) = (cache(), Instant::now());
    let warmed = cache.warm_up(11..15, double).rate(2).at_most_at_once(9).run().await;
    assert_eq!((warmed.progress.loaded, warmed.progress.failed), (3, 1));
    assert_eq!(warmed.error.unwrap().to_string(), "unlucky");
    assert_eq!(start.elapsed(), ms(1_600));
}

#[tokio::test(start_paused = true)]
async fn a_listener_ends_it_and_a_shutdown_too() {
    let (cache, seen) = (cache(), Arc::new(AtomicUsize::new(0)));
    let told = Arc::clone(&seen);
    let warm_up = cache.warm_up(0.., double).on_progress(move |now| {
        told.store(now.done as usize, Ordering::Relaxed);
        if now.done < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let warmed = warm_up.run().await;
    assert_eq!((warmed.progress.done, warmed.end), (3, WarmUpEnd::Stopped));
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    let other = cache.clone();
    let warming =
        tokio::spawn(async move { other.warm_up(100.., double).every(ms(60_000)).run().await });
    sleep(ms(500)).await;
    cache.control().shutdown(ms(1_000)).await.unwrap();
    let warmed = warming.await.unwrap();
    assert_eq!((warmed.progress.loaded, warmed.end), (1, WarmUpEnd::ShutDown));
}

async fn double_loaded(key: u64, old: Previous<u64>) -> Result<Loaded<u64>, String> {
    double(key, old).await.map(Loaded::value)
}

#[tokio::test(start_paused = true)]
async fn a_cache_with_a_loader_warms_itself_up() {
    let cache = Cache::builder()
        .ttl(ms(60_000))
        .time(TokioTime::new())
        .loader_with(double_loaded)
        .build()
        .unwrap();
    assert_eq!(cache.load(&7).await.unwrap(), 14);
    let warmed = cache.warm_up(5..9).run().await;
    assert_eq!((warmed.progress.loaded, warmed.progress.present), (3, 1));
    assert!(cache.refresh(&7) && !cache.refresh(&7));
    sleep(ms(150)).await;
    assert_eq!(cache.stats().loads, 5);
}
