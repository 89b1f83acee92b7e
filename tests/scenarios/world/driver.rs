//! One set of words for the caches driven by hand, by threads and by tasks.

use std::fmt;
use std::time::Duration;

use advanced_caching::sync::LoadError;
use advanced_caching::{Explanation, Freshness, Instant, Loaded, PolicyBuilder, Stats};

pub(crate) type Key = u8;
pub(crate) type Value = u32;

/// A cache to be made.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) policy: PolicyBuilder,
    pub(crate) capacity: usize,
    pub(crate) max_loads: usize,
}

impl From<PolicyBuilder> for Setup {
    fn from(policy: PolicyBuilder) -> Self {
        Self { policy, capacity: 100, max_loads: 1_024 }
    }
}

/// How a load ends.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Loaded(Loaded<Value>),
    Error(&'static str),
    Panic(&'static str),
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Loaded(Loaded::value(value))
    }
}

impl From<Loaded<Value>> for Answer {
    fn from(loaded: Loaded<Value>) -> Self {
        Self::Loaded(loaded)
    }
}

/// The error of the drivers' loaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) &'static str);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a caller was told in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Value(Value),
    Missing,
    Failed(Origin),
    Panicked(String),
    NothingToRenew,
    TimedOut { retry_in: Duration },
    CoolingDown { retry_in: Duration },
    Busy,
}

impl From<Result<Value, LoadError<Origin>>> for Told {
    fn from(result: Result<Value, LoadError<Origin>>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(LoadError::Failed(error)) => Self::Failed(*error),
            Err(LoadError::Missing) => Self::Missing,
            Err(LoadError::Panicked(text)) => Self::Panicked((*text).into()),
            Err(LoadError::NothingToRenew) => Self::NothingToRenew,
            Err(LoadError::TimedOut { retry_in }) => Self::TimedOut { retry_in },
            Err(LoadError::CoolingDown { retry_in }) => Self::CoolingDown { retry_in },
            Err(LoadError::Busy) => Self::Busy,
            Err(other) => panic!("no scenario of every driver ends in {other:?}"),
        }
    }
}

/// What a read came to at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Served(Value, Freshness),
    Told(Told),
    /// The caller with this number waits for a load, its own or another's.
    Waits(usize),
}

/// A cache, its origin and its callers, step by step: every call returns when nothing more happens
/// until the next. Callers and loads are numbered from 1 in the order in which they come.
pub(crate) trait Driver: Sized + 'static {
    fn new(setup: Setup) -> Self;
    /// Runs a test of this driver, watched.
    fn watch(body: impl FnOnce() + Send + 'static);

    /// A caller reads, and may load.
    fn read(&mut self, key: Key) -> Reply;
    /// A load that runs comes to its end.
    fn end(&mut self, load: usize, answer: impl Into<Answer>);
    fn advance(&mut self, span: Duration);

    fn get(&mut self, key: Key) -> Option<Value>;
    /// Whether the value was stored.
    fn put(&mut self, key: Key, loaded: Loaded<Value>) -> bool;
    fn put_if_absent(&mut self, key: Key, loaded: Loaded<Value>) -> bool;
    fn expire(&mut self, key: Key) -> bool;
    fn invalidate(&mut self, key: Key) -> bool;
    fn clear(&mut self);
    fn expire_tag(&mut self, tag: &str);
    fn invalidate_tag(&mut self, tag: &str);
    /// Removes all that has passed.
    fn purge(&mut self) -> usize;

    fn contains(&self, key: Key) -> bool;
    fn peek(&self, key: Key) -> Option<Value>;
    fn explain(&self, key: Key) -> Explanation;
    fn len(&self) -> usize;
    fn stats(&self) -> Stats;
    fn now(&self) -> Instant;

    /// What a caller who waited was told, once it was.
    fn told(&self, caller: usize) -> Option<Told>;
    /// How many loads have begun.
    fn loads(&self) -> usize;
    /// The loads that have not ended, oldest first.
    fn running(&self) -> Vec<usize>;

    /// A cache with the default limits.
    fn with(policy: PolicyBuilder) -> Self {
        Self::new(policy.into())
    }

    /// Reads, and must be made to wait.
    fn wait_for(&mut self, key: Key) -> usize {
        match self.read(key) {
            Reply::Waits(caller) => caller,
            other => panic!("the caller should wait, and got {other:?}"),
        }
    }

    /// Reads a key for which nothing is held, and loads `value`.
    fn load(&mut self, key: Key, value: Value) {
        let caller = self.wait_for(key);
        self.end(self.loads(), value);
        assert_eq!(self.told(caller), Some(Told::Value(value)));
    }

    /// The freshness under which a read would be served.
    fn freshness(&self, key: Key) -> Option<Freshness> {
        self.explain(key).freshness
    }
}
