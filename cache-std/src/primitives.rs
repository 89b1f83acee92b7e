//! The primitives under flights and waits: the standard library's, or, in models, those of a
//! scheduler that tries many interleavings (`cargo xtask test models`).

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    thread::{self, ThreadId},
};

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    thread::{self, ThreadId},
};
