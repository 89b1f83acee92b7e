//! Who is told, in this process, what happens to a store.

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use cache_core::store::{Receiver, Station};

/// One who is told, until it is gone, and under which name.
type Attached<K> = (Station, Weak<dyn Receiver<K>>);

/// Those who are told.
pub(crate) struct Receivers<K> {
    attached: Mutex<Vec<Attached<K>>>,
}

/// The number of the next station: they are told apart in this process only.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl<K> Default for Receivers<K> {
    fn default() -> Self {
        Self { attached: Mutex::new(Vec::new()) }
    }
}

impl<K> Receivers<K> {
    /// One more, who hears all there is from now on.
    pub(crate) fn attach(&self, receiver: Weak<dyn Receiver<K>>) -> Station {
        let station = Station::new(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut attached = self.lock();
        attached.retain(|(_, receiver)| receiver.strong_count() > 0);
        attached.push((station, receiver.clone()));
        drop(attached);
        if let Some(receiver) = receiver.upgrade() {
            receiver.opened();
        }
        station
    }

    /// Tells all but one. Nothing is locked meanwhile: what they drop may call the store.
    pub(crate) fn tell(&self, but: Station, tell: impl Fn(&dyn Receiver<K>)) {
        let to: Vec<_> = {
            let attached = self.lock();
            let others = attached.iter().filter(|(station, _)| *station != but);
            others.filter_map(|(_, receiver)| receiver.upgrade()).collect()
        };
        to.iter().for_each(|receiver| tell(&**receiver));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attached<K>>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> fmt::Debug for Receivers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receivers").field("attached", &self.lock().len()).finish_non_exhaustive()
    }
}
