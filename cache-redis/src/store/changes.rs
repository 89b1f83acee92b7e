//! What changes entries: each change is one script, which ends the entry's lease and tells the channel.

use std::sync::Arc;

use cache_core::store::{
    AsyncSharedStore, Codec, HeldLease, KeyBytes, Mutation, Station, StoreError, TagChange,
};
use cache_core::{Instant, Lifetime};

use super::version::{Check, Version};
use super::{RedisStore, Space, count};
use crate::clock::Micros;
use crate::desk::Desk;
use crate::error::ServerError;
use crate::form;
use crate::key::Kind;
use crate::link::Link;
use crate::message::{self, News};
use crate::script::{self, Script};
use crate::{RedisBackplane, reply};

/// A script with what it is given beside the names.
struct Change<'a> {
    script: &'static Script,
    key: &'a [u8],
    message: Vec<u8>,
    arguments: Vec<&'a [u8]>,
}

impl<'a> Change<'a> {
    fn new(script: &'static Script, key: &'a [u8], by: Station) -> Self {
        let news = News::Changed(key);
        Self { script, key, message: message::encode(by, news), arguments: vec![] }
    }
}

impl Space {
    /// Whether the script did it.
    async fn change(&self, change: &Change<'_>) -> Result<bool, StoreError> {
        let Change { script, key, message, arguments } = change;
        let given = [&[&self.channel[..], message], &arguments[..]].concat();
        let answers = self.on_version(Check::Always, |trip| {
            let entry = self.name(Kind::Entry(trip.version), key)?;
            let lease = self.name(Kind::Lease(trip.version), key)?;
            trip.script(script, &[&entry, &lease], &given);
            Ok(())
        });
        let answer = answers.await?.pop().ok_or(ServerError::Protocol)?;
        Ok(reply::integer(answer.value)? > 0)
    }

    pub(super) async fn remove(&self, key: &[u8], by: Station) -> Result<bool, StoreError> {
        self.change(&Change::new(&script::REMOVE, key, by)).await
    }

    async fn expire(&self, key: &[u8], by: Station) -> Result<bool, StoreError> {
        let [longest, after] = [form::LONGEST, self.kept_after()].map(|span| span.to_string());
        let change = Change {
            message: message::encode(by, News::Expired(key)),
            arguments: vec![longest.as_bytes(), after.as_bytes()],
            ..Change::new(&script::EXPIRE, key, by)
        };
        self.change(&change).await
    }

    /// The server's time, where the entry of this key is; an operation that comes late does not make it younger.
    fn time_of(&self, key: &[u8]) -> Option<Micros> {
        self.server.time_at(&self.names.of(Kind::Entry(0), key).ok()?)
    }

    /// Milliseconds for which Redis keeps an entry after its last window. Where expiries are heard, none may come
    /// just when the entry is loaded anew: it would void the load.
    const fn kept_after(&self) -> u64 {
        if self.settings.tracking { 10_000 } else { 0 }
    }

    async fn vacate(&self, key: &[u8], token: &[u8; 16], by: Station) -> Result<bool, StoreError> {
        let arguments = vec![token.as_slice()];
        self.change(&Change { arguments, ..Change::new(&script::VACATE, key, by) }).await
    }

    pub(super) async fn clear(&self, by: Station) -> Result<(), StoreError> {
        self.hub.wake();
        // However this ends, and if it is dropped: what is known of the version may be over.
        let _unsure = Unsure(&self.version);
        let message = message::encode(by, News::Cleared);
        let key = self.names.version();
        let operation = self.server.operate(|mut link: Link| async move {
            let arguments = [&self.channel[..], &message];
            reply::number(script::CLEAR.run(&mut link, &[&key], &arguments).await?)
        });
        self.version.guess(operation.await?.unwrap_or(0));
        Ok(())
    }
}

/// What the scripts that keep an entry are given.
struct Kept {
    bytes: Vec<u8>,
    /// In milliseconds; `0` where its life is over.
    expiry: String,
    since: String,
}

impl Kept {
    fn arguments(&self) -> Vec<&[u8]> {
        vec![&self.bytes, self.expiry.as_bytes(), self.since.as_bytes()]
    }
}

/// Forgets the version when it is dropped.
struct Unsure<'a>(&'a Version);

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

impl<V, C> RedisStore<V, C> {
    /// Tells processes what others do to this store. All clones of the store have the same backplane.
    pub fn backplane(&self) -> RedisBackplane {
        RedisBackplane::new(Arc::clone(&self.space.hub))
    }
}

impl<V, C: Codec<V>> RedisStore<V, C> {
    /// An entry where there is none that is fresh or stale.
    pub(super) async fn add(
        &self,
        key: &[u8],
        value: &V,
        lifetime: Lifetime,
    ) -> Result<bool, StoreError>
    where
        V: Send + Sync,
        C: Send + Sync,
    {
        let kept = self.kept(key, (value, lifetime), (&[], 0), self.space.time_of(key))?;
        let mut ended = None;
        loop {
            let place = ended.map(|at: Micros| at.to_string()).unwrap_or_default();
            let mut change = Change::new(&script::ADD, key, Station::NOBODY);
            change.arguments = kept.arguments();
            change.arguments.push(place.as_bytes());
            if self.space.change(&change).await? {
                return Ok(true);
            }
            // The script knows nothing of tags.
            let found = self.ended_by_tags(key).await?;
            if found.is_none() || found == ended {
                return Ok(false);
            }
            ended = found;
        }
    }

