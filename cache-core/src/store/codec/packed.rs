//! What the compressing codecs share: the form of what they write, and its limits.
//!
//! | from | bytes | |
//! |---|---|---|
//! | 0 | 4 | length of the value as the inner codec wrote it, big-endian |
//! | 4 | 4 | length of what follows; where the two are the same, that is not compressed |
//! | 8 | | the value, compressed |
//! | | | zeros, where it would be less than a hundredth of the value otherwise |

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

const HEADER: usize = 8;

/// Why bytes could not be compressed, or unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompressionError {
    /// Unpacked, there are more bytes than the codec's limit.
    #[non_exhaustive]
    TooLong {
        /// Bytes that it has, or says that it has.
        size: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// Unpacked, there would be more bytes for each of these than the codec's ratio.
    #[non_exhaustive]
    TooDense {
        /// Bytes for each byte that it may have.
        ratio: u32,
    },
    /// It is not what the codec wrote.
    Damaged,
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { size, limit } => {
                write!(f, "{size} bytes are more than the {limit} that it may unpack to")
            }
            Self::TooDense { ratio } => {
                write!(f, "it unpacks to more than {ratio} times its bytes")
            }
            Self::Damaged => f.write_str("it does not unpack to what it says"),
        }
    }
}

impl Error for CompressionError {}

/// What may be unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    bytes: usize,
    ratio: u32,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self { bytes: 16 << 20, ratio: 100 };

    pub(super) const fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    pub(super) const fn ratio(self, ratio: u32) -> Self {
        Self { ratio: if ratio == 0 { 1 } else { ratio }, ..self }
    }

    const fn is_too_dense(self, len: usize, packed: usize) -> bool {
        len as u64 > (packed as u64).saturating_mul(self.ratio as u64)
    }

    fn checked(self, size: usize) -> Result<u32, CompressionError> {
        let len = u32::try_from(size).ok().filter(|_| size <= self.bytes);
        len.ok_or_else(|| CompressionError::TooLong {
            size,
            limit: self.bytes.min(u32::MAX as usize),
        })
    }

    /// Appends `value`, compressed where that makes it shorter. `compress` has room for `most` bytes
    /// and answers how many it took, if it could.
    pub(super) fn pack(
        self,
        value: &[u8],
        most: usize,
        compress: impl FnOnce(&[u8], &mut [u8]) -> Option<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let len = self.checked(value.len())?;
        out.extend_from_slice(&len.to_be_bytes());
        let (start, body) = (out.len() - 4, out.len() + 4);
        out.resize(body + most, 0);
        let packed = compress(value, &mut out[body..]).filter(|packed| *packed < value.len());
        out.truncate(body + packed.unwrap_or(0));
        if packed.is_none() {
            out.extend_from_slice(value);
        }
        // Less than `len`, or that.
        let packed = packed.map_or(len, |packed| packed as u32);
        out[start + 4..body].copy_from_slice(&packed.to_be_bytes());
        let least = value.len().div_ceil(self.ratio as usize);
        out.resize(out.len().max(start + least), 0);
        Ok(())
    }

    /// What was packed. Takes up no more memory than is allowed, whatever the bytes are.
    pub(super) fn unpack(
        self,
        bytes: &[u8],
        decompress: impl FnOnce(&[u8], &mut [u8]) -> Option<usize>,
    ) -> Result<Cow<'_, [u8]>, CompressionError> {
        let (len, packed) = self.parts(bytes)?;
        if packed.len() == len {
            return Ok(Cow::Borrowed(packed));
        }
        let mut value = vec![0; len];
        match decompress(packed, &mut value) {
            Some(written) if written == len => Ok(Cow::Owned(value)),
            _ => Err(CompressionError::Damaged),
        }
    }

    /// The length of the value, and what it is to be made of.
    fn parts(self, bytes: &[u8]) -> Result<(usize, &[u8]), CompressionError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(CompressionError::Damaged);
        };
        let [a, b, c, d, packed @ ..] = *header;
        let len = self.checked(u32::from_be_bytes([a, b, c, d]) as usize)? as usize;
        if self.is_too_dense(len, bytes.len()) {
            return Err(CompressionError::TooDense { ratio: self.ratio });
        }
        let split = body.split_at_checked(u32::from_be_bytes(packed) as usize);
        let (packed, padding) = split.ok_or(CompressionError::Damaged)?;
        if packed.len() > len || padding.iter().any(|byte| *byte != 0) {
            return Err(CompressionError::Damaged);
        }
        Ok((len, packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits::DEFAULT.bytes(1_000).ratio(10);

    /// Keeps the first byte of many equal ones.
    fn compress(value: &[u8], out: &mut [u8]) -> Option<usize> {
        out[0] = *value.first()?;
        value.iter().all(|byte| *byte == out[0]).then_some(1)
    }

    fn decompress(packed: &[u8], out: &mut [u8]) -> Option<usize> {
        out.fill(*packed.first()?);
        Some(out.len())
    }

    fn packed(value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7];
        LIMITS.pack(value, 1, compress, &mut bytes).unwrap();
        assert_eq!(bytes.remove(0), 7, "what was there stays");
        bytes
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, CompressionError> {
        LIMITS.unpack(bytes, decompress).map(Cow::into_owned)
    }

    #[test]
    fn the_form_is_fixed() {
        assert_eq!(packed(&[5; 20]), [0, 0, 0, 20, 0, 0, 0, 1, 5]);
        assert_eq!(packed(&[5, 6]), [0, 0, 0, 2, 0, 0, 0, 2, 5, 6]);
        assert_eq!(packed(&[]), [0; 8]);
        assert_eq!(packed(&[5; 105]), [0, 0, 0, 105, 0, 0, 0, 1, 5, 0, 0], "padded to a tenth");
        for value in [&[5; 20][..], &[5, 6], &[], &[5; 105], &[5; 1_000]] {
            assert_eq!(unpacked(&packed(value)).unwrap(), value);
        }
    }

    #[test]
    fn what_is_beyond_the_limits_is_refused_both_ways() {
        let too_long = CompressionError::TooLong { size: 1_001, limit: 1_000 };
        assert_eq!(LIMITS.pack(&[5; 1_001], 1, compress, &mut vec![]), Err(too_long));
        assert_eq!(unpacked(&[0, 0, 3, 0xe9, 0, 0, 0, 1, 5]), Err(too_long));
        let dense = CompressionError::TooDense { ratio: 10 };
        assert_eq!(unpacked(&[0, 0, 0, 91, 0, 0, 0, 1, 5]), Err(dense));
        assert_eq!(unpacked(&[0, 0, 0, 90, 0, 0, 0, 1, 5]), Ok(vec![5; 90]));
    }

    #[test]
    fn nothing_may_be_missing_and_nothing_too_much() {
        let whole = packed(&[5; 20]);
        for len in 0..whole.len() {
            assert!(unpacked(&whole[..len]).is_err());
        }
        assert_eq!(unpacked(&[&whole[..], &[1]].concat()), Err(CompressionError::Damaged));
        let longer_than_the_value = [0, 0, 0, 1, 0, 0, 0, 2, 5, 5];
        assert_eq!(unpacked(&longer_than_the_value), Err(CompressionError::Damaged));
        let short = LIMITS.unpack(&whole, |_, _| Some(19));
        assert_eq!(short, Err(CompressionError::Damaged));
    }
}
