//! Reads on terms of their own, and of many keys, on paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{Freshness, Loaded, Policy};
use cache_tokio::TokioTime;
use cache_tokio::future::{Cache, LoadError, LoadPart, Source};
use tokio::time::{Instant, sleep};

type Answer<V = u64> = Result<V, LoadError<String>>;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn cache() -> Cache<u64, u64> {
    Cache::builder()
        .ttl(ms(100))
        .jitter_percent(0)
        .stale_while_revalidate(ms(100))
        .stale_if_error(ms(1_000))
        .time(TokioTime::new())
        .build()
        .unwrap()
}

async fn slow(value: u64) -> Result<u64, String> {
    sleep(ms(50)).await;
    Ok(value)
}

async fn down() -> Result<u64, String> {
    sleep(ms(50)).await;
    Err("down".into())
}

#[tokio::test(start_paused = true)]
async fn an_outcome_says_where_the_value_is_from_and_what_it_is_worth() {
    let cache = cache();
    let seen = cache.read(&1).outcome(|| slow(1)).await.unwrap();
    assert_eq!((seen.value, seen.source, seen.load), (1, Source::Origin, LoadPart::Started));
    let seen = cache.read(&1).outcome(|| slow(2)).await.unwrap();
    assert_eq!(
        (seen.source, seen.load, seen.fresh_for()),
        (Source::Memory, LoadPart::None, ms(100))
    );
    sleep(ms(150)).await;
    let seen = cache.read(&1).outcome(down).await.unwrap();
    assert_eq!(
        (seen.freshness, seen.load, seen.degraded),
        (Freshness::Stale, LoadPart::Started, false)
    );
    sleep(ms(2_000)).await;
    cache.put(1, 3).await;
    sleep(ms(500)).await;
    let seen = cache.read(&1).outcome(down).await.unwrap();
    assert_eq!((seen.value, seen.degraded), (3, true), "kept for errors");
}

#[tokio::test(start_paused = true)]
async fn a_read_narrows_what_it_takes_and_how_long_it_waits() {
    let (cache, start) = (cache(), Instant::now());
    cache.put(1, 1).await;
    sleep(ms(150)).await;
    let taken: Answer = cache.read(&1).get_or_load(|| slow(2)).await;
    assert_eq!((taken.unwrap(), start.elapsed()), (1, ms(150)));
    let fresh: Answer = cache.read(&1).fresh().get_or_load(|| slow(3)).await;
    assert_eq!((fresh.unwrap(), start.elapsed()), (2, ms(200)), "joined the refresh");
    let cached: Answer = cache.read(&2).only_if_cached().get_or_load(|| slow(3)).await;
    assert!(matches!(cached, Err(LoadError::NotCached)));
    let hasty: Answer = cache.read(&2).wait_at_most(ms(20)).get_or_load(|| slow(3)).await;
    assert!(matches!(hasty, Err(LoadError::TimedOut { .. })));
    assert_eq!(start.elapsed(), ms(220));
    let never: Answer = cache.read(&3).wait_at_most(Duration::ZERO).get_or_load(|| slow(3)).await;
    assert!(matches!(never, Err(LoadError::TimedOut { .. })));
    sleep(ms(60)).await;
    assert_eq!((cache.get(&2), cache.get(&3)), (Some(3), Some(3)), "the loads have landed");
    let short = Policy::ttl(ms(10)).build().unwrap();
    let kept: Answer = cache.read(&4).policy(&short).get_or_load(|| slow(4)).await;
    assert_eq!(kept.unwrap(), 4);
    assert_eq!(cache.entry(&4).unwrap().lifetime(cache.time().now()).ttl, ms(10));
}

#[tokio::test(start_paused = true)]
async fn a_loader_sees_the_old_value_and_has_more_to_say() {
    let cache = cache();
    let load = |_| async { Ok::<_, String>(Loaded::value(1).etag("v1").tag("all")) };
    cache.get_or_load_with(&1, load).await.unwrap();
    cache.expire(&1).await;
    let seen = Arc::new(Mutex::new(None));
    let told = Arc::clone(&seen);
    let renewed = cache.read(&1).fresh().get_or_load_with(move |old| async move {
        *told.lock().unwrap() = old.etag().map(str::to_owned).zip(old.value().copied());
        Ok::<_, String>(Loaded::not_modified())
    });
    assert_eq!(renewed.await.unwrap(), 1);
    assert_eq!(*seen.lock().unwrap(), Some(("v1".to_owned(), 1)));
    cache.invalidate_tag("all").await;
    assert_eq!(cache.get(&1), None);
    let gone = cache.get_or_load_with(&1, |_| async { Ok::<_, String>(Loaded::missing()) }).await;
    assert!(matches!(gone, Err(LoadError::Missing)));
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_one_call_and_share_the_loads_of_others() {
    let (cache, start) = (cache(), Instant::now());
    let calls = Arc::new(Mutex::new(vec![]));
    cache.put(1, 10).await;
    let other = cache.clone();
    let single = tokio::spawn(async move { other.get_or_load(&2, || slow(20)).await });
    tokio::task::yield_now().await;
    let told = Arc::clone(&calls);
    let load = move |keys: Vec<u64>| {
        told.lock().unwrap().push(keys.clone());
        async move {
            sleep(ms(30)).await;
            Ok::<_, String>(keys.into_iter().filter(|key| *key != 4).map(|key| (key, 10 * key)))
        }
    };
    let many = cache.get_or_load_many(&[1, 2, 3, 4, 3], load.clone()).await.unwrap();
    assert_eq!(many, [Some(10), Some(20), Some(30), None, Some(30)]);
    assert_eq!((start.elapsed(), single.await.unwrap().unwrap()), (ms(50), 20));
    assert_eq!(*calls.lock().unwrap(), [vec![3, 4]]);
    let failing = |_: Vec<u64>| async { Err::<Vec<(u64, u64)>, _>("down".to_owned()) };
    let each: Vec<Answer> = cache.get_or_load_each(&[1, 9], failing).await;
    assert!(matches!(&each[..], [Ok(10), Err(LoadError::Failed(_))]), "{each:?}");
}
