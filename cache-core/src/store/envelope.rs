//! The form in which entries leave the process: in files, over the wire, in snapshots.
//!
//! A header of 72 bytes, big-endian, then the key, the hashes of the tags, and the value as bytes. Times are durations, in
//! nanoseconds, so that no clock's reading is needed to judge an entry; [`Duration::MAX`] is all
//! ones.
//!
//! | from | bytes | |
//! |---|---|---|
//! | 0 | 2 | magic: `AC E1` |
//! | 2 | 1 | version of this format: 1 |
//! | 3 | 1 | number of tags, each a hash of 8 bytes; what has more than 64 cannot be read |
//! | 4 | 1 | [codec](super::Codec) of the value |
//! | 5 | 1 | 0 |
//! | 6 | 2 | schema: the user's version of the value's type |
//! | 8 | 4 × 8 | ttl, stale-while-revalidate, stale-if-error, age when it was written |
//! | 40 | 8 | when it was written, in nanoseconds since 1970, for stores without a clock of their own |
//! | 48 | 8 | what was known of tags, for stores that keep them: the number of the last change |
//! | 56 | 2 × 4 | length of the key, length of the value |
//! | 64 | 8 | XXH3-64 of key, tags and value, seeded with that of the first 64 bytes |

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use twox_hash::XxHash3_64;

use crate::entry::Lifetime;
use crate::label::MAX_TAGS;

/// Bytes before the key.
pub const HEADER: usize = 72;

const MAGIC: [u8; 2] = [0xac, 0xe1];
const VERSION: u8 = 1;
/// What the checksum covers of the header.
const CHECKED: usize = 64;

/// What the header says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// [`Codec::ID`](super::Codec::ID) of the value.
    pub codec: u8,
    /// The user's version of the value's type.
    pub schema: u16,
    /// The entry's life when it was written.
    pub lifetime: Lifetime,
    /// When it was written, in nanoseconds since 1970 by the writer's wall clock; 0 if that does not
    /// matter.
    pub written_at: u64,
    /// Number of the last change of tags that came before the value; 0 if nobody counts.
    pub tags_seen: u64,
}

impl Header {
    /// An entry's header, of schema 0 and an untold time of writing.
    pub const fn new(codec: u8, lifetime: Lifetime) -> Self {
        Self { codec, schema: 0, lifetime, written_at: 0, tags_seen: 0 }
    }

    /// With the user's version of the value's type.
    #[must_use]
    pub const fn schema(mut self, schema: u16) -> Self {
        self.schema = schema;
        self
    }

    /// With the time of writing, in nanoseconds since 1970.
    #[must_use]
    pub const fn written_at(mut self, written_at: u64) -> Self {
        self.written_at = written_at;
        self
    }

    /// With the number of the last change of tags that came before the value.
    #[must_use]
    pub const fn after_tags(mut self, seen: u64) -> Self {
        self.tags_seen = seen;
        self
    }
}

/// An entry as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope<'a> {
    /// What the header says.
    pub header: Header,
    /// The key.
    pub key: &'a [u8],
    /// The tags.
    pub tags: Tags<'a>,
    /// The value, encoded.
    pub value: &'a [u8],
}

/// The hashes of an entry's tags, as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    /// One after another.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        self.0.chunks_exact(8).map(|hash| number(hash, 0))
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Too few bytes, or more than the header says.
    Length,
    /// Not written by this library.
    Foreign,
    /// Written by a later version of this library.
    Newer,
    /// The checksum does not fit the bytes.
    Damaged,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "its length is not what its header says",
            Self::Foreign => "it was written by something else",
            Self::Newer => "it was written by a later version",
            Self::Damaged => "its checksum does not fit",
        })
    }
}

impl core::error::Error for EnvelopeError {}

