//! The sequence lock under loom, which tries every order that the memory model of C11 allows: a copy
//! that passes the check is whole. Without any one of its orderings it is not.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::thread;

use super::super::lock::Lock;
use super::{Seq, Used};

/// What a lock protects, in two words that must always be equal.
struct Two(AtomicU64, AtomicU64);

impl Two {
    fn new() -> Self {
        Self(AtomicU64::new(0), AtomicU64::new(0))
    }

    fn write(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
        self.1.store(number, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed))
    }
}

/// One thread writes twice while another reads; whatever is read for certain must be whole.
fn model(write: fn(&Seq<()>, &Two, u64), read: fn(&Seq<()>, &Two) -> Option<(u64, u64)>) {
    loom::model(move || {
        let shared = Arc::new((Seq::new(()), Two::new()));
        let other = Arc::clone(&shared);
        let writer = thread::spawn(move || {
            write(&other.0, &other.1, 1);
            write(&other.0, &other.1, 2);
        });
        if let Some((one, two)) = read(&shared.0, &shared.1) {
            assert_eq!(one, two, "torn");
        }
        writer.join().unwrap();
        assert_eq!(read(&shared.0, &shared.1), Some((2, 2)), "the last word");
    });
}

fn write(seq: &Seq<()>, two: &Two, number: u64) {
    let _guard = seq.lock();
    two.write(number);
}

fn read(seq: &Seq<()>, two: &Two) -> Option<(u64, u64)> {
    let seen = seq.begin();
    let copy = two.read();
    seq.is_unchanged(seen).then_some(copy)
}

#[test]
fn what_passes_the_check_is_whole() {
    model(write, read);
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_check_it_is_torn() {
    model(write, |seq, two| {
        seq.begin();
        Some(two.read())
    });
}

/// The lock's own steps, each of which can be left out.
mod by_hand {
    use super::*;

    pub(super) fn write(seq: &Seq<()>, two: &Two, number: u64, released: bool, last: Ordering) {
        let version = seq.version();
        // The only writer knows what it has written. (If it asked, loom would try fewer orders.)
        let before = 2 * (number - 1);
        version.store(before + 1, Ordering::Relaxed);
        if released {
            fence(Ordering::Release);
        }
        two.write(number);
        version.store(before + 2, last);
    }

    pub(super) fn read(
        seq: &Seq<()>,
        two: &Two,
        first: Ordering,
        acquired: bool,
    ) -> Option<(u64, u64)> {
        let before = seq.version().load(first);
        let copy = two.read();
        if acquired {
            fence(Ordering::Acquire);
        }
        let after = seq.version().load(Ordering::Relaxed);
        (before & 1 == 0 && before == after).then_some(copy)
    }
}

#[test]
fn the_steps_by_hand_are_those_of_the_lock() {
    model(
        |seq, two, number| by_hand::write(seq, two, number, true, Ordering::Release),
        |seq, two| by_hand::read(seq, two, Ordering::Acquire, true),
    );
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_writers_fence_it_is_torn() {
    model(
        |seq, two, number| by_hand::write(seq, two, number, false, Ordering::Release),
        |seq, two| by_hand::read(seq, two, Ordering::Acquire, true),
    );
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_release_at_the_end_it_is_torn() {
    model(
        |seq, two, number| by_hand::write(seq, two, number, true, Ordering::Relaxed),
        |seq, two| by_hand::read(seq, two, Ordering::Acquire, true),
    );
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_readers_acquire_it_is_torn() {
    model(
        |seq, two, number| by_hand::write(seq, two, number, true, Ordering::Release),
        |seq, two| by_hand::read(seq, two, Ordering::Relaxed, true),
    );
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_readers_fence_it_is_torn() {
    model(
        |seq, two, number| by_hand::write(seq, two, number, true, Ordering::Release),
        |seq, two| by_hand::read(seq, two, Ordering::Acquire, false),
    );
}

/// A row is put in a set, one thread counts that it was used, and another reads what is hot: whatever
/// that one finds for certain was written. `note` counts a use of the row, `full` tells whether it is
/// hot.
fn hot_model<U: Send + Sync + 'static>(
    new: fn() -> U,
    put: fn(&U),
    note: fn(&U),
    full: fn(&U) -> bool,
) {
    loom::model(move || {
        let shared = Arc::new((Seq::new(()), AtomicU64::new(0), new()));
        let (noting, putting) = (Arc::clone(&shared), Arc::clone(&shared));
        let putter = thread::spawn(move || {
            let _guard = putting.0.lock();
            putting.1.store(7, Ordering::Relaxed);
            put(&putting.2);
        });
        let noter = thread::spawn(move || note(&noting.2));
        let (seq, row, used) = &*shared;
        let seen = seq.begin();
        if full(used) {
            let copy = row.load(Ordering::Relaxed);
            assert!(!seq.is_unchanged(seen) || copy == 7, "never written");
        }
        putter.join().unwrap();
        noter.join().unwrap();
    });
}

#[test]
fn what_is_hot_was_written() {
    let note = |used: &Used| {
        if used.live() == 1 {
            (0..3).for_each(|_| used.note(0));
        }
    };
    hot_model(Used::new, |used| used.set_live(0, true), note, |used| used.full() == 1);
}

#[test]
#[should_panic(expected = "never written")]
fn without_release_and_acquire_it_need_not_have_been() {
    type Masks = (AtomicU32, AtomicU32);
    let note = |(live, full): &Masks| {
        if live.load(Ordering::Relaxed) == 1 {
            full.store(1, Ordering::Relaxed);
        }
    };
    hot_model::<Masks>(
        || (AtomicU32::new(0), AtomicU32::new(0)),
        |(live, _)| live.store(1, Ordering::Relaxed),
        note,
        |(_, full)| full.load(Ordering::Relaxed) == 1,
    );
}
