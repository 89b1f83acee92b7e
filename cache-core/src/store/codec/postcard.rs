//! Values in the fewest bytes.

use alloc::vec::Vec;
use core::mem;

use ::postcard::Deserializer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, bounded};

/// Values of types that serde knows, in the form of [postcard](https://postcard.jamesmunns.com): in
/// the fewest bytes, and without names. What is written by one version of a type cannot be told from
/// what is written by another, so give each its own schema number. Works without the standard
/// library.
///
/// What is nested more than 128 deep cannot be read: lists, maps, structures, enumerations, options
/// and new types each count. Nor can lists with more than 4,096 elements that take no bytes, as `()`.
///
/// ```
/// use cache_core::store::{Codec, Postcard};
///
/// let mut bytes = Vec::new();
/// Postcard.encode(&("Ada".to_owned(), 1815_u16), &mut bytes)?;
/// assert_eq!(bytes, b"\x03Ada\x97\x0e");
/// let (name, born): (String, u16) = Postcard.decode(&bytes)?;
/// assert_eq!((&*name, born), ("Ada", 1815));
/// # Ok::<(), cache_core::store::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // made by its name
pub struct Postcard;

const DEEPEST: u16 = 128;

impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
    const ID: u8 = 3;

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        *out = ::postcard::to_extend(value, mem::take(out))?;
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let mut decoder = Deserializer::from_bytes(bytes);
        let value = bounded::decode(&mut decoder, DEEPEST, bytes.len())?;
        if decoder.finalize()?.is_empty() {
            Ok(value)
        } else {
            Err("bytes follow the value".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use super::super::testing::{Endless, List, Node, on_a_small_stack};
    use super::*;

    fn read<V: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<V, CodecError> {
        Postcard.decode(bytes)
    }

    #[test]
    fn what_is_nested_too_deep_is_an_error() {
        on_a_small_stack(|| {
            let mut bytes = Vec::new();
            Postcard.encode(&List::of(127), &mut bytes).unwrap();
            assert_eq!(read::<List>(&bytes).unwrap(), List::of(127));
            assert!(read::<List>(&[1; 100_000]).is_err());
            assert!(read::<Node>(&[1; 100_000]).is_err());
            assert!(read::<Endless>(&[1; 100_000]).is_err());
        });
    }

    /// A length of 2^63 - 1.
    const HUGE: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f";

    #[test]
    fn lengths_that_lie_and_what_follows_are_errors() {
        assert!(read::<Vec<u64>>(HUGE).is_err());
        assert!(read::<String>(HUGE).is_err());
        assert!(read::<u8>(&[1, 2]).is_err());
        assert!(read::<u8>(&[]).is_err());
    }

    /// Such a list is a few bytes long, whatever its length.
    #[test]
    fn elements_without_bytes_are_counted() {
        let mut bytes = Vec::new();
        Postcard.encode(&vec![(); 4_096], &mut bytes).unwrap();
        assert_eq!(read::<Vec<()>>(&bytes).unwrap().len(), 4_096);
        assert!(read::<Vec<()>>(HUGE).is_err());
        assert!(read::<Vec<Vec<()>>>(&[&[2][..], HUGE, HUGE].concat()).is_err());
        Postcard.encode(&vec![Vec::<()>::new(); 20_000], &mut bytes).unwrap();
        assert_eq!(read::<Vec<Vec<()>>>(&bytes[2..]).unwrap().len(), 20_000);
    }
}
