//! The threaded cache's own surface; what all drivers share is tested by scenario elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_std::sync::{BuildError, Builder, Cache, LoadError, Previous};
use cache_std::{Clock, Freshness, Loaded, ManualTime, Put, Time};

const SECOND: Duration = Duration::from_secs(1);

type Texts = Cache<u64, Arc<str>>;
type Failed = LoadError<String>;

fn builder(time: &ManualTime) -> Builder<u64, Arc<str>> {
    Cache::builder().jitter_percent(0).time(time.clone())
}

fn down() -> Result<Arc<str>, String> {
    Err("down".into())
}

#[test]
fn every_bad_setting_is_named() {
    let field = |builder: Builder<u64, u64>| builder.build().err().map(|error| error.field());
    let ok = || Cache::<u64, u64>::builder().ttl(SECOND);
    assert_eq!(field(Cache::builder()), Some("ttl"));
    assert_eq!(field(ok().capacity(0)), Some("capacity"));
    assert_eq!(field(ok().weight_limit(0)), Some("weight_limit"));
    assert_eq!(field(ok().weight_limit(9)), Some("weigher"));
    assert_eq!(field(ok().weigher(|_, _| 1)), Some("weigher"));
    assert_eq!(field(ok().weigher(|_, _| 1).weight_limit(9).capacity(9)), Some("weight_limit"));
    assert_eq!(field(ok().max_loads(0)), Some("max_loads"));
    assert_eq!(field(ok().max_waiters(0)), Some("max_waiters"));
    assert_eq!(field(ok()), None);
    let error = ok().capacity(0).build().unwrap_err();
    assert!(error.to_string().starts_with("capacity cannot be: give at least 1"), "{error}");
    assert!(matches!(Cache::<u64, u64>::builder().build(), Err(BuildError::Policy(_))));
}

#[test]
fn a_conditional_request_renews_the_value_and_keeps_its_name() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND).build().unwrap();
    let first = cache.get_or_load_with(&1, |old: &Previous<_>| {
        assert!(old.value().is_none() && old.etag().is_none());
        Ok::<_, String>(Loaded::value(Arc::from("page")).etag("v1"))
    });
    assert_eq!(&*first.unwrap(), "page");
    for _ in 0..2 {
        time.advance(SECOND * 3);
        let again = cache.get_or_load_with(&1, |old: &Previous<Arc<str>>| {
            assert_eq!(old.value().map(|value| &**value), Some("page"));
            assert_eq!((old.etag(), old.age()), (Some("v1"), SECOND * 3));
            Ok::<_, String>(Loaded::not_modified())
        });
        assert_eq!(&*again.unwrap(), "page");
        assert_eq!(cache.freshness(&1), Some(Freshness::Fresh));
    }
}

#[test]
fn a_value_evicted_during_its_renewal_is_kept_by_the_flight() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND).capacity(1).build().unwrap();
    cache.put(1, Loaded::value(Arc::from("page")).etag("v1").tag("pages"));
    time.advance(SECOND * 2);
    let other = cache.clone();
    let renewed = cache.get_or_load_with(&1, move |_: &Previous<Arc<str>>| {
        other.put(2, Arc::from("other"));
        assert!(other.entry(&1).is_none());
        Ok::<_, String>(Loaded::not_modified())
    });
    assert_eq!(&*renewed.unwrap(), "page");
    assert_eq!(cache.get(&1).as_deref(), Some("page"));
    assert_eq!(cache.explain(&1).etag(), Some("v1"));
    cache.invalidate_tag("pages");
    assert_eq!(cache.get(&1), None);
}

