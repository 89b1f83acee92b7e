//! Tokio as the cache sees it.

use core::pin::Pin;
use core::time::Duration;
use std::panic::catch_unwind;

use cache_std::future::{NoRuntime, Runtime};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Sleep;

/// The tokio runtime that the caller is on, whichever that is: a cache in a `static` serves one
/// runtime after another. Its time must be enabled, as `#[tokio::main]` and `enable_all` do: without, loads
/// run, but who waits for one is told [`NoRuntime`](cache_std::sync::LoadError::NoRuntime). (Tokio panics
/// in that case, which is caught: the panic hook runs, and a program that aborts on panics does.)
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // a handle without content, to be written as a value
pub struct Tokio;

impl Runtime for Tokio {
    type Sleep = Pin<Box<Sleep>>;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), NoRuntime> {
        let handle = Handle::try_current().map_err(|_| NoRuntime::new())?;
        #[cfg(feature = "tracing")]
        let task = {
            use tracing::instrument::{Instrument, WithSubscriber};
            task.in_current_span().with_current_subscriber()
        };
        drop(handle.spawn(task));
        Ok(())
    }

    fn sleep(&self, span: Duration) -> Result<Self::Sleep, NoRuntime> {
        let handle = Handle::try_current().map_err(|_| NoRuntime::new())?;
        let _entered = handle.enter();
        // Tokio panics where the runtime's time is not enabled, and has no way to ask.
        let sleep = catch_unwind(|| Box::pin(tokio::time::sleep(span)));
        sleep.map_err(|_| NoRuntime::new())
    }

    /// Tasks of a runtime with one thread do not run while that thread is blocked. (Nor does one that
    /// was spawned last on a worker of several, in general; tokio does not say of which that is true.)
    fn hangs(&self) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        let own = Handle::try_current().ok()?;
        let alone = own.runtime_flavor() == RuntimeFlavor::CurrentThread
            || own.metrics().num_workers() == 1;
        if !alone {
            return None;
        }
        let id = own.id();
        Some(Box::new(move || Handle::try_current().is_ok_and(|here| here.id() == id)))
    }
}
