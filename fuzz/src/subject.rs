//! The caches, each with the same few operations.

use core::hash::BuildHasherDefault;
use core::hash::Hash;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use advanced_caching::local;
use advanced_caching::local::{Action, Completion, Ticket};
use advanced_caching::sync::{Builder, Cache, LoadError};
use advanced_caching::table::{Bound, HashTable, LinearTable, LocalTable};
use advanced_caching::{Instant, Loaded, ManualTime, Policy, Put};

use crate::model::{SIE, TTL};
use crate::operation::Terms;

/// What a read that may load was told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A value, without a load.
    Held(u64),
    /// Its load brought the value, and this says whether it was kept.
    Loaded(bool),
    /// There is no room for one more load.
    Refused,
    /// Its load failed, and this served instead.
    Failed(Option<u64>),
}

/// A cache of numbers by numbers.
pub(crate) trait Subject {
    /// Loads bring values with the cache's own windows, whatever the terms.
    const LOADS_PLAIN: bool;

    /// Whether the value was stored.
    fn put(&mut self, key: u8, value: u64, terms: Terms) -> bool;
    fn put_if_absent(&mut self, key: u8, value: u64, terms: Terms) -> bool;
    fn get(&mut self, key: u8) -> Option<u64>;
    fn load(&mut self, key: u8, value: u64, answer: Option<Terms>) -> Told;
    fn expire(&mut self, key: u8);
    fn invalidate(&mut self, key: u8);
    fn clear(&mut self);
    fn expire_tag(&mut self, tag: bool);
    fn invalidate_tag(&mut self, tag: bool);
    fn advance(&mut self, millis: u64);
    fn sweep(&mut self, budget: usize);
    fn len(&self) -> usize;
    /// How long the next load of a key is held back.
    fn cooling(&self, key: u8) -> Option<Duration>;
    /// Whether the cache agrees with itself.
    fn check(&self) {}
}

#[cfg(test)]
macro_rules! delegate {
    ($($name:ident),*) => {$(subject::delegate!(@ $name);)*};
    (@ put) => { fn put(&mut self, k: u8, v: u64, t: operation::Terms) -> bool { self.0.put(k, v, t) } };
    (@ put_if_absent) => {
        fn put_if_absent(&mut self, k: u8, v: u64, t: operation::Terms) -> bool {
            self.0.put_if_absent(k, v, t)
        }
    };
    (@ get) => { fn get(&mut self, key: u8) -> Option<u64> { self.0.get(key) } };
    (@ load) => {
        fn load(&mut self, k: u8, v: u64, t: Option<operation::Terms>) -> subject::Told {
            self.0.load(k, v, t)
        }
    };
    (@ expire) => { fn expire(&mut self, key: u8) { self.0.expire(key); } };
    (@ clear) => { fn clear(&mut self) { self.0.clear(); } };
    (@ expire_tag) => { fn expire_tag(&mut self, tag: bool) { self.0.expire_tag(tag); } };
    (@ invalidate_tag) => { fn invalidate_tag(&mut self, tag: bool) { self.0.invalidate_tag(tag); } };
    (@ advance) => { fn advance(&mut self, millis: u64) { self.0.advance(millis); } };
    (@ sweep) => { fn sweep(&mut self, budget: usize) { self.0.sweep(budget); } };
    (@ len) => { fn len(&self) -> usize { self.0.len() } };
    (@ cooling) => { fn cooling(&self, k: u8) -> Option<std::time::Duration> { self.0.cooling(k) } };
    (@ check) => { fn check(&self) { self.0.check(); } };
}
#[cfg(test)]
pub(crate) use delegate;

const fn tag_name(tag: bool) -> &'static str {
    if tag { "one" } else { "other" }
}

fn loaded<V>(value: V, terms: Terms) -> Loaded<V> {
    let mut loaded = Loaded::value(value);
    if let Some(ttl) = terms.ttl {
        loaded = loaded.ttl(Duration::from_millis(ttl.into()));
    }
    if let Some(tag) = terms.tag {
        loaded = loaded.tag(tag_name(tag));
    }
    if terms.no_store { loaded.no_store() } else { loaded }
}

