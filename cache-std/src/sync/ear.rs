//! What a cache hears of what others do to the store that it shares with them.

use core::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};

use cache_core::store::{Backplane, Receiver};

use super::cache::Inner;

/// The ear of a cache.
struct Ear<K, V, S>(Weak<Inner<K, V, S>>);

/// Has a cache hear what a backplane tells.
pub(super) fn listen<K, V, S>(inner: &Arc<Inner<K, V, S>>, backplane: &dyn Backplane<K>)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    let Some(second) = &inner.second else { return };
    let ear: Arc<dyn Receiver<K>> = Arc::new(Ear(Arc::downgrade(inner)));
    let station = backplane.attach(Arc::downgrade(&ear));
    second.line.listens(station, ear);
}

impl<K, V, S> Ear<K, V, S>
where
    K: Clone + Eq + Hash,
    S: BuildHasher,
{
    /// Changes memory with what has happened to one key.
    fn hear(&self, key: &K, change: impl FnOnce(&Inner<K, V, S>, u64)) {
        let Some(inner) = self.0.upgrade() else { return };
        let Some(second) = &inner.second else { return };
        let hash = inner.hash(key);
        second.turns.void(hash);
        change(&inner, hash);
        second.news.tell(hash);
    }

    /// What happened was not heard, or may not be: nothing in memory is fresh, and nothing that is on
    /// its way there arrives.
    fn mistrust(&self, hears: bool) {
        let Some(inner) = self.0.upgrade() else { return };
        let Some(second) = &inner.second else { return };
        second.line.set_open(hears);
        second.turns.void_all();
        drop(inner.tables.expire_all(inner.now()));
        second.news.tell_all();
    }
}

impl<K, V, S> Receiver<K> for Ear<K, V, S>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn opened(&self) {
        self.mistrust(true);
    }

    fn closed(&self) {
        self.mistrust(false);
    }

    fn changed(&self, key: K) {
        self.hear(&key, |inner, hash| {
            inner.tables.invalidate(hash, &key, inner.now());
        });
    }

    fn filled(&self, key: K) {
        let Some(inner) = self.0.upgrade() else { return };
        if let Some(second) = &inner.second {
            second.news.tell(inner.hash(&key));
        }
    }

    fn expired(&self, key: K) {
        self.hear(&key, |inner, hash| {
            inner.expire(hash, &key);
        });
    }

    fn cleared(&self) {
        let Some(inner) = self.0.upgrade() else { return };
        let Some(second) = &inner.second else { return };
        second.turns.void_all();
        inner.tables.clear();
        second.news.tell_all();
    }

    fn tag_expired(&self, tag: &str) {
        if let Some(inner) = self.0.upgrade() {
            inner.tables.expire_tag(tag, inner.now());
        }
    }

    fn tag_invalidated(&self, tag: &str) {
        if let Some(inner) = self.0.upgrade() {
            inner.tables.invalidate_tag(tag);
        }
    }
}
