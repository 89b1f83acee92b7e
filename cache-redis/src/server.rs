//! A Redis server, as stores and locks share it.

use core::fmt;
use core::pin::pin;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch::{Receiver, Sender};
#[cfg(feature = "cluster")]
use tokio::time::Instant;
use tokio::time::timeout;

use crate::address::Address;
use crate::clock::Micros;
#[cfg(feature = "cluster")]
use crate::cluster::{Hub, Pending, Place, Routed};
use crate::driver::{Core, Subscription};
use crate::error::{BuildError, ServerError};
use crate::link::{ByteLimit, Link};
use crate::supervisor::Gate;

mod builder;
mod goal;
mod watch;

pub use builder::ServerBuilder;
use goal::Goal;
pub use watch::ConnectionWatch;

/// A Redis server of version 6 or later, reached by one connection that all who hold a clone share, or a
/// Redis Cluster, with one connection to each primary.
///
/// The connection is made with the first operation, and made again whenever it ends. While it is down,
/// operations fail at once. A server that is connected but does not answer is noticed by a heartbeat, and
/// by operations in a row that get no answer. No operation takes longer than its time-out, whatever it
/// waits for, and none is sent again on another connection.
///
/// The connection lives on the tokio runtime of the first operation, which must go on running, and when
/// that has ended, on that of the next. Runtimes must have their timers enabled, as `#[tokio::main]` has.
///
/// In a cluster, each command goes to the node that its key's slot belongs to. It follows redirections
/// within its time-out; nothing else is sent again. While a primary is down, operations on
/// its slots fail at once, and those on others do not notice; the map of slots is asked for again until it
/// names another.
///
/// A Redis user needs these commands on the prefix's keys (`~app:*` for the prefix `app`): `get set pttl
/// getrange setrange unlink scan eval evalsha time pexpire del`, and `hello auth ping`. What changes a store is told on
/// a channel that begins as its keys do: `publish` there (`&app:*`), and `subscribe` for who listens to a
/// [`RedisBackplane`](crate::RedisBackplane). In a cluster `cluster|slots asking` too, and for
/// [`RedisStore::tracking`](crate::RedisStore::tracking) `client|tracking`.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    /// Rings when the connection may have changed.
    moved: Arc<Sender<()>>,
    operation: Duration,
    room: Room,
    bytes: ByteLimit,
    ends: [AtomicU64; ServerError::KINDS],
}

/// What operations run on.
enum Target {
    One(Arc<Core>),
    #[cfg(feature = "cluster")]
    Cluster(Arc<Hub>),
}

/// One of the servers that hold keys.
pub(crate) enum Site {
    /// The only one.
    One,
    /// A primary of a cluster.
    #[cfg(feature = "cluster")]
    Node(Place),
}

impl Site {
    /// What tells it from the others.
    pub(crate) const fn address(&self) -> Option<&Address> {
        match self {
            Self::One => None,
            #[cfg(feature = "cluster")]
            Self::Node(place) => Some(&place.address),
        }
    }
}

/// So many operations may be under way.
struct Room {
    limit: usize,
    inside: AtomicUsize,
}

/// An operation that is under way.
struct Inside<'a>(&'a Room);

impl Room {
    fn enter(&self) -> Option<Inside<'_>> {
        let place = Inside(self);
        (self.inside.fetch_add(1, Relaxed) < self.limit).then_some(place)
    }
}

impl Drop for Inside<'_> {
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
    /// Of so many primaries of a cluster so many are down. Operations on their slots fail at once.
    Partly {
        /// Those that are down.
        down: usize,
        /// All that own slots.
        primaries: usize,
    },
}

