//! Values compressed quickly.

use alloc::vec::Vec;

use lz4_flex::block;

use super::packed::Limits;
use super::{Codec, CodecError, compressed};

/// What another codec writes, compressed by [LZ4](https://lz4.org) where that makes it shorter.
/// Works without the standard library.
///
/// Bytes that somebody made up cost no more memory than [`limit`](Self::limit) says. Values that would
/// be compressed better than [`ratio`](Self::ratio) are made longer by zeros.
///
/// ```
/// use cache_core::store::{Codec, Lz4, Plain};
///
/// let pages = Lz4::new(Plain);
/// let page = "<p>the same again</p>".repeat(100);
/// let mut bytes = Vec::new();
/// pages.encode(&page, &mut bytes)?;
/// assert!(bytes.len() < 100);
/// let again: String = pages.decode(&bytes)?;
/// assert_eq!(again, page);
/// # Ok::<(), cache_core::store::CodecError>(())
/// ```
///
/// Once is enough:
///
/// ```compile_fail,E0080
/// use cache_core::store::{Codec, Lz4, Plain};
///
/// let id = <Lz4<Lz4<Plain>> as Codec<String>>::ID;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lz4<C> {
    inner: C,
    limits: Limits,
}

impl<C> Lz4<C> {
    /// Up to 16 MiB, and 100 bytes for each.
    pub const fn new(codec: C) -> Self {
        Self { inner: codec, limits: Limits::DEFAULT }
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

impl<C: Default> Default for Lz4<C> {
    fn default() -> Self {
        Self::new(C::default())
    }
}

impl<V, C: Codec<V>> Codec<V> for Lz4<C> {
    const ID: u8 = compressed(C::ID, 1);

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut plain = Vec::new();
        self.inner.encode(value, &mut plain)?;
        let most = block::get_maximum_output_size(plain.len());
        let compress = |value: &[u8], out: &mut [u8]| block::compress_into(value, out).ok();
        Ok(self.limits.pack(&plain, most, compress, out)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let decompress = |packed: &[u8], out: &mut [u8]| block::decompress_into(packed, out).ok();
        self.inner.decode(&self.limits.unpack(bytes, decompress)?)
    }
}
