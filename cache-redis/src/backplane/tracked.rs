//! Changed names, as a server tells them, read back to keys.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use crate::key::Names;
use crate::store::Version;

/// What a backplane that [tracks](crate::RedisStore::tracking) met since its store was made. In a cluster, what
/// each primary tells counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackingStats {
    /// Entries that Redis said were changed, and no message of this library explained: changes by others,
    /// expiries and evictions.
    pub changes: u64,
    /// How often the server was emptied (`FLUSHALL`, `FLUSHDB` of any of its databases).
    pub emptied: u64,
    /// Names that begin as those of this namespace's entries do, and stand for no key that this store has.
    pub ignored: u64,
}

/// Which names count, and what was met.
pub(super) struct Tracked {
    names: Names,
    version: Arc<Version>,
    changes: AtomicU64,
    emptied: AtomicU64,
    ignored: AtomicU64,
}

impl Tracked {
    pub(super) fn new(names: Names, version: Arc<Version>) -> Self {
        let [changes, emptied, ignored] = [const { AtomicU64::new(0) }; 3];
        Self { names, version, changes, emptied, ignored }
    }

    /// What the names begin with.
    pub(super) fn prefix(&self) -> Vec<u8> {
        self.names.tracked()
    }

    /// The keys of these names. Those of versions that are over are nobody's copies; what cleared entries have
    /// left expires one day, many at once.
    pub(super) fn keys(&self, names: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let known = self.version.known();
        let key = |name: &Vec<u8>| match self.names.read_entry(name) {
            Some((version, key)) => (version >= known).then_some(key),
            None => {
                self.ignored.fetch_add(1, Relaxed);
                None
            }
        };
        names.iter().filter_map(key).collect()
    }

    pub(super) fn count_change(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    pub(super) fn count_emptied(&self) {
        self.emptied.fetch_add(1, Relaxed);
    }

    pub(super) fn stats(&self) -> TrackingStats {
        TrackingStats {
            changes: self.changes.load(Relaxed),
            emptied: self.emptied.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_versions_and_of_others_are_no_keys() {
        let version = Arc::new(Version::default());
        let tracked = Tracked::new(Names::new(b"p", b"n", 9), Arc::clone(&version));
        let names = ["p:n:e7:{a}", "p:n:e8:{b}", "p:n:e9:{c}", "p:n:extra:e1:{d}", "p:n:e8:{b:}"];
        let names = names.map(|name| name.as_bytes().to_vec());
        assert_eq!(tracked.keys(&names), [b"a", b"b", b"c"], "none is known");
        version.guess(8);
        assert_eq!(tracked.keys(&names), [b"b", b"c"], "a later one may be in force");
        assert_eq!(tracked.stats(), TrackingStats { ignored: 4, ..TrackingStats::default() });
    }
}
