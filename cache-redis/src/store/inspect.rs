//! What Redis holds for a key, for those who look after it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

use cache_core::Lifetime;
use cache_core::store::envelope::{self, Envelope};
use cache_core::store::{KeyBytes, StoreError};

use super::version::Check;
use super::{RedisStore, Space};
use crate::error::ServerError;
use crate::key::Kind;
use crate::{form, reply};

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
    /// Whether its expiry is not the one that it was given, so that it counts as stale.
    pub altered: bool,
}

impl<V, C> RedisStore<V, C> {
    /// What is there for `key`, whatever codec and schema its value has. The value is fetched, to see
    /// whether it is whole, and not decoded. One trip. No entry is
    /// changed, and nothing counted.
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
            self.ask(key, longest, trip)?;
            trip.commands.cmd("PTTL").arg(lease);
            Ok(())
        });
        let Ok([left, bytes, lease]) = <[redis::Value; 3]>::try_from(answers.await?) else {
            return Err(ServerError::Protocol.into());
        };
        let left = reply::integer(left)?;
        Ok(Inspection {
            version: version.into_inner(),
            entry: look(key, left, longest, bytes),
            lease: millis(reply::integer(lease)?),
        })
    }
}

fn look(
    key: &[u8],
    left: i64,
    longest: usize,
    bytes: redis::Value,
) -> Result<Option<Inspected>, StoreError> {
    let bytes = reply::bytes(bytes)?;
    if bytes.is_empty() && left == -2 {
        return Ok(None);
    }
    if bytes.len() > longest {
        return Err(StoreError::corrupt("it is longer than the limit"));
    }
    let entry = envelope::decode(&bytes).map_err(StoreError::corrupt_by)?;
    let Envelope { header, key: found, value, .. } = entry;
    if found != key {
        return Err(StoreError::corrupt("it is the entry of another key"));
    }
    let (lifetime, altered) = form::aged(header.lifetime, left);
    let kept_for = millis(left);
    let (codec, schema, value_bytes) = (header.codec, header.schema, value.len());
    Ok(Some(Inspected { codec, schema, value_bytes, lifetime, kept_for, altered }))
}

/// A time as Redis tells it; below zero there is none.
fn millis(left: i64) -> Option<Duration> {
    u64::try_from(left).ok().map(Duration::from_millis)
}