#[test]
fn a_value_evicted_during_its_renewal_comes_in_again_with_its_weight() {
    let time = ManualTime::new();
    let cache = Cache::builder()
        .weight_limit(100)
        .weigher(|_: &u64, page: &Arc<str>| page.len() as u32)
        .ttl(SECOND)
        .time(time.clone())
        .build()
        .unwrap();
    let page: Arc<str> = "x".repeat(90).into();
    cache.put(1, Arc::clone(&page));
    time.advance(SECOND * 2);
    let other = cache.clone();
    let renewed = cache.get_or_load_with(&1, move |_: &Previous<Arc<str>>| {
        other.put(2, page);
        assert!(other.entry(&1).is_none());
        Ok::<_, String>(Loaded::not_modified())
    });
    assert_eq!(renewed.unwrap().len(), 90);
    let held: usize = cache.iter().map(|(_, page)| page.value.len()).sum();
    assert!(held <= 100, "{held}");
    assert_eq!(cache.weight(), held as u64);
}

#[test]
fn a_renewal_that_names_the_value_anew_keeps_its_tags() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND).build().unwrap();
    cache.put(1, Loaded::value(Arc::from("page")).etag("v1").tag("pages"));
    time.advance(SECOND * 2);
    let renew = |_: &Previous<Arc<str>>| Ok::<_, String>(Loaded::not_modified().etag("W/v1"));
    cache.get_or_load_with(&1, renew).unwrap();
    assert_eq!(cache.explain(&1).etag(), Some("W/v1"));
    cache.invalidate_tag("pages");
    assert_eq!(cache.get(&1), None);
}

#[test]
fn not_modified_without_an_old_value_is_an_error() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND).build().unwrap();
    let error =
        cache.get_or_load_with(&1, |_: &Previous<_>| Ok::<_, String>(Loaded::not_modified()));
    assert!(matches!(error, Err(LoadError::NothingToRenew)), "{error:?}");
}

#[test]
fn a_missing_key_is_remembered_and_then_asked_for_again() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND * 60).missing_ttl(SECOND).build().unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let ask = || {
        let asked = Arc::clone(&asked);
        cache.get_or_load_with(&1, move |_: &Previous<_>| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok::<_, String>(Loaded::missing())
        })
    };
    assert!(ask().unwrap_err().is_missing());
    assert!(ask().unwrap_err().is_missing());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    time.advance(SECOND);
    assert!(ask().unwrap_err().is_missing());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn an_error_may_forbid_the_old_value() {
    let time = ManualTime::new();
    let cache = builder(&time)
        .ttl(SECOND)
        .stale_if_error(SECOND * 60)
        .stale_if_error_when(|error: &String| error != "permission revoked")
        .build()
        .unwrap();
    cache.put(1, Arc::from("secret"));
    time.advance(SECOND * 2);
    let served = cache.get_or_load(&1, down);
    assert_eq!(&*served.unwrap(), "secret");
    time.advance(SECOND * 2);
    let refused: Result<_, Failed> = cache.get_or_load(&1, || Err("permission revoked".into()));
    assert_eq!(refused.unwrap_err().error().unwrap(), "permission revoked");
    assert!(cache.entry(&1).is_none());
}

#[test]
fn a_loader_given_once_loads_every_key() {
    let time = ManualTime::new();
    let loads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&loads);
    let cache = builder(&time)
        .ttl(SECOND)
        .stale_while_revalidate(SECOND)
        .loader(move |key: &u64| {
            counted.fetch_add(1, Ordering::Relaxed);
            if *key == 0 { Err("no zero") } else { Ok(Arc::<str>::from(format!("user {key}"))) }
        })
        .build()
        .unwrap();
    assert_eq!(&*cache.load(&7).unwrap(), "user 7");
    assert_eq!(&*cache.load(&7).unwrap(), "user 7");
    assert_eq!(cache.load(&0).unwrap_err().to_string(), "no zero");
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    assert_eq!(cache.len(), 1, "the cache behind it is at hand");
}

