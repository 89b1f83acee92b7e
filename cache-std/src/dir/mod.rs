//! A store of files, one for each entry.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cache_core::store::envelope::{self, EncodeError, Envelope, HEADER, Header};
use cache_core::store::{Codec, KeyBytes, Store, StoreError, Stored};
use cache_core::{Instant, Lifetime};

mod files;
mod room;

use files::{Files, Found, Locked};
use room::Room;

/// Entries in files of a folder, for programs that want to find them again after a restart, and for
/// processes that share a disk.
///
/// Each entry is one file, whose name is a hash of its key and which holds the key itself, so any key
/// will do. A file appears whole or not at all, and a file that is damaged all the same is an absent
/// entry, which [`stats`](Self::stats) counts. Processes may use one folder at the same time: whoever
/// changes an entry locks a small part of the folder for as long as that takes; reads take no lock.
/// What is put is there for other processes at once. It is not forced onto the disk: a crash of the
/// whole machine may lose entries, but never alters them.
///
/// Ages are counted by the wall clock, since no other clock goes on between two runs of a program.
/// Where that was set back by more than a second, an entry that seems to come from the future is
/// absent.
///
/// ```
/// use std::time::Duration;
/// use cache_core::store::{Plain, Store};
/// use cache_core::{Instant, Lifetime};
/// use cache_std::DirStore;
///
/// # let folder = std::env::temp_dir().join(format!("cache-doc-{}", std::process::id()));
/// # let now = Instant::ORIGIN;
/// let pages = DirStore::<String, _>::new(&folder, Plain);
/// let hour = Lifetime::fresh_for(Duration::from_secs(3_600));
/// pages.put("https://example.org/?a=b", &"<html>..".to_owned(), hour, now)?;
///
/// let again = DirStore::<String, _>::new(&folder, Plain);
/// let found = again.get("https://example.org/?a=b", now)?.expect("stored just now");
/// assert_eq!(found.value, "<html>..");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DirStore<V, C> {
    files: Files,
    codec: C,
    schema: u16,
    max_value: usize,
    clock: Arc<Clock>,
    room: Room,
    counts: Counts,
    value: PhantomData<fn() -> V>,
}

type Clock = dyn Fn() -> SystemTime + Send + Sync;

#[derive(Default)]
struct Counts {
    corrupt: AtomicU64,
    foreign: AtomicU64,
}

/// What a [`DirStore`] met since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirStats {
    /// Files that could not be read: damaged, or of another format. Each time counts.
    pub corrupt: u64,
    /// Entries of another codec, another schema or a later version of this library.
    pub foreign: u64,
    /// Entries removed to make room.
    pub evicted: u64,
}

impl<V, C: Codec<V>> DirStore<V, C> {
    /// A store in `folder`, which is made with the first entry. Up to 256 MiB altogether, and 16 MiB
    /// for one value.
    pub fn new(folder: impl Into<PathBuf>, codec: C) -> Self {
        Self {
            files: Files::new(folder.into(), "default"),
            codec,
            schema: 0,
            max_value: 16 << 20,
            clock: Arc::new(SystemTime::now),
            room: Room::new(256 << 20),
            counts: Counts::default(),
            value: PhantomData,
        }
    }

    /// Keeps entries apart from those of other names in the same folder. Any text will do.
    pub fn namespace(mut self, name: &str) -> Self {
        self.files = self.files.renamed(name);
        self
    }

    /// Another version of the value's type: entries of other versions are absent.
    pub const fn schema(mut self, schema: u16) -> Self {
        self.schema = schema;
        self
    }