impl Server {
    /// The server at an address such as `redis://:password@host:6379/0` or
    /// `unix:///run/redis.sock`; with the feature `cluster` the cluster that has nodes at
    /// `redis+cluster://:password@one:7000,two:7000`, of which one that answers is enough; with the feature
    /// `sentinel` the primary of a service, `redis+sentinel://:password@one:26379,two:26379/service/0`,
    /// where the password is the server's.
    /// Nothing is sent before the first operation.
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
        Goal::read(address).map(ServerBuilder::of)
    }

    /// The cluster that has nodes at these addresses, each such as `redis://:password@host:7000`. Name and
    /// password are those of the first one.
    ///
    /// # Errors
    /// An address cannot be read, is a Unix socket, or has a database other than 0.
    #[cfg(feature = "cluster")]
    pub fn cluster<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<ServerBuilder, BuildError> {
        Goal::cluster(addresses).map(ServerBuilder::of)
    }

    /// The primary of a service that sentinels at these addresses know, each such as
    /// `redis://:password@host:26379`, where the password is the sentinel's. The server's own is said with
    /// [`ServerBuilder::credentials`].
    ///
    /// With each connection all sentinels are asked, and the server must say that it takes writes. The
    /// connection is given up when it takes no more.
    ///
    /// # Errors
    /// An address cannot be read, or is a Unix socket; or there is none, or the name is empty.
    #[cfg(feature = "sentinel")]
    pub fn sentinel<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
        service: &str,
    ) -> Result<ServerBuilder, BuildError> {
        Goal::sentinel(addresses, service).map(ServerBuilder::of)
    }

    fn on(
        target: Target,
        moved: Arc<Sender<()>>,
        operation: Duration,
        [operations, bytes]: [usize; 2],
    ) -> Self {
        let shared = Shared {
            target,
            moved,
            operation,
            room: Room { limit: operations, inside: AtomicUsize::new(0) },
            bytes: ByteLimit::new(bytes),
            ends: [const { AtomicU64::new(0) }; ServerError::KINDS],
        };
        Self { shared: Arc::new(shared) }
    }

    /// How the connection is now.
    pub fn connection(&self) -> Connection {
        self.shared.connection()
    }

    /// Tells of each change of the connection.
    pub fn watch(&self) -> ConnectionWatch {
        ConnectionWatch::new(&self.shared)
    }

    /// How often a connection ended or was given up.
    pub fn connections_lost(&self) -> u64 {
        match &self.shared.target {
            Target::One(core) => core.lost(),
            #[cfg(feature = "cluster")]
            Target::Cluster(hub) => hub.lost(),
        }
    }

    /// How many operations ended with this error.
    pub fn failures(&self, error: ServerError) -> u64 {
        self.shared.ends[error.number()].load(Relaxed)
    }

    /// Another connection, which listens; in a cluster to any node, since all tell the same. Rings when it may
    /// have changed.
    pub(crate) fn listening(&self, subscription: Subscription, moved: Arc<Sender<()>>) -> Core {
        match &self.shared.target {
            Target::One(core) => core.listening(subscription, moved),
            #[cfg(feature = "cluster")]
            Target::Cluster(hub) => hub.listening(subscription, moved),
        }
    }

    /// The time of the server that has this name, as far as it is known without asking.
    #[cfg_attr(not(feature = "cluster"), allow(unused_variables))]
    pub(crate) fn time_at(&self, name: &[u8]) -> Option<Micros> {
        match &self.shared.target {
            Target::One(core) => core.known_time(),
            #[cfg(feature = "cluster")]
            Target::Cluster(hub) => hub.time_at(name),
        }
    }

    /// The primaries of a cluster, each of which tells of its own keys alone; `None` for one server.
    #[cfg(feature = "cluster")]
    pub(crate) fn primaries(&self) -> Option<Vec<Place>> {
        match &self.shared.target {
            Target::One(_) => None,
            Target::Cluster(hub) => Some(hub.primaries()),
        }
    }

    /// Rings when the connections may have changed.
    pub(crate) fn moves(&self) -> Receiver<()> {
        self.shared.moved.subscribe()
    }

    /// Runs one operation, under one time-out.
    pub(crate) async fn operate<T, F>(&self, work: impl FnOnce(Link) -> F) -> Result<T, ServerError>
    where
        F: Future<Output = Result<T, ServerError>>,
    {
        self.operate_on(&Site::One, work).await
    }

    /// As [`operate`](Self::operate), where commands without a key go to this server.
    pub(crate) async fn operate_on<T, F>(
        &self,
        site: &Site,
        work: impl FnOnce(Link) -> F,
    ) -> Result<T, ServerError>
    where
        F: Future<Output = Result<T, ServerError>>,
    {
        let answer = self.attempt(site, work).await;
        answer.inspect_err(|error| self.note(*error))
    }

    /// Counts an operation that ended with this error, though it has answers.
    pub(crate) fn note(&self, error: ServerError) {
        self.shared.ends[error.number()].fetch_add(1, Relaxed);
    }

    /// All servers that hold keys.
    pub(crate) async fn sites(&self) -> Result<Vec<Site>, ServerError> {
        match &self.shared.target {
            Target::One(_) => Ok(vec![Site::One]),
            #[cfg(feature = "cluster")]
            Target::Cluster(hub) => {
                self.operate(|_| async { Ok(()) }).await?;
                Ok(hub.primaries().into_iter().map(Site::Node).collect())
            }
        }
    }

    async fn attempt<T, F>(
        &self,
        site: &Site,
        work: impl FnOnce(Link) -> F,
    ) -> Result<T, ServerError>
    where
        F: Future<Output = Result<T, ServerError>>,
    {
        Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
        let Shared { target, operation, room, bytes, .. } = &*self.shared;
        let _place = room.enter().ok_or(ServerError::Busy)?;
        let (operation, bytes) = (*operation, bytes.clone());
        match (target, site) {
            (Target::One(core), _) => on_one(core, bytes, operation, work).await,
            #[cfg(feature = "cluster")]
            (Target::Cluster(hub), site) => on_cluster(hub, site, bytes, operation, work).await,
        }
    }
}

