//! Entries in Redis.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::sync::Arc;

use cache_core::store::{
    AsyncSharedStore, AsyncStore, Codec, KeyBytes, Mutation, Station, StoreError, Stored,
};
use cache_core::{Instant, Lifetime};

use crate::Server;
use crate::backplane::Hub;
use crate::error::BuildError;
use crate::form::{Form, Unread};
use crate::key::{Kind, Names};

mod changes;
mod inspect;
mod leases;
mod purge;
mod reads;
mod tags;
mod version;

pub use inspect::{Inspected, Inspection};
pub(crate) use tags::TagMemory;
pub(crate) use version::Version;

/// Entries in a Redis server, shared by all processes that give the same prefix and namespace.
///
/// Each entry is one string, whose expiry in Redis is the end of its last window, at most ten years
/// ahead. Its age is told by the server's clock alone, so the clocks of those who share it do not matter. An operation is one trip to the server and back, as long as the namespace is not
/// cleared at the same time.
///
/// [`clear`](AsyncStore::clear) takes one trip too, whatever the number of entries: it gives the
/// namespace a new version. All who change something see it at once, and so do those who read by the store
/// that cleared, or its clones; others who read see it within [`version_check`](Self::version_check), one second
/// unless said, or when the [`backplane`](Self::backplane) tells. What was cleared keeps its memory until it
/// expires, or until [`purge`](AsyncStore::purge) frees it.
///
/// It is an [`AsyncSharedStore`]: each change is one script, which also ends the lease of the entry and tells
/// the backplane of others. Clones share all that is counted and known; they are cheap.
///
/// What is kept but cannot be read is [`StoreError::Corrupt`], counted by [`stats`](Self::stats): damaged
/// bytes, other types, entries of another codec, another schema or a later version of this library.
/// `put_if_absent` leaves such an entry alone, `put` replaces it.
///
/// ```no_run
/// use std::time::Duration;
/// use cache_core::store::{AsyncStore, Plain};
/// use cache_core::{Instant, Lifetime};
/// use cache_redis::{RedisStore, Server};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::open("redis://localhost")?;
/// let pages = RedisStore::<String, _>::new(&server, "shop", Plain)?.namespace("pages");
/// let minute = Lifetime::fresh_for(Duration::from_secs(60));
/// pages.put("/index", &"<html>..".to_owned(), minute, Instant::ORIGIN).await?;
/// # Ok(())
/// # }
/// ```
pub struct RedisStore<V, C> {
    space: Arc<Space>,
    form: Form<C>,
    value: PhantomData<fn() -> V>,
}

/// What the clones of a store share.
struct Space {
    server: Server,
    settings: Settings,
    names: Names,
    channel: Vec<u8>,
    version: Arc<Version>,
    tags: Arc<TagMemory>,
    hub: Arc<Hub>,
    cursor: purge::Cursor,
    counts: Counts,
}

/// What the names are made of, and how long their version counts.
#[derive(Clone)]
struct Settings {
    prefix: Vec<u8>,
    namespace: Vec<u8>,
    max_key: usize,
    version_check: Duration,
    tracking: bool,
}

impl Space {
    fn new(server: &Server, settings: Settings) -> Arc<Self> {
        let names = Names::new(&settings.prefix, &settings.namespace, settings.max_key);
        let (channel, version) = (names.channel(), Arc::new(Version::default()));
        let tags = Arc::new(TagMemory::default());
        let known = (Arc::clone(&version), Arc::clone(&tags));
        let hub = Hub::new(server.clone(), &names, known, settings.tracking);
        Arc::new(Self {
            hub: Arc::new(hub),
            server: server.clone(),
            settings,
            names,
            channel,
            version,
            tags,
            cursor: purge::Cursor::default(),
            counts: Counts::default(),
        })
    }

    /// The name of what belongs to a key, which may be too large.
    fn name(&self, kind: Kind, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.names.of(kind, key).inspect_err(|_| count(&self.counts.too_large))
    }

