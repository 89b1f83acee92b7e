//! The primitives under the two-lock memory: the standard library's, or, in models, those of a
//! scheduler that tries many interleavings (`cargo xtask test models`).

#[cfg(not(all(test, shuttle)))]
pub(super) use std::sync::{
    Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

#[cfg(all(test, shuttle))]
pub(super) use shuttle::sync::{
    Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};
