//! Other people's caches, each with its defaults.
//!
//! All have one shard where that can be said, so that they keep their capacity to the entry; that
//! is the best for their miss ratio, too. None has a clock that could be moved by hand: for a ttl
//! the value holds its end, and one that is found too late is a miss and put anew.

use std::time::Duration;

use crate::capacity::Bound;
use crate::policy::{Kind, Make, Policy, Setting, any};
use crate::trace::Request;

mod foyer;
mod mini_moka;
mod moka;
mod quick_cache;

/// All of them.
pub const PEERS: &[Kind] = &[
    peer("moka", |s| Peered::boxed(s, moka::Moka::new(s.bound))),
    peer("mini_moka", |s| Peered::boxed(s, mini_moka::MiniMoka::new(s.bound))),
    peer("quick_cache", |s| Peered::boxed(s, quick_cache::QuickCache::new(s))),
    peer("foyer_fifo", |s| Peered::boxed(s, foyer::Foyer::fifo(s.bound))),
    peer("foyer_lru", |s| Peered::boxed(s, foyer::Foyer::lru(s.bound))),
    peer("foyer_lfu", |s| Peered::boxed(s, foyer::Foyer::lfu(s.bound))),
    peer("foyer_s3fifo", |s| Peered::boxed(s, foyer::Foyer::s3fifo(s.bound))),
    peer("foyer_sieve", |s| Peered::boxed(s, foyer::Foyer::sieve(s.bound))),
];

const fn peer(name: &'static str, make: Make) -> Kind {
    Kind { name, is_peer: true, fits: any, make }
}

/// What the caches hold.
#[derive(Clone, Copy, Debug)]
struct Value {
    weight: u32,
    end: Duration,
}

/// A cache of another library.
trait Peer {
    fn get(&self, id: u64) -> Option<Value>;
    fn put(&self, id: u64, value: Value);
    /// Weight held, each entry with its value's.
    fn held(&self) -> u64;
}

struct Peered<P> {
    cache: P,
    bound: Bound,
    ttl: Option<Duration>,
}

impl<P: Peer + 'static> Peered<P> {
    fn boxed(setting: &Setting<'_>, cache: P) -> Box<dyn Policy> {
        Box::new(Self { cache, bound: setting.bound, ttl: setting.ttl })
    }
}

impl<P: Peer> Policy for Peered<P> {
    fn request(&mut self, request: &Request) -> bool {
        let is_hit = self.cache.get(request.id).is_some_and(|value| request.now < value.end);
        if !is_hit {
            let end = self.ttl.map_or(Duration::MAX, |ttl| request.now.saturating_add(ttl));
            self.cache.put(request.id, Value { weight: self.bound.weight(request), end });
        }
        is_hit
    }

    fn held(&self) -> u64 {
        self.cache.held()
    }
}

/// A capacity as most of them take it.
fn size(bound: Bound) -> usize {
    usize::try_from(bound.amount()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::hits;
    use crate::trace::Trace;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn each_holds_what_fits_and_hits() {
        let trace = Trace::of(&(0..100).cycle().take(1_000).collect::<Vec<_>>());
        for kind in PEERS {
            let mut policy = (kind.make)(&Setting::new(&trace, Bound::Entries(2_000), None));
            let hits = hits(&mut *policy, &trace).iter().filter(|hit| **hit).count();
            assert_eq!((hits, policy.held()), (900, 100), "{}", kind.name);
        }
    }

    #[test]
    fn each_ends_entries_with_their_ttl() {
        let trace = Trace::of_times(&[(0, 1, 1), (9, 1, 1), (10, 1, 1), (19, 1, 1), (20, 1, 1)]);
        for kind in PEERS {
            let mut policy = (kind.make)(&Setting::new(&trace, Bound::Entries(1_000), Some(TTL)));
            let hits = hits(&mut *policy, &trace);
            assert_eq!(hits, [false, true, false, true, false], "{}", kind.name);
        }
    }

    #[test]
    fn each_keeps_its_capacity_in_entries_and_bytes() {
        let requests: Vec<_> = (0..20_000_u64).map(|n| (n * n % 4_999, n as u32 % 7 + 1)).collect();
        let trace = Trace::of_sizes(&requests);
        for kind in PEERS {
            for bound in [Bound::Entries(1_003), Bound::Bytes(4_001)] {
                let mut policy = (kind.make)(&Setting::new(&trace, bound, None));
                hits(&mut *policy, &trace);
                let held = policy.held();
                let range = bound.amount() / 2..=bound.amount();
                assert!(range.contains(&held), "{} {bound:?}: {held}", kind.name);
            }
        }
    }
}
