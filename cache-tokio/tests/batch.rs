//! Many keys at a time, on paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_tokio::TokioTime;
use cache_tokio::future::{BatchCache, Cache, LoadError};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The keys of each call, and when it came.
type Calls = Arc<Mutex<Vec<(Duration, Vec<u64>)>>>;

/// Answers twenty times each key, but for odd multiples of five; a call takes 20 ms.
fn cache(gather: (usize, Duration)) -> (BatchCache<u64, u64, String>, Calls, Instant) {
    let (calls, start) = (Calls::default(), Instant::now());
    let told = Arc::clone(&calls);
    let cache = Cache::builder()
        .ttl(ms(100))
        .jitter_percent(0)
        .stale_while_revalidate(ms(10_000))
        .time(TokioTime::new())
        .batch_loader(move |mut keys: Vec<u64>| {
            keys.sort_unstable();
            told.lock().unwrap().push((start.elapsed(), keys.clone()));
            async move {
                sleep(ms(20)).await;
                Ok(keys.into_iter().filter(|key| key % 5 != 0).map(|key| (key, 20 * key)))
            }
        })
        .gather(gather.0, gather.1)
        .build()
        .unwrap();
    (cache, calls, start)
}

fn taken(calls: &Calls) -> Vec<(Duration, Vec<u64>)> {
    std::mem::take(&mut *calls.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn refreshes_are_gathered_until_the_first_has_waited_long_enough() {
    let (cache, calls, start) = cache((100, ms(10)));
    assert_eq!(cache.load_many(&[1, 2, 3]).await.unwrap(), [Some(20), Some(40), Some(60)]);
    assert_eq!(taken(&calls), [(ms(0), vec![1, 2, 3])]);
    sleep(ms(130)).await;
    for key in [1, 2] {
        assert_eq!(cache.load(&key).await.unwrap(), 20 * key);
        sleep(ms(4)).await;
    }
    assert!(taken(&calls).is_empty());
    assert_eq!(cache.load(&3).await.unwrap(), 60);
    assert_eq!(start.elapsed(), ms(158), "nobody has waited");
    sleep(ms(40)).await;
    let calls = taken(&calls);
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].1, [1, 2, 3]);
    assert!(calls[0].0 >= ms(160) && calls[0].0 <= ms(162), "{calls:?}");
    assert_eq!(cache.get_many(&[1, 2, 3]), [Some(20), Some(40), Some(60)], "fresh again");
}

#[tokio::test(start_paused = true)]
async fn or_until_there_are_enough() {
    let (cache, calls, _) = cache((2, ms(1_000)));
    cache.load_many(&[1, 2, 3]).await.unwrap();
    taken(&calls);
    sleep(ms(130)).await;
    for key in [1, 2, 3] {
        assert!(cache.refresh(&key) && !cache.refresh(&key), "one is to come for {key}");
    }
    sleep(ms(50)).await;
    assert_eq!(taken(&calls).into_iter().map(|(_, keys)| keys).collect::<Vec<_>>(), [[1, 2]]);
    sleep(ms(1_000)).await;
    assert_eq!(taken(&calls).into_iter().map(|(_, keys)| keys).collect::<Vec<_>>(), [[3]]);
}

#[tokio::test(start_paused = true)]
async fn who_needs_one_of_them_does_not_wait_for_more() {
    let (cache, calls, start) = cache((100, ms(5_000)));
    cache.load_many(&[1, 2]).await.unwrap();
    taken(&calls);
    sleep(ms(200)).await;
    cache.load(&1).await.unwrap();
    cache.load(&2).await.unwrap();
    let before = start.elapsed();
    let only_fresh = cache.read(&1).fresh();
    let fresh: Result<u64, LoadError<String>> = only_fresh.get_or_load(|| async { Ok(0) }).await;
    assert_eq!(fresh.unwrap(), 20);
    assert!(start.elapsed() - before <= ms(22), "{:?}", start.elapsed() - before);
    assert_eq!(taken(&calls).into_iter().map(|(_, keys)| keys).collect::<Vec<_>>(), [[1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_key_is_told_and_one_call_serves_all_who_ask() {
    let (cache, calls, _) = cache((100, ms(10)));
    let askers: Vec<_> = (0..9)
        .map(|n| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.load_many(&[5, 6, 7 + n % 2]).await })
        })
        .collect();
    for (n, asker) in (0..).zip(askers) {
        let expected = [None, Some(120), Some(20 * (7 + n % 2))];
        assert_eq!(asker.await.unwrap().unwrap(), expected);
    }
    let asked: Vec<_> = taken(&calls).into_iter().map(|(_, keys)| keys).collect();
    assert_eq!(asked, [vec![5, 6, 7], vec![8]]);
    assert!(matches!(cache.load(&5).await, Err(LoadError::Missing)));
}

#[tokio::test(start_paused = true)]
async fn refreshes_that_wait_end_with_the_cache() {
    let (cache, calls, _) = cache((100, ms(5_000)));
    cache.load_many(&[1, 2]).await.unwrap();
    taken(&calls);
    sleep(ms(200)).await;
    cache.load(&1).await.unwrap();
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
    drop(cache);
    while Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(taken(&calls).is_empty());
}

/// All turns are taken by a refresh that takes long: who needs another does not wait behind it.
#[tokio::test(start_paused = true)]
async fn who_needs_a_gathered_refresh_needs_no_turn() {
    let start = Instant::now();
    let cache = Cache::builder()
        .ttl(ms(100))
        .jitter_percent(0)
        .stale_while_revalidate(ms(100_000))
        .max_refreshes(1)
        .time(TokioTime::new())
        .batch_loader(|keys: Vec<u64>| async move {
            sleep(if keys == [1] { ms(20_000) } else { ms(20) }).await;
            Ok::<_, String>(keys.into_iter().map(|key| (key, 7)))
        })
        .gather(100, ms(10))
        .build()
        .unwrap();
    cache.put(1, 1).await;
    cache.put(2, 2).await;
    sleep(ms(200)).await;
    assert_eq!(cache.load(&1).await.unwrap(), 1);
    sleep(ms(50)).await;
    assert_eq!(cache.load(&2).await.unwrap(), 2);
    let fresh: Result<u64, LoadError<String>> =
        cache.read(&2).fresh().get_or_load(|| async { Ok(0) }).await;
    assert_eq!(fresh.unwrap(), 7);
    assert!(start.elapsed() < ms(1_000), "{:?}", start.elapsed());
}
