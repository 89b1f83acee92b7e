//! Every codec: what it wrote once it reads for ever, and no bytes harm it.
#![cfg(all(
    feature = "json",
    feature = "messagepack",
    feature = "postcard",
    feature = "protobuf",
    feature = "lz4",
    feature = "zstd"
))]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use cache_core::Lifetime;
use cache_core::store::envelope::{self, HEADER, Header};
use cache_core::store::{
    Codec, CodecError, CompressionError, Json, Lz4, MessagePack, Plain, Postcard, Protobuf, Zstd,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A value for the codecs of serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u32),
    Named { name: String, parts: Vec<Self>, more: BTreeMap<String, Option<i64>> },
}

/// And one for prost.
#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, repeated, tag = "2")]
    numbers: Vec<u64>,
    #[prost(message, optional, boxed, tag = "3")]
    next: Option<Box<Self>>,
}

fn shape() -> Shape {
    let more = BTreeMap::from([("a".into(), Some(-1)), ("b".into(), None)]);
    let parts = vec![Shape::Point, Shape::Circle(300)];
    Shape::Named { name: "ä".into(), parts, more }
}

fn row() -> Row {
    let next = Row { name: String::new(), numbers: vec![], next: None };
    Row { name: "ä".into(), numbers: vec![1, 300], next: Some(Box::new(next)) }
}

fn text() -> String {
    "the same again, ".repeat(20)
}

fn encoded<V, C: Codec<V>>(codec: &C, value: &V) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![];
    codec.encode(value, &mut bytes)?;
    Ok(bytes)
}

/// An entry's bytes.
fn sealed<V, C: Codec<V>>(codec: &C, value: &V) -> Vec<u8> {
    let header = Header::new(C::ID, Lifetime::fresh_for(Duration::from_secs(60)));
    let mut bytes = vec![];
    envelope::encode(&header, (b"key", &[]), |out| codec.encode(value, out), &mut bytes).unwrap();
    bytes
}

/// The value in an entry's bytes.
fn opened<V, C: Codec<V>>(codec: &C, bytes: &[u8]) -> Result<V, CodecError> {
    let found = envelope::decode(bytes)?;
    if found.header.codec != C::ID || found.key != b"key" {
        return Err("of another codec or key".into());
    }
    codec.decode(found.value)
}

/// What is stored of one codec is told from what is stored of every other, for ever.
#[test]
fn ids_are_fixed() {
    fn id<V, C: Codec<V>>(_: C) -> u8 {
        C::ID
    }
    let plain = id::<String, _>(Plain);
    let serde = [id::<u8, _>(Json), id::<u8, _>(MessagePack), id::<u8, _>(Postcard)];
    assert_eq!((plain, serde, id::<Row, _>(Protobuf)), (0, [1, 2, 3], 4));
    let lz4 = [id::<u8, _>(Lz4::new(Json)), id::<Row, _>(Lz4::new(Protobuf))];
    let zstd = [id::<String, _>(Zstd::new(Plain)), id::<u8, _>(Zstd::new(Postcard))];
    assert_eq!((lz4, zstd), ([0x11, 0x14], [0x20, 0x23]));
    assert_eq!(id::<String, _>(Zstd::new(Own)), 0xa8, "around a codec of one's own");
}

struct Own;

