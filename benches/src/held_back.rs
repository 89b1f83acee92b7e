//! A cache whose loads do not end: what reads cost while a refresh is in flight.

use core::convert::Infallible;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use advanced_caching::Signal;
use advanced_caching::sync::Cache;

use crate::ours;

/// A cache of numbers. Each of its loads waits until this is dropped.
#[derive(Debug)]
pub struct HeldBack {
    cache: Cache<u64, u64>,
    gate: Arc<Signal>,
}

impl HeldBack {
    /// With so many entries, all of them fresh for a minute.
    pub fn fresh(entries: u64) -> Self {
        Self::new(entries, ours::TTL)
    }

    /// With so many entries, all of them stale, and to be served for ten minutes more.
    pub fn stale(entries: u64) -> Self {
        let ttl = Duration::from_millis(10);
        let held_back = Self::new(entries, ttl);
        thread::sleep(2 * ttl);
        held_back
    }

    fn new(entries: u64, ttl: Duration) -> Self {
        let builder = ours::builder(2 * entries as usize).ttl(ttl);
        let builder = builder.stale_while_revalidate(Duration::from_secs(600));
        let cache = builder.build().expect("the settings are right");
        for key in 0..entries {
            let _ = cache.put(key, key);
        }
        Self { cache, gate: Arc::default() }
    }

    /// A read that may load. One of a stale key starts a refresh, if none is in flight.
    pub fn read(&self, key: u64) -> u64 {
        let gate = Arc::clone(&self.gate);
        let loader = move || {
            gate.block();
            Ok::<_, Infallible>(key)
        };
        self.cache.get_or_load(&key, loader).unwrap_or_default()
    }

    /// Loads that began.
    pub fn loads(&self) -> u64 {
        self.cache.stats().loads
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        self.gate.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_is_served_while_one_refresh_is_in_flight() {
        let stale = HeldBack::stale(4);
        assert_eq!([stale.read(3), stale.read(3)], [3, 3]);
        assert_eq!(stale.loads(), 1);
        let fresh = HeldBack::fresh(4);
        assert_eq!((fresh.read(3), fresh.loads()), (3, 0));
    }
}
