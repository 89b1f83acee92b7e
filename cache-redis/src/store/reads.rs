//! Entries asked for.

use std::borrow::Cow;

use cache_core::store::{Codec, StoreError, Stored};
use redis::Cmd;

use super::version::{Check, Trip};
use super::{RedisStore, Space, count};
use crate::error::ServerError;
use crate::key::Kind;
use crate::link::Answer;
use crate::{form, reply};

impl Space {
    /// Asks for an entry, and for no more than one byte above the limit.
    pub(super) fn ask(
        &self,
        key: &[u8],
        longest: usize,
        trip: &mut Trip<'_>,
    ) -> Result<(), StoreError> {
        self.write_name(Kind::Entry(trip.version), key, &mut trip.name)?;
        let mut bytes = Cmd::with_capacity(4, trip.name.len() + 32);
        bytes.arg("GETRANGE").arg(&trip.name).arg(0).arg(longest);
        trip.commands.add_command(bytes);
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
        let answer = answers.await?.pop().ok_or(ServerError::Protocol)?;
        self.open(key, answer)
    }

    fn open(&self, key: &[u8], found: Answer) -> Result<Option<Stored<V>>, StoreError> {
        let bytes = match reply::bytes(found.value) {
            Err(ServerError::WrongType) => {
                count(&self.space.counts.corrupt);
                return Err(ServerError::WrongType.into());
            }
            bytes => bytes?,
        };
        let read = self.form.read::<V>(key, &bytes, found.at);
        let read = read.inspect_err(|error| {
            let foreign = matches!(error, form::Unread::Foreign(_));
            count(if foreign { &self.space.counts.foreign } else { &self.space.counts.corrupt });
        })?;
        if read.misdated {
            count(&self.space.counts.misdated);
        }
        Ok(read.stored)
    }

    pub(super) async fn fetch_many(
        &self,
        keys: &[(usize, Cow<'_, [u8]>)],
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<(), StoreError> {
        let space = &self.space;
        let answers = space.on_version(space.check(), |trip| {
            keys.iter().try_for_each(|(_, key)| space.ask(key, self.form.longest(key), trip))
        });
        let mut answers = answers.await?.into_iter();
        for (position, key) in keys {
            let answer = answers.next().ok_or(ServerError::Protocol)?;
            match self.open(key, answer) {
                Ok(Some(stored)) => found(*position, stored),
                Ok(None) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
