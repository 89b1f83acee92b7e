//! Keys whose `Hash` or `Eq` panic: afterwards the cache works, for other keys and for that key.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use advanced_caching::local;
use advanced_caching::sync::{Cache, LoadError};
use advanced_caching::table::{Bound, HashTable, LinearTable, LocalTable};
use advanced_caching::{Action, Clock, Instant, Loaded, ManualTime, Policy, PolicyBuilder};

use crate::world::{KeyHash, Origin, message, panic_quietly, secs, within_a_minute};

/// When a key loses its temper: in how many calls, once. Zero for never.
#[derive(Debug, Default)]
struct Mood {
    eq: AtomicU32,
    hash: AtomicU32,
}

fn count_down(calls: &AtomicU32, message: &'static str) {
    let before = calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    if before == Ok(1) {
        panic_quietly(message);
    }
}

#[derive(Clone, Debug)]
struct Moody {
    id: u8,
    mood: Arc<Mood>,
}

impl PartialEq for Moody {
    fn eq(&self, other: &Self) -> bool {
        count_down(&self.mood.eq, "Eq");
        self.id == other.id
    }
}

impl Eq for Moody {}

impl Hash for Moody {
    fn hash<H: Hasher>(&self, state: &mut H) {
        count_down(&self.mood.hash, "Hash");
        state.write_u8(self.id);
    }
}

fn keys(mood: &Arc<Mood>) -> [Moody; 3] {
    [1, 2, 3].map(|id| Moody { id, mood: Arc::clone(mood) })
}

fn policy() -> PolicyBuilder {
    let policy = Policy::ttl(secs(10)).stale_while_revalidate(secs(10)).stale_if_error(secs(100));
    policy.jitter_percent(0)
}

