//! One record of JSON text into an arena: serde visitors that push coordinates and runs straight to where they stay.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::arena::{Annotations, OutlineKind, RecordHead};
use super::lenient::{Flag, Id, Number, Whole};

/// Whether records are ground truth (an id of their own, required) or detections (numbered from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Truth,
    Detection,
}

/// Reads one record and appends it to `arena`.
pub(super) struct RecordSeed<'a> {
    pub arena: &'a mut Annotations,
    pub kind: Kind,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Id,
    ImageId,
    CategoryId,
    Bbox,
    Area,
    Iscrowd,
    Score,
    Segmentation,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for RecordSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an annotation object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let since = self.arena.mark();
        let (mut id, mut image_id, mut category_id) = (None, None, None);
        let mut head = RecordHead::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Id if self.kind == Kind::Truth => id = Some(map.next_value::<Id>()?.0),
                Key::ImageId => image_id = Some(map.next_value::<Id>()?.0),
                Key::CategoryId => category_id = Some(map.next_value::<Id>()?.0),
                Key::Bbox => {
                    head.bbox = map.next_value::<Option<[Number; 4]>>()?.map(|b| b.map(|n| n.0));
                }
                Key::Area => head.area = map.next_value::<Option<Number>>()?.map(|n| n.0),
                Key::Score => head.score = Some(map.next_value::<Number>()?.0),
                Key::Iscrowd => head.crowd = map.next_value::<Flag>()?.0,
                Key::Segmentation if head.outline.is_some() => {
                    return Err(A::Error::duplicate_field("segmentation"));
                }
                Key::Segmentation => {
                    head.outline = map.next_value_seed(OutlineSeed(self.arena))?;
                }
                Key::Id | Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        head.id = match (id, self.kind) {
            (Some(id), _) => id,
            (None, Kind::Detection) => 0,
            (None, Kind::Truth) => return Err(A::Error::missing_field("id")),
        };
        head.image_id = image_id.ok_or_else(|| A::Error::missing_field("image_id"))?;
        head.category_id = category_id.ok_or_else(|| A::Error::missing_field("category_id"))?;
        if self.kind == Kind::Detection && head.score.is_none() {
            return Err(A::Error::missing_field("score"));
        }
        self.arena.finish(head, since);
        Ok(())
    }
}

/// `null`, a list of rings, or a run-length object.
struct OutlineSeed<'a>(&'a mut Annotations);

impl<'de> DeserializeSeed<'de> for OutlineSeed<'_> {
    type Value = Option<OutlineKind>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OutlineSeed<'_> {
    type Value = Option<OutlineKind>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of polygons or an RLE object with `size` and `counts`")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut any = false;
        while seq.next_element_seed(RingSeed(self.0))?.is_some() {
            any = true;
        }
        Ok(any.then_some(OutlineKind::Rings))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum RleKey {
            Size,
            Counts,
            #[serde(other)]
            Other,
        }
        let (mut size, mut compressed) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                RleKey::Size => size = Some(map.next_value::<[Whole; 2]>()?.map(|n| n.0)),
                RleKey::Counts if compressed.is_some() => {
                    return Err(A::Error::duplicate_field("counts"));
                }
                RleKey::Counts => compressed = Some(map.next_value_seed(CountsSeed(self.0))?),
                RleKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let size = size.ok_or_else(|| A::Error::missing_field("size"))?;
        let compressed = compressed.ok_or_else(|| A::Error::missing_field("counts"))?;
        Ok(Some(if compressed { OutlineKind::Text(size) } else { OutlineKind::Runs(size) }))
    }
}

struct RingSeed<'a>(&'a mut Annotations);

impl<'de> DeserializeSeed<'de> for RingSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RingSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a polygon [x0, y0, x1, y1, ...]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Number(value)) = seq.next_element()? {
            self.0.push_coordinate(value);
        }
        self.0.end_ring();
        Ok(())
    }
}

