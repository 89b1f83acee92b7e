//! How a program tests its own code on the cache: any operations, in any order, on virtual time, with
//! a shop that closes and a store that fails. `docs/TESTING.md` tells the story.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use advanced_caching::chaos::Chaos;
use advanced_caching::sync::{Cache, LoadError};
use advanced_caching::{Clock, Instant, ManualTime, MemoryStore};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

const MINUTE: Duration = Duration::from_secs(60);
/// The longest pause between two attempts, unless another is set.
const COOL_DOWN: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);

/// Where the prices are, when it is open.
#[derive(Default)]
struct Shop {
    prices: HashMap<u8, u32>,
    closed: bool,
}

/// The service: no price is older than a minute, or than an hour and a minute while the shop is
/// closed; who sets a price sees it at once.
struct Prices {
    shop: Arc<Mutex<Shop>>,
    cache: Cache<u8, u32>,
    /// The bug that the property must find.
    forgets: bool,
}

impl Prices {
    fn price(&self, item: u8) -> Result<u32, LoadError<String>> {
        let shop = Arc::clone(&self.shop);
        self.cache.get_or_load(&item, move || {
            let shop = shop.lock().unwrap();
            match shop.closed {
                true => Err("closed".to_owned()),
                false => Ok(shop.prices.get(&item).copied().unwrap_or(0)),
            }
        })
    }

    fn set(&self, item: u8, price: u32) {
        self.shop.lock().unwrap().prices.insert(item, price);
        if !self.forgets {
            self.cache.invalidate(&item);
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Read(u8),
    Set(u8, u32),
    /// By somebody else, behind the service's back.
    SetBehind(u8, u32),
    Close(bool),
    Advance(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let set = || (0..3_u8, any::<u32>());
    prop_oneof![
        6 => (0..3_u8).prop_map(Operation::Read),
        2 => set().prop_map(|(item, price)| Operation::Set(item, price)),
        1 => set().prop_map(|(item, price)| Operation::SetBehind(item, price)),
        1 => any::<bool>().prop_map(Operation::Close),
        2 => (0..90_u64).prop_map(Operation::Advance),
        1 => (0..5_000_u64).prop_map(Operation::Advance),
    ]
}

/// The service, and all that is needed to judge it.
struct World {
    time: ManualTime,
    start: Instant,
    prices: Prices,
    /// Since when which price was true.
    history: HashMap<u8, Vec<(Instant, u32)>>,
    /// When a price was last read from the shop, or given to the cache.
    read_at: HashMap<u8, Instant>,
}

impl World {
    fn new(seed: u64, forgets: bool) -> Self {
        let (time, shop) = (ManualTime::new(), Arc::default());
        let start = time.now();
        let files = Chaos::seeded(seed).errors(30).lost(10).corrupt(10).panics(5);
        let cache = Cache::builder().ttl(MINUTE).stale_if_error(HOUR).jitter_percent(0);
        let cache = cache.l2(files.store(MemoryStore::new(100))).time(time.clone());
        let prices = Prices { shop, cache: cache.build().unwrap(), forgets };
        Self { time, start, prices, history: HashMap::new(), read_at: HashMap::new() }
    }

    fn closed(&self) -> bool {
        self.prices.shop.lock().unwrap().closed
    }

    fn step(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Read(item) => return self.read(item),
            Operation::Set(item, price) => {
                self.prices.set(item, price);
                self.is_now(item, price);
                self.read_at.remove(&item);
                if !self.closed() {
                    prop_assert_eq!(self.prices.price(item).ok(), Some(price), "set just now");
                    self.read_at.insert(item, self.time.now());
                }
            }
            Operation::SetBehind(item, price) => {
                self.prices.shop.lock().unwrap().prices.insert(item, price);
                self.is_now(item, price);
            }
            Operation::Close(closed) => {
                self.prices.shop.lock().unwrap().closed = closed;
                // Who was refused does not ask again before that.
                self.time.advance(COOL_DOWN);
            }
            Operation::Advance(seconds) => self.time.advance(Duration::from_secs(seconds)),
        }
        Ok(())
    }

    fn is_now(&mut self, item: u8, price: u32) {
        self.history.entry(item).or_default().push((self.time.now(), price));
    }

    fn read(&mut self, item: u8) -> Result<(), TestCaseError> {
        let (now, closed) = (self.time.now(), self.closed());
        let age = if closed { MINUTE + HOUR } else { MINUTE };
        let price = match self.prices.price(item) {
            Ok(price) => price,
            Err(error) => {
                let read = self.read_at.get(&item);
                let kept = read.is_some_and(|at| now.saturating_since(*at) < age);
                prop_assert!(closed && !kept, "{:?} of {}", error, item);
                return Ok(());
            }
        };
        prop_assert!(self.was_true(item, price, now - age), "{} is too old for {}", price, item);
        if !closed {
            let read_at = self.read_at.entry(item).or_insert(now);
            *read_at = if now.saturating_since(*read_at) < MINUTE { *read_at } else { now };
        }
        Ok(())
    }

    /// Whether a price was true at any moment since; before all others it was 0.
    fn was_true(&self, item: u8, price: u32, since: Instant) -> bool {
        let first = std::iter::once((self.start, 0));
        let prices: Vec<_> =
            first.chain(self.history.get(&item).into_iter().flatten().copied()).collect();
        let oldest = prices.iter().rposition(|(at, _)| *at <= since).unwrap_or(0);
        prices[oldest..].iter().any(|(_, true_one)| *true_one == price)
    }
}

type Case = (u64, Vec<Operation>);

/// Runs the property on many cases.
fn check(forgets: bool) -> Result<(), TestError<Case>> {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let cases = (any::<u64>(), prop::collection::vec(operation(), 1..60));
    TestRunner::new_with_rng(config, rng()).run(&cases, |(seed, operations)| {
        let mut world = World::new(seed, forgets);
        operations.into_iter().try_for_each(|operation| world.step(operation))
    })
}

/// The same cases in every run.
fn rng() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(Config::default().rng_algorithm)
}

#[test]
fn no_price_is_older_than_was_promised() {
    check(false).unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn a_service_that_forgets_to_invalidate_is_found_and_the_case_is_short() {
    let Err(TestError::Fail(reason, (_, operations))) = check(true) else {
        panic!("the bug was not found")
    };
    assert!(operations.len() <= 4, "{reason}: {operations:?}");
}