    /// Keeps an entry: one whose life is over ends what is there.
    pub(super) async fn put(
        &self,
        key: &[u8],
        (value, lifetime, tags): (&V, Lifetime, &[u64]),
        by: Station,
    ) -> Result<bool, StoreError> {
        self.allow(key)?;
        let since = self.space.time_of(key);
        let expiry = form::expiry(lifetime);
        let over = lifetime.remaining().is_zero();
        let seen = if over || tags.is_empty() {
            0
        } else {
            let unclear = || StoreError::corrupt("what has happened to its tags cannot be read");
            self.space.use_tags(tags, None, expiry).await?.ok_or_else(unclear)?
        };
        let kept = self.kept(key, (value, lifetime), (tags, seen), since)?;
        let change = Change::new(&script::PUT, key, by);
        self.space.change(&Change { arguments: kept.arguments(), ..change }).await
    }

    /// Keeps what was loaded under a lease, if that is in force and none of its tags was invalidated since.
    pub(super) async fn fill(
        &self,
        key: &[u8],
        (value, lifetime, tags): (&V, Lifetime, &[u64]),
        lease: &HeldLease,
        by: Station,
    ) -> Result<bool, StoreError> {
        self.allow(key)?;
        let since = self.space.time_of(key);
        let (token, seen) = (lease.token(), lease.tags_seen());
        if !tags.is_empty() && !lifetime.remaining().is_zero() {
            let expiry = form::expiry(lifetime);
            // Without a number, nobody knows what came before the load.
            let known = seen != 0;
            if !known || self.space.use_tags(tags, Some(seen), expiry).await?.is_none() {
                Desk(&*self.space).release(key, token).await?;
                return Ok(false);
            }
        }
        let kept = self.kept(key, (value, lifetime), (tags, seen), since)?;
        let mut change = Change::new(&script::FILL, key, by);
        change.message = message::encode(by, News::Filled(key));
        change.arguments = kept.arguments();
        change.arguments.push(token);
        self.space.change(&change).await
    }

    fn allow(&self, key: &[u8]) -> Result<(), StoreError> {
        self.space.names.allow(key).inspect_err(|_| count(&self.space.counts.too_large))
    }

    /// What the scripts keep of an entry whose life was this at the server's time `since`, if that is known.
    fn kept(
        &self,
        key: &[u8],
        (value, lifetime): (&V, Lifetime),
        tags: (&[u64], u64),
        since: Option<Micros>,
    ) -> Result<Kept, StoreError> {
        let since = since.map(|at| at.to_string()).unwrap_or_default();
        if lifetime.remaining().is_zero() {
            return Ok(Kept { bytes: vec![], expiry: "0".to_owned(), since });
        }
        let bytes = self.bytes(key, value, lifetime, tags)?;
        let expiry = form::expiry(lifetime).saturating_add(self.space.kept_after());
        Ok(Kept { bytes, expiry: expiry.min(form::LONGEST).to_string(), since })
    }

    fn bytes(
        &self,
        key: &[u8],
        value: &V,
        lifetime: Lifetime,
        tags: (&[u64], u64),
    ) -> Result<Vec<u8>, StoreError> {
        self.form.write(key, value, lifetime, tags).inspect_err(|error| {
            if matches!(error, StoreError::TooLarge { .. }) {
                count(&self.space.counts.too_large);
            }
        })
    }
}

/// A change is one script on the entry and its lease, which tells the channel too. Where the answer is an
/// error after the script was sent ([`TimedOut`](ServerError::TimedOut), [`Broken`](ServerError::Broken)), it
/// may or may not have run.
///
/// An entry that is made stale keeps its windows after freshness, as far as they reach within ten years; one
/// that has none goes, and so does one that cannot be read.
impl<K, V, C> AsyncSharedStore<K, V> for RedisStore<V, C>
where
    K: KeyBytes + Sync + ?Sized,
    V: Send + Sync,
    C: Codec<V> + Send + Sync,
{
    async fn mutate(
        &self,
        key: &K,
        mutation: Mutation<'_, V>,
        by: Station,
        _: Instant,
    ) -> Result<bool, StoreError> {
        let key = &*key.key_bytes();
        match mutation {
            Mutation::Put { value, lifetime, tags, .. } => {
                self.put(key, (value, lifetime, tags), by).await
            }
            Mutation::Fill { value, lifetime, tags, lease, .. } => {
                self.fill(key, (value, lifetime, tags), &lease, by).await
            }
            Mutation::Vacate { lease, .. } => self.space.vacate(key, lease.token(), by).await,
            Mutation::Expire => self.space.expire(key, by).await,
            Mutation::Remove => self.space.remove(key, by).await,
            _ => Err(StoreError::unsupported("mutate")),
        }
    }

    fn keeps_tags(&self) -> bool {
        true
    }

    /// O(1), whatever the number of entries with the tag. They keep their memory until they expire.
    async fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        _: Instant,
    ) -> Result<(), StoreError> {
        let news = match change {
            TagChange::Expire => News::TagExpired(tag),
            TagChange::Invalidate => News::TagInvalidated(tag),
        };
        self.space.change_tag(tag, change, message::encode(by, news)).await
    }

    /// Gives the namespace its next version. O(1). Leases of earlier versions are over with it.
    async fn clear_all(&self, by: Station, _: Instant) -> Result<(), StoreError> {
        self.space.clear(by).await
    }
}
