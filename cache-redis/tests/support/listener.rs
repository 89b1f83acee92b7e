//! A receiver that writes down what it is told.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, Weak};

use cache_core::store::{Backplane, KeyFromBytes, Receiver, Station};
use cache_redis::RedisBackplane;

use super::eventually;

/// What a receiver can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told<K = String> {
    Opened,
    Closed,
    Changed(K),
    Filled(K),
    Expired(K),
    Cleared,
    TagExpired(String),
    TagInvalidated(String),
}

#[derive(Debug)]
pub(crate) struct Listener<K = String>(Mutex<Vec<Told<K>>>);

impl<K: Clone + Debug + PartialEq + KeyFromBytes + Send + 'static> Listener<K> {
    /// One that is attached, and its station.
    pub(crate) fn on(backplane: &RedisBackplane) -> (Arc<Self>, Station) {
        let listener = Arc::new(Self(Mutex::default()));
        let weak: Weak<Self> = Arc::downgrade(&listener);
        let station = backplane.attach(weak);
        (listener, station)
    }

    pub(crate) fn told(&self) -> Vec<Told<K>> {
        self.0.lock().unwrap().clone()
    }

    /// How often it was told this.
    pub(crate) fn count(&self, told: &Told<K>) -> usize {
        self.told().iter().filter(|each| *each == told).count()
    }

    /// Forgets what it was told, and answers it.
    pub(crate) fn take(&self) -> Vec<Told<K>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Waits until it was told this so often.
    pub(crate) async fn hears(&self, told: Told<K>, times: usize) {
        let what = format!("it hears {told:?}");
        eventually(&what, async || self.count(&told) >= times).await;
    }

    fn note(&self, told: Told<K>) {
        self.0.lock().unwrap().push(told);
    }
}

impl<K: Clone + Debug + PartialEq + KeyFromBytes + Send + 'static> Receiver<K> for Listener<K> {
    fn opened(&self) {
        self.note(Told::Opened);
    }

    fn closed(&self) {
        self.note(Told::Closed);
    }

    fn changed(&self, key: K) {
        self.note(Told::Changed(key));
    }

    fn filled(&self, key: K) {
        self.note(Told::Filled(key));
    }

    fn expired(&self, key: K) {
        self.note(Told::Expired(key));
    }

    fn cleared(&self) {
        self.note(Told::Cleared);
    }

    fn tag_expired(&self, tag: &str) {
        self.note(Told::TagExpired(tag.to_owned()));
    }

    fn tag_invalidated(&self, tag: &str) {
        self.note(Told::TagInvalidated(tag.to_owned()));
    }
}
