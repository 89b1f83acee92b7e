//! Who waits to hear of a key.

use core::future::poll_fn;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::terms::pause;
use super::timer::{Timer, within};
use crate::time::Signal;

type Waiting = BTreeMap<u64, Vec<Arc<Signal>>>;

/// Those who wait to hear of a key, by its hash.
#[derive(Default)]
pub(crate) struct News(Mutex<Waiting>);

/// Waits to hear of a key, until it is dropped.
pub(crate) struct Watch {
    news: Arc<News>,
    hash: u64,
    signal: Arc<Signal>,
}

impl News {
    pub(super) fn watch(self: &Arc<Self>, hash: u64) -> Watch {
        let signal = Arc::new(Signal::new());
        self.lock().entry(hash).or_default().push(Arc::clone(&signal));
        Watch { news: Arc::clone(self), hash, signal }
    }

    /// Tells who waits to hear of a key.
    pub(crate) fn tell(&self, hash: u64) {
        let told = self.lock().remove(&hash);
        told.into_iter().flatten().for_each(|signal| signal.set());
    }

    /// Tells all who wait.
    pub(crate) fn tell_all(&self) {
        let told = core::mem::take(&mut *self.lock());
        told.into_values().flatten().for_each(|signal| signal.set());
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Whether something was heard.
    pub(crate) fn is_told(&self) -> bool {
        self.signal.is_set()
    }

    /// Waits a moment for a load of another process: until something is heard of it, or for a pause that
    /// grows with each attempt.
    pub(crate) async fn moment(&self, timer: &impl Timer, attempt: u32) {
        let told = poll_fn(|context| self.signal.poll(context).map(drop));
        within(told, timer.after(pause(self.hash, attempt))).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.news.lock();
        if let Some(signals) = waiting.get_mut(&self.hash) {
            signals.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
            if signals.is_empty() {
                waiting.remove(&self.hash);
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_of_its_key_and_who_has_gone_is_forgotten() {
        let news = Arc::new(News::default());
        let (first, second) = (news.watch(1), news.watch(2));
        drop(news.watch(3));
        news.tell(1);
        assert_eq!((first.signal.is_set(), second.signal.is_set()), (true, false));
        news.tell_all();
        assert!(second.signal.is_set() && news.lock().is_empty());
    }
}
