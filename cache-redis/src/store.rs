//! Entries in Redis.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cache_core::store::{AsyncStore, Codec, KeyBytes, StoreError, Stored};
use cache_core::{Instant, Lifetime};
use redis::Pipeline;

use crate::error::{BuildError, ServerError};
use crate::key::{Kind, Names};
use crate::link::Link;
use crate::{Server, reply};

mod leases;
mod purge;
mod version;

use crate::form::{self, Form};
use version::Version;

/// Entries in a Redis server, shared by all processes that give the same prefix and namespace.
///
/// Each entry is one string, whose expiry in Redis is the end of its last window, at most ten years
/// ahead. Its age is told by what Redis says is left of that, so the clocks of those who share it do
/// not matter. An operation is one trip to the server and back, as long as the namespace is not
/// cleared at the same time.
///
/// [`clear`](AsyncStore::clear) takes one trip too, whatever the number of entries: it gives the
/// namespace a new version, which all who share it see with their next operation. What was cleared
/// keeps its memory until it expires, or until [`purge`](AsyncStore::purge) frees it.
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
    server: Server,
    prefix: Vec<u8>,
    namespace: Vec<u8>,
    max_key: usize,
    names: Names,
    version: Version,
    form: Form<C>,
    cursor: purge::Cursor,
    counts: Counts,
    value: PhantomData<fn() -> V>,
}

#[derive(Default)]
struct Counts {
    corrupt: AtomicU64,
    foreign: AtomicU64,
    altered: AtomicU64,
    too_large: AtomicU64,
}

/// What a [`RedisStore`] met since it was made. Each time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Entries that could not be read: damaged, of another type, or longer than the limit.
    pub corrupt: u64,
    /// Entries of another codec, another schema or a later version of this library.
    pub foreign: u64,
    /// Entries whose expiry somebody else has changed. They count as stale.
    pub altered: u64,
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
        let store = Self {
            server: server.clone(),
            prefix: prefix.as_ref().to_vec(),
            namespace: b"default".to_vec(),
            max_key: 64 << 10,
            names: Names::new(b"", b"", 0),
            version: Version::default(),
            form: Form::new(codec),
            cursor: purge::Cursor::default(),
            counts: Counts::default(),
            value: PhantomData,
        };
        Ok(store.renamed())
    }

    /// Keeps entries apart from those of other namespaces under the same prefix. Any bytes will do.
    #[must_use]
    pub fn namespace(mut self, name: impl AsRef<[u8]>) -> Self {
        self.namespace = name.as_ref().to_vec();
        self.renamed()
    }

    /// Bytes of one key, above which it is refused.
    #[must_use]
    pub fn max_key_bytes(mut self, bytes: usize) -> Self {
        self.max_key = bytes;
        self.renamed()
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

    fn renamed(mut self) -> Self {
        self.names = Names::new(&self.prefix, &self.namespace, self.max_key);
        self
    }
}

