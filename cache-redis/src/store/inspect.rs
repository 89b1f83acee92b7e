//! What Redis holds for a key, for those who look after it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

use cache_core::Lifetime;
use cache_core::store::{KeyBytes, StoreError};

use super::version::Check;
use super::{RedisStore, Space};
use crate::error::ServerError;
use crate::form::Opened;
use crate::key::Kind;
use crate::link::Answer;
use crate::reply;
use crate::stamp::Aged;

/// What Redis holds for a key. From [`RedisStore::inspect`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The number of the namespace's version: of its last clear, in microseconds since 1970 as a rule.
    pub version: u64,
    /// The entry, if there is one; the error says why it cannot be read.
    pub entry: Result<Option<Inspected>, StoreError>,
    /// What is left of the lease of who loads the key, if somebody does.
    pub lease: Option<Duration>,
}

/// An entry without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspected {
    /// [`Codec::ID`](cache_core::store::Codec::ID) of the value.
    pub codec: u8,
    /// The user's version of the value's type.
    pub schema: u16,
    /// Bytes of the encoded value.
    pub value_bytes: usize,
    /// Its life as of now.
    pub lifetime: Lifetime,
    /// What is left until Redis frees it. `None` where somebody else took its expiry away.
    pub kept_for: Option<Duration>,
    /// How many tags it has.
    pub tags: usize,
    /// Whether one of them was invalidated since, so that nobody is answered it.
    pub invalidated: bool,
    /// Whether it was written later than now by the server's clock, so that it counts as stale.
    pub misdated: bool,
}

impl<V, C> RedisStore<V, C> {
    /// What is there for `key`, whatever codec and schema its value has. The value is fetched, to see
    /// whether it is whole, and not decoded. One trip, or two for an entry with tags. No entry is changed, and nothing
    /// counted.
    ///
    /// # Errors
    /// The server did not answer, or the key is too large.
    pub async fn inspect<K>(&self, key: &K) -> Result<Inspection, StoreError>
    where
        K: KeyBytes + Sync + ?Sized,
        V: Sync,
        C: Sync,
    {
        let key = &*key.key_bytes();
        self.space.inspect(key, self.form.longest(key)).await
    }
}

impl Space {
    async fn inspect(&self, key: &[u8], longest: usize) -> Result<Inspection, StoreError> {
        let version = AtomicU64::new(0);
        let answers = self.on_version(Check::Always, |trip| {
            version.store(trip.version, Relaxed);
            let lease = self.name(Kind::Lease(trip.version), key)?;
            let entry = self.name(Kind::Entry(trip.version), key)?;
            self.ask(key, longest, trip)?;
            trip.commands.cmd("PTTL").arg(entry).cmd("PTTL").arg(lease);
            Ok(())
        });
        let Ok([entry, left, lease]) = <[Answer; 3]>::try_from(answers.await?) else {
            return Err(ServerError::Protocol.into());
        };
        Ok(Inspection {
            version: version.into_inner(),
            entry: self.look(key, longest, entry, reply::integer(left.value)?).await,
            lease: millis(reply::integer(lease.value)?),
        })
    }

    async fn look(
        &self,
        key: &[u8],
        longest: usize,
        entry: Answer,
        left: i64,
    ) -> Result<Option<Inspected>, StoreError> {
        let bytes = reply::bytes(entry.value)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > longest {
            return Err(StoreError::corrupt("it is longer than the limit"));
        }
        let mut opened = Opened::read(&bytes).map_err(StoreError::from)?;
        if opened.key != key {
            return Err(StoreError::corrupt("it is the entry of another key"));
        }
        let histories = self.histories(&opened.tags).await?;
        let invalidated = !histories.allow(&mut opened);
        let Aged { lifetime, misdated } = opened.aged(entry.at);
        Ok(Some(Inspected {
            codec: opened.header.codec,
            schema: opened.header.schema,
            value_bytes: opened.value.len(),
            lifetime,
            kept_for: millis(left),
            tags: opened.tags.len(),
            invalidated,
            misdated,
        }))
    }
}

/// A time as Redis tells it; below zero there is none.
fn millis(left: i64) -> Option<Duration> {
    u64::try_from(left).ok().map(Duration::from_millis)
}
