//! When the sweep of all tables next has something to do.

use cache_core::Instant;

use super::primitives::{AtomicU64, Ordering};

/// A lower bound of when anything in any table may have to go. While it lies ahead, a write spares
/// itself the look at a table that is not its own.
///
/// It moves down with whatever is noted, and up when a pass over all tables has ended: to the least
/// of what was noted since the pass before. Everything here is sequentially consistent: who notes
/// writes one number and then reads the other, who ends a pass does it the other way round, and one
/// of them must see what the other did.
#[derive(Debug)]
#[repr(align(64))] // read by all who write, and seldom written
pub(super) struct Due {
    at: AtomicU64,
    /// The least of what was noted since the last pass ended.
    next: AtomicU64,
}

const NEVER: u64 = Instant::FAR_FUTURE.as_nanos();

impl Due {
    pub(super) fn new() -> Self {
        Self { at: AtomicU64::new(NEVER), next: AtomicU64::new(NEVER) }
    }

    /// Whether something may have to go at `now`.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.has_reached(Instant::from_nanos(self.at.load(Ordering::Relaxed)))
    }

    /// Something may have to go at `at`.
    #[inline]
    pub(super) fn note(&self, at: Instant) {
        let at = at.as_nanos();
        for bound in [&self.next, &self.at] {
            if at < bound.load(Ordering::SeqCst) {
                bound.fetch_min(at, Ordering::SeqCst);
            }
        }
    }

    /// Every table was swept since this was last called, and what is left there was noted.
    pub(super) fn end_pass(&self) {
        let low = self.next.swap(NEVER, Ordering::SeqCst);
        self.at.swap(low, Ordering::SeqCst);
        // Who noted in between may have found the old bound low enough.
        let late = self.next.load(Ordering::SeqCst);
        self.at.fetch_min(late, Ordering::SeqCst);
    }
}

/// Where a panic passes, whoever had a table can no longer say when something in it may have to go:
/// then that is at once.
pub(super) struct Watch<'a>(pub(super) &'a Due);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note(Instant::ORIGIN);
        }
    }
}

#[cfg(all(test, not(shuttle), not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_when_the_first_of_what_was_noted_comes() {
        let due = Due::new();
        assert!(!due.is_due(Instant::FAR_FUTURE));
        let at = Instant::from_secs;
        due.note(at(9));
        due.note(at(5));
        due.note(at(7));
        assert!(!due.is_due(at(4)) && due.is_due(at(5)));
    }

    #[test]
    fn the_end_of_a_pass_forgets_what_came_before_it() {
        let (due, at) = (Due::new(), Instant::from_secs);
        due.note(at(5));
        due.end_pass();
        assert!(due.is_due(at(5)), "that was noted, and no pass has begun since");
        due.note(at(8));
        due.end_pass();
        assert!(!due.is_due(at(7)) && due.is_due(at(8)));
        due.end_pass();
        assert!(!due.is_due(at(1_000)));
    }
}

/// The two numbers under loom: whatever is noted while a pass ends is known afterwards.
#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    fn model(end_pass: fn(&Due)) {
        loom::model(move || {
            let due = Arc::new(Due::new());
            due.note(Instant::from_secs(1));
            due.end_pass(); // due since then
            let other = Arc::clone(&due);
            let noting = thread::spawn(move || other.note(Instant::from_secs(5)));
            end_pass(&due);
            noting.join().unwrap();
            assert!(due.is_due(Instant::from_secs(5)), "forgotten");
        });
    }

    #[test]
    fn what_is_noted_while_a_pass_ends_is_not_forgotten() {
        model(Due::end_pass);
    }

    #[test]
    #[should_panic(expected = "forgotten")]
    fn without_the_second_look_it_is() {
        model(|due| {
            let low = due.next.swap(NEVER, Ordering::SeqCst);
            due.at.swap(low, Ordering::SeqCst);
        });
    }
}