#[test]
fn a_loader_on_this_thread_may_borrow_and_also_refreshes() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND).stale_while_revalidate(SECOND * 60).build().unwrap();
    let mut log = vec![];
    let mut load = |text: &str| {
        cache.get_or_load_here(&1, || {
            log.push(text.to_owned());
            if text == "bad" { down() } else { Ok(Arc::from(text)) }
        })
    };
    assert_eq!(&*load("one").unwrap(), "one");
    assert_eq!(&*load("two").unwrap(), "one");
    time.advance(SECOND);
    assert_eq!(&*load("three").unwrap(), "three", "who is to refresh gets the new value");
    time.advance(SECOND);
    assert_eq!(&*load("bad").unwrap(), "three", "and the old one if that fails");
    assert_eq!(log, ["one", "three", "bad"]);
}

#[test]
fn a_panic_on_this_thread_goes_on_and_the_next_caller_loads() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND).build().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cache.get_or_load_here::<_, _, String>(&1, || std::panic::resume_unwind(Box::new("oh")))
    }));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "oh");
    assert_eq!(cache.explain(&1).last_error(), "oh");
    let next: Result<_, Failed> = cache.get_or_load_here(&1, || Ok(Arc::from("fine")));
    assert_eq!(&*next.unwrap(), "fine");
}

#[test]
fn put_if_absent_and_weights_say_what_they_did() {
    let cache: Cache<u64, String> = Cache::builder()
        .ttl(SECOND)
        .weight_limit(10)
        .weigher(|_, text: &String| text.len() as u32)
        .build()
        .unwrap();
    assert_eq!(cache.put_if_absent(1, "four".to_owned()), Put::Stored);
    assert_eq!(cache.put_if_absent(1, "five".to_owned()), Put::Present("five".to_owned()));
    let heavy = "more than ten".to_owned();
    assert_eq!(cache.put(2, heavy.clone()), Put::NotKept(heavy.clone()));
    let loaded: Result<_, Failed> = cache.get_or_load(&2, || Ok("more than ten".to_owned()));
    assert_eq!(loaded.unwrap(), heavy, "a load delivers what the cache cannot keep");
    assert_eq!((cache.len(), cache.weight(), cache.stats().not_kept), (1, 4, 2));
}

/// A limit that several tables share, and values heavier than a share.
#[test]
fn a_value_as_heavy_as_the_limit_is_kept_and_the_others_make_room() {
    const LIMIT: u64 = 1 << 28;
    let cache = Cache::<u64, u32>::builder().weight_limit(LIMIT).weigher(|_, value| *value);
    let cache = cache.ttl(SECOND * 60).build().unwrap();
    let light = 1 << 22;
    let fill = |keys: core::ops::Range<u64>| {
        keys.for_each(|key| assert!(cache.put(key, light).is_stored()));
    };
    fill(0..200);
    assert!(cache.weight() <= LIMIT && cache.weight() >= LIMIT * 9 / 10);
    let heavy = (LIMIT - u64::from(light) * 4) as u32;
    assert!(cache.put(1_000, heavy).is_stored());
    assert_eq!(cache.get(&1_000), Some(heavy));
    fill(200..400);
    assert!(cache.weight() <= LIMIT, "{} of {LIMIT}", cache.weight());
    assert!(matches!(cache.put(1_001, u32::MAX), Put::NotKept(_)), "heavier than the limit");
    cache.invalidate(&1_000);
    fill(400..1_000);
    assert!(cache.weight() <= LIMIT && cache.weight() >= LIMIT * 9 / 10, "the loan is back");
    // By the longer way, with a ttl of its own.
    assert!(cache.put(1_002, Loaded::value(heavy).ttl(SECOND)).is_stored());
    assert_eq!(cache.get(&1_002), Some(heavy));
}

/// Its table holds other entries by then, which must not keep the loan.
#[test]
fn a_loan_goes_back_when_its_value_was_evicted() {
    const LIMIT: u64 = 1 << 28;
    let light = 1 << 22;
    let heavy = (LIMIT - u64::from(light) * 4) as u32;
    for round in 0..10 {
        let cache = Cache::<u64, u32>::builder().weight_limit(LIMIT).weigher(|_, value| *value);
        let cache = cache.ttl(SECOND * 60).build().unwrap();
        for key in [1_000, 2_000, 3_000] {
            assert!(cache.put(key, heavy).is_stored(), "{key} in round {round}");
            // Once is nearly always enough; not where the key is taken for one that was evicted lately.
            let gone = (0..50).any(|_| {
                (0..600).for_each(|other| assert!(cache.put(other, light).is_stored()));
                !cache.contains(&key)
            });
            assert!(gone, "nobody read {key} in round {round}");
            assert!(cache.weight() <= LIMIT);
        }
    }
}

