//! How a warm-up goes, and how it went.

use crate::error::LoadError;

/// How far a warm-up has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Keys that are done: the sum of the next four.
    pub done: u64,
    /// Keys whose values were loaded, by the warm-up or by others for whose loads it waited.
    pub loaded: u64,
    /// Keys whose values were fresh.
    pub present: u64,
    /// Keys that the origin does not know, now or when it was last asked.
    pub missing: u64,
    /// Keys whose loads failed, panicked, or were not allowed.
    pub failed: u64,
    /// All keys, if their iterator knows how many they are.
    pub total: Option<u64>,
}

/// Why a warm-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarmUpEnd {
    /// All keys are done.
    Finished,
    /// The listener of its progress said so.
    Stopped,
    /// The cache was shut down.
    ShutDown,
}

/// What came of a warm-up; made by [`WarmUp::run`](super::WarmUp::run).
#[derive(Debug)]
#[non_exhaustive]
pub struct WarmedUp<E> {
    /// How far it came.
    pub progress: Progress,
    /// Why it ended.
    pub end: WarmUpEnd,
    /// Why the first load that failed did.
    pub error: Option<LoadError<E>>,
}
