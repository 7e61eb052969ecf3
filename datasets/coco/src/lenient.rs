//! Values as tools write them: whole numbers as floats, names as numbers, `null` where there is nothing.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// Beyond this a float no longer tells neighbouring whole numbers apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number. `null` is NaN, for validation to name, as are the texts `NaN`, `Infinity` and `-Infinity`, which
/// [`super::record::quoted_nan`] makes of Python's tokens.
pub(super) struct Number(pub f64);

/// A whole number from 0, also where a tool wrote it as `12.0`.
pub(super) struct Id(pub u64);

/// The same, up to 32 bits.
pub(super) struct Whole(pub u32);

/// 0, 1, true or false; `null` is 0.
pub(super) struct Flag(pub bool);

/// Text; a number is taken as it would be written, and whatever else stands there is nothing.
#[derive(Default)]
pub(super) struct Text(pub Option<String>);

macro_rules! scalar {
    ($type:ident, $expecting:literal, $($body:tt)*) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct V;
                impl<'de> Visitor<'de> for V {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    $($body)*
                }
                deserializer.deserialize_any(V)
            }
        }
    };
}

scalar! { Number, "a number",
    #[inline]
    fn visit_f64<E: Error>(self, v: f64) -> Result<Number, E> {
        Ok(Number(v))
    }
    #[inline]
    fn visit_u64<E: Error>(self, v: u64) -> Result<Number, E> {
        Ok(Number(v as f64))
    }
    #[inline]
    fn visit_i64<E: Error>(self, v: i64) -> Result<Number, E> {
        Ok(Number(v as f64))
    }
    fn visit_unit<E: Error>(self) -> Result<Number, E> {
        Ok(Number(f64::NAN))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        match text {
            "NaN" => Ok(Number(f64::NAN)),
            "Infinity" => Ok(Number(f64::INFINITY)),
            "-Infinity" => Ok(Number(f64::NEG_INFINITY)),
            other => Err(E::invalid_type(Unexpected::Str(other), &self)),
        }
    }
}

scalar! { Id, "a whole number from 0",
    fn visit_u64<E: Error>(self, v: u64) -> Result<Id, E> {
        Ok(Id(v))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Id, E> {
        if v >= 0.0 && v.fract() == 0.0 && v <= EXACT {
            Ok(Id(v as u64))
        } else {
            Err(E::invalid_value(Unexpected::Float(v), &self))
        }
    }
}

scalar! { Whole, "a whole number from 0 to 4294967295",
    #[inline]
    fn visit_u64<E: Error>(self, v: u64) -> Result<Whole, E> {
        u32::try_from(v).map(Whole).map_err(|_| E::invalid_value(Unexpected::Unsigned(v), &self))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Whole, E> {
        if v >= 0.0 && v.fract() == 0.0 && v <= f64::from(u32::MAX) {
            Ok(Whole(v as u32))
        } else {
            Err(E::invalid_value(Unexpected::Float(v), &self))
        }
    }
}

scalar! { Flag, "0, 1, true or false",
    fn visit_bool<E: Error>(self, v: bool) -> Result<Flag, E> {
        Ok(Flag(v))
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Flag, E> {
        if v > 1 {
            return Err(E::invalid_value(Unexpected::Unsigned(v), &self));
        }
        Ok(Flag(v == 1))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Flag, E> {
        if v != 0.0 && v != 1.0 {
            return Err(E::invalid_value(Unexpected::Float(v), &self));
        }
        Ok(Flag(v == 1.0))
    }
    fn visit_unit<E: Error>(self) -> Result<Flag, E> {
        Ok(Flag(false))
    }
}

scalar! { Text, "a text",
    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Text, E> {
        Ok(Text(Some(v.to_string())))
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<Text, E> {
        Ok(Text(Some(v.to_string())))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Text, E> {
        Ok(Text(Some(v.to_string())))
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }
    fn visit_unit<E: Error>(self) -> Result<Text, E> {
        Ok(Text(None))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn whole_floats_are_whole_numbers() {
        assert_eq!(read::<Whole>("100.0").unwrap().0, 100);
        assert_eq!(read::<Id>("7.0").unwrap().0, 7);
        for bad in ["100.5", "-1", "1e30", "null", "\"100\"", "4294967296"] {
            assert!(read::<Whole>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_may_be_numbers_and_the_rest_is_nothing() {
        for (text, expected) in [
            ("\"a\"", Some("a")),
            ("12", Some("12")),
            ("-3", Some("-3")),
            ("1.5", Some("1.5")),
            ("null", None),
            ("[1, {\"a\": 2}]", None),
            ("{\"a\": [1]}", None),
            ("true", None),
        ] {
            assert_eq!(read::<Text>(text).unwrap().0.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_no_crowd() {
        assert!(!read::<Flag>("null").unwrap().0 && read::<Flag>("1.0").unwrap().0);
        assert!(read::<Number>("\"-Infinity\"").unwrap().0 == f64::NEG_INFINITY);
        assert!(read::<Number>("null").unwrap().0.is_nan() && read::<Number>("\"1\"").is_err());
    }
}
