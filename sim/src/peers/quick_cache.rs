//! quick_cache: a modified CLOCK-Pro, close to S3-FIFO.

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::{Peer, Value};
use crate::policy::Setting;

pub(super) struct QuickCache(Cache<u64, Value, ByValue>);

impl QuickCache {
    /// It is told how many items to expect: as many as the capacity holds.
    pub(super) fn new(setting: &Setting<'_>) -> Self {
        let items = usize::try_from(setting.bound.entries(setting.trace)).unwrap_or(usize::MAX);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(items.max(1));
        options.weight_capacity(setting.bound.amount()).shards(1);
        let options = options.build().expect("both capacities are said");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self(Cache::with_options(options, ByValue, hasher, lifecycle))
    }
}

#[derive(Clone)]
struct ByValue;

impl Weighter<u64, Value> for ByValue {
    fn weight(&self, _: &u64, value: &Value) -> u64 {
        value.weight.into()
    }
}

impl Peer for QuickCache {
    fn get(&self, id: u64) -> Option<Value> {
        self.0.get(&id)
    }

    fn put(&self, id: u64, value: Value) {
        self.0.insert(id, value);
    }

    fn held(&self) -> u64 {
        self.0.weight()
    }
}
