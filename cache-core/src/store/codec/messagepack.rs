//! Values in a compact form that says what it holds.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use rmp_serde::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, bounded};

/// Values of types that serde knows, as [MessagePack](https://msgpack.org). Fields are written with
/// their names, as in JSON, so other languages read them, and a later version of the type may have
/// more.
///
/// What is nested more than 128 deep cannot be read: lists, maps, structures, enumerations, options
/// and new types each count. Needs the standard library.
///
/// ```
/// use cache_core::store::{Codec, MessagePack};
///
/// let mut bytes = Vec::new();
/// MessagePack.encode(&("Ada".to_owned(), 1815_u16), &mut bytes)?;
/// assert_eq!(bytes, b"\x92\xa3Ada\xcd\x07\x17");
/// let (name, born): (String, u16) = MessagePack.decode(&bytes)?;
/// assert_eq!((&*name, born), ("Ada", 1815));
/// # Ok::<(), cache_core::store::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // made by its name
pub struct MessagePack;

const DEEPEST: u16 = 128;

impl<V: Serialize + DeserializeOwned> Codec<V> for MessagePack {
    const ID: u8 = 2;

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        let written = encode::write_named(out, value);
        Ok(written.map_err(|error| Wrong { what: unwritten(&error), at: out.len() - start })?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let mut rest = bytes;
        let mut decoder = rmp_serde::Deserializer::new(&mut rest);
        match bounded::decode(&mut decoder, DEEPEST, bytes.len()) {
            Ok(value) if rest.is_empty() => Ok(value),
            Ok(_) => Err("bytes follow the value".into()),
            Err(error) => Err(Wrong { what: unread(&error), at: bytes.len() - rest.len() }.into()),
        }
    }
}

/// What is wrong, and behind how many bytes. The error itself is left aside: it may quote the value.
#[derive(Debug)]
struct Wrong {
    what: &'static str,
    at: usize,
}

const fn unwritten(error: &encode::Error) -> &'static str {
    match error {
        encode::Error::UnknownLength => "a length is not known",
        encode::Error::DepthLimitExceeded => "it is nested too deep",
        _ => "it has no such form",
    }
}

const fn unread(error: &decode::Error) -> &'static str {
    use decode::Error::*;
    match error {
        InvalidMarkerRead(_) | InvalidDataRead(_) => "it ends too early",
        Utf8Error(_) => "a text is not UTF-8",
        DepthLimitExceeded => "it is nested too deep",
        TypeMismatch(_) | OutOfRange | LengthMismatch(_) | Uncategorized(_) | Syntax(_) => {
            "it is not of this type"
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, behind {} bytes", self.what, self.at)
    }
}

impl Error for Wrong {}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::super::testing::{Endless, List, Node, on_a_small_stack};
    use super::*;

    fn read<V: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<V, CodecError> {
        MessagePack.decode(bytes)
    }

    #[test]
    fn errors_tell_what_is_wrong_and_where_and_not_the_value() {
        let shown = |bytes: &[u8]| read::<(u8, char)>(bytes).unwrap_err().to_string();
        assert_eq!(shown(b"\x92\x01\xa6secret"), "it is not of this type, behind 9 bytes");
        assert_eq!(shown(b"\x92\x01\xa6secr"), "it ends too early, behind 7 bytes");
    }

    #[test]
    fn what_is_nested_too_deep_is_an_error() {
        on_a_small_stack(|| {
            let mut bytes = Vec::new();
            MessagePack.encode(&List::of(127), &mut bytes).unwrap();
            assert_eq!(read::<List>(&bytes).unwrap(), List::of(127));
            assert!(read::<List>(&b"\x81\xa4More".repeat(100_000)).is_err());
            assert!(read::<Node>(&b"\x81\xa8children\x91".repeat(100_000)).is_err());
            assert!(read::<Endless>(&[1]).is_err());
        });
    }

    #[test]
    fn lengths_that_lie_and_what_follows_are_errors() {
        assert!(read::<Vec<u64>>(b"\xdd\xff\xff\xff\xff\x01").is_err());
        assert!(read::<String>(b"\xdb\xff\xff\xff\xffa").is_err());
        assert!(read::<Vec<u8>>(b"\xc6\xff\xff\xff\xffa").is_err());
        assert!(read::<u8>(&[1, 2]).is_err());
        assert!(read::<u8>(&[]).is_err());
    }
}
