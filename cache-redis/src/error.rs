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
    /// The server speaks no RESP3: it is older than Redis 6.
    OldServer,
    /// No authority that is trusted has signed the server's certificate.
    UnknownIssuer,
    /// The server's certificate is for another host.
    WrongHost,
    /// The server's certificate has expired, or is not valid yet.
    Expired,
    /// No connection over TLS came about, for another reason.
    Tls,
    /// The address is that of a cluster, and the server is none of one.
    NotACluster,
    /// The address is that of one server, and that is a node of a cluster.
    IsACluster,
    /// No node of the cluster serves the key's slot at present.
    ClusterDown,
    /// The key is being moved between nodes for longer than an operation follows it. What was redirected
    /// last was not carried out.
    Redirected,
    /// No sentinel knows the service.
    UnknownService,
    /// The user may not do this.
    Denied,
    /// The server does not tell of changed keys: it has no `CLIENT TRACKING`, or not for this user. Of
    /// those who listen to a [`RedisStore::tracking`](crate::RedisStore::tracking) alone.
    NoTracking,
    /// The key holds something other than a string.
    WrongType,
    /// The server is a replica, which takes no writes.
    ReadOnly,
    /// The server is reading its data from disk and does not answer yet.
    Loading,
    /// The server has no memory left for what was to be written. Until a write is done, most are not sent
    /// then, but one after each delay of up to 400 ms.
    OutOfMemory,
    /// As many operations are under way, or bytes of them, as may be. What had no room was not sent.
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

    /// Whether what was said of the server must change, or its set-up: it does not mend itself soon.
    pub(crate) const fn is_of_the_settings(self) -> bool {
        use ServerError::*;
        matches!(
            self,
            Auth | OldServer
                | UnknownIssuer
                | WrongHost
                | Expired
                | NotACluster
                | IsACluster
                | UnknownService
                | NoTracking
        )
    }

    /// Of this reason and a later one, that which speaks of the settings; else the later.
    #[cfg(any(feature = "cluster", feature = "sentinel"))]
    pub(crate) const fn or_more_telling(self, later: Self) -> Self {
        if self.is_of_the_settings() { self } else { later }
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
            ErrorKind::RESP3NotSupported => Self::OldServer,
            ErrorKind::Io => Self::Broken,
            ErrorKind::Server(kind) => Self::of_code(Some(kind), error.code(), error.detail()),
            ErrorKind::Extension => Self::of_code(None, error.code(), error.detail()),
            _ => Self::Protocol,
        }
    }

    /// As [`of`](Self::of), while a connection is made.
    pub(crate) fn of_connecting(error: &RedisError) -> Self {
        #[cfg(feature = "tls")]
        if let Some(reason) = crate::tls::reason(error) {
            return reason;
        }
        let detail = error.detail().unwrap_or_default();
        let unknown = detail.starts_with("unknown command") && detail.contains("HELLO");
        match (error.kind(), error.code()) {
            (ErrorKind::InvalidClientConfig, _) => Self::Tls,
            (_, Some("NOPROTO")) => Self::OldServer,
            (_, Some("ERR")) if unknown => Self::OldServer,
            _ => Self::of(error),
        }
    }

    /// The kind of an error that the server replied.
    pub(crate) fn of_reply(error: &redis::ServerError) -> Self {
        Self::of_code(error.kind(), Some(error.code()), error.details())
    }

    fn of_code(kind: Option<ServerErrorKind>, code: Option<&str>, detail: Option<&str>) -> Self {
        let within = detail.filter(|_| code == Some("ERR")).and_then(within_script);
        let (kind, code) = match within {
            Some(message) if message.starts_with(DENIED_WITHIN) => return Self::Denied,
            Some(message) => (None, message.split(' ').next()),
            None => (kind, code),
        };
        match (kind, code.unwrap_or_default()) {
            (Some(ServerErrorKind::BusyLoading), _) | (_, "LOADING") => Self::Loading,
            (Some(ServerErrorKind::ReadOnly), _) | (_, "READONLY") => Self::ReadOnly,
            (Some(ServerErrorKind::NoPerm), _) | (_, "NOPERM") => Self::Denied,
            (Some(ServerErrorKind::ClusterDown), _) | (_, "CLUSTERDOWN") => Self::ClusterDown,
            (_, "WRONGPASS" | "NOAUTH") => Self::Auth,
            (_, "WRONGTYPE") => Self::WrongType,
            (_, "OOM") => Self::OutOfMemory,
            _ => Self::Replied,
        }
    }
}

