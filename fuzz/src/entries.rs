//! Any bytes as an entry, and as the value in one that somebody has sealed well.

use core::fmt::Debug;
use std::collections::BTreeMap;
use std::time::Duration;

use advanced_caching::Lifetime;
use advanced_caching::store::envelope::{self, HEADER, Header};
use advanced_caching::store::{
    Codec, CodecError, Json, Lz4, MessagePack, Plain, Postcard, Protobuf, Zstd,
};
use serde::{Deserialize, Serialize};

/// A value with a bit of everything, for the codecs of serde.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Nothing,
    Number(i64),
    Wide(u128, Option<char>),
    Branch { name: String, parts: Vec<Self>, more: BTreeMap<String, Option<Self>> },
    Bytes(Vec<u8>),
}

/// And one for prost.
#[derive(PartialEq, prost::Message)]
struct Row {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(sint64, repeated, tag = "2")]
    numbers: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    parts: Vec<Self>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    more: BTreeMap<String, Vec<u8>>,
}

/// Bytes as an entry of the codec that the first one says, then as a value of it.
///
/// # Panics
/// If a decoder does, if two readings of an entry differ, or a value that was read does not survive
/// being written.
pub fn entries(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 11 {
        0 => entry::<String, _>(&Plain, data),
        1 => entry::<Tree, _>(&Json, data),
        2 => entry::<Tree, _>(&MessagePack, data),
        3 => entry::<Tree, _>(&Postcard, data),
        4 => entry::<Row, _>(&Protobuf, data),
        5 => entry::<Vec<u8>, _>(&Lz4::new(Plain), data),
        6 => entry::<Vec<u8>, _>(&Zstd::new(Plain), data),
        7 => entry::<Tree, _>(&Lz4::new(MessagePack).limit(1 << 16), data),
        8 => entry::<Tree, _>(&Zstd::new(Postcard).ratio(10), data),
        9 => entry::<Row, _>(&Lz4::new(Protobuf), data),
        // Elements that take no bytes. Their number may be too much for the shortest form of it.
        _ => drop(Codec::<Vec<(Vec<()>, Option<()>)>>::decode(&Postcard, data)),
    }
}

fn entry<V: Debug + PartialEq, C: Codec<V>>(codec: &C, data: &[u8]) {
    as_an_entry(codec, data);
    if let Ok(value) = codec.decode(data) {
        survives(codec, value);
    }
    flipped(codec, data);
}

/// What the header alone says is what the whole says.
fn as_an_entry<V, C: Codec<V>>(codec: &C, data: &[u8]) {
    let header = envelope::decode_header(data);
    if let Ok(found) = envelope::decode(data) {
        let (header, key, value) = header.expect("the header was read with the entry");
        assert_eq!((header, key as usize), (found.header, found.key.len()));
        assert_eq!(value as usize, found.value.len());
        let _ = codec.decode(found.value);
    }
}

/// Not all that can be read can be written: nested as deep as may be, say, or longer than the limit.
fn survives<V: Debug + PartialEq, C: Codec<V>>(codec: &C, value: V) {
    let mut bytes = vec![];
    if codec.encode(&value, &mut bytes).is_ok() {
        let again = codec.decode(&bytes);
        assert!(
            again.as_ref().is_ok_and(|again| *again == value),
            "{value:?} came back as {again:?}"
        );
    }
}

/// The bytes as a value that is sealed, with one bit changed.
fn flipped<V, C: Codec<V>>(codec: &C, data: &[u8]) {
    let mut bytes = sealed(C::ID, data);
    let opened = |bytes: &[u8]| envelope::decode(bytes).map(|found| found.value.to_vec());
    assert_eq!(opened(&bytes).as_deref(), Ok(data));
    let _ = codec.decode(data);
    let bit = data.iter().fold(0_usize, |bit, byte| bit.wrapping_mul(31) + usize::from(*byte));
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    assert!(opened(&bytes).is_err(), "bit {bit} changed and was read");
    bytes.truncate(HEADER + data.len() / 2);
    assert!(opened(&bytes).is_err(), "cut and read");
}

fn sealed(codec: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    let header = Header::new(codec, Lifetime::fresh_for(Duration::from_secs(60)));
    let encode = |out: &mut Vec<u8>| {
        out.extend_from_slice(value);
        Ok::<(), CodecError>(())
    };
    assert!(envelope::encode(&header, (b"key", &[]), encode, &mut bytes).is_ok(), "it is short");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bytes;

    /// What the codecs write themselves, so that small changes reach far into the decoders.
    fn written() -> Vec<(u8, Vec<u8>)> {
        let leaf = || Tree::Wide(1 << 100, Some('ä'));
        let more = BTreeMap::from([("a".into(), Some(leaf())), ("b".into(), None)]);
        let parts = vec![Tree::Nothing, Tree::Number(-300), Tree::Bytes(vec![7; 40])];
        let tree = Tree::Branch { name: "ä".repeat(20), parts, more };
        let part = Row { name: "ä".into(), ..Row::default() };
        let more = BTreeMap::from([("a".into(), vec![7; 40])]);
        let row = Row { name: "b".into(), numbers: vec![1, -300], parts: vec![part], more };
        vec![
            (0, plain(&Plain, &"text".to_owned())),
            (1, plain(&Json, &tree)),
            (2, plain(&MessagePack, &tree)),
            (3, plain(&Postcard, &tree)),
            (4, plain(&Protobuf, &row)),
            (5, plain(&Lz4::new(Plain), &vec![7_u8; 3_000])),
            (6, plain(&Zstd::new(Plain), &vec![7_u8; 3_000])),
            (7, plain(&Lz4::new(MessagePack), &tree)),
            (8, plain(&Zstd::new(Postcard), &tree)),
            (9, plain(&Lz4::new(Protobuf), &row)),
        ]
    }

    fn plain<V, C: Codec<V>>(codec: &C, value: &V) -> Vec<u8> {
        let mut bytes = vec![];
        codec.encode(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        (0..20_000).for_each(|seed| entries(&bytes(seed)));
    }

    #[test]
    fn changed_values_are_read_or_refused() {
        for (kind, value) in written() {
            entries(&[&[kind], &value[..]].concat());
            entries(&[&[kind], &sealed(kind, &value)[..]].concat());
            for bit in 0..value.len() * 8 {
                let mut changed = [&[kind], &value[..]].concat();
                changed[1 + bit / 8] ^= 1 << (bit % 8);
                entries(&changed);
                changed.truncate(1 + bit / 8);
                entries(&changed);
            }
        }
    }

    /// Announces what it does not have.
    struct Trusting;

    impl Codec<Vec<u8>> for Trusting {
        const ID: u8 = 128;

        fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.push(value.len() as u8);
            out.extend_from_slice(value);
            Ok(())
        }

        fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
            let (len, value) = bytes.split_first().ok_or("empty")?;
            Ok(value[..usize::from(*len)].to_vec())
        }
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_decoder_that_trusts_a_length_is_caught() {
        (0..50).for_each(|seed| entry(&Trusting, &bytes(seed)));
    }

    /// Keeps one byte less than it gets.
    struct Forgetful;

    impl Codec<Vec<u8>> for Forgetful {
        const ID: u8 = 128;

        fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend(value.iter().skip(1));
            Ok(())
        }

        fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
            Ok(bytes.to_vec())
        }
    }

    #[test]
    #[should_panic(expected = "came back as")]
    fn a_codec_that_loses_a_byte_is_caught() {
        (0..50).for_each(|seed| entry(&Forgetful, &bytes(seed)));
    }
}
