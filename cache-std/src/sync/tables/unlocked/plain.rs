//! Which keys and values may be copied while somebody else changes them.

use core::any::TypeId;
use core::marker::PhantomData;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

/// The proof that `K` and `V` are numbers or the like: copying their bytes is all there is to
/// cloning them, and nothing is to be done when they go.
///
/// The type system has no way yet to ask whether a type is `Copy`, so the types are listed.
pub(crate) struct Plain<K, V>(PhantomData<(K, V)>);

impl<K, V> Clone for Plain<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Plain<K, V> {}

impl<K, V> Plain<K, V> {
    /// What needs to be dropped is not plain, and what is aligned to more than a word would move the
    /// tags of its set from where they are read: known at compile time.
    pub(crate) const MAY_BE: bool = !core::mem::needs_drop::<(K, V)>() && align_of::<(K, V)>() <= 8;
}

impl<K: 'static, V: 'static> Plain<K, V> {
    /// The proof, if there is one.
    pub(crate) fn prove() -> Option<Self> {
        (Self::MAY_BE && is_plain::<K>() && is_plain::<V>()).then_some(Self(PhantomData))
    }
}

macro_rules! any_of {
    ($this:ident; $($type:ty),+ $(,)?) => {
        [$(TypeId::of::<$type>(), TypeId::of::<Option<$type>>()),+].contains(&TypeId::of::<$this>())
    };
}

/// Every type here is `Copy`, and compares by its own bytes and what it borrows for ever.
fn is_plain<T: 'static>() -> bool {
    is_number::<T>()
        || is_array::<T>()
        || any_of!(T; (), bool, char, Duration, std::time::Instant, std::time::SystemTime)
        || any_of!(T; IpAddr, Ipv4Addr, Ipv6Addr, &'static str, &'static [u8])
        || any_of!(T; (u32, u32), (u64, u64), (i32, i32), (i64, i64), (u128, u128))
        || any_of!(T; (usize, usize), (u32, u64), (u64, u32), (f32, f32), (f64, f64))
}

fn is_number<T: 'static>() -> bool {
    any_of!(T; u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64)
}

fn is_array<T: 'static>() -> bool {
    any_of!(T; [u8; 4], [u8; 6], [u8; 8], [u8; 12], [u8; 16], [u8; 20], [u8; 24], [u8; 28], [u8; 32])
        || any_of!(T; [u8; 48], [u8; 64], [u32; 2], [u32; 4], [u32; 8], [u64; 2], [u64; 4], [u64; 8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn numbers_are_plain_and_what_owns_memory_is_not() {
        assert!(Plain::<u64, u64>::prove().is_some());
        assert!(Plain::<[u8; 16], Option<f64>>::prove().is_some());
        assert!(Plain::<&'static str, (u64, u64)>::prove().is_some());
        assert_eq!(Plain::<u64, u128>::prove().is_some(), align_of::<u128>() <= 8);
        assert!(Plain::<u64, String>::prove().is_none());
        assert!(Plain::<Arc<str>, u64>::prove().is_none());
        // Without drop glue, and yet the owner of something.
        struct Owner(#[allow(dead_code)] *mut u8);
        assert!(Plain::<u64, Owner>::prove().is_none());
    }
}