/// What Redis before version 7 says where the user may not do what a script does.
const DENIED_WITHIN: &str = "The user executing the script";

/// The error of a command that a script called. Before version 7, Redis has it in the text of another:
/// `Error running script (call to f_<hash>): @user_script:1: @user_script: 1: -OOM command not allowed ..`.
fn within_script(detail: &str) -> Option<&str> {
    let (_, last) = detail.strip_prefix("Error running script")?.rsplit_once("@user_script:")?;
    let (_line, message) = last.split_once(": ")?;
    Some(message.strip_prefix('-').unwrap_or(message))
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "Redis did not answer in time",
            Self::Down => "Redis is down",
            Self::Broken => "the connection to Redis broke",
            Self::Refused => "Redis cannot be reached",
            Self::Auth => "Redis refuses the name or the password",
            Self::OldServer => "this Redis is older than version 6",
            Self::UnknownIssuer => "nobody who is trusted has signed the certificate of Redis",
            Self::WrongHost => "the certificate of Redis is for another host",
            Self::Expired => "the certificate of Redis is not valid at this time",
            Self::Tls => "no TLS connection to Redis came about",
            Self::NotACluster => "this Redis is no cluster: write `redis://`",
            Self::IsACluster => "this Redis is a cluster: write `redis+cluster://`",
            Self::ClusterDown => "no node of the Redis cluster serves the key",
            Self::Redirected => "the key is being moved between nodes of the Redis cluster",
            Self::UnknownService => "no Redis sentinel knows the service",
            Self::Denied => "the Redis user may not do this",
            Self::NoTracking => "this Redis, or its user, has no `CLIENT TRACKING`",
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
/// [`RedisLocks`](crate::RedisLocks) was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The address is none that the client library can read, or asks for what was not built in. Its text
    /// is not shown, since it may hold a password.
    Address,
    /// The address is that of a cluster, of sentinels, or for TLS, and the feature of that name is not enabled.
    NotBuiltIn,
    /// A certificate or a key is none that can be read as PEM.
    Certificate,
    /// Certificates are given, and the address is none for TLS.
    NoTls,
    /// The address asks not to verify the server's certificate.
    Unverified,
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
            Self::NotBuiltIn => "the address needs the feature `cluster`, `sentinel` or `tls`",
            Self::Certificate => "a certificate or a key cannot be read: give PEM",
            Self::NoTls => "certificates are of no use without TLS: write `rediss://`",
            Self::Unverified => "certificates are always verified: leave `#insecure` out",
            Self::EmptyPrefix => "the prefix is empty: give the program's name, `app` or `app:eu`",
            Self::ZeroTimeout => "a time-out is zero: give at least a millisecond",
        })
    }
}

impl Error for BuildError {}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::*;

    fn of(reply: &str) -> ServerError {
        match parse_redis_value(format!("-{reply}\r\n").as_bytes()).unwrap() {
            Value::ServerError(error) => {
                let kind = ServerError::of_reply(&error);
                assert_eq!(kind, ServerError::of(&error.into()));
                kind
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_within_scripts_are_known_before_redis_7_too() {
        let call = "ERR Error running script (call to f_6b1bf486c81ceb7edf3c093f4c48582e38c0e791)";
        for (message, kind) in [
            ("READONLY You can't write against a read only replica.", ServerError::ReadOnly),
            ("OOM command not allowed when used memory > 'maxmemory'.", ServerError::OutOfMemory),
            ("CLUSTERDOWN The cluster is down", ServerError::ClusterDown),
            ("NOPERM this user has no permissions to run it", ServerError::Denied),
            ("MISCONF it is configured to save snapshots", ServerError::Replied),
        ] {
            assert_eq!(of(message), kind, "by itself");
            let within = format!("{call}: @user_script:1: @user_script: 1: -{message}");
            assert_eq!(of(&within), kind, "{within}");
        }
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(of(&format!("{call}: @user_script:12: {wrong}")), ServerError::WrongType);
        let denied = "The user executing the script can't run this command or subcommand";
        let denied = format!("{call}: @user_script:1: @user_script: 1: {denied}");
        assert_eq!(of(&denied), ServerError::Denied);
    }

    #[test]
    fn other_texts_are_no_errors_within_scripts() {
        let compared = "@user_script:3: attempt to compare nil with number";
        for text in [
            "ERR unknown command 'HELLO'",
            "ERR Error compiling script (new function): @user_script:1: OOM",
            &format!("ERR Error running script (call to f_0): {compared}"),
            "ERR Error running script",
            "ERR",
        ] {
            assert_eq!(of(text), ServerError::Replied, "{text}");
        }
    }
}
