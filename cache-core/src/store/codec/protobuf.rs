//! Values as messages of a protocol.

use alloc::vec::Vec;

use prost::Message;

use super::{Codec, CodecError};

/// Messages of [prost](https://docs.rs/prost), as Protocol Buffers. A field that is missing has its
/// default, and one that is unknown is left out, so versions of a message read each other. Works
/// without the standard library.
///
/// Messages nested more than 100 deep cannot be read, unless the program switches on prost's
/// `no-recursion-limit`: with that, bytes that somebody made up can end the program.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // made by its name
pub struct Protobuf;

impl<V: Message + Default> Codec<V> for Protobuf {
    const ID: u8 = 4;

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(value.encode(out)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        Ok(V::decode(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::string::String;

    use super::super::testing::on_a_small_stack;
    use super::*;

    #[derive(PartialEq, Message)]
    struct Chain {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, optional, boxed, tag = "2")]
        next: Option<Box<Self>>,
    }

    fn chain(links: usize) -> Chain {
        (0..links).fold(Chain::default(), |next, _| Chain {
            name: "a".into(),
            next: Some(Box::new(next)),
        })
    }

    fn written(chain: &Chain) -> Vec<u8> {
        let mut bytes = Vec::new();
        Protobuf.encode(chain, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_nested_too_deep_is_an_error() {
        on_a_small_stack(|| {
            let read = |bytes: &[u8]| Codec::<Chain>::decode(&Protobuf, bytes);
            assert_eq!(read(&written(&chain(99))).unwrap(), chain(99));
            assert!(read(&written(&chain(150))).is_err());
        });
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        let read = |bytes: &[u8]| Codec::<Chain>::decode(&Protobuf, bytes);
        assert!(read(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7fa").is_err());
        assert!(read(b"\x12\xff\xff\xff\xff\x0fa").is_err());
        assert!(read(&written(&chain(1))[..2]).is_err());
    }
}
