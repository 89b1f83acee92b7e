//! What is done to a cache.

use arbitrary::Arbitrary;

/// How a value is to be kept: times in milliseconds.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) ttl: Option<u8>,
    pub(crate) tag: Option<bool>,
    pub(crate) no_store: bool,
}

/// One operation. Keys are few, so that operations meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Operation {
    Put(Key, Terms),
    /// A value like most: with the cache's own windows.
    PutPlain(Key),
    PutIfAbsent(Key, Terms),
    Get(Key),
    /// Reads until no further use counts.
    GetOften(Key),
    /// A read that loads if it may; the load ends at once, with a value or an error.
    Load(Key, Option<Terms>),
    Expire(Key),
    Invalidate(Key),
    Clear,
    ExpireTag(bool),
    InvalidateTag(bool),
    /// Milliseconds.
    Advance(u8),
    Sweep(u8),
}

/// One of eight.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Key(u8);

impl Key {
    pub(crate) const fn number(self) -> u8 {
        self.0 % 8
    }
}
