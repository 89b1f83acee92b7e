//! The entries of a cache as bytes, to be found again after a restart.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use super::builder::DefaultHasher;
use super::cache::Cache;

mod export;
mod format;
mod import;
mod report;
mod stream;

pub use report::{ExportError, Exported, ImportError, Imported};

type WallClock = dyn Fn() -> SystemTime + Send + Sync;

/// What is written of a cache, or read into one; made by [`Cache::snapshot`].
///
/// [`export`](Self::export) writes the entries one after another, and [`import`](Self::import) reads
/// them again: here or elsewhere, by this version of the library or a later one. Each entry keeps its
/// age, its windows, its tags and its etag. What a reader finds damaged costs the entries that it
/// touches, and not those after it.
///
/// ```
/// use std::time::Duration;
/// use cache_std::store::Plain;
/// use cache_std::sync::Cache;
///
/// let hour = Duration::from_secs(3_600);
/// let pages: Cache<String, String> = Cache::builder().ttl(hour).build()?;
/// pages.put("/about".to_owned(), "<html>..".to_owned());
///
/// let mut bytes = Vec::new(); // or a file
/// let exported = pages.snapshot(Plain).export(&mut bytes)?;
/// assert_eq!((exported.entries, exported.bytes), (1, bytes.len() as u64));
///
/// let again: Cache<String, String> = Cache::builder().ttl(hour).build()?;
/// let imported = again.snapshot(Plain).import(&bytes[..])?;
/// assert!(imported.whole && imported.entries == 1);
/// assert_eq!(again.get("/about").as_deref(), Some("<html>.."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a snapshot does nothing until `export` or `import`"]
pub struct Snapshot<'a, K, V, C, S = DefaultHasher> {
    cache: &'a Cache<K, V, S>,
    codec: C,
    schema: u16,
    max_entry: usize,
    wall_clock: Arc<WallClock>,
    paused: bool,
}

impl<K, V, S> Cache<K, V, S> {
    /// All entries as bytes, their values encoded by `codec`: to be written, or read again.
    pub fn snapshot<C>(&self, codec: C) -> Snapshot<'_, K, V, C, S> {
        Snapshot {
            cache: self,
            codec,
            schema: 0,
            max_entry: 64 << 20,
            wall_clock: Arc::new(SystemTime::now),
            paused: false,
        }
    }
}

impl<K, V, C, S> Snapshot<'_, K, V, C, S> {
    /// Another version of the value's type: entries of other versions are not read.
    pub const fn schema(mut self, schema: u16) -> Self {
        self.schema = schema;
        self
    }

    /// Bytes of one entry, all in all, above which it is neither written nor read: 64 MiB if not
    /// said, and never more than 4 GiB. One such entry is held in memory at a time.
    pub const fn max_entry_bytes(mut self, bytes: usize) -> Self {
        self.max_entry = bytes;
        self
    }

    /// Has no entry age between export and import, however long that was.
    pub const fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Another wall clock than the system's: for tests.
    pub fn wall_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.wall_clock = Arc::new(clock);
        self
    }

    /// Nanoseconds since 1970; 0 before that.
    fn wall(&self) -> u64 {
        let passed = (self.wall_clock)().duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(passed.unwrap_or(Duration::ZERO).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl<K, V, C, S> fmt::Debug for Snapshot<'_, K, V, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("schema", &self.schema).finish_non_exhaustive()
    }
}