    /// The same, in place of what `name` is.
    fn write_name(&self, kind: Kind, key: &[u8], name: &mut Vec<u8>) -> Result<(), StoreError> {
        self.names.write(kind, key, name).inspect_err(|_| count(&self.counts.too_large))
    }
}

#[derive(Default)]
struct Counts {
    corrupt: AtomicU64,
    foreign: AtomicU64,
    misdated: AtomicU64,
    too_large: AtomicU64,
}

impl Counts {
    fn unread(&self, error: &Unread) {
        count(if matches!(error, Unread::Foreign(_)) { &self.foreign } else { &self.corrupt });
    }
}

/// What a [`RedisStore`] met since it was made. Each time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Entries that could not be read: damaged, of another type, or longer than the limit.
    pub corrupt: u64,
    /// Entries of another codec, another schema or a later version of this library.
    pub foreign: u64,
    /// Entries that were written later than now by the server's clock, which somebody has set back. They count as
    /// stale.
    pub misdated: u64,
    /// Keys and values that were refused for their size.
    pub too_large: u64,
}

/// Keys for which `get_many` asks at once.
const BATCH: usize = 256;

impl<V, C: Codec<V>> RedisStore<V, C> {
    /// A store whose keys in Redis begin with `prefix` and a colon. Values of up to 16 MiB, keys of up to
    /// 64 KiB.
    ///
    /// # Errors
    /// The prefix is empty.
    pub fn new(server: &Server, prefix: impl AsRef<[u8]>, codec: C) -> Result<Self, BuildError> {
        if prefix.as_ref().is_empty() {
            return Err(BuildError::EmptyPrefix);
        }
        let settings = Settings {
            prefix: prefix.as_ref().to_vec(),
            namespace: b"default".to_vec(),
            max_key: 64 << 10,
            version_check: Duration::from_secs(1),
            tracking: false,
        };
        Ok(Self { space: Space::new(server, settings), form: Form::new(codec), value: PhantomData })
    }

    /// Keeps entries apart from those of other namespaces under the same prefix. Any bytes will do.
    #[must_use]
    pub fn namespace(self, name: impl AsRef<[u8]>) -> Self {
        self.with(|settings| settings.namespace = name.as_ref().to_vec())
    }

    /// Bytes of one key, above which it is refused.
    #[must_use]
    pub fn max_key_bytes(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_key = bytes)
    }

    /// For so long reads may go by the version of the namespace that was read last: so long after a clear they
    /// may answer what was cleared, unless the [backplane](Self::backplane) tells of it before. One second unless
    /// said; zero for a question with every read, which costs some of a read's time. What changes something asks
    /// in any case.
    #[must_use]
    pub fn version_check(self, span: Duration) -> Self {
        self.with(|settings| settings.version_check = span)
    }

    /// Has the [backplane](Self::backplane) tell also what others do to the entries in Redis, and what Redis does
    /// itself: a `SET` or `DEL` by another program, an expiry, an eviction. Such an entry is
    /// [expired](cache_core::store::Receiver::expired); when the server is emptied, the channel
    /// [opens](cache_core::store::Receiver::opened) anew.
    ///
    /// For that each connection that listens has the server track names (`CLIENT TRACKING`, in broadcast mode), and in
    /// a cluster there is one more connection to each primary. Where the server has no such command, or not for this user, the
    /// channel does not open: [`RedisBackplane::connection`](crate::RedisBackplane::connection) says
    /// [`NoTracking`](crate::ServerError::NoTracking).
    ///
    /// Not told is what others do to an entry in the same turn of the server's loop as a change by this library, or
    /// within two heartbeats after one that changed nothing in Redis, such as a removal of what was not there, with
    /// no other change of the namespace in between. Then the life of what is in memory is the bound.
    ///
    /// Give entries a window after freshness: one without any expires in Redis just when it is loaded anew, which cannot
    /// be told from a deletion, and may be loaded twice.
    #[must_use]
    pub fn tracking(self) -> Self {
        self.with(|settings| settings.tracking = true)
    }

    /// The same, which shares nothing with clones that were made before.
    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.space.settings.clone();
        change(&mut settings);
        self.space = Space::new(&self.space.server, settings);
        self
    }

    /// Another version of the value's type: entries of other versions cannot be read.
    #[must_use]
    pub const fn schema(mut self, schema: u16) -> Self {
        self.form.schema = schema;
        self
    }

    /// Bytes of one encoded value, above which it is refused, and not fetched either. Above the server's
    /// own `proto-max-bulk-len`, 512 MiB as a rule, the server would cut the connection.
    #[must_use]
    pub const fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.form.max_value = bytes;
        self
    }
}

