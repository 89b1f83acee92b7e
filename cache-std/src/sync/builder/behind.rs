//! The store behind the memory.

use core::time::Duration;
use std::sync::Arc;

use cache_core::store::{Backplane, Store};

use super::{BuildError, Builder};
use crate::second::Later;

impl<K: Sync + 'static, V: Send + Sync + 'static, S> Builder<K, V, S> {
    /// Puts a store behind the memory: files, a database, another process.
    ///
    /// A load asks the store first, and the origin only where the store has nothing fresh; what the
    /// origin answers goes to both. An entry keeps its age and its windows on the way, so a stale one
    /// is served as such while the origin is asked, and one kept for errors serves when the origin
    /// fails. `put`, `expire`, `invalidate` and `clear` change both before they return; `get` and
    /// other reads that load nothing look in memory alone.
    ///
    /// A store that fails, or panics, is counted in `Stats::store_errors`, and the cache goes on
    /// without it. A key whose mutation did not reach it is not read from there before it could be removed
    /// from it; that is remembered for 10,000 keys, and beyond them nothing is read from it
    /// until it could be cleared, but not across a restart. That a key is
    /// missing is kept in memory alone, and so are values with tags, unless the store
    /// [keeps those](crate::store::AsyncSharedStore::keeps_tags). The store must not call this cache.
    pub fn l2(mut self, store: impl Store<K, V> + Send + Sync + 'static) -> Self {
        self.second = Some(Box::new(Later::blocking(store)));
        self
    }
}

impl<K, V, S, D> Builder<K, V, S, D> {
    /// Has the memory hear what others do to the store behind it: what they change is gone from it, or
    /// stale. While nothing is heard, nothing in it counts as fresh for longer than a second, and once
    /// something is heard again, all that is there is stale.
    pub fn backplane(mut self, backplane: impl Backplane<K> + Send + Sync + 'static) -> Self {
        self.backplane = Some(Arc::new(backplane));
        self
    }

    /// Longest that memory counts as fresh what the store behind it has, which may be fresh for longer.
    /// By default as long as it is, and where others change the store as well, 60 s with a
    /// [backplane](Self::backplane) and 5 s without.
    pub const fn l1_ttl(mut self, ttl: Duration) -> Self {
        self.terms.near_ttl = Some(ttl);
        self
    }

    /// How long the store behind the memory counts as fresh what has no ttl of its own. By default the
    /// cache's ttl.
    pub const fn l2_ttl(mut self, ttl: Duration) -> Self {
        self.terms.far_ttl = Some(ttl);
        self
    }

    /// Longest that a load waits for the store where an old value is at hand: then it asks the origin.
    /// 25 ms unless said. Not kept by a store that blocks.
    pub const fn l2_soft_timeout(mut self, span: Duration) -> Self {
        self.terms.soft = span;
        self
    }

    /// Longest that one operation of the store is waited for. 200 ms unless said. Not kept by a store
    /// that blocks.
    pub const fn l2_hard_timeout(mut self, span: Duration) -> Self {
        self.terms.hard = span;
        self
    }

    /// How long the right to load a key lasts that is held in a store which others share, unless it is
    /// renewed, as it is at each third. 5 s unless said.
    pub const fn l2_lease(mut self, span: Duration) -> Self {
        self.terms.lease = span;
        self
    }

    /// With `false`, a load does not ask the store for the right to load, so that each process may load,
    /// and none leaves anything in the store but what is put there. By default it does, where others share
    /// the store.
    pub const fn l2_leases(mut self, leases: bool) -> Self {
        self.terms.leases = leases;
        self
    }

    pub(super) fn check_behind(&self) -> Result<(), BuildError> {
        let terms = &self.terms;
        let spans = [
            ("l2_soft_timeout", Some(terms.soft)),
            ("l2_hard_timeout", Some(terms.hard)),
            ("l2_lease", Some(terms.lease)),
            ("l1_ttl", terms.near_ttl),
            ("l2_ttl", terms.far_ttl),
        ];
        let zero = spans.iter().find(|(_, span)| *span == Some(Duration::ZERO));
        if let Some((field, _)) = zero {
            return Err(BuildError::Setting { field, mend: "give more than zero" });
        }
        if self.backplane.is_some() && self.second.is_none() {
            let mend = "give the store that it speaks of by `l2`";
            return Err(BuildError::Setting { field: "backplane", mend });
        }
        Ok(())
    }
}
