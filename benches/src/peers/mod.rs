//! Everyone else, with the hasher that ours has where their type lets one be chosen, and with the
//! same ttl where they know one.

mod cached;
mod dashmap;
mod foyer;
mod hashbrown;
mod lru_mutex;
mod mini_moka;
mod moka;
mod papaya;
mod quick_cache;

use crate::keys::{Key, Value};
use crate::peer::{Peer, Table};
use crate::request::Request;

pub use self::cached::{Cached, cached};
pub use self::dashmap::DashMap;
pub use self::foyer::{Foyer, Lfu, Policy, S3Fifo};
pub use self::hashbrown::{KnownMap, RawMap};
pub use self::lru_mutex::LruMutex;
pub use self::mini_moka::MiniMoka;
pub use self::moka::{Moka, moka};
pub use self::papaya::Papaya;
pub use self::quick_cache::QuickCache;
pub use advanced_caching::sync::Cache as Ours;

/// The hasher of all who let one be chosen; ours has the same by default.
pub type Hasher = foldhash::fast::RandomState;

/// The names by which peers are asked for.
pub const NAMES: &[&str] = &[
    "ours",
    "hashbrown",
    "quick_cache",
    "moka",
    "mini_moka",
    "foyer_s3fifo",
    "foyer_lfu",
    "cached",
    "papaya",
    "dashmap",
    "lru_mutex",
    "arc_swap",
];

/// The crates behind them.
pub const CRATES: &[&str] = &[
    "hashbrown",
    "quick_cache",
    "moka",
    "mini-moka",
    "foyer-memory",
    "cached",
    "papaya",
    "dashmap",
    "lru",
    "arc-swap",
    "foldhash",
];

/// Told of every peer that can be read.
pub trait VisitPeers<K: Key, V: Value> {
    /// One of them.
    fn visit<P: Peer<K, V>>(&mut self);
}

/// Told of every peer that can be written to by several threads.
pub trait VisitTables<K: Key, V: Value> {
    /// One of them.
    fn visit<P: Table<K, V>>(&mut self);
}

/// Everyone: caches, maps without a bound, and a raw map.
pub fn everyone<K: Key, V: Value>(request: &Request, visitor: &mut impl VisitPeers<K, V>) {
    maps(request, &mut AsTables(visitor));
    if request.wants("hashbrown") {
        visitor.visit::<RawMap<K, V>>();
    }
}

/// Caches, and maps without a bound that several threads may write to.
pub fn maps<K: Key, V: Value>(request: &Request, visitor: &mut impl VisitTables<K, V>) {
    caches(request, visitor);
    visit_if::<K, V, Papaya<K, V>>(request, visitor);
    visit_if::<K, V, DashMap<K, V>>(request, visitor);
}

/// Those that are bounded.
pub fn caches<K: Key, V: Value>(request: &Request, visitor: &mut impl VisitTables<K, V>) {
    visit_if::<K, V, Ours<K, V>>(request, visitor);
    visit_if::<K, V, QuickCache<K, V>>(request, visitor);
    visit_if::<K, V, Moka<K, V>>(request, visitor);
    visit_if::<K, V, MiniMoka<K, V>>(request, visitor);
    visit_if::<K, V, Foyer<K, V, S3Fifo>>(request, visitor);
    visit_if::<K, V, Foyer<K, V, Lfu>>(request, visitor);
    visit_if::<K, V, Cached<K, V>>(request, visitor);
    visit_if::<K, V, LruMutex<K, V>>(request, visitor);
}

/// Caches, and a map that knows what will be asked for.
pub fn readers_through<K: Key, V: Value>(request: &Request, visitor: &mut impl VisitTables<K, V>) {
    caches(request, visitor);
    visit_if::<K, V, KnownMap<K, V>>(request, visitor);
}

fn visit_if<K: Key, V: Value, P: Table<K, V>>(
    request: &Request,
    visitor: &mut impl VisitTables<K, V>,
) {
    if request.wants(P::NAME) {
        visitor.visit::<P>();
    }
}

/// Shows tables to one who only reads.
struct AsTables<'a, T>(&'a mut T);

impl<K: Key, V: Value, T: VisitPeers<K, V>> VisitTables<K, V> for AsTables<'_, T> {
    fn visit<P: Table<K, V>>(&mut self) {
        self.0.visit::<P>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::filled;

    /// Every peer must find what was put and nothing else: a peer that answers wrongly is fast.
    struct Check(Vec<&'static str>);

    impl VisitTables<String, u64> for Check {
        fn visit<P: Table<String, u64>>(&mut self) {
            let peer: P = filled(1_000, 100, |n| n);
            assert_eq!(peer.held(), 100, "{}", P::NAME);
            assert!(peer.get("customer:99").is_some(), "{}", P::NAME);
            assert!(peer.get("customer:100").is_none(), "{}", P::NAME);
            peer.put("customer:100".into(), 7);
            assert!(peer.get("customer:100").is_some(), "{}", P::NAME);
            self.0.push(P::NAME);
        }
    }

    #[test]
    fn every_peer_finds_what_was_put() {
        let mut check = Check(vec![]);
        maps(&Request::default(), &mut check);
        assert_eq!(check.0.len(), 10);
        assert!(check.0.iter().all(|name| NAMES.contains(name)));
    }

    /// A cache that outgrows its capacity would win every comparison of hit ratios.
    struct CheckBound;

    impl VisitTables<u64, u64> for CheckBound {
        fn visit<P: Table<u64, u64>>(&mut self) {
            let peer: P = filled(10_000, 50_000, |n| n);
            let held = peer.held();
            assert!((8_000..=10_400).contains(&held), "{} holds {held}", P::NAME);
        }
    }

    #[test]
    fn every_cache_keeps_its_bound() {
        caches(&Request::default(), &mut CheckBound);
    }
}
