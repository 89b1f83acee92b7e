//! This library's cache, as everybody gets it: default settings, and all three windows.

use core::convert::Infallible;
use std::time::Duration;

use advanced_caching::sync::{Builder, Cache};

use crate::keys::{Key, Value};
use crate::peer::{Loads, Peer, Table};

/// How long peers that know a ttl keep their entries, too.
pub const TTL: Duration = Duration::from_secs(60);
/// Stale-while-revalidate.
pub const SWR: Duration = Duration::from_secs(30);
/// Stale-if-error.
pub const SIE: Duration = Duration::from_secs(3_600);

/// The settings.
pub fn builder<K, V>(capacity: usize) -> Builder<K, V> {
    let builder = Cache::builder().capacity(capacity).ttl(TTL);
    builder.stale_while_revalidate(SWR).stale_if_error(SIE)
}

impl<K: Key, V: Value> Peer<K, V> for Cache<K, V> {
    const NAME: &'static str = "ours";
    type Got = V;

    fn new(capacity: usize) -> Self {
        builder(capacity).build().expect("the settings are right")
    }

    fn fill(&mut self, key: K, value: V) {
        Table::put(self, key, value);
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        Self::get(self, key)
    }

    fn held(&self) -> usize {
        self.len()
    }
}

impl<K: Key, V: Value> Table<K, V> for Cache<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        let _ = Self::put(self, key, value);
    }
}

impl Loads for Cache<u64, u64> {
    #[inline(always)]
    fn get_or_load(&self, key: u64) -> u64 {
        Self::get_or_load(self, &key, move || Ok::<_, Infallible>(key))
            .expect("the load cannot fail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{heap, peer};

    fn heap_after<K: Key, V: Value>(keys: u64) -> isize {
        let before = heap::held();
        let cache: Cache<K, V> = peer::filled(10_000, keys, |_| V::of(7));
        assert!(cache.len() <= 10_000);
        heap::held() - before
    }

    #[test]
    fn keys_that_come_once_take_no_more_than_the_bound() {
        let (full, many) = (heap_after::<u64, u64>(20_000), heap_after::<u64, u64>(300_000));
        assert!(many <= full * 6 / 5, "numbers: {full} bytes when full, later {many}");
        let full = heap_after::<String, std::sync::Arc<str>>(20_000);
        let many = heap_after::<String, std::sync::Arc<str>>(300_000);
        assert!(many <= full * 6 / 5, "texts: {full} bytes when full, later {many}");
    }
}
