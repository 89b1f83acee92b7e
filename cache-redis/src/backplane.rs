//! The channel by which processes tell each other what they did to a store.

use core::fmt;
use core::sync::atomic::{
    AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cache_core::store::{Backplane, KeyFromBytes, Receiver, Station};
use tokio::runtime::Handle;

use crate::key::Names;
use crate::message::News;
use crate::store::{TagMemory, Version};
use crate::{Connection, Server, random};

mod channel;
mod ears;
mod expected;
mod inbox;
mod lines;
mod pump;
mod tracked;

use channel::Turn;
use ears::Ear;
use tracked::Tracked;
pub use tracked::TrackingStats;

/// Tells the receivers of this process what happens to a [`RedisStore`](crate::RedisStore), wherever it is
/// done; from [`RedisStore::backplane`](crate::RedisStore::backplane). Cheap to clone.
///
/// It listens on a connection of its own, which is made as soon as a receiver is attached on a tokio runtime,
/// or else with the store's first operation, and closed within a second after the last receiver is gone. When
/// the runtime ends, receivers are told that the channel is closed, and the store's next operation on
/// another one opens it again.
///
/// The channel [opens](Receiver::opened) when Redis has confirmed the subscription, and
/// [closes](Receiver::closed) when the connection ends. A connection that gives no answer any more is given
/// up after two heartbeats: with the usual settings 0.7 s after its last answer at most, in general two heartbeats
/// and one operation's time-out. Redis delivers to one connection all that is said, in order; to one that
/// does not take it in time, it ends the connection. So between opening and closing nothing is lost in
/// silence. In a cluster it listens to any primary, and nodes pass on to each other what is said; what is lost
/// between them is not noticed, and only the life of what is in memory bounds it. Messages that cannot be understood, such as those of a later version of this library, and those that
/// find no room (16,384 messages, 8 MiB) open the channel anew.
///
/// Of what others than this library do, it hears where the store [tracks](crate::RedisStore::tracking): entries that
/// they change, and those that Redis itself evicts or lets expire, are [expired](Receiver::expired). In a cluster it
/// then has a connection to each primary besides, and is open while all of them are.
///
/// Receivers are called one after another on a task of the runtime, and nothing is locked meanwhile. One that
/// panics is told that the channel is closed, and nothing after that.
#[derive(Clone)]
pub struct RedisBackplane {
    hub: Arc<Hub>,
}

impl RedisBackplane {
    pub(crate) const fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Whether all that others change is told now. Receivers that were attached a moment ago may not have heard
    /// of it yet.
    pub fn is_open(&self) -> bool {
        self.hub.open.load(Acquire)
    }

    /// How those connections are that listen: `Up` while [all is told](Self::is_open), `Down` with the reason why it
    /// is not, `Starting` before that is known and while nobody listens.
    pub fn connection(&self) -> Connection {
        self.hub.lock().connection
    }

    /// What was met by [tracking](crate::RedisStore::tracking); `None` where the store does not track.
    pub fn tracked(&self) -> Option<TrackingStats> {
        self.hub.tracked.as_ref().map(|tracked| tracked.stats())
    }

    /// How often messages were lost while the connection stood, or could not be understood.
    pub fn gaps(&self) -> u64 {
        self.hub.gaps.load(Relaxed)
    }
}

impl fmt::Debug for RedisBackplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackplane")
            .field("open", &self.is_open())
            .field("gaps", &self.gaps())
            .finish_non_exhaustive()
    }
}

impl<K: KeyFromBytes + 'static> Backplane<K> for RedisBackplane {
    fn attach(&self, receiver: Weak<dyn Receiver<K>>) -> Station {
        let station = Station::new(random::station());
        self.hub.attach(Ear::new(station, receiver));
        station
    }
}

/// Who listens to one namespace, in this process.
pub(crate) struct Hub {
    server: Server,
    channel: Vec<u8>,
    /// Where changed names are told too.
    tracked: Option<Arc<Tracked>>,
    version: Arc<Version>,
    tags: Arc<TagMemory>,
    state: Mutex<State>,
    /// Whether somebody listens, and nobody tells.
    asleep: AtomicBool,
    /// Whether those who listen were told that the channel is open.
    open: AtomicBool,
    gaps: AtomicU64,
    /// Wakes who tells.
    joined: tokio::sync::Notify,
}

struct State {
    ears: Vec<Arc<Ear>>,
    /// Whether there is a task that tells.
    running: bool,
    /// How its connections are.
    connection: Connection,
}

impl Hub {
    /// What is `known` is forgotten when it may be over.
    pub(crate) fn new(
        server: Server,
        names: &Names,
        known: (Arc<Version>, Arc<TagMemory>),
        tracks: bool,
    ) -> Self {
        let (version, tags) = known;
        let tracked = || Arc::new(Tracked::new(names.clone(), Arc::clone(&version)));
        let state = State { ears: vec![], running: false, connection: Connection::Starting };
        Self {
            server,
            channel: names.channel(),
            tracked: tracks.then(tracked),
            version,
            tags,
            state: Mutex::new(state),
            asleep: AtomicBool::new(false),
            open: AtomicBool::new(false),
            gaps: AtomicU64::new(0),
            joined: tokio::sync::Notify::new(),
        }
    }

    /// Goes on to tell where that has ended with its runtime, or could not begin. Costs an atomic load.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.asleep.load(Relaxed) {
            self.start();
        }
    }

    fn attach(self: &Arc<Self>, ear: Arc<Ear>) {
        let mut state = self.lock();
        state.ears.retain(|ear| ear.is_there());
        state.ears.push(ear);
        drop(state);
        self.joined.notify_one();
        self.start();
    }

    fn start(self: &Arc<Self>) {
        let runtime = Handle::try_current();
        let mut state = self.lock();
        if state.running || state.ears.is_empty() {
            return;
        }
        self.asleep.store(runtime.is_err(), Relaxed);
        let Ok(runtime) = runtime else { return };
        state.running = true;
        drop(state);
        pump::start(self, &runtime);
    }

    /// Whether nobody listens any more, in which case the task that tells ends.
    fn retire(&self) -> bool {
        let mut state = self.lock();
        state.ears.retain(|ear| ear.is_there());
        state.running = !state.ears.is_empty();
        if !state.running {
            state.connection = Connection::Starting;
            self.open.store(false, Release);
        }
        !state.running
    }

    fn set_connection(&self, connection: Connection) {
        self.lock().connection = connection;
    }

    /// The task that tells has ended, by itself or with its runtime.
    fn ended(&self) {
        let mut state = self.lock();
        state.running = false;
        state.connection = Connection::Starting;
        self.asleep.store(!state.ears.is_empty(), Relaxed);
    }

    fn tell(&self, turn: &Turn<'_>) {
        if matches!(turn, Turn::Opened | Turn::News(_, News::Cleared)) {
            self.version.forget();
        }
        let of_a_tag =
            |news: &News<'_>| matches!(news, News::TagExpired(_) | News::TagInvalidated(_));
        if matches!(turn, Turn::Opened) || matches!(turn, Turn::News(_, news) if of_a_tag(news)) {
            self.tags.forget();
        }
        if matches!(turn, Turn::Closed) {
            self.open.store(false, Release);
        }
        self.ears().iter().for_each(|ear| ear.hear(turn));
        if matches!(turn, Turn::Opened) {
            self.open.store(true, Release);
        }
    }

    fn greet(&self) {
        self.ears().iter().for_each(|ear| ear.greet());
    }

    fn ears(&self) -> Vec<Arc<Ear>> {
        self.lock().ears.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
