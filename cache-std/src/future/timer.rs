//! The timer of tasks.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;

use super::runtime::{NoRuntime, Runtime};
use super::wait::Until;
use crate::second::Timer;
use crate::time::{Signal, Time};

/// Waits by a cache's clock, on a runtime.
#[derive(Clone)]
pub(super) struct TaskTimer<R> {
    pub(super) time: Arc<dyn Time>,
    pub(super) runtime: R,
}

impl<R: Runtime> Timer for TaskTimer<R> {
    async fn after(&self, span: Duration) {
        let (signal, at) = (Arc::new(Signal::new()), self.time.now_precisely() + span);
        let mut until = Until::new(at);
        poll_fn(|context| {
            // It may have been an alarm: the clock is asked.
            let _ = signal.poll(context);
            match until.poll(&*self.time, &self.runtime, &signal, context) {
                Poll::Ready(Ok(())) => Poll::Ready(()),
                // Without a timer, time does not pass.
                Poll::Ready(Err(NoRuntime)) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
    }
}
