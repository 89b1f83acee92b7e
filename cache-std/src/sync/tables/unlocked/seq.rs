//! A lock whose holder can be noticed afterwards: a sequence lock (Lameter 2005; Boehm 2012).
//!
//! Writers exclude each other and count what they do; a reader takes nothing, writes nothing, and
//! asks in the end whether somebody wrote meanwhile. What it has copied counts only if nobody did.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use super::super::lock::Lock;
use super::super::primitives::{AtomicU64, Ordering, fence, pause};

/// A value, and how often it was locked and unlocked. The count is odd while somebody holds it. It
/// takes centuries to overflow.
#[repr(C, align(64))]
pub(crate) struct Seq<T> {
    version: AtomicU64,
    value: UnsafeCell<T>,
}

// SAFETY: `lock` gives the value to one thread at a time, as a mutex does. What others do meanwhile
// with `as_ptr` is for them to answer.
unsafe impl<T: Send> Sync for Seq<T> {}

/// Exclusive access, until dropped.
pub(crate) struct SeqGuard<'a, T> {
    seq: &'a Seq<T>,
    /// The version to be told afterwards.
    after: u64,
}

// SAFETY: who has the guard has the value, and nothing in it belongs to a thread.
unsafe impl<T: Send> Send for SeqGuard<'_, T> {}
// SAFETY: as for a `&T`.
unsafe impl<T: Sync> Sync for SeqGuard<'_, T> {}

/// What a reader has seen before it looked.
#[derive(Clone, Copy)]
pub(crate) struct Seen(u64);

impl<T> Seq<T> {
    /// Where the value is in it.
    pub(super) const VALUE: usize = core::mem::offset_of!(Self, value);

    /// Where the value is. Others may be changing it: what is read there through volatile reads means
    /// something only if [`is_unchanged`](Self::is_unchanged) says so afterwards.
    #[inline]
    pub(super) const fn as_ptr(&self) -> *const T {
        self.value.get()
    }

    /// Begins to read without the lock.
    #[inline]
    pub(super) fn begin(&self) -> Seen {
        // Acquire: what is read afterwards is at least as new as this. While somebody holds the lock
        // the version is odd: the even one before it never comes back, so the check fails.
        Seen(self.version.load(Ordering::Acquire) & !1)
    }

    /// Whether nobody has held the lock since: then what was read in between is whole.
    #[inline]
    pub(super) fn is_unchanged(&self, seen: Seen) -> bool {
        // Whoever has read something that a writer wrote under the lock sees that writer's version
        // here: the writer's release fence came before what it wrote, this one after what was read.
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == seen.0
    }

    /// For models that leave a step out.
    #[cfg(all(test, loom))]
    pub(super) const fn version(&self) -> &AtomicU64 {
        &self.version
    }

    #[cold]
    #[inline(never)] // it would cost every caller a few saved registers
    fn wait(&self) -> SeqGuard<'_, T> {
        for attempt in 0.. {
            pause(attempt);
            // Looked at before it is asked for: asking takes the line away from the holder.
            if let Some(guard) = self.try_lock() {
                return guard;
            }
        }
        unreachable!("the loop above has no end")
    }
}

impl<T> Lock<T> for Seq<T> {
    type Guard<'a>
        = SeqGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self { version: AtomicU64::new(0), value: UnsafeCell::new(value) }
    }

    #[inline]
    fn lock(&self) -> SeqGuard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    #[inline]
    fn try_lock(&self) -> Option<SeqGuard<'_, T>> {
        let version = self.version.load(Ordering::Relaxed);
        if version & 1 != 0 {
            return None;
        }
        let (locked, after) = (version.wrapping_add(1), version.wrapping_add(2));
        self.version
            .compare_exchange(version, locked, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        // Nothing that the holder writes may be seen before the odd version is.
        fence(Ordering::Release);
        Some(SeqGuard { seq: self, after })
    }
}

impl<T> Drop for SeqGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.seq.version.store(self.after, Ordering::Release);
    }
}

impl<T> Deref for SeqGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard has the lock, so nobody else has a reference to the value.
        unsafe { &*self.seq.value.get() }
    }
}

impl<T> DerefMut for SeqGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has the lock, so nobody else has a reference to the value.
        unsafe { &mut *self.seq.value.get() }
    }
}
