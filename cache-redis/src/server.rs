//! A Redis server, as stores and locks share it.

use core::fmt;
use core::pin::pin;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use std::sync::Arc;

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::driver::{Core, Subscription};
use crate::error::{BuildError, ServerError};
use crate::link::Link;
use crate::supervisor::{Gate, Terms};

/// A Redis server of version 6 or later, reached by one connection that all who hold a clone share.
///
/// The connection is made with the first operation, and made again whenever it ends. While it is down,
/// operations fail at once. A server that is connected but does not answer is noticed by a heartbeat, and
/// by operations in a row that get no answer. No operation takes longer than its time-out, whatever it
/// waits for, and none is sent again on another connection.
///
/// The connection lives on the tokio runtime of the first operation, which must go on running, and when
/// that has ended, on that of the next. Runtimes must have their timers enabled, as `#[tokio::main]` has.
///
/// A Redis user needs these commands on the prefix's keys (`~app:*` for the prefix `app`): `get set pttl
/// getrange unlink scan eval evalsha time exists pexpire del`, and `hello auth ping`. What changes a store is told on
/// a channel that begins as its keys do: `publish` there (`&app:*`), and `subscribe` for who listens to a
/// [`RedisBackplane`](crate::RedisBackplane).
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    operation: Duration,
    room: Room,
    ends: [AtomicU64; ServerError::KINDS],
}

/// So many operations may be under way.
struct Room {
    limit: usize,
    inside: AtomicUsize,
}

/// An operation that is under way.
struct Place<'a>(&'a Room);

impl Room {
    fn enter(&self) -> Option<Place<'_>> {
        let place = Place(self);
        (self.inside.fetch_add(1, Relaxed) < self.limit).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Relaxed);
    }
}

/// How the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// None was tried yet, or the first is being made.
    Starting,
    /// Operations are sent.
    Up,
    /// Operations fail at once, for this reason.
    Down(ServerError),
}

impl Server {
    /// The server at an address such as `redis://:password@host:6379/0` or
    /// `unix:///run/redis.sock`. Nothing is sent before the first operation.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn open(address: &str) -> Result<Self, BuildError> {
        Self::builder(address)?.build()
    }

    /// As [`open`](Self::open), with more to say.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn builder(address: &str) -> Result<ServerBuilder, BuildError> {
        let info = address.into_connection_info().map_err(|_| BuildError::Address)?;
        Ok(ServerBuilder::of(info))
    }

    /// How the connection is now.
    pub fn connection(&self) -> Connection {
        match self.shared.core.gate() {
            Gate::Starting => Connection::Starting,
            Gate::Open(_) => Connection::Up,
            Gate::Shut(reason) => Connection::Down(reason),
        }
    }

    /// How often a connection ended or was given up.
    pub fn connections_lost(&self) -> u64 {
        self.shared.core.lost()
    }

    /// How many operations ended with this error.
    pub fn failures(&self, error: ServerError) -> u64 {
        self.shared.ends[error.number()].load(Relaxed)
    }

    /// Another connection, which listens.
    pub(crate) fn listening(&self, subscription: Subscription) -> Core {
        self.shared.core.listening(subscription)
    }

    /// Runs one operation on the connection, under one time-out.
    pub(crate) async fn operate<T, F>(&self, work: impl FnOnce(Link) -> F) -> Result<T, ServerError>
    where
        F: Future<Output = Result<T, ServerError>>,
    {
        let answer = self.attempt(work).await;
        if let Err(error) = &answer {
            self.shared.ends[error.number()].fetch_add(1, Relaxed);
        }
        answer
    }

    async fn attempt<T, F>(&self, work: impl FnOnce(Link) -> F) -> Result<T, ServerError>
    where
        F: Future<Output = Result<T, ServerError>>,
    {
        Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
        let Shared { core, operation, room, .. } = &*self.shared;
        let _place = room.enter().ok_or(ServerError::Busy)?;
        let mut used = None;
        let work = async {
            let (epoch, connection) = core.open().await?;
            used = Some(epoch);
            work(Link::new(connection)).await
        };
        let answer = {
            let work = pin!(work); // it is large, and not to be moved
            timeout(*operation, work).await.unwrap_or(Err(ServerError::TimedOut))
        };
        if let Some(epoch) = used {
            core.report(epoch, answer.as_ref().map(|_| ()).map_err(|error| *error));
        }
        answer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.core.stop();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("connection", &self.connection()).finish_non_exhaustive()
    }
}

/// What a [`Server`] is made of.
#[derive(Clone)]
pub struct ServerBuilder {
    info: ConnectionInfo,
    terms: Terms,
    operation: Duration,
    connect: Duration,
    in_flight: usize,
}

impl ServerBuilder {
    const fn of(info: ConnectionInfo) -> Self {
        Self {
            info,
            terms: Terms::DEFAULT,
            operation: Duration::from_millis(200),
            connect: Duration::from_millis(500),
            in_flight: 1_024,
        }
    }

    /// From the settings of the client library, for what an address cannot say. This alone depends on
    /// that library's version. RESP3 and `TCP_NODELAY` are set in any case.
    pub const fn from_redis(info: ConnectionInfo) -> Self {
        Self::of(info)
    }

    /// Time for one operation, whatever it waits for, and for an answer to a heartbeat. 200 ms unless said.
    #[must_use]
    pub const fn operation_timeout(mut self, span: Duration) -> Self {
        self.operation = span;
        self
    }

    /// Time to make a connection. 500 ms unless said.
    #[must_use]
    pub const fn connect_timeout(mut self, span: Duration) -> Self {
        self.connect = span;
        self
    }

    /// Time from one heartbeat to the next. Two without an answer end the connection. 250 ms unless said.
    #[must_use]
    pub const fn heartbeat(mut self, span: Duration) -> Self {
        self.terms.heartbeat = span;
        self
    }

    /// Operations that may be under way at the same time; more are [`ServerError::Busy`]. 1,024 unless said.
    #[must_use]
    pub const fn max_in_flight(mut self, operations: usize) -> Self {
        self.in_flight = operations;
        self
    }

    /// The server. Nothing is sent before the first operation.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn build(self) -> Result<Server, BuildError> {
        let Self { info, terms, operation, connect, in_flight } = self;
        if [operation, connect, terms.heartbeat].iter().any(Duration::is_zero) {
            return Err(BuildError::ZeroTimeout);
        }
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(redis).set_tcp_settings(tcp);
        let client = Client::open(info).map_err(|_| BuildError::Address)?;
        let shared = Shared {
            core: Arc::new(Core::new(client, terms, connect, operation)),
            operation,
            room: Room { limit: in_flight, inside: AtomicUsize::new(0) },
            ends: [const { AtomicU64::new(0) }; ServerError::KINDS],
        };
        Ok(Server { shared: Arc::new(shared) })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { terms, operation, connect, in_flight, .. } = self;
        f.debug_struct("ServerBuilder")
            .field("operation_timeout", operation)
            .field("connect_timeout", connect)
            .field("heartbeat", &terms.heartbeat)
            .field("max_in_flight", in_flight)
            .finish_non_exhaustive()
    }
}
