//! What a warm-up has come to, whoever makes its loads.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::{Explanation, Freshness};

use super::{OnProgress, Progress, WarmUpEnd, WarmedUp};
use crate::error::LoadError;
use crate::sync::outcome::{LoadPart, Served};
use crate::time::Signal;

/// Counts keys that are done, tells of them, and knows what ended the warm-up.
pub(crate) struct Tally<'a, E> {
    state: Mutex<State<'a, E>>,
    /// Nothing more is to begin.
    over: Arc<Signal>,
}

struct State<'a, E> {
    progress: Progress,
    error: Option<LoadError<E>>,
    end: Option<WarmUpEnd>,
    on_progress: Option<OnProgress<'a>>,
    panicked: Option<Box<dyn Any + Send>>,
}

impl<'a, E> Tally<'a, E> {
    pub(crate) fn new(total: Option<u64>, on_progress: Option<OnProgress<'a>>) -> Self {
        let progress = Progress { total, ..Progress::default() };
        let state = State { progress, error: None, end: None, on_progress, panicked: None };
        Self { state: Mutex::new(state), over: Arc::default() }
    }

    /// Set when nothing more is to begin.
    pub(crate) const fn over(&self) -> &Arc<Signal> {
        &self.over
    }

    /// Whether a key is to be loaded, given what is known of it; counts one that is not.
    pub(crate) fn wants(&self, known: &Explanation) -> bool {
        if known.freshness == Some(Freshness::Fresh) {
            self.count(|now| now.present += 1);
            false
        } else if known.missing_for.is_some() {
            self.count(|now| now.missing += 1);
            false
        } else {
            true
        }
    }

    /// Counts what became of a key.
    pub(crate) fn record<V>(&self, came: Result<Served<V>, LoadError<E>>) {
        match came {
            Ok(served) if served.load == LoadPart::None => self.count(|now| now.present += 1),
            Ok(_) => self.count(|now| now.loaded += 1),
            Err(LoadError::Missing) => self.count(|now| now.missing += 1),
            Err(LoadError::ShutDown) => self.end(WarmUpEnd::ShutDown),
            Err(error) => {
                self.lock().error.get_or_insert(error);
                self.count(|now| now.failed += 1);
            }
        }
    }

    /// Counts a key that is done, and tells of it.
    fn count(&self, count: impl FnOnce(&mut Progress)) {
        let mut state = self.lock();
        count(&mut state.progress);
        state.progress.done += 1;
        // Gone while it is called: one that panics is called no more.
        let Some(mut on_progress) = state.on_progress.take() else { return };
        if on_progress(state.progress).is_continue() {
            state.on_progress = Some(on_progress);
        } else {
            drop(state);
            self.end(WarmUpEnd::Stopped);
        }
    }

    fn end(&self, end: WarmUpEnd) {
        self.lock().end.get_or_insert(end);
        self.over.set();
    }

    /// The keys, or who was told, panicked.
    pub(crate) fn panicked(&self, payload: Box<dyn Any + Send>) {
        self.lock().panicked.get_or_insert(payload);
        self.over.set();
    }

    /// The whole, once nothing is under way any more; `ended` says that there are no more keys. A
    /// panic on the way goes on here.
    pub(crate) fn finish(&self, ended: bool) -> WarmedUp<E> {
        let mut state = self.lock();
        if let Some(payload) = state.panicked.take() {
            drop(state);
            resume_unwind(payload);
        }
        let unsaid = if ended { WarmUpEnd::Finished } else { WarmUpEnd::ShutDown };
        let (progress, end) = (state.progress, state.end.unwrap_or(unsaid));
        WarmedUp { progress, end, error: state.error.take() }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
