//! The small locks that tables lie under.

use core::ops::DerefMut;

use super::primitives::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Exclusive access to a table. What panics under it leaves the table whole, so there is no poison.
pub(crate) trait Lock<T> {
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a,
        T: 'a;

    fn new(value: T) -> Self;
    fn lock(&self) -> Self::Guard<'_>;
    fn try_lock(&self) -> Option<Self::Guard<'_>>;
}

/// Models know nothing of spinning: to them, a lock is a lock. It lends nothing, so that callers go
/// the longer way.
#[cfg(all(test, shuttle))]
pub(crate) use Park as Spin;
#[cfg(all(test, shuttle))]
pub(crate) type Lent<'a, U> = &'a mut U;
#[cfg(all(test, shuttle))]
impl<T> Park<T> {
    pub(super) fn lend<'a, U>(
        _: MutexGuard<'a, T>,
        _: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Option<Lent<'a, U>> {
        None
    }
}
#[cfg(not(all(test, shuttle)))]
pub(crate) use spinning::{Lent, Spin};

/// The standard library's mutex: waiters sleep.
pub(crate) struct Park<T>(Mutex<T>);

impl<T> Lock<T> for Park<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> Self::Guard<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<Self::Guard<'_>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(not(all(test, shuttle)))]
mod spinning {
    use lock_api::{MappedMutexGuard, Mutex, MutexGuard};
    use spin::mutex::SpinMutex;

    use super::super::primitives::pause;
    use super::Lock;

    /// One locked read-modify-write to take, a plain store to release. Waiters spin a bounded number
    /// of times and then yield.
    pub(crate) struct Spin<T>(Mutex<SpinMutex<()>, T>);

    /// A part of what is under a [`Spin`] lock, and the lock, which is held as long: two words, which
    /// functions return in registers.
    pub(crate) type Lent<'a, U> = MappedMutexGuard<'a, SpinMutex<()>, U>;

    impl<T> Lock<T> for Spin<T> {
        type Guard<'a>
            = MutexGuard<'a, SpinMutex<()>, T>
        where
            T: 'a;

        fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        #[inline]
        fn lock(&self) -> Self::Guard<'_> {
            self.0.try_lock().unwrap_or_else(|| self.wait())
        }

        #[inline]
        fn try_lock(&self) -> Option<Self::Guard<'_>> {
            self.0.try_lock()
        }
    }

    impl<T> Spin<T> {
        /// Lends a part of what is under the lock.
        #[inline(always)]
        pub(in super::super) fn lend<'a, U>(
            guard: MutexGuard<'a, SpinMutex<()>, T>,
            part: impl FnOnce(&mut T) -> Option<&mut U>,
        ) -> Option<Lent<'a, U>> {
            MutexGuard::try_map(guard, part).ok()
        }

        #[cold]
        #[inline(never)] // it would cost every hit a few saved registers
        fn wait(&self) -> MutexGuard<'_, SpinMutex<()>, T> {
            for attempt in 0.. {
                pause(attempt);
                // Looked at before it is asked for: asking takes the line away from the holder.
                if !self.0.is_locked()
                    && let Some(guard) = self.0.try_lock()
                {
                    return guard;
                }
            }
            unreachable!("the loop above has no end")
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::super::unlocked::Seq;
    use super::*;
    use core::time::Duration;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    fn excludes<L: Lock<u64> + Sync>() {
        let lock = L::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 40_000);
    }

    fn outlives_a_panic<L: Lock<u64>>() {
        let lock = L::new(7);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.lock();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err());
        assert_eq!(*lock.lock(), 7);
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn locks_exclude_and_outlive_panics() {
        excludes::<Spin<u64>>();
        excludes::<Seq<u64>>();
        excludes::<Park<u64>>();
        outlives_a_panic::<Spin<u64>>();
        outlives_a_panic::<Seq<u64>>();
        outlives_a_panic::<Park<u64>>();
    }

    #[test]
    fn a_part_that_is_lent_keeps_the_lock_held_and_none_lets_go_of_it() {
        let lock = Spin::new((1, 2));
        let lent = Spin::lend(lock.lock(), |pair| Some(&mut pair.1)).unwrap();
        assert_eq!(*lent, 2);
        assert!(lock.try_lock().is_none());
        drop(lent);
        assert!(Spin::lend(lock.lock(), |_| None::<&mut i32>).is_none());
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn a_waiter_of_a_spin_lock_gets_it_from_a_holder_that_sleeps() {
        let lock = Spin::new(0);
        thread::scope(|scope| {
            let held = lock.lock();
            let waiter = scope.spawn(|| *lock.lock());
            thread::sleep(Duration::from_millis(5));
            drop(held);
            assert_eq!(waiter.join().unwrap(), 0);
        });
    }
}
