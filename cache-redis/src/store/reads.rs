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
use crate::link::{Answer, Link};
use crate::reply;

/// What one of many answers is.
enum Told<V> {
    Nothing,
    Stored(Stored<V>),
    /// An entry with tags, which are to be asked for.
    Tagged(Vec<u8>, Micros),
}

/// An entry with tags, of many that were asked for.
struct Tagged<'a> {
    position: usize,
    key: &'a [u8],
    bytes: Vec<u8>,
    at: Micros,
}

/// Asks for an entry, and for no more than one byte above the limit.
fn question(name: &[u8], longest: usize) -> Cmd {
    let mut bytes = Cmd::with_capacity(4, name.len() + 32);
    bytes.arg("GETRANGE").arg(name).arg(0).arg(longest);
    bytes
}

/// A server's time, and what has passed since.
fn later(at: Micros, since: Instant) -> Micros {
    at.saturating_add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX))
}

impl Space {
    /// Asks for an entry as well.
    pub(super) fn ask(
        &self,
        key: &[u8],
        longest: usize,
        trip: &mut Trip<'_>,
    ) -> Result<(), StoreError> {
        self.write_name(Kind::Entry(trip.version), key, &mut trip.name)?;
        trip.commands.add_command(question(&trip.name, longest));
        Ok(())
    }

    /// The version to go by, if a read needs no question for it.
    fn known_version(&self) -> Option<u64> {
        self.hub.wake();
        self.version.recent(self.settings.version_check, Instant::now())
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
        if let Some(version) = space.known_version() {
            let name = space.name(Kind::Entry(version), key)?;
            let question = question(&name, longest);
            let operation =
                space.server.operate(|mut link: Link| async move { link.ask_at(&question).await });
            return Ok(operation.await?);
        }
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
        let (mut tagged, mut unread) = (vec![], None);
        for ((position, key), answer) in keys.iter().zip(answers.await?) {
            match answer.map_err(StoreError::from).and_then(|answer| self.tell_one(key, answer)) {
                Ok(Told::Stored(stored)) => found(*position, stored),
                Ok(Told::Tagged(bytes, at)) => {
                    tagged.push(Tagged { position: *position, key, bytes, at });
                }
                Ok(Told::Nothing) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => unread = Some(error),
            }
        }
        if !tagged.is_empty() {
            unread = self.judge(&tagged, found).await.err().or(unread);
        }
        Ok(unread)
    }

    /// The bytes of most entries are let go of at once; those of what has tags are opened again.
    fn tell_one(&self, key: &[u8], answer: Answer) -> Result<Told<V>, StoreError> {
        let at = answer.at;
        let bytes = self.bytes_of(answer.value)?;
        match self.open(key, &bytes)? {
            None => Ok(Told::Nothing),
            Some(opened) if opened.tags.is_empty() => {
                Ok(self.read(opened, at)?.map_or(Told::Nothing, Told::Stored))
            }
            Some(_) => Ok(Told::Tagged(bytes, at)),
        }
    }

    fn open_again<'a>(&self, one: &'a Tagged<'_>) -> Option<Opened<'a>> {
        self.form.open::<V>(one.key, &one.bytes).ok().flatten()
    }

    /// Tells of entries with tags those that these leave. What cannot be decoded is left out.
    async fn judge(
        &self,
        tagged: &[Tagged<'_>],
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<(), StoreError> {
        let opened = tagged.iter().filter_map(|one| self.open_again(one));
        let tags: Vec<_> = opened.flat_map(|opened| opened.tags).collect();
        let answered = Instant::now();
        let histories = self.space.histories(&tags).await?;
        for one in tagged {
            let Some(mut opened) = self.open_again(one) else { continue };
            if histories.allow(&mut opened)
                && let Ok(Some(stored)) = self.read(opened, later(one.at, answered))
            {
                found(one.position, stored);
            }
        }
        Ok(())
    }
}
