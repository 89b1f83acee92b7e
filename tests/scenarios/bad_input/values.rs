//! Values whose `Clone` panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use advanced_caching::sync::{Cache, LoadError};
use advanced_caching::{Loaded, ManualTime, Stats};

use crate::world::{Origin, holding_refreshes, message, panic_quietly, secs, within_a_minute};

/// A value that breaks in so many copies, once. Zero for never.
#[derive(Debug)]
struct Fragile {
    id: u32,
    copies: Arc<AtomicU32>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let before =
            self.copies.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if before == Ok(1) {
            panic_quietly("Clone");
        }
        Self { id: self.id, copies: Arc::clone(&self.copies) }
    }
}

struct World {
    time: ManualTime,
    cache: Cache<u8, Fragile>,
    copies: Arc<AtomicU32>,
}

impl World {
    fn new() -> Self {
        let (time, copies) = (ManualTime::new(), Arc::new(AtomicU32::new(0)));
        let cache = Cache::builder().ttl(secs(10)).stale_while_revalidate(secs(10));
        let cache = cache.stale_if_error(secs(100)).jitter_percent(0).max_loads(1);
        let cache = cache.time(time.clone()).build().unwrap();
        Self { time, cache, copies }
    }

    fn value(&self, id: u32) -> Fragile {
        Fragile { id, copies: Arc::clone(&self.copies) }
    }

    /// The nth copy from now on breaks.
    fn break_copy(&self, nth: u32) {
        self.copies.store(nth, Ordering::SeqCst);
    }

    fn load(&self, key: u8, id: u32) -> Result<u32, LoadError<Origin>> {
        let value = self.value(id);
        self.cache.get_or_load(&key, move || Ok(value)).map(|value| value.id)
    }

    /// Waits until no load runs.
    fn settled(&self) -> Stats {
        loop {
            let stats = self.cache.stats();
            let ended = stats.landed + stats.superseded + stats.failures + stats.abandoned;
            if ended == stats.loads {
                return stats;
            }
            thread::yield_now();
        }
    }
}

fn broken<T>(body: impl FnOnce() -> T) -> bool {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(_) => false,
        Err(payload) => message(&*payload) == "Clone",
    }
}

#[test]
fn a_copy_that_breaks_when_it_is_served_is_the_callers_own_panic() {
    within_a_minute(|| {
        let world = World::new();
        world.cache.put(1, world.value(7));
        for serve in [
            &(|| drop(world.cache.get(&1))) as &dyn Fn(),
            &|| drop(world.cache.peek(&1)),
            &|| drop(world.cache.entry(&1)),
            &|| drop(world.load(1, 8)),
        ] {
            world.break_copy(1);
            assert!(broken(serve));
        }
        assert_eq!(world.load(1, 8).unwrap(), 7, "the value itself is whole");
        assert_eq!(world.cache.stats().loads, 0);
    });
}

#[test]
fn a_copy_that_breaks_in_a_load_fails_that_load() {
    within_a_minute(|| {
        let world = World::new();
        world.break_copy(1);
        let error = world.load(1, 7).unwrap_err();
        assert!(matches!(&error, LoadError::Panicked(text) if &**text == "Clone"), "{error:?}");
        assert_eq!(world.load(1, 8).unwrap(), 8);
        assert_eq!((world.cache.stats().loads, world.cache.stats().failures), (2, 1));
    });
}

#[test]
fn a_stale_copy_that_breaks_gives_the_right_to_refresh_back() {
    holding_refreshes(|| {
        let world = World::new();
        world.cache.put(1, world.value(7));
        world.time.advance(secs(10));
        world.break_copy(1);
        assert!(broken(|| world.load(1, 8)));
        assert_eq!(world.settled().abandoned, 1);
        assert_eq!(world.load(1, 9).unwrap(), 7, "served, and refreshed");
        assert_eq!(world.settled().landed, 1);
        assert_eq!(world.load(1, 10).unwrap(), 9);
    });
}

/// Everything that copies values, whatever becomes of it.
fn live(world: &World) {
    broken(|| world.load(1, 1));
    world.settled();
    broken(|| world.cache.get(&1));
    world.time.advance(secs(10));
    broken(|| world.load(1, 2));
    world.settled();
    let renewed = |_: &_| Ok::<_, Origin>(Loaded::not_modified());
    world.time.advance(secs(10));
    broken(|| world.cache.get_or_load_with(&1, renewed).map(|value| value.id));
    world.settled();
    world.time.advance(secs(50));
    broken(|| world.cache.get_or_load_with(&1, renewed).map(|value| value.id));
    broken(|| world.cache.get_or_load(&1, || Err(Origin("down"))).map(|value| value.id));
    broken(|| world.cache.get_or_load_here(&2, || Ok::<_, Origin>(world.value(3))));
    world.settled();
}

#[test]
fn a_copy_that_breaks_at_any_time_harms_nothing() {
    holding_refreshes(|| {
        for nth in 1..1_000 {
            let world = World::new();
            world.break_copy(nth);
            live(&world);
            let left = world.copies.swap(0, Ordering::SeqCst);
            world.time.advance(secs(1_000));
            for key in [1, 2, 3] {
                assert_eq!(world.load(key, 9).unwrap(), 9, "one load may run, and none does");
            }
            let World { cache, copies, .. } = world;
            drop(cache);
            while Arc::strong_count(&copies) > 1 {
                thread::yield_now(); // a worker may still be about to drop what it held
            }
            if left > 0 {
                assert!(nth > 8, "the life is meant to copy values");
                return;
            }
        }
        panic!("the life has no end");
    });
}
