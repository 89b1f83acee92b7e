//! An entry's bytes, and what they say of its life.

use core::time::Duration;
use std::sync::Arc;

use cache_core::store::envelope::{self, EncodeError, Envelope, EnvelopeError, HEADER, Header};
use cache_core::store::{Codec, CodecError, StoreError, Stored};
use cache_core::{Lifetime, MAX_TAGS};

use crate::clock::Micros;
use crate::stamp::{Aged, STAMP, Stamp};

/// The longest expiry in Redis: ten years, in milliseconds.
pub(crate) const LONGEST: u64 = 10 * 365 * 24 * 3_600 * 1_000;

/// The same as a time.
pub(crate) const FOR_EVER: Duration = Duration::from_millis(LONGEST);

/// How long Redis keeps what lives for `span`, in whole milliseconds, at least one.
pub(crate) fn millis(span: Duration) -> u64 {
    let whole = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    whole.clamp(1, LONGEST)
}

/// How long Redis keeps an entry with this life, in milliseconds.
pub(crate) fn expiry(lifetime: Lifetime) -> u64 {
    millis(lifetime.remaining())
}

/// How values become bytes, and back.
pub(crate) struct Form<C> {
    codec: Arc<C>,
    pub(crate) schema: u16,
    pub(crate) max_value: usize,
}

/// An entry's bytes, found to be one.
pub(crate) struct Opened<'a> {
    stamp: Stamp,
    pub(crate) header: Header,
    pub(crate) key: &'a [u8],
    pub(crate) tags: Vec<u64>,
    pub(crate) value: &'a [u8],
}

/// An entry that was read, if it is not over.
pub(crate) struct Read<V> {
    pub(crate) stored: Option<Stored<V>>,
    /// As [`Aged::misdated`].
    pub(crate) misdated: bool,
}

impl<'a> Opened<'a> {
    /// The entry of any key, codec and schema.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Unread> {
        let damaged = |error| Err(Unread::Damaged(error));
        let Some((stamp, bytes)) = Stamp::read(bytes) else {
            return damaged(StoreError::corrupt("it has no stamp"));
        };
        match envelope::decode(bytes) {
            Ok(Envelope { header, key, tags, value, .. }) => {
                Ok(Self { stamp, header, key, tags: tags.iter().collect(), value })
            }
            Err(EnvelopeError::Newer) => {
                Err(Unread::Foreign(StoreError::corrupt("it was written by a later version")))
            }
            Err(error) => damaged(StoreError::corrupt_by(error)),
        }
    }

    /// The last change of tags before its value was loaded.
    pub(crate) const fn tags_seen(&self) -> u64 {
        self.header.tags_seen
    }

    /// When it was written.
    pub(crate) const fn written(&self) -> Micros {
        self.stamp.written()
    }

    /// It is stale from this time on, by one of its tags.
    pub(crate) fn expire(&mut self, from: Micros) {
        self.stamp = self.stamp.stale_from(from);
    }

    /// Its life at this time of the server's.
    pub(crate) fn aged(&self, now: Micros) -> Aged {
        self.stamp.age(self.header.lifetime, now)
    }
}

/// Why bytes are no entry of this store.
#[derive(Debug)]
pub(crate) enum Unread {
    Damaged(StoreError),
    /// Of another codec, schema or version.
    Foreign(StoreError),
}

impl From<Unread> for StoreError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Damaged(error) | Unread::Foreign(error) => error,
        }
    }
}

impl<C> Clone for Form<C> {
    fn clone(&self) -> Self {
        Self { codec: Arc::clone(&self.codec), ..*self }
    }
}

impl<C> Form<C> {
    pub(crate) fn new(codec: C) -> Self {
        Self { codec: Arc::new(codec), schema: 0, max_value: 16 << 20 }
    }

    /// The most bytes of an entry, those of stamp, header, key and tags included.
    pub(crate) const fn longest(&self, key: &[u8]) -> usize {
        let around = STAMP + HEADER + 8 * MAX_TAGS;
        let longest = self.max_value.saturating_add(key.len()).saturating_add(around);
        if longest > isize::MAX as usize { isize::MAX as usize } else { longest }
    }

    pub(crate) fn write<V>(
        &self,
        key: &[u8],
        value: &V,
        lifetime: Lifetime,
        (tags, seen): (&[u64], u64),
    ) -> Result<Vec<u8>, StoreError>
    where
        C: Codec<V>,
    {
        let header = Header::new(C::ID, lifetime).schema(self.schema).after_tags(seen);
        let mut bytes = vec![];
        let encode = |out: &mut Vec<u8>| self.codec.encode(value, out);
        let encoded = envelope::encode(&header, (key, tags), encode, &mut bytes);
        encoded.map_err(|error| self.refused(error))?;
        let size = bytes.len().saturating_sub(HEADER + key.len() + 8 * tags.len());
        if size > self.max_value {
            return Err(StoreError::too_large(size, self.max_value));
        }
        Ok(bytes)
    }

    fn refused(&self, error: EncodeError<CodecError>) -> StoreError {
        match error {
            EncodeError::Value(error) => StoreError::corrupt_by(error),
            EncodeError::TooLong(size) => StoreError::too_large(size, self.max_value),
        }
    }

