//! Why a store did not do what it was asked.

use core::error::Error;
use core::fmt;

/// Why a store or its leases did not do what was asked. Never holds keys or values.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot do this at all. Nothing has changed.
    #[non_exhaustive]
    Unsupported {
        /// The trait's method.
        operation: &'static str,
    },
    /// A key or value is above what the store takes. Nothing has changed.
    #[non_exhaustive]
    TooLarge {
        /// Bytes that the key or value takes.
        size: usize,
        /// Bytes that the store takes at most.
        limit: usize,
    },
    /// What the store holds cannot be read: damaged, or written by something else.
    Corrupt(Cause),
    /// The store could not be reached, did not answer in time, or refused.
    Unavailable(Cause),
}

impl StoreError {
    /// `operation` is the name of the trait's method.
    pub const fn unsupported(operation: &'static str) -> Self {
        Self::Unsupported { operation }
    }

    /// Sizes are in bytes.
    pub const fn too_large(size: usize, limit: usize) -> Self {
        Self::TooLarge { size, limit }
    }

    /// What is wrong with the bytes that were found, without the bytes.
    pub const fn corrupt(reason: &'static str) -> Self {
        Self::Corrupt(Cause::said(reason))
    }

    /// Why the store did not answer, without addresses or credentials.
    pub const fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable(Cause::said(reason))
    }

    /// `answer`, with an entry that cannot be read taken for an absent one.
    pub(super) fn corrupt_as_absent<T>(answer: Result<Option<T>, Self>) -> Result<Option<T>, Self> {
        match answer {
            Err(Self::Corrupt(_)) => Ok(None),
            other => other,
        }
    }
}

#[cfg(feature = "alloc")]
impl StoreError {
    /// The decoder's error, kept as the source.
    pub fn corrupt_by(source: impl Into<Source>) -> Self {
        Self::Corrupt(Cause { source: Some(source.into()), ..Cause::said("the decoder failed") })
    }

    /// The client's error, kept as the source. It must not show credentials.
    pub fn unavailable_by(source: impl Into<Source>) -> Self {
        Self::Unavailable(Cause { source: Some(source.into()), ..Cause::said("the client failed") })
    }
}

#[cfg(feature = "alloc")]
type Source = alloc::boxed::Box<dyn Error + Send + Sync>;

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { operation } => write!(f, "the store does not do `{operation}`"),
            Self::TooLarge { size, limit } => {
                write!(f, "{size} bytes are more than the {limit} that the store takes")
            }
            Self::Corrupt(cause) => write!(f, "an entry cannot be read: {cause}"),
            Self::Unavailable(cause) => write!(f, "the store is unavailable: {cause}"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Corrupt(cause) | Self::Unavailable(cause) => cause.source(),
            Self::Unsupported { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// What lies behind a [`StoreError`]: a reason and, with `alloc`, the error that caused it.
#[derive(Debug)]
pub struct Cause {
    reason: &'static str,
    #[cfg(feature = "alloc")]
    source: Option<Source>,
}

impl Cause {
    const fn said(reason: &'static str) -> Self {
        Self {
            reason,
            #[cfg(feature = "alloc")]
            source: None,
        }
    }

    #[cfg(feature = "alloc")]
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_deref()?)
    }

    #[cfg(not(feature = "alloc"))]
    const fn source(&self) -> Option<&(dyn Error + 'static)> {
        None
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}
