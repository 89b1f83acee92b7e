//! An entry's bytes, and what they say of its life.

use core::time::Duration;
use std::sync::Arc;

use cache_core::Lifetime;
use cache_core::store::envelope::{self, EncodeError, Envelope, EnvelopeError, HEADER, Header};
use cache_core::store::{Codec, CodecError, StoreError, Stored};

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

/// An entry that was read, if it is not over.
pub(crate) struct Read<V> {
    pub(crate) stored: Option<Stored<V>>,
    /// As [`Aged::misdated`].
    pub(crate) misdated: bool,
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

    /// The most bytes of an entry, those of stamp, header and key included.
    pub(crate) const fn longest(&self, key: &[u8]) -> usize {
        let longest = self.max_value.saturating_add(key.len()).saturating_add(STAMP + HEADER);
        if longest > isize::MAX as usize { isize::MAX as usize } else { longest }
    }

    pub(crate) fn write<V>(
        &self,
        key: &[u8],
        value: &V,
        lifetime: Lifetime,
    ) -> Result<Vec<u8>, StoreError>
    where
        C: Codec<V>,
    {
        let header = Header::new(C::ID, lifetime).schema(self.schema);
        let mut bytes = vec![];
        let encode = |out: &mut Vec<u8>| self.codec.encode(value, out);
        envelope::encode(&header, key, encode, &mut bytes).map_err(|error| self.refused(error))?;
        let size = bytes.len().saturating_sub(HEADER + key.len());
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

    /// What these bytes are for `key`, at this time of the server's; none where there are no bytes.
    pub(crate) fn read<V>(&self, key: &[u8], bytes: &[u8], now: Micros) -> Result<Read<V>, Unread>
    where
        C: Codec<V>,
    {
        if bytes.is_empty() {
            return Ok(Read { stored: None, misdated: false });
        }
        let (stamp, header, value) = self.unwrap::<V>(key, bytes)?;
        let Aged { lifetime, misdated } = stamp.age(header.lifetime, now);
        if lifetime.remaining().is_zero() {
            return Ok(Read { stored: None, misdated });
        }
        let value = self.codec.decode(value);
        let value = value.map_err(|error| Unread::Damaged(StoreError::corrupt_by(error)))?;
        Ok(Read { stored: Some(Stored::new(value, lifetime)), misdated })
    }

    fn unwrap<'a, V>(
        &self,
        key: &[u8],
        bytes: &'a [u8],
    ) -> Result<(Stamp, Header, &'a [u8]), Unread>
    where
        C: Codec<V>,
    {
        let damaged = |reason| Err(Unread::Damaged(StoreError::corrupt(reason)));
        let foreign = |reason| Err(Unread::Foreign(StoreError::corrupt(reason)));
        if bytes.len() > self.longest(key) {
            return damaged("it is longer than the limit");
        }
        let Some((stamp, bytes)) = Stamp::read(bytes) else {
            return damaged("it has no stamp");
        };
        let Envelope { header, key: found, value, .. } = match envelope::decode(bytes) {
            Ok(envelope) => envelope,
            Err(EnvelopeError::Newer) => return foreign("it was written by a later version"),
            Err(error) => return Err(Unread::Damaged(StoreError::corrupt_by(error))),
        };
        if found != key {
            return damaged("it is the entry of another key");
        }
        if header.codec != C::ID {
            return foreign("it is of another codec");
        }
        if header.schema != self.schema {
            return foreign("it is of another schema");
        }
        Ok((stamp, header, value))
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
        [stamp, form().write(b"key", &"value".to_owned(), lifetime).unwrap()].concat()
    }

    fn read(bytes: &[u8], now: Micros) -> Result<Read<String>, Unread> {
        form().read(b"key", bytes, now)
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
        assert_eq!(after(0).stored.unwrap().lifetime, life);
        let stale = after(61).stored.unwrap();
        assert_eq!((&*stale.value, stale.lifetime), ("value", life.aged(MINUTE + MINUTE / 60)));
        assert!(after(120).stored.is_none());
        assert!(read(&bytes, NOW - 2_000_000).unwrap().misdated);
        assert!(read(b"", NOW).unwrap().stored.is_none());
    }

    #[test]
    fn other_codecs_schemas_keys_and_sizes_are_told_apart() {
        let minute = Lifetime::fresh_for(MINUTE);
        let bytes = written(minute);
        let other = Form { schema: 2, ..form() };
        let other_schema = other.read::<String>(b"key", &bytes, NOW);
        assert!(matches!(other_schema, Err(Unread::Foreign(_))));
        assert!(matches!(form().read::<String>(b"kez", &bytes, NOW), Err(Unread::Damaged(_))));
        let small = Form { max_value: 4, ..form() };
        assert!(matches!(small.read::<String>(b"key", &bytes, NOW), Err(Unread::Damaged(_))));
        let refused = small.write(b"key", &"value".to_owned(), minute);
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
