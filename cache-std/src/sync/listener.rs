//! Telling a program which values have left its cache, and why.

use core::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use cache_core::Cause;

/// Events that wait for their listener; more are counted and dropped.
const QUEUE: usize = 1_024;

/// A value that has left the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<K, V> {
    /// Its key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Why it left.
    pub cause: Cause,
}

type Queue<K, V> = SyncSender<Event<K, V>>;

/// Starts the thread that listens; `None` if the system has none left.
type Start<K, V> = Box<dyn Fn() -> Option<Queue<K, V>> + Send + Sync>;

/// The cache's end of the queue. When it is dropped, the thread tells what waits, and ends.
pub(super) struct Listener<K, V> {
    start: Start<K, V>,
    queue: OnceLock<Option<Queue<K, V>>>,
    lost: AtomicU64,
}

impl<K, V> Listener<K, V> {
    pub(super) fn new<F>(hear: F) -> Self
    where
        K: Send + 'static,
        V: Send + 'static,
        F: FnMut(Event<K, V>) + Send + 'static,
    {
        let hear = std::sync::Mutex::new(Some(hear));
        let start = move || {
            let hear = hear.lock().ok()?.take()?;
            let (queue, events) = sync_channel(QUEUE);
            let thread = std::thread::Builder::new().name("cache-listener".into());
            thread.spawn(move || listen(&events, hear)).ok()?;
            Some(queue)
        };
        Self { start: Box::new(start), queue: OnceLock::new(), lost: AtomicU64::new(0) }
    }

    /// Queues an event, or counts it where the queue is full. Never waits.
    pub(super) fn tell(&self, event: Event<K, V>) {
        let queue = self.queue.get_or_init(&self.start);
        if queue.as_ref().is_none_or(|queue| queue.try_send(event).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that nobody was told.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A listener that panics has been told, and is told the next one.
fn listen<K, V>(events: &Receiver<Event<K, V>>, mut hear: impl FnMut(Event<K, V>)) {
    for event in events {
        drop(catch_unwind(AssertUnwindSafe(|| hear(event))));
    }
}

impl<K, V> fmt::Debug for Listener<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("lost", &self.lost()).finish_non_exhaustive()
    }
}
