//! What operations let go of.

use cache_core::Cause;
use cache_core::table::WAYS;

/// Keys and values that leave under a lock, to be dropped after it. Few operations let more than
/// two go, and those two need no memory.
pub(in crate::sync) struct Leaving<K, V> {
    first: [Option<(Cause, Option<K>, V)>; 2],
    more: Vec<(Cause, Option<K>, V)>,
}

impl<K, V> Leaving<K, V> {
    pub(in crate::sync) const fn new() -> Self {
        Self { first: [const { None }; 2], more: Vec::new() }
    }

    #[inline]
    pub(super) fn take(&mut self, cause: Cause, key: Option<K>, value: V) {
        if const { !core::mem::needs_drop::<(K, V)>() } {
            return;
        }
        let item = (cause, key, value);
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(item),
            None => {
                if self.more.is_empty() {
                    self.more.reserve(WAYS);
                }
                self.more.push(item);
            }
        }
    }
}