/// Writes an entry into `out`, in place of what is there, with up to [`MAX_TAGS`] tags. `value` encodes the value at the end of
/// the bytes that it gets.
///
/// # Errors
/// What `value` answers, and then `out` is empty. [`TooLong`](EncodeError::TooLong) where the key or
/// the value has 4 GiB or more, or there are more tags.
pub fn encode<E>(
    header: &Header,
    (key, tags): (&[u8], &[u64]),
    value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError<E>> {
    out.clear();
    out.resize(HEADER, 0);
    out.extend_from_slice(key);
    out.extend(tags.iter().flat_map(|hash| hash.to_be_bytes()));
    let start = out.len();
    let encoded = value(out).map_err(EncodeError::Value);
    let len = encoded.and_then(|()| length(out.len().saturating_sub(start)));
    let lengths = length(key.len()).and_then(|key| Ok((key, count(tags)?, len?)));
    let (key_len, tags, value_len) = lengths.inspect_err(|_| out.clear())?;
    let Header { codec, schema, lifetime, written_at, tags_seen } = *header;
    let Lifetime { age, ttl, swr, sie } = lifetime;
    out[0..2].copy_from_slice(&MAGIC);
    out[2..6].copy_from_slice(&[VERSION, tags, codec, 0]);
    out[6..8].copy_from_slice(&schema.to_be_bytes());
    let numbers = [nanos(ttl), nanos(swr), nanos(sie), nanos(age), written_at, tags_seen];
    for (place, number) in out[8..56].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    out[56..60].copy_from_slice(&key_len.to_be_bytes());
    out[60..64].copy_from_slice(&value_len.to_be_bytes());
    let sum = checksum(&out[..CHECKED], &out[HEADER..]);
    out[CHECKED..HEADER].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Why an entry was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // there are only these two
pub enum EncodeError<E> {
    /// The value's codec failed.
    Value(E),
    /// The key or the value has this many bytes, or there are so many tags.
    TooLong(usize),
}

fn length<E>(len: usize) -> Result<u32, EncodeError<E>> {
    u32::try_from(len).map_err(|_| EncodeError::TooLong(len))
}

fn count<E>(tags: &[u64]) -> Result<u8, EncodeError<E>> {
    let fits = u8::try_from(tags.len()).ok().filter(|_| tags.len() <= MAX_TAGS);
    fits.ok_or(EncodeError::TooLong(tags.len()))
}

/// Reads an entry, and copies nothing. O(bytes), for the checksum.
///
/// # Errors
/// The bytes are not exactly one entry that was written by [`encode`].
pub fn decode(bytes: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let (header, key_len, value_len) = decode_header(bytes)?;
    let body = &bytes[HEADER..];
    let tags_len = 8 * usize::from(bytes[3]);
    if body.len() as u64 != u64::from(key_len) + u64::from(value_len) + tags_len as u64 {
        return Err(EnvelopeError::Length);
    }
    if checksum(&bytes[..CHECKED], body) != number(bytes, CHECKED) {
        return Err(EnvelopeError::Damaged);
    }
    let (key, rest) = body.split_at(key_len as usize);
    let (tags, value) = rest.split_at(tags_len);
    Ok(Envelope { header, key, tags: Tags(tags), value })
}

/// Reads a header alone, unchecked, and the lengths of key and value: to look at what is left of an
/// entry's life without reading all of it.
///
/// # Errors
/// Fewer than [`HEADER`] bytes, or another format.
pub fn decode_header(bytes: &[u8]) -> Result<(Header, u32, u32), EnvelopeError> {
    if bytes.len() < HEADER {
        return Err(EnvelopeError::Length);
    }
    match bytes {
        [a, b, ..] if [*a, *b] != MAGIC => return Err(EnvelopeError::Foreign),
        [_, _, VERSION, tags, _, 0, ..] if usize::from(*tags) <= MAX_TAGS => {}
        _ => return Err(EnvelopeError::Newer),
    }
    let span = |from| match number(bytes, from) {
        u64::MAX => Duration::MAX,
        nanos => Duration::from_nanos(nanos),
    };
    let lifetime = Lifetime::fresh_for(span(8))
        .stale_while_revalidate(span(16))
        .stale_if_error(span(24))
        .aged(span(32));
    let header = Header {
        codec: bytes[4],
        schema: u16::from_be_bytes([bytes[6], bytes[7]]),
        lifetime,
        written_at: number(bytes, 40),
        tags_seen: number(bytes, 48),
    };
    let lengths = number(bytes, 56);
    Ok((header, (lengths >> 32) as u32, lengths as u32))
}

fn number(bytes: &[u8], from: usize) -> u64 {
    let eight = bytes[from..].first_chunk().copied();
    u64::from_be_bytes(eight.unwrap_or_default())
}

/// All ones stand for "for ever" alone.
fn nanos(span: Duration) -> u64 {
    match span {
        Duration::MAX => u64::MAX,
        span => u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX - 1),
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(header), body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn write(header: &Header, key: &[u8], tags: &[u64], value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7; 3];
        let value = |out: &mut Vec<u8>| {
            out.extend_from_slice(value);
            Ok::<_, ()>(())
        };
        encode(header, (key, tags), value, &mut bytes).unwrap();
        bytes
    }

    fn sample() -> (Header, Vec<u8>) {
        let lifetime = Lifetime::fresh_for(Duration::from_secs(60)).aged(Duration::from_nanos(1));
        let header = Header::new(3, lifetime).schema(0x0102).written_at(5).after_tags(9);
        (header, write(&header, b"a key", &[], b"a value"))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            spans in any::<[u64; 4]>(),
            numbers in any::<(u64, u64, u16, u8)>(),
            key in any::<Vec<u8>>(),
            tags in prop::collection::vec(any::<u64>(), 0..=MAX_TAGS),
            value in any::<Vec<u8>>(),
        ) {
            let [ttl, swr, sie, age] = spans.map(|nanos| match nanos {
                u64::MAX => Duration::MAX,
                nanos => Duration::from_nanos(nanos),
            });
            let lifetime = Lifetime { age, ttl, swr, sie };
            let (written_at, tags_seen, schema, codec) = numbers;
            let header = Header { codec, schema, lifetime, written_at, tags_seen };
            let bytes = write(&header, &key, &tags, &value);
            let found = decode(&bytes).unwrap();
            prop_assert_eq!((found.header, found.key, found.value), (header, &*key, &*value));
            prop_assert!(found.tags.iter().eq(tags));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(decode(&bytes).is_err());
            let mut bytes = [&sample().1[..8], &bytes].concat();
            prop_assert!(decode(&bytes).is_err());
            bytes.truncate(HEADER);
            let _ = decode_header(&bytes);
        }
    }

    #[test]
    fn no_byte_may_change_and_none_be_missing_or_too_many() {
        let (header, bytes) = sample();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(decode(&changed).is_err(), "bit {bit} of byte {at}");
            }
            assert!(decode(&bytes[..at]).is_err(), "cut after {at} bytes");
        }
        assert!(decode(&[&bytes[..], b"x"].concat()).is_err());
        assert_eq!(decode_header(&bytes), Ok((header, 5, 7)));
    }

    /// What is stored today must be readable by every later version.
    #[test]
    fn the_format_is_fixed() {
        let (_, bytes) = sample();
        assert_eq!(bytes[..8], [0xac, 0xe1, 1, 0, 3, 0, 1, 2]);
        assert_eq!(bytes[8..16], 60_000_000_000_u64.to_be_bytes());
        assert_eq!(
            bytes[32..64],
            [[0; 7].as_slice(), &[1], &[0; 7], &[5], &[0; 7], &[9], &[0, 0, 0, 5, 0, 0, 0, 7]]
                .concat()
        );
        assert_eq!(bytes[HEADER..], *b"a keya value");
        let tagged = write(&sample().0, b"key", &[0x0102, 3], b"value");
        let hashes = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(tagged[..4], [0xac, 0xe1, 1, 2]);
        assert_eq!(tagged[HEADER..], [&b"key"[..], &hashes, b"value"].concat());
        assert_eq!(
            number(&bytes, CHECKED),
            1_205_534_222_772_636_033,
            "the checksum of exactly these bytes"
        );
    }

    #[test]
    fn a_codec_that_fails_leaves_nothing() {
        let (header, mut bytes) = sample();
        let failed = encode(&header, (b"key", &[]), |_| Err("no"), &mut bytes);
        assert_eq!((failed, bytes.len()), (Err(EncodeError::Value("no")), 0));
        let tags = [0; MAX_TAGS + 1];
        let refused = encode(&header, (b"key", &tags), |_| Ok::<_, ()>(()), &mut bytes);
        assert_eq!((refused, bytes.len()), (Err(EncodeError::TooLong(MAX_TAGS + 1)), 0));
    }

    #[test]
    fn longer_than_for_ever_is_nearly_for_ever() {
        let ages = Lifetime::fresh_for(Duration::MAX - Duration::from_nanos(1));
        let bytes = write(&Header::new(0, ages), b"", &[], b"");
        let ttl = decode(&bytes).unwrap().header.lifetime.ttl;
        assert_eq!(ttl, Duration::from_nanos(u64::MAX - 1));
    }
}
