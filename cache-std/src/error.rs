//! Why a read that may load gave no value.

use core::any::Any;
use core::error::Error;
use core::fmt;
use core::time::Duration;
use std::sync::Arc;

/// Why a read that may load gave no value. Cloneable: all who waited for one load get the same.
///
/// A failed load shows, and sources, as the loader's own error.
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed, and no old value could serve.
    Failed(Arc<E>),
    /// The origin knows no such key, now or when it was last asked.
    Missing,
    /// The load took longer than the caller may wait. It goes on, and may still land.
    TimedOut {
        /// When the next load may start.
        retry_in: Duration,
    },
    /// A load failed lately, and the policy fails fast.
    CoolingDown {
        /// When the next load may start.
        retry_in: Duration,
    },
    /// A limit on loads or waiters is reached.
    Busy,
    /// The loader panicked, with this message.
    Panicked(Arc<str>),
    /// The loader, directly or through others, asked for the key that it was loading.
    Recursive,
    /// The load that this caller waited for failed with an error of another type, with this text.
    Foreign(Arc<str>),
    /// The loader answered "not modified", and there is no old value.
    NothingToRenew,
    /// The cache was shut down, and has no value.
    ShutDown,
    /// The caller asked for what is cached only, and nothing is that it would take.
    NotCached,
    /// The load was given up: its runtime ended, or it outlived its limit.
    GivenUp,
    /// The load runs as a task that the thread which would have to be blocked is needed for.
    WouldHang,
    /// There was no asynchronous runtime to run the load on, or to wait by.
    NoRuntime,
}

impl<E> LoadError<E> {
    /// The loader's error.
    pub fn error(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The loader's error by value, if nobody else holds it.
    ///
    /// # Errors
    /// `self`, if it is not a failed load or others hold the error, too.
    pub fn into_error(self) -> Result<E, Self> {
        match self {
            Self::Failed(error) => Arc::try_unwrap(error).map_err(Self::Failed),
            other => Err(other),
        }
    }

    /// Whether the origin knows no such key.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Whether the caller's patience ended before the load.
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// Whether a limit was reached.
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Busy)
    }

    /// Whether a load failed lately and none was started.
    pub const fn is_cooling_down(&self) -> bool {
        matches!(self, Self::CoolingDown { .. })
    }

    /// When the next load may start, where that is known.
    pub const fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::TimedOut { retry_in } | Self::CoolingDown { retry_in } => Some(*retry_in),
            _ => None,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Missing => Self::Missing,
            Self::TimedOut { retry_in } => Self::TimedOut { retry_in: *retry_in },
            Self::CoolingDown { retry_in } => Self::CoolingDown { retry_in: *retry_in },
            Self::Busy => Self::Busy,
            Self::Panicked(text) => Self::Panicked(Arc::clone(text)),
            Self::Recursive => Self::Recursive,
            Self::Foreign(text) => Self::Foreign(Arc::clone(text)),
            Self::NothingToRenew => Self::NothingToRenew,
            Self::NotCached => Self::NotCached,
            Self::ShutDown => Self::ShutDown,
            Self::GivenUp => Self::GivenUp,
            Self::WouldHang => Self::WouldHang,
            Self::NoRuntime => Self::NoRuntime,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Missing => f.write_str("Missing"),
            Self::TimedOut { retry_in } => write!(f, "TimedOut {{ retry_in: {retry_in:?} }}"),
            Self::CoolingDown { retry_in } => write!(f, "CoolingDown {{ retry_in: {retry_in:?} }}"),
            Self::Busy => f.write_str("Busy"),
            Self::Panicked(text) => f.debug_tuple("Panicked").field(text).finish(),
            Self::Recursive => f.write_str("Recursive"),
            Self::Foreign(text) => f.debug_tuple("Foreign").field(text).finish(),
            Self::NothingToRenew => f.write_str("NothingToRenew"),
            Self::NotCached => f.write_str("NotCached"),
            Self::ShutDown => f.write_str("ShutDown"),
            Self::GivenUp => f.write_str("GivenUp"),
            Self::WouldHang => f.write_str("WouldHang"),
            Self::NoRuntime => f.write_str("NoRuntime"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Missing => f.write_str("the origin knows no such key"),
            Self::TimedOut { .. } => f.write_str("the load took too long; it goes on"),
            Self::CoolingDown { retry_in } => {
                write!(f, "a load failed lately; the next may start in {retry_in:?}")
            }
            Self::Busy => f.write_str("too many loads or waiters"),
            Self::Panicked(text) => write!(f, "the loader panicked: {text}"),
            Self::Recursive => f.write_str("the loader asked for the key that it was loading"),
            Self::Foreign(text) => write!(f, "another caller's load failed: {text}"),
            Self::NothingToRenew => f.write_str("not modified, and there is no old value"),
            Self::ShutDown => f.write_str("the cache was shut down"),
            Self::NotCached => f.write_str("not cached, and no load was to be waited for"),
            Self::GivenUp => f.write_str("the load was given up"),
            Self::WouldHang => f.write_str(
                "to block here would keep the load from running: await it, or block elsewhere",
            ),
            Self::NoRuntime => f.write_str("no asynchronous runtime is there to run the load"),
        }
    }
}

impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

/// A failure as a flight carries it to followers of any error type.
#[derive(Clone)]
pub(crate) enum Failure {
    Error { error: Arc<dyn Any + Send + Sync>, text: Arc<str> },
    Panicked(Arc<str>),
    NothingToRenew,
}

impl Failure {
    pub(crate) fn of<E: fmt::Display + Send + Sync + 'static>(error: E) -> Self {
        let text = error.to_string().into();
        Self::Error { error: Arc::new(error), text }
    }

    /// The message of a panic, from what it was raised with.
    pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self::Panicked(text.unwrap_or("no message").into())
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Error { text, .. } | Self::Panicked(text) => text,
            Self::NothingToRenew => "not modified, and there is no old value",
        }
    }

    /// The same failure for a caller whose loader fails with `E`.
    pub(crate) fn told_to<E: Send + Sync + 'static>(self) -> LoadError<E> {
        match self {
            Self::Error { error, text } => {
                error.downcast().map_or(LoadError::Foreign(text), LoadError::Failed)
            }
            Self::Panicked(text) => LoadError::Panicked(text),
            Self::NothingToRenew => LoadError::NothingToRenew,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_load_shows_and_sources_as_the_loaders_error() {
        let io = std::io::Error::other("disk on fire");
        let error: LoadError<std::io::Error> = Failure::of(io).told_to();
        assert_eq!(error.to_string(), "disk on fire");
        assert_eq!(error.error().unwrap().kind(), std::io::ErrorKind::Other);
        assert_eq!(error.clone().into_error().unwrap_err().to_string(), "disk on fire");
        assert!(error.into_error().is_ok(), "the last holder gets it by value");
    }

    #[test]
    fn a_follower_with_another_error_type_is_told_so() {
        let error: LoadError<std::io::Error> = Failure::of("text").told_to();
        assert!(matches!(&error, LoadError::Foreign(text) if &**text == "text"), "{error:?}");
    }

    #[test]
    fn a_panics_message_is_kept() {
        let of = |payload: Box<dyn Any + Send>| Failure::of_panic(&*payload).text().to_owned();
        assert_eq!(of(Box::new("a str")), "a str");
        assert_eq!(of(Box::new(String::from("a string"))), "a string");
        assert_eq!(of(Box::new(7)), "no message");
    }
}
