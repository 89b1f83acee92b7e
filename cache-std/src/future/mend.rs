//! Removing from the store what is in doubt there, when it answers again.

use core::future::poll_fn;
use core::hash::{BuildHasher, Hash};
use core::task::Poll;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::runtime::Runtime;
use super::timer::TaskTimer;
use crate::second::{Timer, within};
use crate::sync::cache::Inner;
use crate::time::Signal;

/// The first pause between attempts, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));

/// One task at a time that removes what is in doubt.
struct Mender<K, V, S, R> {
    inner: Weak<Inner<K, V, S>>,
    timer: TaskTimer<R>,
    running: AtomicBool,
}

/// Has what comes into doubt removed by a task.
pub(super) fn mend_by_tasks<K, V, S, R>(inner: &Arc<Inner<K, V, S>>, runtime: &R)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Runtime,
{
    let Some(second) = &inner.second else { return };
    let timer = TaskTimer { time: Arc::clone(&inner.time), runtime: runtime.clone() };
    let running = AtomicBool::new(false);
    let mender = Arc::new(Mender { inner: Arc::downgrade(inner), timer, running });
    second.mend_by(move || mender.start());
}

impl<K, V, S, R> Mender<K, V, S, R>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Runtime,
{
    fn start(self: &Arc<Self>) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (run, again) = (Running(Arc::clone(self)), Arc::clone(self));
        // Without a runtime, it is dropped here, and the next to come into doubt tries again.
        let _ = self.timer.runtime.spawn(async move {
            run.0.run().await;
            drop(run);
            // What has come since the last look may have found it running.
            let inner = again.inner.upgrade();
            let second = inner.as_ref().and_then(|inner| inner.second.as_ref());
            if second.is_some_and(|second| second.is_unsettled()) {
                again.start();
            }
        });
    }

    async fn run(&self) {
        let gone = Arc::new(Signal::new());
        let Some(inner) = self.inner.upgrade() else { return };
        inner.tasks.tell(&gone);
        drop(inner);
        let mut pause = PAUSES.0;
        loop {
            if self.rest(&gone, pause).await {
                return;
            }
            let Some(inner) = self.inner.upgrade() else { return };
            let Some(second) = &inner.second else { return };
            match second.settle_some(&self.timer, inner.now()).await {
                Some(false) => return,
                Some(true) => pause = Duration::ZERO,
                None => pause = (pause * 2).clamp(PAUSES.0, PAUSES.1),
            }
        }
    }

    /// Waits for so long; whether the cache is gone.
    async fn rest(&self, gone: &Signal, pause: Duration) -> bool {
        let is_gone = poll_fn(|context| match gone.poll(context) {
            Poll::Ready(true) => Poll::Ready(()),
            _ => Poll::Pending,
        });
        within(is_gone, self.timer.after(pause)).await.is_some()
    }
}

/// The task runs until this is dropped.
struct Running<K, V, S, R>(Arc<Mender<K, V, S, R>>)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Runtime;

impl<K, V, S, R> Drop for Running<K, V, S, R>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Runtime,
{
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}