    /// The entry that these bytes are for `key`; none where there are no bytes. Its value is not decoded yet.
    pub(crate) fn open<'a, V>(
        &self,
        key: &[u8],
        bytes: &'a [u8],
    ) -> Result<Option<Opened<'a>>, Unread>
    where
        C: Codec<V>,
    {
        let damaged = |reason| Err(Unread::Damaged(StoreError::corrupt(reason)));
        let foreign = |reason| Err(Unread::Foreign(StoreError::corrupt(reason)));
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > self.longest(key) {
            return damaged("it is longer than the limit");
        }
        let opened = Opened::read(bytes)?;
        if opened.value.len() > self.max_value {
            return damaged("its value is longer than the limit");
        }
        if opened.key != key {
            return damaged("it is the entry of another key");
        }
        if opened.header.codec != C::ID {
            return foreign("it is of another codec");
        }
        if opened.header.schema != self.schema {
            return foreign("it is of another schema");
        }
        Ok(Some(opened))
    }

    /// The value of an entry, if it is not over at this time of the server's.
    pub(crate) fn read<V>(&self, opened: Opened<'_>, now: Micros) -> Result<Read<V>, Unread>
    where
        C: Codec<V>,
    {
        let Aged { lifetime, misdated } = opened.aged(now);
        if lifetime.remaining().is_zero() {
            return Ok(Read { stored: None, misdated });
        }
        let value = self.codec.decode(opened.value);
        let value = value.map_err(|error| Unread::Damaged(StoreError::corrupt_by(error)))?;
        let stored = Stored::new(value, lifetime).tagged(opened.tags);
        Ok(Read { stored: Some(stored), misdated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::store::Plain;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn form() -> Form<Plain> {
        Form { codec: Arc::new(Plain), schema: 1, max_value: 100 }
    }

    const NOW: Micros = 1_800_000_000_000_000;

    /// As the script writes it.
    fn written(lifetime: Lifetime) -> Vec<u8> {
        let stamp = [NOW, 0, NOW].map(u64::to_be_bytes).concat();
        [stamp, form().write(b"key", &"value".to_owned(), lifetime, (&[7], 5)).unwrap()].concat()
    }

    fn read(bytes: &[u8], now: Micros) -> Result<Read<String>, Unread> {
        read_as(&form(), b"key", bytes, now)
    }

    fn read_as(
        form: &Form<Plain>,
        key: &[u8],
        bytes: &[u8],
        now: Micros,
    ) -> Result<Read<String>, Unread> {
        match form.open::<String>(key, bytes)? {
            Some(opened) => form.read(opened, now),
            None => Ok(Read { stored: None, misdated: false }),
        }
    }

    #[test]
    fn expiries_are_whole_milliseconds_within_the_limits_of_redis() {
        let at = |nanos| millis(Duration::from_nanos(nanos));
        assert_eq!([at(0), at(1), at(1_000_000), at(1_000_001)], [1, 1, 1, 2]);
        assert_eq!(millis(Duration::MAX), LONGEST);
    }

    #[test]
    fn an_entry_is_as_old_as_the_server_says_and_none_when_its_life_is_over() {
        let life = Lifetime::fresh_for(MINUTE).stale_while_revalidate(MINUTE);
        let bytes = written(life);
        let after = |seconds: u64| read(&bytes, NOW + seconds * 1_000_000).unwrap();
        let new = after(0).stored.unwrap();
        assert_eq!((new.lifetime, new.tags()), (life, &[7][..]));
        let stale = after(61).stored.unwrap();
        assert_eq!((&*stale.value, stale.lifetime), ("value", life.aged(MINUTE + MINUTE / 60)));
        assert!(after(120).stored.is_none());
        assert!(read(&bytes, NOW - 2_000_000).unwrap().misdated);
        assert!(read(b"", NOW).unwrap().stored.is_none());
        let mut opened = form().open::<String>(b"key", &bytes).unwrap().unwrap();
        assert_eq!((&*opened.tags, opened.tags_seen(), opened.written()), (&[7][..], 5, NOW));
        opened.expire(NOW + 1_000_000);
        let found = form().read::<String>(opened, NOW + 2_000_000).unwrap().stored.unwrap();
        assert_eq!(found.lifetime.ttl, MINUTE / 60, "stale by a tag");
    }

    #[test]
    fn other_codecs_schemas_keys_and_sizes_are_told_apart() {
        let minute = Lifetime::fresh_for(MINUTE);
        let bytes = written(minute);
        let other = Form { schema: 2, ..form() };
        let other_schema = read_as(&other, b"key", &bytes, NOW);
        assert!(matches!(other_schema, Err(Unread::Foreign(_))));
        assert!(matches!(read_as(&form(), b"kez", &bytes, NOW), Err(Unread::Damaged(_))));
        let small = Form { max_value: 4, ..form() };
        assert!(matches!(read_as(&small, b"key", &bytes, NOW), Err(Unread::Damaged(_))));
        let refused = small.write(b"key", &"value".to_owned(), minute, (&[], 0));
        assert!(matches!(refused, Err(StoreError::TooLarge { size: 5, limit: 4, .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(now: Micros, bytes in any::<Vec<u8>>()) {
            prop_assert!(bytes.is_empty() || read(&bytes, now).is_err());
        }

        #[test]
        fn no_bit_may_change(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = written(Lifetime::fresh_for(MINUTE));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(read(&bytes, NOW).is_err());
        }
    }
}