#[test]
fn tags_expire_and_invalidate_across_shards() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND * 60).stale_if_error(SECOND * 60).build().unwrap();
    for key in 0..1_000 {
        let tenant = if key % 2 == 0 { "even" } else { "odd" };
        cache.put(key, Loaded::value(Arc::from("v")).tag(tenant));
    }
    cache.invalidate_tag("even");
    cache.expire_tag("odd");
    assert!(!(0..1_000).any(|key| cache.contains(&key)));
    assert!((0..1_000).all(|key| cache.entry(&key).is_some() == (key % 2 == 1)));
    let kept = cache.get_or_load(&1, down);
    assert_eq!(&*kept.unwrap(), "v", "an expired value still serves on error");
    assert_eq!(cache.purge_expired(), 500);
    assert_eq!(cache.len(), 500);
}

#[test]
fn maintenance_removes_all_that_has_passed_in_bounded_pieces() {
    type Bounded = fn(Builder<u64, u64>) -> Builder<u64, u64>;
    let sets: Bounded = |builder| builder.capacity(4_000);
    let one_table: Bounded = |builder| builder.capacity(1_000);
    let by_weight: Bounded = |builder| builder.weight_limit(4_000).weigher(|_, _| 1);
    for bounded in [sets, one_table, by_weight] {
        let time = ManualTime::new();
        let cache = bounded(Cache::builder()).ttl(SECOND).time(time.clone()).build().unwrap();
        (0..800).for_each(|key| assert!(cache.put(key, key).is_stored()));
        assert_eq!(cache.maintain(usize::MAX), 0, "nothing has passed");
        time.advance(SECOND);
        let mut removed = 0;
        for _ in 0..1_000 {
            let went = cache.maintain(10);
            assert!(went <= 10);
            removed += went;
        }
        assert_eq!((removed, cache.len()), (800, 0));
    }
}

