//! What is heard of others who change the same store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use cache_core::store::{Receiver, Station};

/// The line to others: closed until it is said to be open.
pub(crate) struct Line<K> {
    heard: OnceLock<Heard<K>>,
    open: AtomicBool,
}

struct Heard<K> {
    station: Station,
    /// As long as it lives, it is told.
    _ear: Arc<dyn Receiver<K>>,
}

impl<K> Line<K> {
    pub(super) const fn new() -> Self {
        Self { heard: OnceLock::new(), open: AtomicBool::new(false) }
    }

    /// As whom this cache changes the store.
    pub(super) fn station(&self) -> Station {
        self.heard.get().map_or(Station::NOBODY, |heard| heard.station)
    }

    /// What this cache does is known by this station, and `ear` is told of what others do.
    pub(crate) fn listens(&self, station: Station, ear: Arc<dyn Receiver<K>>) {
        let _ = self.heard.set(Heard { station, _ear: ear });
    }

    /// Everything is heard from now on, or no more.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Whether everything is heard; `None` where nobody tells.
    pub(crate) fn hears(&self) -> Option<bool> {
        self.heard.get().map(|_| self.open.load(Ordering::Acquire))
    }
}
