//! Values and keys as bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;

#[cfg(any(feature = "json", feature = "messagepack", feature = "postcard"))]
mod bounded;
#[cfg(feature = "json")]
mod json;
mod key;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "messagepack")]
mod messagepack;
#[cfg(any(feature = "lz4", feature = "zstd"))]
mod packed;
mod plain;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(feature = "protobuf")]
mod protobuf;
#[cfg(all(
    test,
    any(feature = "json", feature = "messagepack", feature = "postcard", feature = "protobuf")
))]
mod testing;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(feature = "json")]
pub use json::Json;
pub use key::{KeyBytes, KeyFromBytes};
#[cfg(feature = "lz4")]
pub use lz4::Lz4;
#[cfg(feature = "messagepack")]
pub use messagepack::MessagePack;
#[cfg(any(feature = "lz4", feature = "zstd"))]
pub use packed::CompressionError;
pub use plain::Plain;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
#[cfg(feature = "protobuf")]
pub use protobuf::Protobuf;
#[cfg(feature = "zstd")]
pub use zstd::Zstd;

/// Why a value could not be encoded or decoded. Stores hand it on, so it must not quote the value; those of the
/// library's codecs tell what is wrong, and where.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// Turns values into bytes and back, for stores outside the process.
///
/// The bytes that are decoded may come from anybody who can write to the store. Whatever they are,
/// this library's codecs answer a value or an error and never panic. They take no more memory than a
/// few times the bytes' length, times the size of the largest element of the value's type; those that
/// unpack have limits of their own.
///
/// A codec is told from others by one byte. Its bits say what was done to a value, so a codec around
/// another differs from it and tells both:
///
/// | bits | |
/// |---|---|
/// | 0 to 3 | 0 `Plain`, 1 `Json`, 2 `MessagePack`, 3 `Postcard`, 4 `Protobuf` |
/// | 4 to 6 | around that: 0 nothing, 1 `Lz4`, 2 `Zstd` |
/// | 7 | 0 for the library's, 1 for one of your own |
///
/// A codec of your own around one of the library's has `128 | C::ID`, such as 0x91 around
/// `Lz4<Json>`. One that is around none has 0x88 to 0x8f, and may itself be inside `Lz4` or `Zstd`; or
/// any other number from 128 that you do not use yet. To compress what is compressed or encrypted is
/// of no use, and does not compile.
pub trait Codec<V> {
    /// Tells this codec from others in what is stored. Below 128 is the library's; see above for
    /// yours.
    const ID: u8;

    /// Appends the value's bytes.
    ///
    /// # Errors
    /// The value has no such form.
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value of these bytes. They were written by [`encode`](Self::encode), perhaps of another
    /// version of the program.
    ///
    /// # Errors
    /// They are none of this type.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// The ID of a compressing codec around that of `inner`. Evaluated by the compiler, as are its errors.
#[cfg(any(feature = "lz4", feature = "zstd"))]
const fn compressed(inner: u8, method: u8) -> u8 {
    assert!(
        matches!(inner, 0..=0x0f | 0x88..=0x8f),
        "the inner codec's ID must be one around which there is no other"
    );
    inner | method << 4
}