/// Writes sweep other tables only while something there may have to go. They must not miss it.
#[test]
fn writes_elsewhere_sweep_whatever_passes_when_it_passes() {
    let time = ManualTime::new();
    let cache = Cache::<u64, u64>::builder().capacity(4_000).ttl(SECOND * 60).time(time.clone());
    let cache = cache.jitter_percent(0).build().unwrap();
    // Two rounds over the 143 sets, one of them with every eighth write.
    let write = || (0..2 * 143 * 8).for_each(|_| assert!(cache.put(9_999, 0).is_stored()));
    for key in 0..1_000 {
        let ttl = SECOND * (1 + key as u32 % 10);
        assert!(cache.put(key, Loaded::value(key).ttl(ttl)).is_stored());
    }
    for second in 1..=10 {
        time.advance(SECOND);
        write();
        assert_eq!(cache.len(), 1_000 - 100 * second + 1, "after {second} s");
    }
    (0..500).for_each(|key| assert!(cache.put(key, key).is_stored()));
    write();
    assert_eq!(cache.len(), 501);
    time.advance(SECOND * 60);
    write();
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_refresh_that_nobody_waits_for_is_pulled_forward_by_who_does() {
    let time = ManualTime::new();
    let cache = builder(&time).ttl(SECOND).stale_while_revalidate(SECOND).build().unwrap();
    // Keep every refresh worker of this process busy, so that a refresh stays in the queue.
    let (busy, go) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
    let held = go.lock().unwrap();
    let (started, starts) = channel();
    let workers = 16;
    for key in 100..100 + workers {
        cache.put(key, Arc::from("old"));
    }
    cache.put(1, Arc::from("old"));
    time.advance(SECOND);
    for key in 100..100 + workers {
        let (go, busy, started) = (Arc::clone(&go), Arc::clone(&busy), started.clone());
        let old: Result<_, Failed> = cache.get_or_load(&key, move || {
            started.send(()).unwrap();
            drop(go.lock());
            drop(busy.lock());
            down()
        });
        assert_eq!(&*old.unwrap(), "old");
    }
    let refreshers = std::thread::available_parallelism().unwrap().get() * 2;
    starts.iter().take(refreshers.min(16)).for_each(drop);
    let stale: Result<_, Failed> = cache.get_or_load(&1, || Ok(Arc::from("new")));
    assert_eq!(&*stale.unwrap(), "old", "its refresh waits behind the others");
    time.advance(SECOND);
    // Now the old value may not serve any more, and its refresh has not begun.
    let waited: Result<_, Failed> = cache.get_or_load(&1, || Ok(Arc::from("second load")));
    assert_eq!(&*waited.unwrap(), "new");
    drop(held);
}

#[test]
fn readers_and_writers_on_many_threads_leave_a_whole_cache() {
    let time = ManualTime::new();
    let cache: Texts = builder(&time).ttl(SECOND).capacity(256).build().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4u64 {
            let (cache, time) = (&cache, &time);
            scope.spawn(move || {
                let mut x = seed + 1;
                for _ in 0..20_000 {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
                    let key = (x >> 40) % 1_000;
                    match (x >> 20) % 16 {
                        0 => drop(cache.put(key, Arc::from("put"))),
                        1 => drop(cache.invalidate(&key)),
                        2 => time.advance(Duration::from_micros(50)),
                        3..=8 => drop(cache.get(&key)),
                        _ => {
                            let loaded =
                                cache.get_or_load_here(&key, || Ok::<_, String>("l".into()));
                            assert!(loaded.is_ok());
                        }
                    }
                }
            });
        }
    });
    assert!(cache.len() <= 256);
    let stats = cache.stats();
    assert_eq!(stats.loads, stats.landed + stats.superseded, "every load has ended");
    time.advance(SECOND);
    cache.purge_expired();
    assert!(cache.is_empty());
    assert!(time.now().has_reached(time.now()) && time.parked() == 0);
    time.sleep_until(time.now());
}

/// Leaves integers as they are: all that differs is in the lowest bits.
#[derive(Clone, Default)]
struct Identity(u64);

impl std::hash::Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[test]
fn sets_fill_evenly_whatever_bits_of_the_hash_differ() {
    for shift in [0, 8, 16, 32, 50] {
        let hasher = std::hash::BuildHasherDefault::<Identity>::default();
        let cache = Cache::<u64, ()>::builder().capacity(4_000).ttl(SECOND * 60).hasher(hasher);
        let cache = cache.build().unwrap();
        (0..2_000).for_each(|key| assert!(cache.put(key << shift, ()).is_stored()));
        assert!(cache.len() >= 1_980, "{} of 2,000 at half the capacity, {shift}", cache.len());
    }
}

/// What is aligned to more than a word cannot be read as numbers are, and is kept all the same.
#[test]
fn values_of_any_alignment_are_kept() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(align(64))]
    struct Line(u8);

    fn keeps<V: Clone + Send + Sync + PartialEq + core::fmt::Debug + 'static>(of: fn(u8) -> V) {
        for time in [None, Some(ManualTime::new())] {
            let builder = Cache::builder().capacity(2_000).ttl(SECOND);
            let builder = time.into_iter().fold(builder, Builder::time);
            let cache: Cache<u64, V> = builder.build().unwrap();
            (0..200).for_each(|n| assert!(matches!(cache.put(n.into(), of(n)), Put::Stored)));
            (0..200).for_each(|n| assert_eq!(cache.get(&n.into()), Some(of(n))));
        }
    }

    keeps(u128::from);
    keeps(Line);
    keeps(|n| (n, Line(n)));
}