    /// Bytes of all files together, above which the entries written longest ago are removed. Checked
    /// with each put; what other processes put is seen when a tenth of it has gone through this one.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.room = Room::new(bytes);
        self
    }

    /// Bytes of one encoded value, above which it is refused.
    pub const fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value = bytes;
        self
    }

    /// Another wall clock: for tests.
    pub fn wall_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What was met since this was made.
    pub fn stats(&self) -> DirStats {
        DirStats {
            corrupt: self.counts.corrupt.load(Ordering::Relaxed),
            foreign: self.counts.foreign.load(Ordering::Relaxed),
            evicted: self.room.evicted(),
        }
    }

    /// Entries in files, alive or not. O(entries).
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn len(&self) -> Result<usize, StoreError> {
        let mut files = 0;
        self.files
            .visit(|_| {
                files += 1;
                Ok(())
            })
            .map_err(unavailable)?;
        Ok(files)
    }

    /// Whether there is no file. O(entries).
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.len().map(|len| len == 0)
    }

    fn now(&self) -> u64 {
        let since = (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The value in a file, if that holds this key's, and is alive.
    fn open(&self, key: &[u8], bytes: &[u8]) -> Option<Stored<V>> {
        let opened = match envelope::decode(bytes) {
            Ok(opened) => opened,
            Err(envelope::EnvelopeError::Newer) => return none(&self.counts.foreign),
            Err(_) => return none(&self.counts.corrupt),
        };
        let Envelope { header, key: found, value, .. } = opened;
        if found != key {
            return None; // another key of the same hash
        }
        if header.codec != C::ID || header.schema != self.schema {
            return none(&self.counts.foreign);
        }
        let lifetime = alive(&header, self.now())?;
        match self.codec.decode(value) {
            Ok(value) => Some(Stored::new(value, lifetime)),
            Err(_) => none(&self.counts.corrupt),
        }
    }

    fn read(&self, key: &[u8]) -> Result<Option<Stored<V>>, StoreError> {
        let limit = HEADER as u64 + key.len() as u64 + self.max_value as u64;
        match self.files.read(key, limit).map_err(unavailable)? {
            Found::Nothing => Ok(None),
            Found::TooLong => Ok(none(&self.counts.corrupt)),
            Found::Bytes(bytes) => Ok(self.open(key, &bytes)),
        }
    }

    fn sealed(&self, key: &[u8], value: &V, lifetime: Lifetime) -> Result<Vec<u8>, StoreError> {
        let header = Header::new(C::ID, lifetime);
        let header = header.schema(self.schema).written_at(self.now());
        let mut bytes = Vec::new();
        let encode = |out: &mut Vec<u8>| self.codec.encode(value, out);
        envelope::encode(&header, (key, &[]), encode, &mut bytes).map_err(|error| match error {
            EncodeError::Value(error) => StoreError::corrupt_by(error),
            EncodeError::TooLong(size) => StoreError::too_large(size, u32::MAX as usize),
        })?;
        let size = bytes.len() - HEADER - key.len();
        if size > self.max_value || !self.room.fits(bytes.len()) {
            let limit = self.max_value.min(self.room.limit());
            return Err(StoreError::too_large(size, limit));
        }
        Ok(bytes)
    }

    /// Writes a file where none is, or in place of one.
    fn write(&self, locked: &Locked<'_>, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let (before, after) = (locked.size(key), bytes.len() as u64);
        locked.write(key, bytes).map_err(unavailable)?;
        self.room.changed(before, after);
        Ok(())
    }

    fn erase(&self, locked: &Locked<'_>, key: &[u8]) -> Result<(), StoreError> {
        let before = locked.size(key);
        locked.remove(key).map_err(unavailable)?;
        self.room.changed(before, 0);
        Ok(())
    }

    fn make_room(&self) -> Result<(), StoreError> {
        self.room.make(&self.files).map_err(unavailable)
    }
}

/// Counts what cannot be read, which is an absent entry.
fn none<T>(count: &AtomicU64) -> Option<T> {
    count.fetch_add(1, Ordering::Relaxed);
    None
}

/// The lifetime of an entry by now, if that is not over.
fn alive(header: &Header, now: u64) -> Option<Lifetime> {
    const SECOND: u64 = 1_000_000_000;
    if header.written_at > now.saturating_add(SECOND) {
        return None;
    }
    let passed = Duration::from_nanos(now.saturating_sub(header.written_at));
    let lifetime = header.lifetime.aged(header.lifetime.age.saturating_add(passed));
    Some(lifetime).filter(|lifetime| !lifetime.remaining().is_zero())
}

fn unavailable(error: io::Error) -> StoreError {
    StoreError::unavailable_by(error)
}

impl<K, V, C> Store<K, V> for DirStore<V, C>
where
    K: KeyBytes + ?Sized,
    C: Codec<V>,
{
    fn get(&self, key: &K, _: Instant) -> Result<Option<Stored<V>>, StoreError> {
        self.read(&key.key_bytes())
    }

    fn put(&self, key: &K, value: &V, lifetime: Lifetime, _: Instant) -> Result<(), StoreError> {
        let key = key.key_bytes();
        if lifetime.remaining().is_zero() {
            return match self.files.lock_existing(&key).map_err(unavailable)? {
                Some(locked) => self.erase(&locked, &key),
                None => Ok(()),
            };
        }
        let bytes = self.sealed(&key, value, lifetime)?;
        let locked = self.files.lock(&key).map_err(unavailable)?;
        self.write(&locked, &key, &bytes)?;
        drop(locked);
        self.make_room()
    }

    fn remove(&self, key: &K, _: Instant) -> Result<bool, StoreError> {
        let key = key.key_bytes();
        let Some(locked) = self.files.lock_existing(&key).map_err(unavailable)? else {
            return Ok(false);
        };
        let found = self.read(&key)?.is_some();
        self.erase(&locked, &key)?;
        Ok(found)
    }

    fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        _: Instant,
    ) -> Result<bool, StoreError> {
        let key = key.key_bytes();
        if lifetime.remaining().is_zero() {
            return Ok(false);
        }
        let bytes = self.sealed(&key, value, lifetime)?;
        let locked = self.files.lock(&key).map_err(unavailable)?;
        if self.read(&key)?.is_some_and(|found| found.lifetime.is_present()) {
            return Ok(false);
        }
        self.write(&locked, &key, &bytes)?;
        drop(locked);
        self.make_room()?;
        Ok(true)
    }

    fn clear(&self, _: Instant) -> Result<(), StoreError> {
        self.files.remove_all().map_err(unavailable)?;
        self.room.forget();
        Ok(())
    }

    fn purge(&self, _: Instant, budget: usize) -> Result<usize, StoreError> {
        let now = self.now();
        let dead = |header: &Header| alive(header, now).is_none();
        self.files.remove_some(dead, budget, &self.room).map_err(unavailable)
    }
}

impl<V, C> fmt::Debug for DirStore<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirStore").field("folder", &self.files.namespace()).finish_non_exhaustive()
    }
}
