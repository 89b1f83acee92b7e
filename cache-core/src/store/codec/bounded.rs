//! Limits on what a decoder does with bytes that anybody may have made: how deep values lie in each
//! other, how many elements they have in all, and how much is reserved for elements that are only
//! announced.
//!
//! The formats leave some of that open. A list in postcard may announce 2^64 elements of no bytes; no
//! format counts how deep options and new types go; and a stack that overflows ends the program. So
//! everything on the way from the decoder to the value is wrapped here, and counted.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// Elements that take no bytes, in one value.
const FREE: usize = 4_096;
/// Elements for which room is made before the first is there.
const RESERVED: usize = 128;

/// The value that `decoder` makes of so many bytes.
///
/// Every element of a list or map that takes a byte has a first one, and no two share it. So there
/// are no more of them than bytes.
pub(super) fn decode<'de, D, V>(decoder: D, deepest: u16, bytes: usize) -> Result<V, D::Error>
where
    D: Deserializer<'de>,
    V: DeserializeOwned,
{
    let elements = Cell::new(bytes.saturating_add(FREE));
    let bounds = Bounds { depth: deepest, elements: &elements, counting: false };
    V::deserialize(bounds.on(decoder))
}

/// What is still allowed.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    depth: u16,
    elements: &'a Cell<usize>,
    /// Whether the bytes say how many elements there are, and not the type.
    counting: bool,
}

impl<'a> Bounds<'a> {
    #[inline]
    fn on<T>(self, inner: T) -> Bounded<'a, T> {
        Bounded { inner, bounds: self }
    }

    #[inline]
    fn plain(self) -> Self {
        Self { counting: false, ..self }
    }

    #[inline]
    fn counting(self) -> Self {
        Self { counting: true, ..self }
    }

    #[inline]
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        depth.map(|depth| Self { depth, ..self }).ok_or_else(|| E::custom("nested too deep"))
    }

    #[inline]
    fn found<T, E: Error>(self, element: Option<T>) -> Result<Option<T>, E> {
        if self.counting && element.is_some() {
            let left = self.elements.get().checked_sub(1);
            self.elements.set(left.ok_or_else(|| E::custom("more elements than bytes"))?);
        }
        Ok(element)
    }
}

struct Bounded<'a, T> {
    inner: T,
    bounds: Bounds<'a>,
}

/// Methods of [`Deserializer`] whose visitor is told of nothing that the bytes count.
macro_rules! deserialize {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $name<V: Visitor<'de>>(
            self, $($argument: $type,)* visitor: V,
        ) -> Result<V::Value, D::Error> {
            self.inner.$name($($argument,)* self.bounds.plain().on(visitor))
        }
    )*};
}

/// The others.
macro_rules! deserialize_counted {
    ($($name:ident)*) => {$(
        #[inline]
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$name(self.bounds.counting().on(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    deserialize_counted!(deserialize_any deserialize_seq deserialize_map deserialize_ignored_any);

    deserialize! {
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_identifier();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Methods of [`Visitor`] that get what has nothing in it.
macro_rules! visit {
    ($($name:ident($type:ty);)*) => {$(
        #[inline]
        fn $name<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$name(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    #[inline]
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, decoder: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.bounds.deeper()?.on(decoder))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, decoder: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.bounds.deeper()?.on(decoder))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.bounds.deeper()?.on(access))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(self.bounds.deeper()?.on(access))
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.bounds.deeper()?.on(access))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.bounds.on(decoder))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let element = self.inner.next_element_seed(self.bounds.on(seed))?;
        self.bounds.found(element)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|announced| announced.min(RESERVED))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let key = self.inner.next_key_seed(self.bounds.on(seed))?;
        self.bounds.found(key)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.bounds.on(seed))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|announced| announced.min(RESERVED))
    }
}

impl<'de, 'a, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'a, A> {
    type Error = A::Error;
    type Variant = Bounded<'a, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.bounds.on(seed))?;
        Ok((value, self.bounds.on(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.bounds.on(seed))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.bounds.plain().on(visitor))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.bounds.plain().on(visitor))
    }
}
