//! What a thread or a task waits for.

use core::task::{Context, Poll, Waker};
use core::time::Duration;

use crate::primitives::{Condvar, Mutex, MutexGuard, PoisonError};

/// Something that a thread or a task waits for; once set it stays set until taken. One at a time: a
/// [`poke`](Self::poke) is seen by one of those who wait, and of tasks the last that has
/// [polled](Self::poll) is woken.
#[derive(Debug, Default)]
pub struct Signal {
    state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    set: bool,
    /// The clock moved: whoever waits should read it again.
    poked: bool,
    task: Option<Waker>,
}

impl Signal {
    /// A signal that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the signal and wakes who waits.
    pub fn set(&self) {
        self.change(|state| state.set = true);
    }

    /// Whether the signal is set.
    pub fn is_set(&self) -> bool {
        self.lock().set
    }

    /// Unsets the signal; returns whether it was set.
    pub fn take(&self) -> bool {
        core::mem::take(&mut self.lock().set)
    }

    /// Wakes who waits without setting the signal: for clocks that move by hand.
    pub fn poke(&self) {
        self.change(|state| state.poked = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let task = state.task.take();
        drop(state);
        self.changed.notify_all();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Blocks until set or poked; returns whether it was set.
    pub fn block(&self) -> bool {
        let mut state = self.lock();
        while !state.set && !state.poked {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.poked = false;
        state.set
    }

    /// Blocks until set, for about so much real time at most; returns whether it was set.
    pub(super) fn block_for(&self, span: Duration) -> bool {
        let state = self.lock();
        if state.set {
            return true;
        }
        self.changed.wait_timeout(state, span).unwrap_or_else(PoisonError::into_inner).0.set
    }

    /// Whether it was set, once it is set or [poked](Self::poke); until then, the task is woken when
    /// that happens.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.set || core::mem::take(&mut state.poked) {
            state.poked = false;
            return Poll::Ready(state.set);
        }
        let before = match &mut state.task {
            Some(task) if task.will_wake(context.waker()) => None,
            task => task.replace(context.waker().clone()),
        };
        drop(state);
        drop(before); // a waker's own code runs without the lock
        Poll::Pending
    }

    /// A part of [`poll`](Self::poll), for a model of what happens without the other.
    #[cfg(all(test, shuttle))]
    pub(super) fn leave_waker(&self, waker: &Waker) {
        self.lock().task = Some(waker.clone());
    }

    pub(super) fn is_quiet(&self) -> bool {
        let state = self.lock();
        !state.set && !state.poked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_once_however_often_it_has_polled() {
        let (signal, woken) = (Signal::new(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(signal.poll(&mut context).is_pending() && signal.poll(&mut context).is_pending());
        signal.poke();
        signal.poke();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(signal.poll(&mut context), Poll::Ready(false));
        assert!(signal.poll(&mut context).is_pending(), "a poke is seen once");
        signal.set();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert_eq!(signal.poll(&mut context), Poll::Ready(true));
        assert_eq!(signal.poll(&mut context), Poll::Ready(true), "set stays set");
    }
}
