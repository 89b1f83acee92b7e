//! Entries asked for.

use cache_core::store::{Codec, StoreError, Stored};
use redis::Cmd;

use super::version::{Check, Trip};
use super::{RedisStore, Space, count};
use crate::error::ServerError;
use crate::key::Kind;
use crate::{form, reply};

/// What is left of the expiry, and the bytes.
struct Found(redis::Value, redis::Value);

fn both(
    left: Result<redis::Value, ServerError>,
    bytes: Result<redis::Value, ServerError>,
) -> Result<Found, StoreError> {
    Ok(Found(left?, bytes?))
}

impl Space {
    /// Asks for what is left of an entry's expiry, then for the entry: so what is read is never younger
    /// than it is told.
    pub(super) fn ask(
        &self,
        key: &[u8],
        longest: usize,
        trip: &mut Trip<'_>,
    ) -> Result<(), StoreError> {
        let name = self.name(Kind::Entry(trip.version), key)?;
        let mut left = Cmd::with_capacity(2, name.len() + 4);
        left.arg("PTTL").arg(&name);
        let mut bytes = Cmd::with_capacity(4, name.len() + 32);
        bytes.arg("GETRANGE").arg(&name).arg(0).arg(longest);
        trip.commands.add_command(left).add_command(bytes);
        Ok(())
    }

    const fn check(&self) -> Check {
        Check::After(self.settings.version_check)
    }
}

impl<V: Send + Sync, C: Codec<V> + Send + Sync> RedisStore<V, C> {
    pub(super) async fn fetch(&self, key: &[u8]) -> Result<Option<Stored<V>>, StoreError> {
        let (space, longest) = (&self.space, self.form.longest(key));
        let answers = space.on_version(space.check(), |trip| space.ask(key, longest, trip));
        let Ok([left, bytes]) = <[redis::Value; 2]>::try_from(answers.await?) else {
            return Err(ServerError::Protocol.into());
        };
        self.open(key, Found(left, bytes))
    }

    fn open(&self, key: &[u8], found: Found) -> Result<Option<Stored<V>>, StoreError> {
        let left = reply::integer(found.0)?;
        let bytes = match reply::bytes(found.1) {
            Err(ServerError::WrongType) => {
                count(&self.space.counts.corrupt);
                return Err(ServerError::WrongType.into());
            }
            bytes => bytes?,
        };
        let read = self.form.read::<V>(key, left, &bytes);
        let read = read.inspect_err(|error| {
            let foreign = matches!(error, form::Unread::Foreign(_));
            count(if foreign { &self.space.counts.foreign } else { &self.space.counts.corrupt });
        })?;
        if read.altered {
            count(&self.space.counts.altered);
        }
        Ok(read.stored)
    }

    /// Tells what was found, and then why some was not read, if that is so.
    ///
    /// # Errors
    /// Nothing was read.
    pub(super) async fn fetch_many(
        &self,
        keys: &[(usize, Vec<u8>)],
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<Option<StoreError>, StoreError> {
        let space = &self.space;
        let answers = space.each_on_version(space.check(), |trip| {
            keys.iter().try_for_each(|(_, key)| space.ask(key, self.form.longest(key), trip))
        });
        let mut answers = answers.await?.into_iter();
        let mut unread = None;
        for (position, key) in keys {
            let (Some(left), Some(bytes)) = (answers.next(), answers.next()) else { break };
            match both(left, bytes).and_then(|answers| self.open(key, answers)) {
                Ok(Some(stored)) => found(*position, stored),
                Ok(None) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => unread = Some(error),
            }
        }
        Ok(unread)
    }
}
