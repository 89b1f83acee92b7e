//! What can be wrong with a server, and with what was said of it.

use core::error::Error;
use core::fmt;

use cache_core::store::StoreError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why the server did not do what it was asked. Holds no address, name or password, no key and no
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerError {
    /// No answer within the time-out of an operation. It may have been carried out.
    TimedOut,
    /// The connection is down; the operation was not sent.
    Down,
    /// The connection broke before the answer came. The operation may have been carried out.
    Broken,
    /// No connection could be made: nobody listens, or the address is unknown.
    Refused,
    /// The name or the password is wrong.
    Auth,
    /// The user may not do this.
    Denied,
    /// The key holds something other than a string.
    WrongType,
    /// The server is a replica, which takes no writes.
    ReadOnly,
    /// The server is reading its data from disk and does not answer yet.
    Loading,
    /// The server has no memory left for what was to be written.
    OutOfMemory,
    /// As many operations are under way as may be. This one was not sent.
    Busy,
    /// The namespace was cleared again and again while the operation tried to follow.
    Cleared,
    /// The caller is not on a tokio runtime.
    NoRuntime,
    /// The server answered something else than it should.
    Protocol,
    /// Another error that the server replied.
    Replied,
}

impl ServerError {
    pub(crate) const KINDS: usize = Self::Replied as usize + 1;

    /// Its place among the kinds.
    pub(crate) const fn number(self) -> usize {
        self as usize
    }

    /// Whether a connection that had this is of no more use.
    pub(crate) const fn is_of_the_connection(self) -> bool {
        matches!(self, Self::Broken | Self::Protocol | Self::ReadOnly | Self::Loading | Self::Auth)
    }

    /// The kind of an error of the client library. Its text is left aside: it may hold addresses.
    pub(crate) fn of(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        if error.is_connection_refusal() {
            return Self::Refused;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Auth,
            ErrorKind::Io => Self::Broken,
            ErrorKind::Server(kind) => Self::of_reply(Some(kind), error.code().unwrap_or_default()),
            ErrorKind::Extension => Self::of_reply(None, error.code().unwrap_or_default()),
            _ => Self::Protocol,
        }
    }

    /// The kind of an error that the server replied.
    pub(crate) fn of_reply(kind: Option<ServerErrorKind>, code: &str) -> Self {
        match (kind, code) {
            (Some(ServerErrorKind::BusyLoading), _) | (_, "LOADING") => Self::Loading,
            (Some(ServerErrorKind::ReadOnly), _) | (_, "READONLY") => Self::ReadOnly,
            (Some(ServerErrorKind::NoPerm), _) | (_, "NOPERM") => Self::Denied,
            (_, "WRONGPASS" | "NOAUTH") => Self::Auth,
            (_, "WRONGTYPE") => Self::WrongType,
            (_, "OOM") => Self::OutOfMemory,
            _ => Self::Replied,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "Redis did not answer in time",
            Self::Down => "Redis is down",
            Self::Broken => "the connection to Redis broke",
            Self::Refused => "Redis cannot be reached",
            Self::Auth => "Redis refuses the name or the password",
            Self::Denied => "the Redis user may not do this",
            Self::WrongType => "the Redis key holds another type",
            Self::ReadOnly => "this Redis takes no writes",
            Self::Loading => "Redis is still loading",
            Self::OutOfMemory => "Redis is out of memory",
            Self::Busy => "too many Redis operations are under way",
            Self::Cleared => "the namespace was cleared again and again",
            Self::NoRuntime => "the caller is not on a tokio runtime",
            Self::Protocol => "Redis answered something unexpected",
            Self::Replied => "Redis answered an error",
        })
    }
}

impl Error for ServerError {}

impl From<ServerError> for StoreError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::WrongType => Self::corrupt_by(error),
            other => Self::unavailable_by(other),
        }
    }
}

/// Why a [`Server`](crate::Server), a [`RedisStore`](crate::RedisStore) or
/// [`Locks`](crate::Locks) was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The address is none that the client library can read, or asks for what was not built in. Its text
    /// is not shown, since it may hold a password.
    Address,
    /// The prefix is empty. It is what keeps the keys apart from those of others on the server.
    EmptyPrefix,
    /// A time-out is zero.
    ZeroTimeout,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => {
                "the address cannot be used: write `redis://host:port` or `unix:///path`"
            }
            Self::EmptyPrefix => "the prefix is empty: give the program's name, `app` or `app:eu`",
            Self::ZeroTimeout => "a time-out is zero: give at least a millisecond",
        })
    }
}

impl Error for BuildError {}
