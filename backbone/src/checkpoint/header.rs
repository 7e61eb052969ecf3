//! The JSON header of safetensors, looked at for what a map of it would hide: keys that are there twice.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Bytes of the longest header that is read; that of a file of 10,000 tensors has about one million.
const LONGEST: u64 = 32 << 20;
/// The key of the metadata.
const METADATA: &str = "__metadata__";

/// Checks the header of a file: no longer than is read, no tensor and no metadata key twice.
///
/// # Errors
/// What is wrong, for a message; a header that the format's reader will refuse anyway is left to it.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else { return Ok(()) };
    let length = u64::from_le_bytes(*length);
    if length > rest.len() as u64 {
        return Ok(());
    }
    if length > LONGEST {
        return Err(format!("its header has {length} bytes, expected at most {LONGEST}"));
    }
    serde_json::from_slice::<Tensors>(&rest[..length as usize]).map(|_| ()).map_err(|e| e.to_string())
}

/// The map of tensors.
struct Tensors;
/// The map of the metadata.
struct Texts;

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Unique { what: "tensor" }).map(|()| Tensors)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Unique { what: "metadata key" }).map(|()| Texts)
    }
}

/// Goes through a map whose keys must differ.
struct Unique {
    what: &'static str,
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == METADATA && self.what == "tensor" {
                map.next_value::<Texts>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("{} {key:?} is there twice", self.what)));
            }
            seen.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Result<(), String> {
        check(&[&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat())
    }

    #[test]
    fn keys_that_are_there_twice_are_named() {
        assert_eq!(of(r#"{"__metadata__":{"a":"1","b":"2"},"a":{"x":[0,{"x":1}]},"b":{}}"#), Ok(()));
        assert!(of(r#"{"w":{},"v":{},"w":{}}"#).unwrap_err().contains("tensor \"w\" is there twice"));
        // The same name, written in another way.
        assert!(of(r#"{"w":{},"\u0077":{}}"#).unwrap_err().contains("tensor \"w\" is there twice"));
        let error = of(r#"{"__metadata__":{"k":"1","k":"2"}}"#).unwrap_err();
        assert!(error.contains("metadata key \"k\" is there twice"), "{error}");
        assert!(of(r#"{"__metadata__":{},"__metadata__":{}}"#).is_err());
    }

    #[test]
    fn what_is_cut_short_is_left_to_the_reader() {
        assert_eq!(check(b""), Ok(()));
        assert_eq!(check(&u64::MAX.to_le_bytes()), Ok(()));
        assert!(of("[1]").is_err() && of("{").is_err());
    }
}
