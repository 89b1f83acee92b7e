//! What operations let go of.

use cache_core::Cause;
use cache_core::table::WAYS;

use crate::sync::listener::{Event, Listener};

/// Keys and values that leave under a lock, to be dropped or told of after it. Few operations let
/// more than two go, and those two need no memory.
pub(in crate::sync) struct Leaving<'a, K, V> {
    first: Option<(Cause, Option<K>, V)>,
    second: Option<(Cause, Option<K>, V)>,
    more: Vec<(Cause, Option<K>, V)>,
    listener: Option<&'a Listener<K, V>>,
    /// The key that an operation is about: its own stays in the table when its value goes.
    key: Option<K>,
}

impl<'a, K, V> Leaving<'a, K, V> {
    /// For operations that replace nothing.
    #[inline]
    pub(in crate::sync) const fn new(listener: Option<&'a Listener<K, V>>) -> Self {
        Self { first: None, second: None, more: Vec::new(), listener, key: None }
    }

    /// For operations that may replace this key's value.
    pub(in crate::sync) fn of(listener: Option<&'a Listener<K, V>>, key: &K) -> Self
    where
        K: Clone,
    {
        let mut leaving = Self::new(listener);
        leaving.key = listener.map(|_| key.clone());
        leaving
    }

    #[inline]
    pub(super) fn take(&mut self, cause: Cause, key: Option<K>, value: V) {
        if const { !core::mem::needs_drop::<(K, V)>() } && self.listener.is_none() {
            return;
        }
        if self.first.is_none() {
            self.first = Some((cause, key, value));
        } else {
            self.take_another(cause, key, value);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_another(&mut self, cause: Cause, key: Option<K>, value: V) {
        if self.second.is_none() {
            self.second = Some((cause, key, value));
        } else {
            self.more.reserve(if self.more.is_empty() { WAYS } else { 1 });
            self.more.push((cause, key, value));
        }
    }

    #[cold]
    fn tell(&mut self, listener: &Listener<K, V>) {
        let first = self.first.take().into_iter().chain(self.second.take());
        for (cause, key, value) in first.chain(self.more.drain(..)) {
            if let Some(key) = key.or_else(|| self.key.take()) {
                listener.tell(Event { key, value, cause });
            }
        }
    }
}

/// Declared before the locks, this is dropped after them.
impl<K, V> Drop for Leaving<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        if let Some(listener) = self.listener {
            self.tell(listener);
        }
    }
}
