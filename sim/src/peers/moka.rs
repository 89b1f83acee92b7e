//! moka: window TinyLFU.

use moka::sync::Cache;

use super::{Peer, Value};
use crate::capacity::Bound;

pub(super) struct Moka(Cache<u64, Value>);

impl Moka {
    pub(super) fn new(bound: Bound) -> Self {
        let builder = Cache::builder().max_capacity(bound.amount());
        Self(match bound {
            Bound::Entries(_) => builder.build(),
            Bound::Bytes(_) => builder.weigher(|_, value: &Value| value.weight).build(),
        })
    }
}

impl Peer for Moka {
    fn get(&self, id: u64) -> Option<Value> {
        self.0.get(&id)
    }

    /// Its housekeeping runs after each put, else it would hold more than its capacity for a time.
    fn put(&self, id: u64, value: Value) {
        self.0.insert(id, value);
        self.0.run_pending_tasks();
    }

    fn held(&self) -> u64 {
        self.0.weighted_size()
    }
}