/// What a cache keeps of a number.
pub(crate) trait Number: Clone + Eq + Hash + Send + Sync + 'static {
    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Number for u64 {
    fn of(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

/// A number as text, which is not plain.
pub(crate) type Text = Arc<str>;

impl Number for Text {
    fn of(number: u64) -> Self {
        number.to_string().into()
    }

    fn number(&self) -> u64 {
        self.parse().expect("a number")
    }
}

/// `sync::Cache` on a clock that moves by hand.
pub(crate) struct Threaded<K, V> {
    cache: Cache<K, V>,
    time: ManualTime,
}

impl<K: Number, V: Number> Threaded<K, V> {
    /// Many small sets.
    pub(crate) fn sets() -> Self {
        Self::of(2_000)
    }

    /// Room for so many.
    pub(crate) fn of(capacity: usize) -> Self {
        Self::with(|builder| builder.capacity(capacity))
    }

    /// Room for so much; each value weighs one.
    pub(crate) fn by_weight(limit: u64) -> Self {
        Self::with(|builder| builder.weight_limit(limit).weigher(|_, _| 1))
    }

    fn with(bounded: impl FnOnce(Builder<K, V>) -> Builder<K, V>) -> Self {
        let time = ManualTime::new();
        let millis = Duration::from_millis;
        let builder = bounded(Cache::builder()).ttl(millis(TTL)).stale_if_error(millis(SIE));
        let builder = builder.jitter_percent(0).cool_down(millis(30), 1, millis(30));
        let cache = builder.time(time.clone()).build().expect("the settings are right");
        Self { cache, time }
    }
}

impl<K: Number, V: Number> Subject for Threaded<K, V> {
    const LOADS_PLAIN: bool = true;

    fn put(&mut self, key: u8, value: u64, terms: Terms) -> bool {
        self.cache.put(K::of(key.into()), loaded(V::of(value), terms)).is_stored()
    }

    fn put_if_absent(&mut self, key: u8, value: u64, terms: Terms) -> bool {
        self.cache.put_if_absent(K::of(key.into()), loaded(V::of(value), terms)).is_stored()
    }

    fn get(&mut self, key: u8) -> Option<u64> {
        self.cache.get(&K::of(key.into())).map(|value| value.number())
    }

    fn load(&mut self, key: u8, value: u64, answer: Option<Terms>) -> Told {
        let mut loads = false;
        let told = self.cache.get_or_load_here(&K::of(key.into()), || {
            loads = true;
            answer.map(|_| V::of(value)).ok_or(Down)
        });
        match told {
            Ok(got) if !loads => Told::Held(got.number()),
            Ok(got) if answer.is_some() => {
                assert_eq!(got.number(), value, "another value was loaded");
                Told::Loaded(true)
            }
            Ok(got) => Told::Failed(Some(got.number())),
            Err(LoadError::Failed(_)) => Told::Failed(None),
            Err(other) => panic!("nobody else loads: {other:?}"),
        }
    }

    fn expire(&mut self, key: u8) {
        self.cache.expire(&K::of(key.into()));
    }

    fn invalidate(&mut self, key: u8) {
        self.cache.invalidate(&K::of(key.into()));
    }

    fn clear(&mut self) {
        self.cache.clear();
    }

    fn expire_tag(&mut self, tag: bool) {
        self.cache.expire_tag(tag_name(tag));
    }

    fn invalidate_tag(&mut self, tag: bool) {
        self.cache.invalidate_tag(tag_name(tag));
    }

    fn advance(&mut self, millis: u64) {
        self.time.advance(Duration::from_millis(millis));
    }

    fn sweep(&mut self, budget: usize) {
        if budget.is_multiple_of(2) {
            self.cache.maintain(budget)
        } else {
            self.cache.purge_expired()
        };
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn cooling(&self, key: u8) -> Option<Duration> {
        self.cache.explain(&K::of(key.into())).cooling_for
    }
}

/// Why a load fails.
#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

pub(crate) type OnTheHeap = HashTable<u8, u64, BuildHasherDefault<DefaultHasher>>;

/// `local::Cache`, and the time.
pub(crate) struct ByHand<T: LocalTable<u8, u64>> {
    cache: local::Cache<u8, u64, T>,
    now: Instant,
}

impl ByHand<OnTheHeap> {
    pub(crate) fn on_the_heap(capacity: usize) -> Self {
        Self::with(HashTable::new(Bound::Entries(capacity), BuildHasherDefault::default()))
    }
}

impl ByHand<LinearTable<u8, u64, 32>> {
    pub(crate) fn fixed() -> Self {
        Self::with(LinearTable::new())
    }
}

impl ByHand<LinearTable<u8, u64, 4>> {
    pub(crate) fn fixed_small() -> Self {
        Self::with(LinearTable::new())
    }
}

impl<T: LocalTable<u8, u64>> ByHand<T> {
    fn with(table: T) -> Self {
        let millis = Duration::from_millis;
        let policy = Policy::ttl(millis(TTL)).stale_if_error(millis(SIE)).jitter_percent(0);
        let policy = policy.cool_down(millis(30), 1, millis(30)).build().expect("it is right");
        Self { cache: local::Cache::with_table(policy, table), now: Instant::from_secs(1) }
    }

    fn end(&mut self, key: u8, ticket: Ticket, answer: Option<Loaded<u64>>) -> Told {
        let now = self.now;
        let Some(loaded) = answer else {
            return Told::Failed(self.cache.fail(&key, ticket, &Down, now).copied());
        };
        match self.cache.complete(&key, ticket, loaded, now) {
            Completion::Applied(_) => Told::Loaded(true),
            Completion::NotKept(_) => Told::Loaded(false),
            other => panic!("nobody else loads: {other:?}"),
        }
    }
}

impl<T: LocalTable<u8, u64>> Subject for ByHand<T> {
    const LOADS_PLAIN: bool = false;

    fn put(&mut self, key: u8, value: u64, terms: Terms) -> bool {
        matches!(self.cache.put(key, loaded(value, terms), self.now), Put::Stored)
    }

    fn put_if_absent(&mut self, key: u8, value: u64, terms: Terms) -> bool {
        matches!(self.cache.put_if_absent(key, loaded(value, terms), self.now), Put::Stored)
    }

    fn get(&mut self, key: u8) -> Option<u64> {
        self.cache.get(&key, self.now).copied()
    }

    fn load(&mut self, key: u8, value: u64, answer: Option<Terms>) -> Told {
        let answer = answer.map(|terms| loaded(value, terms));
        match self.cache.lookup(&key, self.now) {
            Action::Serve { value, .. } => Told::Held(*value),
            Action::Load { ticket, .. } | Action::ServeAndRefresh { ticket, .. } => {
                self.end(key, ticket, answer)
            }
            Action::Busy => Told::Refused,
            other => panic!("nobody else loads: {other:?}"),
        }
    }

    fn expire(&mut self, key: u8) {
        self.cache.expire(&key, self.now);
    }

    fn invalidate(&mut self, key: u8) {
        self.cache.invalidate(&key, self.now);
    }

    fn clear(&mut self) {
        self.cache.clear();
    }

    fn expire_tag(&mut self, tag: bool) {
        self.cache.expire_tag(tag_name(tag), self.now);
    }

    fn invalidate_tag(&mut self, tag: bool) {
        self.cache.invalidate_tag(tag_name(tag));
    }

    fn advance(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn sweep(&mut self, budget: usize) {
        self.cache.tick(self.now, budget);
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn cooling(&self, key: u8) -> Option<Duration> {
        self.cache.explain(&key, self.now).cooling_for
    }

    fn check(&self) {
        self.cache.check_invariants();
    }
}
