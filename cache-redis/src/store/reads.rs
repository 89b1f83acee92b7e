//! Entries asked for.

use std::borrow::Cow;

use cache_core::store::{Codec, StoreError, Stored};
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::version::{Check, Trip};
use super::{RedisStore, Space, count};
use crate::clock::Micros;
use crate::error::ServerError;
use crate::form::Opened;
use crate::key::Kind;
use crate::link::Answer;
use crate::reply;

/// A server's time, and what has passed since.
fn later(at: Micros, since: Instant) -> Micros {
    at.saturating_add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX))
}

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
        let answer = self.answer(key).await?;
        let bytes = self.bytes_of(answer.value)?;
        let Some(mut opened) = self.open(key, &bytes)? else { return Ok(None) };
        if opened.tags.is_empty() {
            return self.read(opened, answer.at);
        }
        let answered = Instant::now();
        let histories = self.space.histories(&opened.tags).await?;
        if !histories.allow(&mut opened) {
            return Ok(None);
        }
        self.read(opened, later(answer.at, answered))
    }

    /// When the entry was written that nobody is answered, or as kept for errors alone, for its tags; none where
    /// there is another, or none, or one that cannot be read.
    pub(super) async fn ended_by_tags(&self, key: &[u8]) -> Result<Option<Micros>, StoreError> {
        let answer = self.answer(key).await?;
        let bytes = reply::bytes(answer.value).unwrap_or_default();
        let found = self.form.open::<V>(key, &bytes).ok().flatten();
        let Some(mut opened) = found.filter(|opened| !opened.tags.is_empty()) else {
            return Ok(None);
        };
        let histories = self.space.histories(&opened.tags).await?;
        let there = histories.allow(&mut opened) && opened.aged(answer.at).lifetime.is_present();
        Ok((!there).then(|| opened.written()))
    }

    async fn answer(&self, key: &[u8]) -> Result<Answer, StoreError> {
        let (space, longest) = (&self.space, self.form.longest(key));
        let answers = space.on_version(space.check(), |trip| space.ask(key, longest, trip));
        Ok(answers.await?.pop().ok_or(ServerError::Protocol)?)
    }

    fn bytes_of(&self, answer: Value) -> Result<Vec<u8>, StoreError> {
        match reply::bytes(answer) {
            Err(ServerError::WrongType) => {
                count(&self.space.counts.corrupt);
                Err(ServerError::WrongType.into())
            }
            bytes => Ok(bytes?),
        }
    }

    fn open<'a>(&self, key: &[u8], bytes: &'a [u8]) -> Result<Option<Opened<'a>>, StoreError> {
        let opened = self.form.open::<V>(key, bytes);
        Ok(opened.inspect_err(|error| self.space.counts.unread(error))?)
    }

    fn read(&self, opened: Opened<'_>, now: Micros) -> Result<Option<Stored<V>>, StoreError> {
        let read = self.form.read(opened, now);
        let read = read.inspect_err(|error| self.space.counts.unread(error))?;
        if read.misdated {
            count(&self.space.counts.misdated);
        }
        Ok(read.stored)
    }

    /// Tells what was found, and then why some was not read, if that is so.
    ///
    /// # Errors
    /// Nothing was read.
    pub(super) async fn fetch_many(
        &self,
        keys: &[(usize, Cow<'_, [u8]>)],
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<Option<StoreError>, StoreError> {
        let space = &self.space;
        let answers = space.each_on_version(space.check(), |trip| {
            keys.iter().try_for_each(|(_, key)| space.ask(key, self.form.longest(key), trip))
        });
        let (mut all, mut unread) = (Vec::with_capacity(keys.len()), None);
        for ((position, key), answer) in keys.iter().zip(answers.await?) {
            let answer = answer.map_err(StoreError::from);
            let bytes = answer.and_then(|answer| Ok((self.bytes_of(answer.value)?, answer.at)));
            match bytes {
                Ok((bytes, at)) => all.push((*position, key, bytes, at)),
                Err(StoreError::Corrupt(_)) => {}
                Err(error) => unread = Some(error),
            }
        }
        let mut tagged = vec![];
        for (position, key, bytes, at) in &all {
            match self.open(key, bytes) {
                Ok(Some(opened)) if opened.tags.is_empty() => {
                    self.tell_one(*position, opened, *at, found);
                }
                Ok(Some(opened)) => tagged.push((*position, opened, *at)),
                Ok(None) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => unread = Some(error),
            }
        }
        if tagged.is_empty() {
            return Ok(unread);
        }
        let tags: Vec<_> =
            tagged.iter().flat_map(|(_, opened, _)| opened.tags.iter().copied()).collect();
        let answered = Instant::now();
        let histories = match space.histories(&tags).await {
            Ok(histories) => histories,
            Err(error) => return Ok(Some(error)),
        };
        for (position, mut opened, at) in tagged {
            if histories.allow(&mut opened) {
                self.tell_one(position, opened, later(at, answered), found);
            }
        }
        Ok(unread)
    }

    /// What cannot be decoded is left out.
    fn tell_one(
        &self,
        position: usize,
        opened: Opened<'_>,
        at: Micros,
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) {
        if let Ok(Some(stored)) = self.read(opened, at) {
            found(position, stored);
        }
    }
}
