//! An entry's bytes, and what they and its expiry in Redis say of its life.

use core::time::Duration;
use std::sync::Arc;

use cache_core::Lifetime;
use cache_core::store::envelope::{self, EncodeError, Envelope, EnvelopeError, HEADER, Header};
use cache_core::store::{Codec, CodecError, StoreError, Stored};

/// The longest expiry in Redis: ten years, in milliseconds. Ages are told by it, so it is a part of the
/// format.
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

/// What is left of the expiry when an entry with this life becomes stale, in milliseconds, at most. An entry
/// whose freshness alone reaches beyond the longest expiry has at most half of that for its windows after
/// freshness.
pub(crate) fn tail(lifetime: Lifetime) -> u64 {
    let windows = whole(lifetime.swr.max(lifetime.sie), false);
    let most = match freshness_ahead(lifetime) {
        ahead if ahead < LONGEST => LONGEST - ahead,
        _ => LONGEST / 2,
    };
    windows.min(most)
}

/// Milliseconds until the end of freshness, or a little more.
fn freshness_ahead(lifetime: Lifetime) -> u64 {
    whole(lifetime.ttl, true).saturating_sub(whole(lifetime.age, false))
}

/// Whole milliseconds, of what is stored as at most 64 bits of nanoseconds.
fn whole(span: Duration, up: bool) -> u64 {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    if up { nanos.div_ceil(1_000_000) } else { nanos / 1_000_000 }
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
    /// Whether its expiry is not the one that it was given.
    pub(crate) altered: bool,
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

    /// The most bytes of an entry, the header's and the key's included.
    pub(crate) const fn longest(&self, key: &[u8]) -> usize {
        let longest = self.max_value.saturating_add(key.len()).saturating_add(HEADER);
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

    /// What is kept for `key`: `left` milliseconds of expiry as Redis tells them (-1 for none, -2 where
    /// there was nothing yet), then these bytes.
    pub(crate) fn read<V>(&self, key: &[u8], left: i64, bytes: &[u8]) -> Result<Read<V>, Unread>
    where
        C: Codec<V>,
    {
        if bytes.is_empty() && left == -2 {
            return Ok(Read { stored: None, altered: false });
        }
        let (header, value) = self.unwrap::<V>(key, bytes)?;
        let (lifetime, altered) = aged(header.lifetime, left);
        if lifetime.remaining().is_zero() {
            return Ok(Read { stored: None, altered });
        }
        let value = self.codec.decode(value);
        let value = value.map_err(|error| Unread::Damaged(StoreError::corrupt_by(error)))?;
        Ok(Read { stored: Some(Stored::new(value, lifetime)), altered })
    }

    fn unwrap<'a, V>(&self, key: &[u8], bytes: &'a [u8]) -> Result<(Header, &'a [u8]), Unread>
    where
        C: Codec<V>,
    {
        let damaged = |reason| Err(Unread::Damaged(StoreError::corrupt(reason)));
        let foreign = |reason| Err(Unread::Foreign(StoreError::corrupt(reason)));
        if bytes.len() > self.longest(key) {
            return damaged("it is longer than the limit");
        }
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
        Ok((header, value))
    }
}

/// The life that was `lifetime` when it was written, by what is left of the expiry; and whether somebody
/// has changed that. Then how old it is cannot be told, and it counts as stale.
pub(crate) fn aged(lifetime: Lifetime, left: i64) -> (Lifetime, bool) {
    let given = expiry(lifetime);
    match u64::try_from(left) {
        Ok(left) if left <= tail(lifetime) && freshness_ahead(lifetime) >= LONGEST => {
            (made_stale(lifetime, Duration::from_millis(left)), false)
        }
        Ok(left) if left <= given => {
            let passed = Duration::from_millis(given - left);
            (lifetime.aged(lifetime.age.saturating_add(passed)), false)
        }
        // Written between the question for its expiry and that for its bytes.
        Err(_) if left == -2 => (lifetime, false),
        _ => {
            let ttl = if lifetime.ttl == Duration::MAX { lifetime.age } else { lifetime.ttl };
            (lifetime.aged(lifetime.age.max(ttl)), true)
        }
    }
}

/// The life of an entry that was made stale, or is in its last years, of which no age could say so: it was to
/// be fresh for longer than Redis keeps anything.
fn made_stale(lifetime: Lifetime, left: Duration) -> Lifetime {
    let passed = match lifetime.swr.max(lifetime.sie) {
        Duration::MAX => Duration::ZERO,
        windows => windows.saturating_sub(left),
    };
    let ends = Lifetime::fresh_for(lifetime.age).stale_while_revalidate(lifetime.swr);
    ends.stale_if_error(lifetime.sie).aged(lifetime.age.saturating_add(passed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::Freshness;
    use cache_core::store::Plain;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn form() -> Form<Plain> {
        Form { codec: Arc::new(Plain), schema: 1, max_value: 100 }
    }

    fn written(lifetime: Lifetime) -> Vec<u8> {
        form().write(b"key", &"value".to_owned(), lifetime).unwrap()
    }

    fn read(left: i64, bytes: &[u8]) -> Result<Read<String>, Unread> {
        form().read(b"key", left, bytes)
    }

    #[test]
    fn expiries_are_whole_milliseconds_within_the_limits_of_redis() {
        let at = |nanos| millis(Duration::from_nanos(nanos));
        assert_eq!([at(0), at(1), at(1_000_000), at(1_000_001)], [1, 1, 1, 2]);
        assert_eq!(millis(Duration::MAX), LONGEST);
    }

    #[test]
    fn what_is_gone_of_the_expiry_is_added_to_the_age() {
        let hour = Lifetime::fresh_for(MINUTE * 60).aged(MINUTE);
        let found = read(50 * 60_000, &written(hour)).unwrap();
        assert_eq!(found.stored.unwrap().lifetime.age, MINUTE * 10);
        assert!(!found.altered);
    }

    #[test]
    fn an_expiry_that_somebody_changed_makes_it_stale() {
        let life = Lifetime::fresh_for(MINUTE).stale_while_revalidate(MINUTE);
        for left in [-1, i64::MAX] {
            let found = read(left, &written(life)).unwrap();
            assert!(found.altered);
            assert_eq!(found.stored.unwrap().lifetime.freshness(), Freshness::Stale);
        }
        assert!(read(-1, &written(Lifetime::fresh_for(MINUTE))).unwrap().stored.is_none());
    }

    #[test]
    fn an_entry_written_between_the_two_questions_is_new() {
        let found = read(-2, &written(Lifetime::fresh_for(MINUTE))).unwrap();
        assert_eq!(found.stored.unwrap().lifetime.age, Duration::ZERO);
    }

    #[test]
    fn other_codecs_schemas_keys_and_sizes_are_told_apart() {
        let minute = Lifetime::fresh_for(MINUTE);
        let bytes = written(minute);
        let other = Form { schema: 2, ..form() };
        let other_schema = Codec::<String>::encode(&Plain, &String::new(), &mut vec![])
            .map(|()| other.read::<String>(b"key", 1, &bytes).err());
        assert!(matches!(other_schema, Ok(Some(Unread::Foreign(_)))));
        assert!(matches!(form().read::<String>(b"kez", 1, &bytes), Err(Unread::Damaged(_))));
        let small = Form { max_value: 4, ..form() };
        assert!(matches!(small.read::<String>(b"key", 1, &bytes), Err(Unread::Damaged(_))));
        let refused = small.write(b"key", &"value".to_owned(), minute);
        assert!(matches!(refused, Err(StoreError::TooLarge { size: 5, limit: 4, .. })));
    }

    #[test]
    fn what_was_to_be_fresh_for_ever_is_stale_in_what_is_left_for_its_windows() {
        let life = Lifetime::fresh_for(Duration::MAX).stale_if_error(MINUTE);
        assert_eq!(tail(life), 60_000);
        let (fresh, _) = aged(life, 60_001);
        assert_eq!(fresh.freshness(), Freshness::Fresh);
        for left in [60_000, 1_000, 0] {
            let (found, altered) = aged(life, left);
            assert!(found.freshness() != Freshness::Fresh && !altered);
            assert_eq!(found.remaining(), Duration::from_millis(left as u64));
        }
        let always = life.stale_while_revalidate(Duration::MAX);
        assert_eq!(aged(always, LONGEST as i64).0.freshness(), Freshness::Fresh);
        assert_eq!(aged(always, tail(always) as i64).0.freshness(), Freshness::Stale);
    }

    proptest! {
        #[test]
        fn what_is_shortened_to_its_tail_is_stale(spans in any::<[u64; 4]>(), bits in 0..64_u32) {
            let [ttl, swr, sie, age] = spans.map(|nanos| Duration::from_nanos(nanos >> bits));
            let life = Lifetime::fresh_for(ttl).stale_while_revalidate(swr).stale_if_error(sie);
            let life = life.aged(age);
            let tail = tail(life).min(expiry(life));
            let (found, altered) = aged(life, tail as i64);
            prop_assert!(found.freshness() != Freshness::Fresh && !altered);
        }

        #[test]
        fn no_life_and_no_expiry_make_an_entry_younger(
            spans in any::<[u64; 4]>(), left in any::<i64>(),
        ) {
            let [ttl, swr, sie, age] = spans.map(Duration::from_nanos);
            let life = Lifetime::fresh_for(ttl).stale_while_revalidate(swr).stale_if_error(sie);
            let (found, _) = aged(life.aged(age), left);
            prop_assert!(found.age >= age);
            prop_assert!((1..=LONGEST).contains(&expiry(life.aged(age))));
        }

        #[test]
        fn no_bytes_make_it_panic(left in any::<i64>(), bytes in any::<Vec<u8>>()) {
            prop_assert!(left == -2 && bytes.is_empty() || read(left, &bytes).is_err());
        }

        #[test]
        fn no_bit_may_change(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = written(Lifetime::fresh_for(MINUTE));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(read(1, &bytes).is_err());
        }
    }
}
