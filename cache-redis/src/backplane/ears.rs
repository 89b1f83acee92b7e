//! Those who listen, whatever the type of their keys.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use cache_core::store::{KeyFromBytes, Receiver, Station};

use super::channel::Turn;
use crate::message::News;

/// One who listens.
pub(super) struct Ear {
    hears: Box<dyn Hears>,
    /// Whether it was told that the channel is open since it last was.
    greeted: AtomicBool,
    /// Whether it panicked, and is left alone from then on.
    broken: AtomicBool,
}

impl Ear {
    pub(super) fn new<K>(station: Station, receiver: Weak<dyn Receiver<K>>) -> Arc<Self>
    where
        K: KeyFromBytes + 'static,
    {
        let hears = Box::new(Typed { station, receiver });
        Arc::new(Self { hears, greeted: AtomicBool::new(false), broken: AtomicBool::new(false) })
    }

    pub(super) fn is_there(&self) -> bool {
        !self.broken.load(Relaxed) && self.hears.is_there()
    }

    /// Tells it that the channel is open, if it was not told.
    pub(super) fn greet(&self) {
        if !self.greeted.load(Relaxed) {
            self.hear(&Turn::Opened);
        }
    }

    /// Tells it. One that panics may have missed what it was told, so it is told of nothing more but that.
    pub(super) fn hear(&self, turn: &Turn<'_>) {
        match turn {
            Turn::Opened => self.greeted.store(true, Relaxed),
            Turn::Closed => self.greeted.store(false, Relaxed),
            Turn::News(..) => {}
        }
        let hear = |turn| catch_unwind(AssertUnwindSafe(|| self.hears.hear(turn)));
        if self.is_there() && hear(turn).is_err() {
            self.broken.store(true, Relaxed);
            let _ = hear(&Turn::Closed);
        }
    }
}

trait Hears: Send + Sync {
    fn is_there(&self) -> bool;
    fn hear(&self, turn: &Turn<'_>);
}

struct Typed<K> {
    station: Station,
    receiver: Weak<dyn Receiver<K>>,
}

impl<K: KeyFromBytes> Hears for Typed<K> {
    fn is_there(&self) -> bool {
        self.receiver.strong_count() > 0
    }

    fn hear(&self, turn: &Turn<'_>) {
        let Some(to) = self.receiver.upgrade() else { return };
        match *turn {
            Turn::Opened => to.opened(),
            Turn::Closed => to.closed(),
            Turn::News(by, _) if by == self.station => {}
            Turn::News(_, News::Changed(key)) => of_key(&*to, key, |key| to.changed(key)),
            Turn::News(_, News::Filled(key)) => of_key(&*to, key, |key| to.filled(key)),
            Turn::News(_, News::Expired(key)) => of_key(&*to, key, |key| to.expired(key)),
            Turn::News(_, News::Cleared) => to.cleared(),
            Turn::News(_, News::TagExpired(tag)) => to.tag_expired(tag),
            Turn::News(_, News::TagInvalidated(tag)) => to.tag_invalidated(tag),
        }
    }
}

/// News of a key that cannot be read are news of any key.
fn of_key<K: KeyFromBytes>(to: &dyn Receiver<K>, key: &[u8], tell: impl FnOnce(K)) {
    match K::key_from_bytes(key) {
        Some(key) => tell(key),
        None => to.opened(),
    }
}
