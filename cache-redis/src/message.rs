//! What is said on the channel of a namespace, as bytes.
//!
//! | from | bytes | |
//! |---|---|---|
//! | 0 | 1 | version of this format: 1 |
//! | 1 | 1 | what happened: 1 an entry changed, 2 an entry is stale, 3 all entries are gone, 4 a tag is stale, 5 a tag is gone, 6 a load has landed |
//! | 2 | 16 | the [`Station`] that did it, big-endian; 0 for nobody's |
//! | 18 | all | the key's bytes for 1, 2 and 6, the tag in UTF-8 for 4 and 5, nothing for 3 |

use cache_core::store::Station;

const VERSION: u8 = 1;
const HEADER: usize = 18;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News<'a> {
    /// To the entry of this key: it has another value, or none.
    Changed(&'a [u8]),
    /// To the entry of this key: it is stale.
    Expired(&'a [u8]),
    /// To all entries: they are gone.
    Cleared,
    /// To entries with this tag: they are stale.
    TagExpired(&'a str),
    /// To entries with this tag: they are gone.
    TagInvalidated(&'a str),
    /// To the entry of this key: a load has landed.
    Filled(&'a [u8]),
}

impl<'a> News<'a> {
    /// The key whose entry it is about, if it is about one.
    pub(crate) const fn key(self) -> Option<&'a [u8]> {
        match self {
            Self::Changed(key) | Self::Expired(key) | Self::Filled(key) => Some(key),
            Self::Cleared | Self::TagExpired(_) | Self::TagInvalidated(_) => None,
        }
    }

    fn parts(self) -> (u8, &'a [u8]) {
        match self {
            Self::Changed(key) => (1, key),
            Self::Expired(key) => (2, key),
            Self::Cleared => (3, b""),
            Self::TagExpired(tag) => (4, tag.as_bytes()),
            Self::TagInvalidated(tag) => (5, tag.as_bytes()),
            Self::Filled(key) => (6, key),
        }
    }

    fn of(number: u8, payload: &'a [u8]) -> Option<Self> {
        let tag = || std::str::from_utf8(payload).ok();
        match number {
            1 => Some(Self::Changed(payload)),
            2 => Some(Self::Expired(payload)),
            3 if payload.is_empty() => Some(Self::Cleared),
            4 => tag().map(Self::TagExpired),
            5 => tag().map(Self::TagInvalidated),
            6 => Some(Self::Filled(payload)),
            _ => None,
        }
    }
}

pub(crate) fn encode(by: Station, news: News<'_>) -> Vec<u8> {
    let (number, payload) = news.parts();
    [&[VERSION, number][..], &by.number().to_be_bytes(), payload].concat()
}

/// `None` for what this version of the library cannot read.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Station, News<'_>)> {
    let (header, payload) = bytes.split_first_chunk::<HEADER>()?;
    let [VERSION, number, station @ ..] = header else { return None };
    let station = Station::new(u128::from_be_bytes(*station));
    Some((station, News::of(*number, payload)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is said today must be understood by those who are upgraded later.
    #[test]
    fn the_format_is_fixed() {
        let by = Station::new(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let said = encode(by, News::Changed(b"key\xff"));
        let golden =
            b"\x01\x01\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10key\xff";
        assert_eq!(said, golden);
        let numbers = [
            (News::Expired(b""), 2),
            (News::Cleared, 3),
            (News::TagExpired("t"), 4),
            (News::TagInvalidated("t"), 5),
            (News::Filled(b""), 6),
        ];
        for (news, number) in numbers {
            assert_eq!(encode(Station::NOBODY, news)[..3], [1, number, 0]);
        }
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let said = encode(Station::NOBODY, News::TagExpired("tag"));
        for at in 0..HEADER {
            assert_eq!(decode(&said[..at]), None, "cut after {at} bytes");
        }
        for (at, byte) in [(0, 0), (0, 2), (1, 0), (1, 3), (1, 7), (18, 0xff)] {
            let mut other = said.clone();
            other[at] = byte;
            assert_eq!(decode(&other), None, "{byte} at {at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(
            by in any::<u128>(), key in any::<Vec<u8>>(), tag in any::<String>(),
        ) {
            let by = Station::new(by);
            let all = [
                News::Changed(&key),
                News::Expired(&key),
                News::Cleared,
                News::TagExpired(&tag),
                News::TagInvalidated(&tag),
                News::Filled(&key),
            ];
            for news in all {
                let said = encode(by, news);
                prop_assert_eq!(decode(&said), Some((by, news)));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
        }
    }
}