impl Codec<String> for Own {
    const ID: u8 = 0x88;

    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Plain.encode(value, out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        Plain.decode(bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// A header up to the lengths, for a value of this codec.
fn header(id: u8) -> String {
    format!("ace10100{id:02x}0000000000000df8475800{}", "0".repeat(80))
}

/// Whether these are the entry's bytes after that, and are read: lengths, checksum, key and value.
fn is_fixed<V, C>(codec: &C, value: &V, rest: &str)
where
    C: Codec<V>,
    V: PartialEq + Debug,
{
    let bytes = sealed(codec, value);
    assert_eq!(hex(&bytes), hex(&unhex(&(header(C::ID) + rest))));
    assert_eq!(opened(codec, &bytes).unwrap(), *value);
}

/// Whether these bytes are read. What a compressor writes may become shorter one day, so only that
/// matters.
fn is_read<V, C>(codec: &C, value: &V, rest: &str)
where
    C: Codec<V>,
    V: PartialEq + Debug,
{
    let bytes = unhex(&(header(C::ID) + rest));
    assert_eq!(opened(codec, &bytes).unwrap(), *value);
    assert!(sealed(codec, value).len() <= bytes.len() + 8, "it has become longer");
}

#[test]
fn entries_are_written_as_they_always_were() {
    is_fixed(&Plain, &"ä".to_owned(), "0000000300000002 db2d7fc39d9b5d25 6b6579 c3a4");
    is_fixed(
        &Json,
        &shape(),
        "0000000300000051 f2b3d2ce5921b25c 6b6579 7b224e616d6564223a7b226e616d65223a22c3a \
         4222c227061727473223a5b22506f696e74222c7b22436972636c65223a3330307d5d2c226d6f726 \
         5223a7b2261223a2d312c2262223a6e756c6c7d7d7d",
    );
    is_fixed(
        &MessagePack,
        &shape(),
        "0000000300000034 c692f0fdd0e6c7bc 6b6579 81a54e616d656483a46e616d65a2c3a4a570617 \
         2747392a5506f696e7481a6436972636c65cd012ca46d6f726582a161ffa162c0",
    );
    is_fixed(
        &Postcard,
        &shape(),
        "0000000300000011 0e004c440828b6b5 6b6579 0202c3a4020001ac020201610101016200",
    );
    is_fixed(&Protobuf, &row(), "000000030000000b 7620a12f4d1ae95e 6b6579 0a02c3a4120301ac021a00");
}

#[test]
fn compressed_entries_are_read_for_ever() {
    is_read(
        &Lz4::new(Plain),
        &text(),
        "0000000300000025 0968e0d2e888d6c6 6b6579 000001400000001dff017468652073616d65206 \
         16761696e2c201000ff18606761696e2c20",
    );
    is_read(
        &Zstd::new(Plain),
        &text(),
        "0000000300000029 941cf5216f5b44a9 6b6579 000001400000002128b52ffd604000bd0000807 \
         468652073616d6520616761696e2c2001005a469d4b",
    );
    is_read(
        &Lz4::new(Postcard),
        &shape(),
        "0000000300000019 53cb4510dd9fc7d6 6b6579 00000011000000110202c3a4020001ac0202016 \
         10101016200",
    );
    is_read(
        &Zstd::new(Protobuf),
        &row(),
        "0000000300000013 2f4ec09d4afbadf9 6b6579 0000000b0000000b0a02c3a4120301ac021a00",
    );
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![Just(Shape::Point), any::<u32>().prop_map(Shape::Circle)];
    leaf.prop_recursive(4, 64, 5, |part| {
        let parts = prop::collection::vec(part, 0..5);
        let more = prop::collection::btree_map(any::<String>(), any::<Option<i64>>(), 0..4);
        let named = (any::<String>(), parts, more);
        named.prop_map(|(name, parts, more)| Shape::Named { name, parts, more })
    })
}

fn rows() -> impl Strategy<Value = Row> {
    let row = (any::<String>(), any::<Vec<u64>>(), Just(None));
    let row = row.prop_map(|(name, numbers, next)| Row { name, numbers, next });
    row.prop_recursive(5, 5, 1, |next| {
        (any::<String>(), next).prop_map(|(name, next)| Row {
            name,
            numbers: vec![],
            next: Some(Box::new(next)),
        })
    })
}

fn comes_back<V: PartialEq + Debug, C: Codec<V>>(
    codec: &C,
    value: &V,
) -> Result<(), TestCaseError> {
    let again = opened(codec, &sealed(codec, value));
    prop_assert!(again.as_ref().is_ok_and(|again| again == value), "{again:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// What repeats itself is compressed, however well.
    #[test]
    fn long_values_come_back(part in "[a-z]{1,40}", times in 1..50_000_usize) {
        let text = part.repeat(times);
        comes_back(&Lz4::new(Plain), &text)?;
        comes_back(&Zstd::new(Plain).level(1), &text)?;
        for bytes in [sealed(&Lz4::new(Plain), &text), sealed(&Zstd::new(Plain).level(1), &text)] {
            prop_assert!(bytes.len() * 50 < text.len() + 50 * (HEADER + 3 + 8 + 80));
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(shape in shapes(), row in rows(), bytes: Vec<u8>, level in -3..10) {
        comes_back(&Json, &shape)?;
        comes_back(&MessagePack, &shape)?;
        comes_back(&Postcard, &shape)?;
        comes_back(&Protobuf, &row)?;
        comes_back(&Lz4::new(MessagePack), &shape)?;
        comes_back(&Zstd::new(Json).level(level), &shape)?;
        comes_back(&Lz4::new(Plain), &bytes)?;
        comes_back(&Zstd::new(Protobuf), &row)?;
    }

    #[test]
    fn no_bytes_make_a_codec_panic(bytes: Vec<u8>) {
        all_decoders(&bytes);
    }

    /// Entries with a checksum that fits, such as one who can write to the store would make.
    #[test]
    fn no_changed_value_makes_a_codec_panic(
        shape in shapes(), row in rows(), at: prop::sample::Index, byte: u8, cut: bool,
    ) {
        let all = [
            encoded(&Json, &shape), encoded(&MessagePack, &shape), encoded(&Postcard, &shape),
            encoded(&Protobuf, &row), encoded(&Lz4::new(Json), &shape),
            encoded(&Zstd::new(Json), &shape), encoded(&Zstd::new(Protobuf), &row),
        ];
        for mut bytes in all.into_iter().map(Result::unwrap).filter(|bytes| !bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            all_decoders(&bytes);
        }
    }

    #[test]
    fn no_bytes_are_an_entry(bytes: Vec<u8>) {
        prop_assert!(opened::<Shape, _>(&Json, &bytes).is_err());
        let after_a_header = [&sealed(&Json, &shape())[..HEADER], &bytes].concat();
        prop_assert!(opened::<Shape, _>(&Json, &after_a_header).is_err());
    }
}

/// Whatever they answer.
fn all_decoders(bytes: &[u8]) {
    let _ = Codec::<String>::decode(&Plain, bytes);
    let _ = Codec::<Shape>::decode(&Json, bytes);
    let _ = Codec::<Shape>::decode(&MessagePack, bytes);
    let _ = Codec::<Shape>::decode(&Postcard, bytes);
    let _ = Codec::<Vec<((), Option<char>)>>::decode(&Postcard, bytes);
    let _ = Codec::<Row>::decode(&Protobuf, bytes);
    let _ = Codec::<Vec<u8>>::decode(&Lz4::new(Plain), bytes);
    let _ = Codec::<Vec<u8>>::decode(&Zstd::new(Plain), bytes);
    let _ = Codec::<Shape>::decode(&Lz4::new(Json), bytes);
    let _ = Codec::<Row>::decode(&Zstd::new(Protobuf), bytes);
}

/// Every bit of an entry of every codec.
#[test]
fn no_bit_may_change() {
    fn is_noticed<V, C: Codec<V>>(codec: &C, value: &V) {
        let bytes = sealed(codec, value);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(opened(codec, &changed).is_err(), "bit {bit} of codec {}", C::ID);
        }
        assert!((0..bytes.len()).all(|len| opened(codec, &bytes[..len]).is_err()));
    }
    is_noticed(&Plain, &"text".to_owned());
    is_noticed(&Json, &shape());
    is_noticed(&MessagePack, &shape());
    is_noticed(&Postcard, &shape());
    is_noticed(&Protobuf, &row());
    is_noticed(&Lz4::new(Plain), &text());
    is_noticed(&Zstd::new(Plain), &text());
}

fn error_of<V, C: Codec<V>>(codec: &C, bytes: &[u8]) -> CompressionError {
    let error = codec.decode(bytes).err().expect("it cannot be unpacked");
    *error.downcast().expect("and that is why")
}

/// A block of LZ4 that repeats one byte: one byte of the block for each 255.
fn lz4_bomb(len: u32) -> Vec<u8> {
    let repeats = (len - 1 - 19 - 5) / 255;
    let mut block = vec![0x1f, b'a', 1, 0];
    block.resize(4 + repeats as usize, 255);
    block.push(((len - 1 - 19 - 5) % 255) as u8);
    block.extend_from_slice(b"\x50aaaaa");
    packed(len, &block)
}

fn packed(len: u32, block: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes()[..], &(block.len() as u32).to_be_bytes(), block].concat()
}

/// A frame of Zstandard (RFC 8878) that repeats one byte: four for each 128 KiB.
fn zstd_bomb(blocks: u32) -> Vec<u8> {
    let mut frame = unhex("28b52ffd 00 70");
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        let header = (128 << 10) << 3 | 1 << 1 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'a');
    }
    packed(blocks * (128 << 10), &frame)
}

#[test]
fn bombs_do_not_go_off() {
    let dense = error_of::<Vec<u8>, _>(&Lz4::new(Plain), &lz4_bomb(10 << 20));
    assert!(matches!(dense, CompressionError::TooDense { ratio: 100, .. }));
    let dense = error_of::<Vec<u8>, _>(&Zstd::new(Plain), &zstd_bomb(80));
    assert!(matches!(dense, CompressionError::TooDense { ratio: 100, .. }));
    let long = error_of::<Vec<u8>, _>(&Lz4::new(Plain).ratio(300), &lz4_bomb(17 << 20));
    assert!(matches!(long, CompressionError::TooLong { limit: 0x0100_0000, .. }));
    let long = error_of::<Vec<u8>, _>(&Zstd::new(Plain).ratio(u32::MAX), &zstd_bomb(129));
    assert!(matches!(long, CompressionError::TooLong { limit: 0x0100_0000, .. }));
}

/// They are well made, so that what stops them is the limits.
#[test]
fn bombs_do_go_off_where_that_is_allowed() {
    let lz4: Vec<u8> = Lz4::new(Plain).ratio(300).decode(&lz4_bomb(10 << 20)).unwrap();
    let zstd: Vec<u8> = Zstd::new(Plain).ratio(u32::MAX).decode(&zstd_bomb(80)).unwrap();
    assert!(lz4 == zstd && zstd == vec![b'a'; 10 << 20]);
}

#[test]
fn a_length_that_is_not_that_of_the_value_is_noticed() {
    for tell in [-1_i32, 1, -1_000_000] {
        let lie = |mut bomb: Vec<u8>| {
            let len = u32::from_be_bytes(*bomb.first_chunk().unwrap()).wrapping_add_signed(tell);
            bomb[..4].copy_from_slice(&len.to_be_bytes());
            bomb
        };
        let lz4 = error_of::<Vec<u8>, _>(&Lz4::new(Plain).ratio(300), &lie(lz4_bomb(10 << 20)));
        let zstd = Zstd::new(Plain).ratio(u32::MAX);
        let zstd = error_of::<Vec<u8>, _>(&zstd, &lie(zstd_bomb(80)));
        assert_eq!([lz4, zstd], [CompressionError::Damaged; 2]);
    }
}