/// Runs something of which a key may make a panic; any other panic goes on.
fn forgiving<T>(body: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(answer) => Some(answer),
        Err(payload) if ["Eq", "Hash"].contains(&message(&*payload)) => None,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Calls `life` with a mood that is lost at the first call of `Eq`, then at the second, and so on
/// until there are no more.
fn at_every_call_of_eq(life: impl Fn(&Arc<Mood>)) {
    for nth in 1..10_000 {
        let mood = Arc::new(Mood::default());
        mood.eq.store(nth, Ordering::SeqCst);
        life(&mood);
        while Arc::strong_count(&mood) > 1 {
            std::thread::yield_now(); // a worker may still be about to drop what it held
        }
        if mood.eq.load(Ordering::SeqCst) > 0 {
            assert!(nth > 20, "the life is meant to compare keys");
            return;
        }
    }
    panic!("the life has no end");
}

/// With threads: two entries, one load at a time.
fn threaded() -> (ManualTime, Cache<Moody, u32, KeyHash>) {
    let time = ManualTime::new();
    let cache = Cache::builder().policy(policy()).capacity(2).max_loads(1);
    let cache = cache.hasher(KeyHash::default()).time(time.clone()).build().unwrap();
    (time, cache)
}

fn load(cache: &Cache<Moody, u32, KeyHash>, key: &Moody, value: u32) -> Option<u32> {
    cache.get_or_load(key, move || Ok::<_, Origin>(value)).ok()
}

/// Everything that can be asked of a cache, whatever becomes of it.
fn live_threaded(time: &ManualTime, cache: &Cache<Moody, u32, KeyHash>, keys: &[Moody; 3]) {
    let [a, b, c] = keys;
    forgiving(|| load(cache, a, 1));
    forgiving(|| cache.put(b.clone(), Loaded::value(2).ttl(secs(3)).tag("t")));
    forgiving(|| cache.get(a));
    time.advance(secs(10));
    forgiving(|| cache.get_or_load_here(a, || Ok::<_, Origin>(3)));
    forgiving(|| cache.get_or_load_here(b, || Err::<u32, _>(Origin("down"))));
    cache.invalidate_tag("t");
    forgiving(|| cache.get_or_load_here(b, || Ok::<_, Origin>(4)));
    forgiving(|| load(cache, c, 5));
    forgiving(|| cache.expire(c));
    forgiving(|| cache.get_or_load_with(c, |_| Ok::<_, Origin>(Loaded::not_modified())));
    forgiving(|| cache.put_if_absent(a.clone(), 6));
    forgiving(|| cache.put(a.clone(), Loaded::missing()));
    forgiving(|| (cache.contains(b), cache.entry(c), cache.explain(a).failures));
    time.advance(secs(30));
    forgiving(|| load(cache, b, 7));
    forgiving(|| cache.purge_expired());
    forgiving(|| cache.invalidate(b));
}

#[test]
fn with_threads_an_eq_that_panics_at_any_call_harms_nothing() {
    within_a_minute(|| {
        at_every_call_of_eq(|mood| {
            let ((time, cache), keys) = (threaded(), keys(mood));
            live_threaded(&time, &cache, &keys);
            let left = mood.eq.swap(0, Ordering::SeqCst);
            // A refresh may still run behind its caller's back. One load may run: who gets a place
            // knows that there is no other; a place that was lost would never come back.
            cache.invalidate(&keys[0]);
            while cache.get_or_load(&keys[0], || Ok::<_, Origin>(8)).is_err_and(|e| e.is_busy()) {
                std::thread::yield_now();
            }
            time.advance(secs(1_000));
            for key in &keys {
                assert!(cache.len() <= 2);
                assert_eq!(
                    cache.get_or_load(key, || Ok::<_, Origin>(9)).unwrap(),
                    9,
                    "one load may run, and none does"
                );
                assert_eq!(cache.get(key), Some(9));
            }
            mood.eq.store(left, Ordering::SeqCst);
        });
    });
}

/// By hand, over any table.
fn live_by_hand<T: LocalTable<Moody, u32>>(
    cache: &mut local::Cache<Moody, u32, T>,
    keys: &[Moody; 3],
) {
    let [a, b, c] = keys;
    let mut now = Instant::from_secs(9);
    let load = |cache: &mut local::Cache<Moody, u32, T>, key: &Moody, well: bool, now| {
        forgiving(|| {
            let ticket = cache.lookup(key, now).into_ticket();
            match ticket {
                Some(ticket) if well => drop(cache.complete(key, ticket, 1, now)),
                Some(ticket) => drop(cache.fail(key, ticket, &"down", now)),
                None => {}
            }
        });
    };
    load(cache, a, true, now);
    forgiving(|| cache.put(b.clone(), Loaded::value(2).ttl(secs(3)).tag("t"), now));
    forgiving(|| cache.get(a, now).copied());
    now = now + secs(10);
    load(cache, a, true, now);
    load(cache, b, false, now);
    cache.invalidate_tag("t");
    load(cache, b, true, now);
    load(cache, c, true, now);
    forgiving(|| cache.expire(c, now));
    load(cache, c, false, now);
    forgiving(|| cache.put_if_absent(a.clone(), 6, now));
    forgiving(|| cache.put(a.clone(), Loaded::missing(), now));
    forgiving(|| (cache.contains(b, now), cache.explain(a, now).failures));
    forgiving(|| cache.lookup(b, now).into_ticket().map(|ticket| cache.abandon(b, ticket, now)));
    forgiving(|| cache.tick(now + secs(30), 100));
    forgiving(|| cache.invalidate(b, now));
}

fn check_by_hand<T: LocalTable<Moody, u32>>(table: impl Fn() -> T) {
    at_every_call_of_eq(|mood| {
        let keys = keys(mood);
        let mut cache = local::Cache::with_table(policy().build().unwrap(), table());
        live_by_hand(&mut cache, &keys);
        let left = mood.eq.swap(0, Ordering::SeqCst);
        // Past every lease: what was lost by a panic is taken over.
        let now = Instant::from_secs(1_000);
        cache.tick(now, 100);
        for key in &keys {
            match cache.lookup(key, now) {
                Action::Load { ticket, .. } => drop(cache.complete(key, ticket, 9, now)),
                other => panic!("{key:?} is not loaded: {other:?}"),
            }
            assert_eq!(cache.get(key, now), Some(&9));
        }
        assert_eq!(cache.flights(), 0, "no flight is counted that is not there");
        assert!(cache.len() <= 2);
        mood.eq.store(left, Ordering::SeqCst);
    });
}

#[test]
fn by_hand_an_eq_that_panics_at_any_call_harms_nothing() {
    within_a_minute(|| {
        check_by_hand(|| HashTable::new(Bound::Entries(2), KeyHash::default()));
        check_by_hand(LinearTable::<Moody, u32, 2, 3>::new);
        // Too few records, so that some must make room for others.
        check_by_hand(LinearTable::<Moody, u32, 2, 2>::new);
        check_by_hand(LinearTable::<Moody, u32, 2, 1>::new);
    });
}

#[test]
fn a_hash_that_panics_is_the_callers_own_panic() {
    within_a_minute(|| {
        let ((time, cache), mood) = (threaded(), Arc::new(Mood::default()));
        let [a, b, _] = keys(&mood);
        assert_eq!(load(&cache, &a, 1), Some(1));
        let asked: [&dyn Fn() -> bool; 6] = [
            &|| cache.get(&a).is_some(),
            &|| load(&cache, &b, 1).is_some(),
            &|| cache.put(b.clone(), 2).is_stored(),
            &|| cache.expire(&a).found,
            &|| cache.invalidate(&a).found,
            &|| cache.explain(&a).failures == 0,
        ];
        for ask in asked {
            mood.hash.store(1, Ordering::SeqCst);
            let payload = catch_unwind(AssertUnwindSafe(ask)).expect_err("the key panics");
            assert_eq!(message(&*payload), "Hash");
        }
        assert_eq!((cache.get(&a), cache.get(&b)), (Some(1), None), "nothing was done");
        assert_eq!(load(&cache, &b, 2), Some(2));
        assert_eq!(cache.entry(&a).unwrap().age(time.now()), secs(0));
    });
}

#[test]
fn followers_of_a_load_that_cannot_land_for_a_panicking_eq_are_answered() {
    within_a_minute(|| {
        let ((time, cache), mood) = (threaded(), Arc::new(Mood::default()));
        let [a, ..] = keys(&mood);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (reader, key) = (cache.clone(), a.clone());
        let leader = std::thread::spawn(move || {
            let mood = Arc::clone(&key.mood);
            reader.get_or_load(&key, move || {
                let _ = wait.recv();
                mood.eq.store(1, Ordering::SeqCst);
                Ok::<_, Origin>(7)
            })
        });
        time.until_parked(1);
        let (reader, key) = (cache.clone(), a.clone());
        let follower = std::thread::spawn(move || load(&reader, &key, 8));
        time.until_parked(2);
        drop(go);
        let told = leader.join().unwrap();
        // The follower may have loaded before the leader looks.
        assert!(matches!(told, Ok(7 | 8) | Err(LoadError::GivenUp)), "{told:?}");
        assert_eq!(follower.join().unwrap(), Some(8), "who waited has loaded");
        assert_eq!(cache.get(&a), Some(8));
    });
}

/// Who is told of an entry's age compares keys once more, when the refresh has been granted.
#[test]
fn an_eq_that_panics_while_an_outcome_is_told_leaves_no_load_behind() {
    within_a_minute(|| {
        let mut panicked = 0;
        for nth in 1..20 {
            let mood = Arc::new(Mood::default());
            let ((time, cache), [a, ..]) = (threaded(), keys(&mood));
            load(&cache, &a, 1).unwrap();
            time.advance(secs(10));
            mood.eq.store(nth, Ordering::SeqCst);
            let told = forgiving(|| drop(cache.read(&a).outcome(|| Ok::<_, Origin>(2))));
            mood.eq.store(0, Ordering::SeqCst);
            if told.is_some() {
                continue;
            }
            panicked += 1;
            // Behind the stale window, and within the lease of a load that nobody leads. One load may run
            // at a time, and the one before may be about to end.
            time.advance(secs(11));
            let mut loaded = load(&cache, &a, 3);
            while loaded.is_none() {
                std::thread::yield_now();
                loaded = load(&cache, &a, 3);
            }
            assert_eq!(loaded, Some(3), "at call {nth}");
        }
        assert!(panicked > 2, "{panicked}: the outcome is meant to compare keys");
    });
}
