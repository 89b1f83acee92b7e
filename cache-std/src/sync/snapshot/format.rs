//! The form of a snapshot: a head, then a record for each entry, then one that says how many there
//! were. Big-endian.
//!
//! | head: from | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic: `AC 53 4E 41 50 0D 0A 1A`, which a transfer as text would change |
//! | 8 | 1 | version of this format: 1. What is above and below stays in all of them |
//! | 9 | 7 | 0 |
//! | 16 | 8 | salt: another number in each snapshot |
//! | 24 | 8 | XXH3-64 of the first 24 bytes |
//!
//! | record: from | bytes | |
//! |---|---|---|
//! | 0 | 4 | mark: `AC E2 52 43` |
//! | 4 | 1 | kind: 1 an entry, 2 the end |
//! | 5 | 3 | 0 |
//! | 8 | 4 | length of the label |
//! | 12 | 4 | length of the [envelope](cache_core::store::envelope) |
//! | 16 | 8 | XXH3-64 of the label, seeded with the salt; at the end, the number of entries |
//! | 24 | 8 | XXH3-64 of the first 24 bytes, seeded with the salt |
//! | 32 | | label, envelope |
//!
//! A label is the number of tags, 1 if there is an etag or else 0 (a byte each), the tags' hashes of 8
//! bytes, and the etag. An entry without either has none.
//!
//! The salt makes sure that a value which is itself a snapshot, or a piece of one, is not taken for
//! records of this one when a part of it is damaged.

use cache_core::{Explanation, Loaded};
use twox_hash::XxHash3_64;

/// Bytes of the head.
pub(super) const HEAD: usize = 32;
/// Bytes of a record before its label.
pub(super) const FRAME: usize = 32;
/// Each record starts with these.
pub(super) const MARK: [u8; 4] = [0xac, 0xe2, 0x52, 0x43];

const MAGIC: [u8; 8] = *b"\xacSNAP\r\n\x1a";
const VERSION: u8 = 1;
/// What the checksum covers of a head and of a frame.
const CHECKED: usize = 24;

const ENTRY: u8 = 1;
const END: u8 = 2;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Salt(u64),
    Foreign,
    /// Damaged, or cut short.
    Damaged,
    Newer(u8),
}

pub(super) fn head(salt: u64) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = VERSION;
    bytes[16..CHECKED].copy_from_slice(&salt.to_be_bytes());
    seal(bytes, 0)
}

pub(super) fn read_head(bytes: &[u8]) -> Head {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Head::Foreign;
    }
    match bytes.first_chunk::<HEAD>() {
        Some(head) if !is_sealed(head, 0) => Head::Damaged,
        Some(head) if head[8] != VERSION => Head::Newer(head[8]),
        Some(head) => Head::Salt(number(head, 16)),
        None => Head::Damaged,
    }
}

/// What comes before a record's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) label: u32,
    pub(super) envelope: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry, with the checksum of its label.
    Entry(u64),
    /// The end, with the number of entries.
    End(u64),
    /// Something that later versions write.
    Other,
}

impl Frame {
    /// The frame of an entry; `None` where it is too long.
    pub(super) fn entry(label: &[u8], envelope: &[u8], salt: u64) -> Option<[u8; FRAME]> {
        let lengths = [u32::try_from(label.len()).ok()?, u32::try_from(envelope.len()).ok()?];
        Some(frame(ENTRY, lengths, label_sum(label, salt), salt))
    }

    pub(super) fn end(entries: u64, salt: u64) -> [u8; FRAME] {
        frame(END, [0, 0], entries, salt)
    }

    /// The frame that starts with the first of these bytes, if one does.
    pub(super) fn read(bytes: &[u8], salt: u64) -> Option<Self> {
        let frame = bytes.first_chunk::<FRAME>()?;
        if !frame.starts_with(&MARK) || !is_sealed(frame, salt) {
            return None;
        }
        let kind = match (frame[4], number(frame, 16)) {
            (ENTRY, sum) => Kind::Entry(sum),
            (END, entries) => Kind::End(entries),
            _ => Kind::Other,
        };
        let lengths = number(frame, 8);
        Some(Self { kind, label: (lengths >> 32) as u32, envelope: lengths as u32 })
    }

    /// Bytes of label and envelope.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.label) + u64::from(self.envelope)
    }
}

fn frame(kind: u8, lengths: [u32; 2], number: u64, salt: u64) -> [u8; FRAME] {
    let mut bytes = [0; FRAME];
    bytes[..4].copy_from_slice(&MARK);
    bytes[4] = kind;
    bytes[8..12].copy_from_slice(&lengths[0].to_be_bytes());
    bytes[12..16].copy_from_slice(&lengths[1].to_be_bytes());
    bytes[16..CHECKED].copy_from_slice(&number.to_be_bytes());
    seal(bytes, salt)
}

