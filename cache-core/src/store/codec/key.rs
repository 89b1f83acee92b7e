//! Keys as bytes.

use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A key as bytes: equal keys give equal bytes, others others. What is stored depends on it, so it
/// stays the same for ever.
pub trait KeyBytes {
    /// The bytes.
    fn key_bytes(&self) -> Cow<'_, [u8]>;
}

/// A key made of its bytes again, for stores that can name all their keys, and for snapshots.
pub trait KeyFromBytes: KeyBytes + Sized {
    /// The key whose [`key_bytes`](KeyBytes::key_bytes) these are; `None` if they are no key's.
    fn key_from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl KeyBytes for [u8] {
    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl KeyBytes for str {
    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl<const N: usize> KeyBytes for [u8; N] {
    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

/// Implements [`KeyBytes`] for what points to keys.
macro_rules! pointers {
    ($($key:ty $(, $K:ident)?;)*) => {$(
        impl$(<$K: KeyBytes + ?Sized>)? KeyBytes for $key {
            fn key_bytes(&self) -> Cow<'_, [u8]> {
                (**self).key_bytes()
            }
        }
    )*};
}

pointers! {
    String;
    Vec<u8>;
    &K, K;
    Box<K>, K;
    Arc<K>, K;
}

/// Implements [`KeyFromBytes`] for keys that own bytes or text.
macro_rules! owners {
    ($($key:ty: $make:expr;)*) => {$(
        impl KeyFromBytes for $key {
            fn key_from_bytes(bytes: &[u8]) -> Option<Self> {
                let make: fn(&[u8]) -> Option<Self> = $make;
                make(bytes)
            }
        }
    )*};
}

owners! {
    Vec<u8>: |bytes| Some(bytes.to_vec());
    Box<[u8]>: |bytes| Some(bytes.into());
    Arc<[u8]>: |bytes| Some(bytes.into());
    String: |bytes| Some(core::str::from_utf8(bytes).ok()?.to_owned());
    Box<str>: |bytes| Some(core::str::from_utf8(bytes).ok()?.into());
    Arc<str>: |bytes| Some(core::str::from_utf8(bytes).ok()?.into());
}

impl<const N: usize> KeyFromBytes for [u8; N] {
    fn key_from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

/// Implements [`KeyBytes`] for numbers: big-endian.
macro_rules! numbers {
    ($($key:ty)*) => {$(
        impl KeyBytes for $key {
            fn key_bytes(&self) -> Cow<'_, [u8]> {
                Cow::Owned(self.to_be_bytes().to_vec())
            }
        }

        impl KeyFromBytes for $key {
            fn key_from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_always_were() {
        assert_eq!(*"a/ä".key_bytes(), *"a/ä".as_bytes());
        assert_eq!(*0x0102_u16.key_bytes(), [1, 2]);
        assert_eq!(*(-1_i32).key_bytes(), [0xff; 4]);
        assert_eq!([1_u8, 2].key_bytes().len(), 2);
    }

    #[test]
    fn keys_are_made_of_their_bytes_again() {
        fn again<K: KeyFromBytes + PartialEq>(key: &K) -> bool {
            K::key_from_bytes(&key.key_bytes()).as_ref() == Some(key)
        }
        let (text, bytes) = ("a/\0ä", [0_u8, 0xff]);
        assert!(again(&text.to_owned()) && again(&Box::<str>::from(text)));
        assert!(again(&Arc::<str>::from(text)) && again(&String::new()));
        assert!(again(&bytes.to_vec()) && again(&Box::<[u8]>::from(bytes)));
        assert!(again(&Arc::<[u8]>::from(bytes)) && again(&bytes));
        assert!(again(&0x0102_u16) && again(&-1_i64) && again(&u128::MAX));
        assert!(String::key_from_bytes(&bytes).is_none() && u32::key_from_bytes(&bytes).is_none());
    }
}
