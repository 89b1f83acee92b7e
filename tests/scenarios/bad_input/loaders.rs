//! Loaders that panic, call themselves, or never end.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use advanced_caching::sync::{Cache, LoadError};
use advanced_caching::{Clock, Loaded, ManualTime, Policy, Time};

use crate::world::{
    Driver, Hand, Origin, Reply, Tasks, Threads, Told, panic_quietly, secs, within_a_minute,
};

/// Makes what a loader panics with.
type Payload = fn() -> Box<dyn Any + Send>;
type Answer = Result<u32, LoadError<Origin>>;

fn cache(time: &ManualTime) -> Cache<u32, u32> {
    Cache::builder().ttl(secs(60)).time(time.clone()).build().unwrap()
}

#[test]
fn whatever_a_loader_panics_with_is_told_as_text() {
    within_a_minute(|| {
        let cache = cache(&ManualTime::new());
        let panics: [(Payload, &str); 3] = [
            (|| Box::new("a text"), "a text"),
            (|| Box::new(String::from("a string")), "a string"),
            (|| Box::new(7), "no message"),
        ];
        for (payload, text) in panics {
            let error =
                cache.get_or_load(&1, move || -> Result<u32, Origin> { resume_unwind(payload()) });
            let error = error.unwrap_err();
            assert!(matches!(&error, LoadError::Panicked(told) if &**told == text), "{error:?}");
        }
        assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(7)).unwrap(), 7);
    });
}

/// Loads key `n` by loading key `n + 1`, and the last by loading the first.
fn round(cache: &Cache<u32, u32>, n: u32, last: u32) -> Answer {
    let own = cache.clone();
    cache.get_or_load(&n, move || {
        let next = if n == last { 0 } else { n + 1 };
        match round(&own, next, last) {
            Ok(value) => Ok(value + 1),
            Err(LoadError::Recursive) => Ok(0),
            Err(_) => Err(Origin("another error than that of a recursion")),
        }
    })
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_told_so() {
    within_a_minute(|| {
        // Of its own; through a second key; through many.
        for last in [0, 1, 50] {
            let cache = cache(&ManualTime::new());
            assert_eq!(round(&cache, 0, last).unwrap(), last);
            assert_eq!(cache.stats().loads, u64::from(last) + 1);
        }
    });
}

#[test]
fn a_loader_on_the_callers_thread_that_asks_for_its_own_key_is_told_so() {
    within_a_minute(|| {
        let cache = cache(&ManualTime::new());
        let answer = cache.get_or_load_here(&0, || {
            cache
                .get_or_load_here(&1, || cache.get_or_load_here(&0, || Ok::<_, Origin>(9)))
                .map_err(|error| Origin(if is_recursive(&error) { "recursive" } else { "other" }))
        });
        assert_eq!(answer.unwrap_err().error(), Some(&Origin("recursive")));
        assert_eq!(cache.get_or_load(&0, || Ok::<_, Origin>(7)).unwrap(), 7);
    });
}

/// Whether a loader failed because the load that it asked for was its own.
fn is_recursive(error: &LoadError<LoadError<Origin>>) -> bool {
    matches!(error.error(), Some(LoadError::Recursive))
}

#[test]
fn a_loader_without_time_outs_that_asks_for_its_own_key_is_told_so() {
    within_a_minute(|| {
        let cache = Cache::builder().ttl(secs(60)).hard_timeout(Duration::MAX);
        let cache = cache.soft_timeout(Duration::MAX).build().unwrap();
        assert_eq!(round(&cache, 0, 1).unwrap(), 1);
    });
}

#[test]
fn two_loaders_that_wait_for_each_other_end_at_their_time_out() {
    // Told by one's own patience or by the other's, whichever is seen first.
    fn timed_out(error: &LoadError<Origin>) -> bool {
        error.is_timeout() || error.error() == Some(&Origin("timed out"))
    }
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = cache(&time);
        let both = Arc::new(Barrier::new(2));
        let crossed = |own: u32, other: u32| {
            let (reader, inner, both) = (cache.clone(), cache.clone(), Arc::clone(&both));
            let load = move || {
                both.wait();
                let told = inner.get_or_load(&other, || Ok::<_, Origin>(9)).unwrap_err();
                Err(Origin(if timed_out(&told) { "timed out" } else { "another error" }))
            };
            thread::spawn(move || -> Answer { reader.get_or_load(&own, load) })
        };
        let callers = [crossed(1, 2), crossed(2, 1)];
        time.until_parked(4);
        time.advance(secs(30));
        for caller in callers {
            let error = caller.join().unwrap().unwrap_err();
            assert!(timed_out(&error), "{error:?}");
        }
        while cache.stats().failures < 2 {
            thread::yield_now();
        }
        assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(7)).unwrap(), 7);
    });
}

