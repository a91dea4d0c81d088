//! Structs that are read from tables only. serde's derive takes a list for a struct too, field by field in their order, which
//! nobody promised; so whatever people write is read through [`Tables`], which refuses that at every depth.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};

/// A deserializer, or a part of one, that hands no list to a struct. Everything else goes through it as it is.
#[derive(Debug)]
pub struct Tables<T>(pub T);

macro_rules! forward_deserialize {
    ($($method:ident($($name:ident: $kind:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* StructGuard { visitor, is_struct: false })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tables<D> {
    type Error = D::Error;

    forward_deserialize! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string() deserialize_bytes()
        deserialize_byte_buf() deserialize_option() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(length: usize) deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, StructGuard { visitor, is_struct: true })
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// What is told of a value, and whether a struct is to be made of it.
struct StructGuard<V> {
    visitor: V,
    is_struct: bool,
}

macro_rules! forward_visit {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for StructGuard<V> {
    type Value = V::Value;

    forward_visit! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32) visit_f64(f64)
        visit_char(char) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Tables(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Tables(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        match self.is_struct {
            true => Err(A::Error::invalid_type(Unexpected::Seq, &self.visitor)),
            false => self.visitor.visit_seq(Tables(items)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Tables(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Tables(choice))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Tables<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Tables(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Tables<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Tables(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Tables<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Tables(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Tables(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Tables<A> {
    type Error = A::Error;
    type Variant = Tables<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(Tables(seed))?;
        Ok((value, Tables(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Tables<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Tables(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, StructGuard { visitor, is_struct: false })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, StructGuard { visitor, is_struct: true })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::plain;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        #[serde(default)]
        a: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    enum SampleEnum {
        Table { a: u32 },
        Whole(Inner),
        Pair(u32, u32),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct OuterValue {
        one: Option<Inner>,
        many: Option<Vec<Inner>>,
        named: Option<BTreeMap<String, Inner>>,
        boxed: Option<Box<(u32, Inner)>>,
        choice: Option<SampleEnum>,
    }

    fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        T::deserialize(Tables(&mut deserializer)).map_err(|error| plain(&error.to_string()))
    }

    #[test]
    fn no_list_is_a_struct_at_any_depth() {
        for text in [
            "[null, null, null, null, null]",
            r#"{"one": [1]}"#,
            r#"{"one": []}"#,
            r#"{"many": [[1]]}"#,
            r#"{"named": {"x": [1]}}"#,
            r#"{"boxed": [1, [2]]}"#,
            r#"{"choice": {"Table": [1]}}"#,
            r#"{"choice": {"Whole": [1]}}"#,
        ] {
            assert!(serde_json::from_str::<OuterValue>(text).is_ok(), "{text}: or there is nothing to refuse");
            let words = read::<OuterValue>(text).expect_err(text);
            assert!(words.contains("is expected, not a list at line 1 column"), "{text}: {words}");
            assert!(!words.contains("struct"), "{words}");
        }
    }

    #[test]
    fn everything_else_is_read_as_before() {
        let text = r#"{"one": {"a": 1}, "many": [{"a": 2}, {}], "named": {"x": {"a": 3}}, "boxed": [1, {"a": 4}],
            "choice": {"Pair": [5, 6]}}"#;
        assert_eq!(read(text), Ok(serde_json::from_str::<OuterValue>(text).expect("an outer one")));
        for text in [r#"{"choice": {"Table": {"a": 1}}}"#, r#"{"choice": {"Whole": {"a": 1}}}"#, r#"{"one": null}"#] {
            assert_eq!(read(text), Ok(serde_json::from_str::<OuterValue>(text).expect("an outer one")));
        }
        let raw: BTreeMap<String, Box<RawValue>> = read(r#"{"input": [1.0, {"b":2}]}"#).expect("any JSON");
        assert_eq!(raw["input"].get(), r#"[1.0, {"b":2}]"#, "as it was written");
    }
}
