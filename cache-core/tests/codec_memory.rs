//! How much memory bytes of any kind can make a codec take. Alone in its program, since that is
//! counted for the whole of it.
#![cfg(all(
    feature = "json",
    feature = "messagepack",
    feature = "postcard",
    feature = "protobuf",
    feature = "lz4",
    feature = "zstd"
))]

use cache_core::store::{Codec, Json, Lz4, MessagePack, Plain, Postcard, Protobuf, Zstd};
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Every list in it could be as long as it says.
#[derive(Serialize, Deserialize)]
struct Tree {
    children: Vec<Self>,
    numbers: Vec<u64>,
}

/// The most that decoding takes at a time.
fn taken<V, C: Codec<V>>(codec: &C, bytes: &[u8]) -> usize {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    drop(codec.decode(bytes));
    HEAP.peak_usage() - before
}

fn frame(len: u32, block: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes()[..], &(block.len() as u32).to_be_bytes(), block].concat()
}

#[test]
fn no_bytes_take_much_more_memory_than_they_may() {
    let counted = taken::<Vec<u8>, _>(&Plain, &[0; 1_000_000]);
    assert!((1_000_000..1_100_000).contains(&counted), "{counted} bytes for a million");

    // Lengths without what they announce, as deep as they may lie.
    let deep = [0xff, 0xff, 0xff, 0xff, 0x0f].repeat(200);
    assert!(taken::<Tree, _>(&Postcard, &deep) < 1 << 20);
    assert!(taken::<Vec<u64>, _>(&Postcard, &deep) < 1 << 12);
    assert!(taken::<Vec<u8>, _>(&Postcard, &deep) < 1 << 12);
    let deep = b"\x82\xa8children\xdd\xff\xff\xff\xff".repeat(200);
    assert!(taken::<Tree, _>(&MessagePack, &deep) < 1 << 20);
    assert!(taken::<Vec<u64>, _>(&MessagePack, b"\xdd\xff\xff\xff\xff\x01") < 1 << 12);
    assert!(taken::<String, _>(&MessagePack, b"\xdb\xff\xff\xff\xff\x01") < 1 << 12);
    assert!(taken::<Vec<u8>, _>(&Protobuf, b"\x0a\xff\xff\xff\xff\x0f\x01") < 1 << 12);
    assert!(taken::<Tree, _>(&Json, &b"{\"children\":[".repeat(10_000)) < 1 << 20);

    // Lengths beyond the limit or the ratio take nothing, and those within no more than they say.
    let (lz4, zstd) = (Lz4::new(Plain), Zstd::new(Plain));
    for len in [u32::MAX, (16 << 20) + 1, 100 * 1_009] {
        let bomb = frame(len, &[0x1f; 1_000]);
        assert!(taken::<Vec<u8>, _>(&lz4, &bomb) < 1 << 12, "{len}");
        assert!(taken::<Vec<u8>, _>(&zstd, &bomb) < 1 << 12, "{len}");
    }
    let bomb = frame(100_000, &[0x1f; 1_000]);
    assert!((100_000..110_000).contains(&taken::<Vec<u8>, _>(&lz4, &bomb)));
    assert!((100_000..110_000).contains(&taken::<Vec<u8>, _>(&zstd, &bomb)));
    assert!(taken::<Vec<u8>, _>(&lz4.limit(99_999), &bomb) < 1 << 12);
    assert!(taken::<Vec<u8>, _>(&zstd.limit(99_999), &bomb) < 1 << 12);
}