#[test]
fn loaders_that_never_end_block_nobody_and_stay_few() {
    fn check<D: Driver>() {
        let policy = Policy::ttl(secs(60)).hard_timeout(secs(5)).lease(secs(10));
        let mut d = D::with(policy);
        let mut waited = Vec::new();
        for _ in 0..300 {
            match d.read(1) {
                Reply::Waits(caller) => waited.push(caller),
                Reply::Told(Told::TimedOut { .. }) => {}
                other => panic!("{other:?} with nothing to serve"),
            }
            d.advance(secs(1));
        }
        d.advance(secs(5));
        // Each take-over doubles the lease: at 0, 10, 30, 70 and 150 s.
        assert_eq!((d.loads(), waited.len()), (5, 25));
        let timed_out = |caller| matches!(d.told(caller), Some(Told::TimedOut { .. }));
        assert!(waited.into_iter().all(timed_out));
        // The slowest of them still lands, and a later one lands over it; not the other way round.
        d.end(1, 1);
        assert_eq!(d.get(1), Some(1));
        d.end(4, 4);
        d.end(3, 3);
        assert_eq!(d.get(1), Some(4));
        assert_eq!((d.stats().landed, d.stats().superseded), (2, 1));
    }
    Hand::watch(check::<Hand>);
    Threads::watch(check::<Threads>);
    Tasks::watch(check::<Tasks>);
}

#[test]
fn a_loader_that_sleeps_past_every_time_out_wakes_to_a_cache_that_went_on() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = cache(&time);
        let (sleeper, reader) = (time.clone(), cache.clone());
        let (woke, wakes) = channel();
        let caller = thread::spawn(move || -> Answer {
            reader.get_or_load(&1, move || {
                sleeper.sleep_until(sleeper.now() + secs(1_000));
                woke.send(()).unwrap();
                Ok(1)
            })
        });
        time.until_parked(2);
        time.advance(secs(30));
        assert!(caller.join().unwrap().unwrap_err().is_timeout());
        assert_eq!(cache.get_or_load(&1, || Ok::<_, Origin>(2)).unwrap(), 2);
        time.advance(secs(970));
        wakes.recv().unwrap();
        while cache.stats().superseded == 0 {
            thread::yield_now();
        }
        assert_eq!(
            cache.get(&1),
            None,
            "the other's value has expired, and this one came too late"
        );
    });
}

#[test]
fn an_answer_that_cannot_be_is_a_typed_error() {
    within_a_minute(|| {
        let cache = cache(&ManualTime::new());
        let renewed = |_: &_| Ok::<_, Origin>(Loaded::not_modified());
        let error = cache.get_or_load_with(&1, renewed).unwrap_err();
        assert!(matches!(error, LoadError::NothingToRenew), "{error:?}");
        let error = cache.get_or_load_with(&1, |_| Ok::<_, Origin>(Loaded::missing()));
        assert!(error.unwrap_err().is_missing());
    });
}

#[test]
fn a_follower_with_another_type_of_error_is_told_the_text() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let cache = cache(&time);
        let (go, wait) = channel::<()>();
        let reader = cache.clone();
        let leader = thread::spawn(move || {
            reader.get_or_load(&1, move || {
                let _ = wait.recv();
                Err::<u32, _>(Origin("down"))
            })
        });
        time.until_parked(1);
        let reader = cache.clone();
        let follower = thread::spawn(move || reader.get_or_load(&1, || Ok::<_, String>(9)));
        time.until_parked(2);
        drop(go);
        assert_eq!(leader.join().unwrap().unwrap_err().error(), Some(&Origin("down")));
        let error = follower.join().unwrap().unwrap_err();
        assert!(matches!(&error, LoadError::Foreign(text) if &**text == "down"), "{error:?}");
    });
}

#[test]
fn what_judges_errors_may_refuse_the_old_value_and_may_panic() {
    within_a_minute(|| {
        let time = ManualTime::new();
        let judge = |error: &Origin| match error.0 {
            "revoked" => false,
            "strange" => panic_quietly("judge"),
            _ => true,
        };
        let cache = Cache::builder().ttl(secs(10)).stale_if_error(secs(1_000)).jitter_percent(0);
        let cache = cache.cool_down(secs(1), 1, secs(1)).stale_if_error_when(judge);
        let cache = cache.time(time.clone()).build().unwrap();
        cache.put(1u32, Arc::new(7));
        let ask = |error| {
            time.advance(secs(10));
            let answer = cache.get_or_load(&1, move || Err(Origin(error)));
            answer.map(|value| *value).map_err(|error| error.to_string())
        };
        assert_eq!(ask("down"), Ok(7));
        assert_eq!(ask("strange"), Ok(7), "a panic lets the old value serve, as any does");
        assert_eq!(ask("revoked"), Err("revoked".into()));
        assert_eq!(ask("down"), Err("down".into()), "the old value is gone");
    });
}