impl<V, C> RedisStore<V, C> {
    /// What was met since this was made.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            corrupt: self.counts.corrupt.load(Relaxed),
            foreign: self.counts.foreign.load(Relaxed),
            altered: self.counts.altered.load(Relaxed),
            too_large: self.counts.too_large.load(Relaxed),
        }
    }

    /// The server that was given.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// The name of what belongs to a key, which may be too large.
    fn name(&self, kind: Kind, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.names.of(kind, key).inspect_err(|_| count(&self.counts.too_large))
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl<V, C> fmt::Debug for RedisStore<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<V: Send + Sync, C: Codec<V> + Send + Sync> RedisStore<V, C> {
    /// The commands that keep an entry; with `only` where there is none.
    fn keep(&self, name: &[u8], bytes: &[u8], expiry: u64, only: bool, to: &mut Pipeline) {
        let command = to.cmd("SET").arg(name).arg(bytes).arg("PX").arg(expiry);
        if only {
            command.arg("NX");
        }
    }

    async fn store(
        &self,
        key: &[u8],
        value: &V,
        lifetime: Lifetime,
        only: bool,
    ) -> Result<bool, StoreError> {
        let expiry = form::expiry(lifetime);
        self.name(Kind::Lease, key)?;
        let bytes = self.form.write(key, value, lifetime).inspect_err(|error| {
            if matches!(error, StoreError::TooLarge { .. }) {
                count(&self.counts.too_large);
            }
        })?;
        let answers = self.on_version(|version, commands| {
            let name = self.name(Kind::Entry(version), key)?;
            self.keep(&name, &bytes, expiry, only, commands);
            Ok(())
        });
        let answer = answers.await?.pop().ok_or(ServerError::Protocol)?;
        Ok(reply::done(answer)?)
    }

    async fn drop_entry(&self, key: &[u8]) -> Result<bool, StoreError> {
        let answers = self.on_version(|version, commands| {
            commands.cmd("UNLINK").arg(self.name(Kind::Entry(version), key)?);
            Ok(())
        });
        let answer = answers.await?.pop().ok_or(ServerError::Protocol)?;
        Ok(reply::integer(answer)? > 0)
    }

    /// Asks for what is left of an entry's expiry, then for the entry: so what is read is never younger
    /// than it is told.
    fn fetch(&self, version: u64, key: &[u8], to: &mut Pipeline) -> Result<(), StoreError> {
        let name = self.name(Kind::Entry(version), key)?;
        to.cmd("PTTL").arg(&name);
        to.cmd("GETRANGE").arg(&name).arg(0).arg(self.form.longest(key));
        Ok(())
    }

    fn open(&self, key: &[u8], found: Found) -> Result<Option<Stored<V>>, StoreError> {
        let left = reply::integer(found.0)?;
        let bytes = match reply::bytes(found.1) {
            Err(ServerError::WrongType) => {
                count(&self.counts.corrupt);
                return Err(ServerError::WrongType.into());
            }
            bytes => bytes?,
        };
        let read = self.form.read::<V>(key, left, &bytes);
        let read = read.inspect_err(|error| {
            let foreign = matches!(error, form::Unread::Foreign(_));
            count(if foreign { &self.counts.foreign } else { &self.counts.corrupt });
        })?;
        if read.altered {
            count(&self.counts.altered);
        }
        Ok(read.stored)
    }

    async fn fetch_many(
        &self,
        keys: &[(usize, Vec<u8>)],
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<(), StoreError> {
        let answers = self.on_version(|version, commands| {
            keys.iter().try_for_each(|(_, key)| self.fetch(version, key, commands))
        });
        let mut answers = answers.await?.into_iter();
        for (position, key) in keys {
            let (Some(left), Some(bytes)) = (answers.next(), answers.next()) else { break };
            match self.open(key, Found(left, bytes)) {
                Ok(Some(stored)) => found(*position, stored),
                Ok(None) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is left of the expiry, and the bytes.
struct Found(redis::Value, redis::Value);

impl<K, V, C> AsyncStore<K, V> for RedisStore<V, C>
where
    K: KeyBytes + Sync + ?Sized,
    V: Send + Sync,
    C: Codec<V> + Send + Sync,
{
    async fn get(&self, key: &K, _: Instant) -> Result<Option<Stored<V>>, StoreError> {
        let key = &*key.key_bytes();
        let answers = self.on_version(|version, commands| self.fetch(version, key, commands));
        let Ok([left, bytes]) = <[redis::Value; 2]>::try_from(answers.await?) else {
            return Err(ServerError::Protocol.into());
        };
        self.open(key, Found(left, bytes))
    }

    async fn put(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        _: Instant,
    ) -> Result<(), StoreError> {
        let key = &*key.key_bytes();
        if lifetime.remaining().is_zero() {
            return self.drop_entry(key).await.map(drop);
        }
        self.store(key, value, lifetime, false).await.map(drop)
    }

    async fn remove(&self, key: &K, _: Instant) -> Result<bool, StoreError> {
        self.drop_entry(&key.key_bytes()).await
    }

    async fn get_many(
        &self,
        keys: &[&K],
        _: Instant,
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<(), StoreError> {
        let mut batch = vec![];
        for (position, key) in keys.iter().enumerate() {
            let key = key.key_bytes().into_owned();
            match self.name(Kind::Lease, &key) {
                Ok(_) => batch.push((position, key)),
                Err(_) => continue, // no such key was ever put
            }
            if batch.len() == BATCH {
                self.fetch_many(&std::mem::take(&mut batch), found).await?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.fetch_many(&batch, found).await }
    }

    /// In one step. An entry that is still kept, if only for errors, is there.
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
        self.store(&key.key_bytes(), value, lifetime, true).await
    }

    /// Gives the namespace its next version. O(1).
    async fn clear(&self, _: Instant) -> Result<(), StoreError> {
        let next = self
            .server
            .operate(|mut link: Link| async move { version::next(&self.names, &mut link).await });
        self.version.set(next.await?);
        Ok(())
    }

    /// Frees entries that were cleared; those that have expired are freed by Redis itself. Goes once
    /// through the names that Redis holds, in short steps, or on from where the budget ended last time.
    async fn purge(&self, _: Instant, budget: usize) -> Result<usize, StoreError> {
        self.sweep(budget).await
    }
}