async fn on_one<T, F>(
    core: &Arc<Core>,
    bytes: ByteLimit,
    operation: Duration,
    work: impl FnOnce(Link) -> F,
) -> Result<T, ServerError>
where
    F: Future<Output = Result<T, ServerError>>,
{
    let mut used = None;
    let work = async {
        let (epoch, connection) = core.open().await?;
        used = Some(epoch);
        work(Link::new(connection, Arc::clone(core), bytes)).await
    };
    let answer = {
        let work = pin!(work); // it is large, and not to be moved
        timeout(operation, work).await.unwrap_or(Err(ServerError::TimedOut))
    };
    if let Some(epoch) = used {
        core.report(epoch, answer.as_ref().map(|_| ()).map_err(|error| *error));
    }
    answer
}

#[cfg(feature = "cluster")]
async fn on_cluster<T, F>(
    hub: &Arc<Hub>,
    site: &Site,
    bytes: ByteLimit,
    operation: Duration,
    work: impl FnOnce(Link) -> F,
) -> Result<T, ServerError>
where
    F: Future<Output = Result<T, ServerError>>,
{
    let pending = Arc::new(Pending::default());
    let here = if let Site::Node(place) = site { Some(place.clone()) } else { None };
    // One node that hangs leaves time to tell what the others have answered.
    let until = Instant::now() + operation - operation / 20;
    let routed = Routed::new(Arc::clone(hub), Arc::clone(&pending), here, until);
    let work = pin!(async {
        hub.ready().await?;
        work(Link::routed(routed, bytes)).await
    });
    timeout(operation, work).await.unwrap_or_else(|_| {
        pending.time_out();
        Err(ServerError::TimedOut)
    })
}

#[cfg(feature = "cluster")]
impl Connection {
    const fn of(health: crate::cluster::Health) -> Self {
        let crate::cluster::Health { primaries, down, reason } = health;
        match reason {
            None => Self::Up,
            Some(reason) if down == primaries => Self::Down(reason),
            Some(_) => Self::Partly { down, primaries },
        }
    }
}

impl Shared {
    fn connection(&self) -> Connection {
        match &self.target {
            Target::One(core) => match core.gate() {
                Gate::Starting => Connection::Starting,
                Gate::Open(_) => Connection::Up,
                Gate::Shut(reason) => Connection::Down(reason),
            },
            #[cfg(feature = "cluster")]
            Target::Cluster(hub) => match hub.health() {
                Ok(None) => Connection::Starting,
                Ok(Some(health)) => Connection::of(health),
                Err(reason) => Connection::Down(reason),
            },
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.moved.send_replace(());
        match &self.target {
            Target::One(core) => core.stop(),
            #[cfg(feature = "cluster")]
            Target::Cluster(hub) => hub.stop(),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("connection", &self.connection()).finish_non_exhaustive()
    }
}
