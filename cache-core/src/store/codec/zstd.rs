//! Values compressed well.

use alloc::vec::Vec;

use super::packed::Limits;
use super::{Codec, CodecError, compressed};

/// What another codec writes, compressed by [Zstandard](https://facebook.github.io/zstd) (RFC 8878)
/// where that makes it shorter. Works without the standard library, and needs a C compiler: this is
/// the format's own library.
///
/// Bytes that somebody made up cost no more memory than [`limit`](Self::limit) says, and what that
/// library takes for its tables, less than 1 MiB. Values that would be compressed better than
/// [`ratio`](Self::ratio) are made longer by zeros.
///
/// ```
/// use cache_core::store::{Codec, Plain, Zstd};
///
/// let pages = Zstd::new(Plain).level(1);
/// let page = "<p>the same again</p>".repeat(100);
/// let mut bytes = Vec::new();
/// pages.encode(&page, &mut bytes)?;
/// assert!(bytes.len() < 100);
/// let again: String = pages.decode(&bytes)?;
/// assert_eq!(again, page);
/// # Ok::<(), cache_core::store::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Zstd<C> {
    inner: C,
    limits: Limits,
    level: i32,
}

impl<C> Zstd<C> {
    /// Level 3, up to 16 MiB, and 100 bytes for each.
    pub const fn new(codec: C) -> Self {
        Self { inner: codec, limits: Limits::DEFAULT, level: zstd_safe::CLEVEL_DEFAULT }
    }

    /// How well to compress: 1 is quick, 19 slow, above that it takes much memory, and below 0 it is
    /// quicker still. What is out of range is the nearest there is. Any level reads what another
    /// wrote.
    #[must_use]
    pub fn level(self, level: i32) -> Self {
        Self { level, ..self }
    }

    /// Bytes of a value as the inner codec writes it, above which it is neither compressed nor
    /// unpacked; at most 4 GiB.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limits: self.limits.bytes(bytes), ..self }
    }

    /// Bytes for each stored one, above which it is not unpacked; at least 1. Who reads must allow no
    /// less than who writes.
    #[must_use]
    pub fn ratio(self, ratio: u32) -> Self {
        Self { limits: self.limits.ratio(ratio), ..self }
    }
}

impl<C: Default> Default for Zstd<C> {
    fn default() -> Self {
        Self::new(C::default())
    }
}

impl<V, C: Codec<V>> Codec<V> for Zstd<C> {
    const ID: u8 = compressed(C::ID, 2);

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut plain = Vec::new();
        self.inner.encode(value, &mut plain)?;
        let level = self.level.clamp(zstd_safe::min_c_level(), zstd_safe::max_c_level());
        let compress = |value: &[u8], out: &mut [u8]| zstd_safe::compress(out, value, level).ok();
        let most = zstd_safe::compress_bound(plain.len());
        Ok(self.limits.pack(&plain, most, compress, out)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let decompress = |packed: &[u8], out: &mut [u8]| zstd_safe::decompress(out, packed).ok();
        self.inner.decode(&self.limits.unpack(bytes, decompress)?)
    }
}