impl<V, C> RedisStore<V, C> {
    /// What was met since this was made.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            corrupt: self.space.counts.corrupt.load(Relaxed),
            foreign: self.space.counts.foreign.load(Relaxed),
            misdated: self.space.counts.misdated.load(Relaxed),
            too_large: self.space.counts.too_large.load(Relaxed),
        }
    }

    /// The server that was given.
    pub fn server(&self) -> &Server {
        &self.space.server
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl<V, C> Clone for RedisStore<V, C> {
    fn clone(&self) -> Self {
        Self { space: Arc::clone(&self.space), form: self.form.clone(), value: PhantomData }
    }
}

impl<V, C> fmt::Debug for RedisStore<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<K, V, C> AsyncStore<K, V> for RedisStore<V, C>
where
    K: KeyBytes + Sync + ?Sized,
    V: Send + Sync,
    C: Codec<V> + Send + Sync,
{
    async fn get(&self, key: &K, _: Instant) -> Result<Option<Stored<V>>, StoreError> {
        self.fetch(&key.key_bytes()).await
    }

    async fn put(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.mutate(key, Mutation::put(value, lifetime), Station::NOBODY, now).await.map(drop)
    }

    async fn remove(&self, key: &K, _: Instant) -> Result<bool, StoreError> {
        self.space.remove(&key.key_bytes(), Station::NOBODY).await
    }

    async fn get_many(
        &self,
        keys: &[&K],
        _: Instant,
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<(), StoreError> {
        let (mut batch, mut unread) = (vec![], None);
        for (position, key) in keys.iter().enumerate() {
            let key = key.key_bytes();
            match self.space.names.allow(&key) {
                Ok(()) => batch.push((position, key)),
                Err(_) => {
                    count(&self.space.counts.too_large);
                    continue; // no such key was ever put
                }
            }
            if batch.len() == BATCH {
                unread = unread.or(self.fetch_many(&std::mem::take(&mut batch), found).await?);
            }
        }
        if !batch.is_empty() {
            unread = unread.or(self.fetch_many(&batch, found).await?);
        }
        unread.map_or(Ok(()), Err)
    }

    /// In one step. Where what is there cannot be read, it is left alone.
    async fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        _: Instant,
    ) -> Result<bool, StoreError> {
        if lifetime.remaining().is_zero() {
            return Ok(false);
        }
        self.add(&key.key_bytes(), value, lifetime).await
    }

    /// Gives the namespace its next version. O(1).
    async fn clear(&self, _: Instant) -> Result<(), StoreError> {
        self.space.clear(Station::NOBODY).await
    }

    /// Frees entries that were cleared; those that have expired are freed by Redis itself. Goes once
    /// through the names that Redis holds, in short steps, or on from where the budget ended last time.
    async fn purge(&self, _: Instant, budget: usize) -> Result<usize, StoreError> {
        self.space.sweep(budget).await
    }

    fn shared(&self) -> Option<impl AsyncSharedStore<K, V> + Send + Sync> {
        Some(self)
    }
}
