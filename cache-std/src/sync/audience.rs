//! Those who are told when something is over.

use std::sync::{Arc, Weak};

use crate::primitives::{Mutex, MutexGuard, PoisonError};
use crate::time::Signal;

/// Signals that are set, if somebody still holds them, when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Audience(Mutex<Listeners>);

#[derive(Debug, Default)]
struct Listeners {
    signals: Vec<Weak<Signal>>,
    /// So many may be there before those who have gone are looked for.
    roomy: usize,
}

impl Audience {
    /// Sets `signal` in the end. O(1), amortised.
    pub(crate) fn tell(&self, signal: &Arc<Signal>) {
        let mut listeners = self.lock();
        if listeners.signals.len() >= listeners.roomy {
            listeners.signals.retain(|signal| signal.strong_count() > 0);
            listeners.roomy = 2 * listeners.signals.len().max(16);
        }
        listeners.signals.push(Arc::downgrade(signal));
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        let signals = core::mem::take(&mut self.lock().signals);
        signals.iter().filter_map(Weak::upgrade).for_each(|signal| signal.set());
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn who_is_still_there_is_told_and_who_has_gone_is_forgotten() {
        let audience = Audience::default();
        let signals: Vec<_> = (0..3).map(|_| Arc::new(Signal::new())).collect();
        signals.iter().for_each(|signal| audience.tell(signal));
        (0..10_000).for_each(|_| audience.tell(&Arc::new(Signal::new())));
        assert!(audience.lock().signals.len() <= 32);
        assert!(!signals.iter().any(|signal| signal.is_set()));
        drop(audience);
        assert!(signals.iter().all(|signal| signal.is_set()));
    }
}
