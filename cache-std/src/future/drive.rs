//! Doing what the algorithm says, as a task.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::sync::Arc;

use cache_core::{Instant, Loaded};

use super::runtime::Runtime;
use super::task::{NotStarted, Shared, load_one};
use super::wait::wait;
use crate::error::LoadError;
use crate::flight::Watcher;
use crate::sync::Previous;
use crate::sync::call::Call;
use crate::sync::lead::Lead;
use crate::sync::outcome::{LoadPart, Served};
use crate::sync::reading::{Next, Reading};

/// A read that may load, with all that it needs to start a load.
pub(super) struct Drive<'a, Q: ?Sized, K, V, R, S, F> {
    pub(super) call: Call<'a, Q, K, V, S>,
    pub(super) shared: &'a Shared<R>,
    pub(super) loader: F,
    /// The loader sees the old value.
    pub(super) pins: bool,
}

impl<Q, K, V, R, S, F, Fut, L, E> Drive<'_, Q, K, V, R, S, F>
where
    K: Borrow<Q> + Clone + Eq + Hash + Send + Sync + 'static,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
    F: FnOnce(Previous<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Loaded<V>> + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    /// Does what the algorithm says until there is an answer.
    pub(super) async fn run(self, mut now: Instant) -> Result<Served<V>, LoadError<E>> {
        let Self { call, shared, loader, pins } = self;
        let mut reading = Reading::new();
        let _watcher = loop {
            let step = call.step(now, pins, &mut None);
            match call.take(&mut reading, step) {
                Next::Done(answer) => return answer,
                Next::Refresh(old, lead) => {
                    // One that cannot be started is given up: the next reader may try.
                    let _ = start((&call, shared), lead, false, loader);
                    return Ok(old);
                }
                Next::Load(lead, _) => match start((&call, shared), lead, true, loader) {
                    Ok(watcher) => break watcher,
                    Err(not_started) => return unstarted(&call, not_started),
                },
                Next::Wait => {}
            }
            if let Some(answer) = wait_out(&call, shared, &mut reading).await {
                return answer;
            }
            now = call.inner.now();
        };
        wait_out(&call, shared, &mut reading).await.unwrap_or(Err(LoadError::GivenUp))
    }

    /// Starts a load behind the caller's back, even where the value is fresh; whether it did.
    pub(super) fn start(self, now: Instant) -> bool {
        let Self { call, shared, loader, pins } = self;
        let step = call.step(now, pins, &mut None);
        match call.take::<E>(&mut Reading::new(), step) {
            Next::Refresh(_, lead) | Next::Load(lead, _) => {
                start((&call, shared), lead, false, loader).is_ok()
            }
            _ => false,
        }
    }
}

/// Starts a load, for the caller who waits for it, or for nobody yet.
fn start<Q, K, V, R, S, F, Fut, L, E>(
    (call, shared): (&Call<'_, Q, K, V, S>, &Shared<R>),
    lead: Lead<K, V, S>,
    somebody_waits: bool,
    loader: F,
) -> Result<Option<Watcher>, NotStarted>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    Q: ?Sized,
    V: Clone + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
    F: FnOnce(Previous<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Loaded<V>> + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    let flights = [Arc::clone(&lead.flight)];
    let load = |work| load_one(lead, loader, work);
    if somebody_waits {
        return shared.load(call.inner, &flights, load);
    }
    shared.refresh(call.inner, &flights, load).map(|()| None)
}

/// What the leader gets of a load that was not started.
pub(super) fn unstarted<Q, K, V, S, E>(
    call: &Call<'_, Q, K, V, S>,
    not_started: NotStarted,
) -> Result<Served<V>, LoadError<E>>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
    S: BuildHasher,
{
    match not_started {
        NotStarted::NoRuntime => call.fallback(LoadPart::Cooling).ok_or(LoadError::NoRuntime),
        NotStarted::TooMany => Err(call.busy()),
    }
}

/// Waits for whatever a reading waits for. `None` says to ask the algorithm again.
pub(super) async fn wait_out<Q, K, V, R, S, E>(
    call: &Call<'_, Q, K, V, S>,
    shared: &Shared<R>,
    reading: &mut Reading<V>,
) -> Option<Result<Served<V>, LoadError<E>>>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
    R: Runtime,
    S: BuildHasher,
    E: Send + Sync + 'static,
{
    while let Some((flight, until)) = reading.pending() {
        let waited = if call.waits {
            wait((&**call.inner, &shared.runtime), &flight, until).await
        } else {
            Ok(flight.end())
        };
        if let Some(answer) = call.waited(reading, waited) {
            return Some(answer);
        }
    }
    None
}