fn seal(mut bytes: [u8; 32], salt: u64) -> [u8; 32] {
    let sum = XxHash3_64::oneshot_with_seed(salt, &bytes[..CHECKED]);
    bytes[CHECKED..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn is_sealed(bytes: &[u8; 32], salt: u64) -> bool {
    XxHash3_64::oneshot_with_seed(salt, &bytes[..CHECKED]) == number(bytes, CHECKED)
}

fn number(bytes: &[u8], from: usize) -> u64 {
    let eight = bytes[from..].first_chunk().copied();
    u64::from_be_bytes(eight.unwrap_or_default())
}

/// Writes an entry's tags and etag into `out`, in place of what is there.
pub(super) fn write_label(explanation: &Explanation, out: &mut Vec<u8>) {
    out.clear();
    let (tags, etag) = (explanation.tag_hashes(), explanation.etag());
    if tags.is_empty() && etag.is_none() {
        return;
    }
    // There are at most `MAX_TAGS`, which is 64.
    out.extend([tags.len() as u8, u8::from(etag.is_some())]);
    tags.iter().for_each(|tag| out.extend(tag.to_be_bytes()));
    out.extend_from_slice(etag.unwrap_or_default().as_bytes());
}

/// Gives a value the tags and the etag of a label; `None` where that is none.
pub(super) fn labelled<V>(loaded: Loaded<V>, label: &[u8]) -> Option<Loaded<V>> {
    let [tags, has_etag, rest @ ..] = label else { return label.is_empty().then_some(loaded) };
    let (tags, etag) = rest.split_at_checked(8 * usize::from(*tags))?;
    let tagged = tags.chunks_exact(8).fold(loaded, |loaded, tag| loaded.tag_hash(number(tag, 0)));
    match (has_etag, etag) {
        (0, []) => Some(tagged),
        (1, etag) => Some(tagged.etag(core::str::from_utf8(etag).ok()?)),
        _ => None,
    }
}

pub(super) fn label_sum(label: &[u8], salt: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(salt, label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 0x0102_0304_0506_0708;

    /// What is written today must be readable by every later version.
    #[test]
    fn the_format_is_fixed() {
        let head = head(SALT);
        assert_eq!(head[..16], *b"\xacSNAP\r\n\x1a\x01\0\0\0\0\0\0\0");
        assert_eq!(head[16..24], SALT.to_be_bytes());
        let frame = Frame::entry(b"label", b"an envelope", SALT).unwrap();
        assert_eq!(frame[..16], *b"\xac\xe2RC\x01\0\0\0\0\0\0\x05\0\0\0\x0b");
        let sums = [number(&head, 24), number(&frame, 16), number(&frame, 24)];
        let these =
            [2_904_846_170_482_628_401, 14_032_191_242_183_528_480, 7_510_756_633_526_690_854];
        assert_eq!(sums, these, "the checksums of exactly these bytes");
        let end = Frame::end(7, SALT);
        assert_eq!(end[..24], *b"\xac\xe2RC\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07");
    }

    #[test]
    fn heads_tell_what_they_are() {
        let good = head(SALT);
        assert_eq!(read_head(&good), Head::Salt(SALT));
        assert_eq!(read_head(b"GIF89a"), Head::Foreign);
        for len in 0..HEAD {
            assert_eq!(read_head(&good[..len]), Head::Damaged, "{len} bytes");
        }
        for at in 0..HEAD {
            let mut changed = good;
            changed[at] ^= 1;
            assert!(matches!(read_head(&changed), Head::Damaged | Head::Foreign), "byte {at}");
        }
        let mut newer = good;
        newer[8] = 2;
        assert_eq!(read_head(&seal(newer, 0)), Head::Newer(2));
    }

    #[test]
    fn frames_are_those_of_one_snapshot_and_unchanged() {
        let good = Frame::entry(b"label", b"an envelope", SALT).unwrap();
        let read = Frame::read(&good, SALT).unwrap();
        assert_eq!((read.label, read.envelope, read.len()), (5, 11, 16));
        assert_eq!(read.kind, Kind::Entry(label_sum(b"label", SALT)));
        assert_eq!(Frame::read(&good, SALT + 1), None, "of another snapshot");
        for at in 0..FRAME {
            let mut changed = good;
            changed[at] ^= 0x80;
            assert_eq!(Frame::read(&changed, SALT), None, "byte {at}");
            assert_eq!(Frame::read(&good[..at], SALT), None, "{at} bytes");
        }
        let end = Frame::read(&Frame::end(9, SALT), SALT).unwrap();
        assert_eq!((end.kind, end.len()), (Kind::End(9), 0));
        let later = Frame::read(&frame(3, [1, 2], 0, SALT), SALT).unwrap();
        assert_eq!((later.kind, later.len()), (Kind::Other, 3));
    }

    #[test]
    fn labels_that_are_none_are_refused() {
        let plain = || Loaded::value(1);
        assert_eq!(labelled(plain(), b""), Some(plain()));
        assert_eq!(labelled(plain(), b"\0\x01"), Some(plain().etag("")));
        let tagged = [&[1, 1][..], &7_u64.to_be_bytes(), b"v1"].concat();
        assert_eq!(labelled(plain(), &tagged), Some(plain().tag_hash(7).etag("v1")));
        for wrong in [&b"\0"[..], b"\0\0v1", b"\x01\0short", b"\0\x01\xff", b"\0\x02v1"] {
            assert_eq!(labelled(plain(), wrong), None, "{wrong:?}");
        }
    }
}