/// Whether the counts were text.
struct CountsSeed<'a>(&'a mut Annotations);

impl<'de> DeserializeSeed<'de> for CountsSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CountsSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("run lengths as numbers or as compressed text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        self.0.push_text(text);
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while let Some(Whole(run)) = seq.next_element()? {
            self.0.push_run(run);
        }
        Ok(false)
    }
}

/// `text` with the tokens NaN, Infinity and -Infinity (which Python writes and JSON does not know) as texts;
/// nothing if there are none.
pub(super) fn quoted_nan(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut at, mut copied, mut in_string) = (0, 0, false);
    while at < text.len() {
        match text[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                let tokens: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
                if let Some(token) = tokens.iter().find(|t| text[at..].starts_with(t)) {
                    out.extend_from_slice(&text[copied..at]);
                    out.push(b'"');
                    out.extend_from_slice(token);
                    out.push(b'"');
                    at += token.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (copied > 0).then(|| {
        out.extend_from_slice(&text[copied..]);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kind: Kind) -> Result<Annotations, String> {
        let mut arena = Annotations::new();
        let mut json = serde_json::Deserializer::from_str(text);
        RecordSeed { arena: &mut arena, kind }.deserialize(&mut json).map_err(|e| e.to_string())?;
        Ok(arena)
    }

    #[test]
    fn scalars_in_their_common_spellings() {
        let text = r#"{"id": 7.0, "image_id": 1, "category_id": 2, "iscrowd": true, "bbox": [1, 2.5, 3, 4],
            "segmentation": null, "extra": {"deep": [1]}, "area": null}"#;
        let all = read(text, Kind::Truth).unwrap();
        let record = &all.records()[0];
        assert_eq!((record.id, record.crowd, record.bbox), (7, true, Some([1.0, 2.5, 3.0, 4.0])));
        assert_eq!(all.segmentation(record), super::super::arena::Segmentation::None);
        assert_eq!(record.area, None);
        let text = r#"{"id": 1, "image_id": 1, "category_id": 2, "iscrowd": null, "bbox": null,
            "segmentation": {"size": [2.0, 3], "counts": [1.0, 5]}}"#;
        let all = read(text, Kind::Truth).unwrap();
        let (record, size) = (&all.records()[0], [2, 3]);
        assert_eq!((record.crowd, record.bbox), (false, None));
        let runs = super::super::arena::Segmentation::Runs { size, counts: &[1, 5] };
        assert_eq!(all.segmentation(record), runs);
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        let cases = [
            (r#"{"image_id": 1, "category_id": 2}"#, Kind::Truth, "`id`"),
            (r#"{"id": 1, "category_id": 2}"#, Kind::Truth, "`image_id`"),
            (r#"{"image_id": 1, "category_id": 2}"#, Kind::Detection, "`score`"),
            (r#"{"id": -3}"#, Kind::Truth, "-3"),
            (r#"{"id": 1.5}"#, Kind::Truth, "1.5"),
            (r#"{"iscrowd": 2}"#, Kind::Truth, "0, 1, true or false"),
            (r#"{"segmentation": {"counts": "a"}}"#, Kind::Truth, "`size`"),
            (r#"{"segmentation": [1, 2, 3]}"#, Kind::Truth, "polygon"),
            (r#"{"bbox": [1, 2, 3]}"#, Kind::Truth, "4"),
        ];
        for (text, kind, expected) in cases {
            let error = read(text, kind).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn python_nan_becomes_text_outside_strings_only() {
        let text = br#"{"a": NaN, "b": [-Infinity, Infinity, -1], "c": "NaN \" NaN"}"#;
        let fixed = quoted_nan(text).unwrap();
        let expected = br#"{"a": "NaN", "b": ["-Infinity", "Infinity", -1], "c": "NaN \" NaN"}"#;
        assert_eq!(fixed, expected);
        assert_eq!(quoted_nan(expected), None);
    }
}
