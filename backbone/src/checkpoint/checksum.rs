//! The checksum in our own safetensors files: a CRC-32C over names, types, shapes, values and metadata.
//!
//! It is an entry of the metadata like any other, so that every reader of the format still reads the file. A CRC
//! notices each single flipped bit for certain, and other damage but for one case in 2^32. What is summed up is the
//! content and not the bytes of the header, so that a tool that writes the same content in another order keeps it.

use std::collections::BTreeMap;

/// The metadata key of the checksum.
pub const CHECKSUM_KEY: &str = "kat_checksum";
/// How its value starts; eight hexadecimal digits follow.
const FORM: &str = "crc32c:";

/// A tensor as far as the checksum looks at it.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    /// As the format writes it, such as "F32".
    pub(super) dtype: String,
    pub(super) shape: &'a [usize],
    /// CRC-32C of the little-endian bytes.
    pub(super) data: u32,
}

/// CRC-32C of values in little-endian order.
pub(super) fn of_values(values: &[f32]) -> u32 {
    let mut buffer = [0_u8; 1 << 12];
    values.chunks(buffer.len() / 4).fold(0, |crc, chunk| {
        for (bytes, value) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(chunk) {
            *bytes = value.to_le_bytes();
        }
        crc32c::crc32c_append(crc, &buffer[..4 * chunk.len()])
    })
}

/// The checksum of a file: `parts` in the order of their names, `metadata` without the checksum itself.
pub(super) fn of_file<'a>(
    metadata: &BTreeMap<String, String>,
    parts: impl IntoIterator<Item = Part<'a>>,
) -> String {
    let mut crc = 0;
    // Lengths go before texts, so that no two contents run together to the same bytes.
    let mut text = |text: &str| {
        crc = crc32c::crc32c_append(crc, &(text.len() as u64).to_le_bytes());
        crc = crc32c::crc32c_append(crc, text.as_bytes());
    };
    for (key, value) in metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY) {
        text(key);
        text(value);
    }
    for part in parts {
        text(part.name);
        text(&part.dtype);
        text(&format!("{:?} {:08x}", part.shape, part.data));
    }
    format!("{FORM}{crc:08x}")
}

/// The checksum that a file says it has. Also one under a damaged key: it is known by its form.
pub(super) fn stored(metadata: &BTreeMap<String, String>) -> Option<&str> {
    let formed = |text: &&String| {
        text.strip_prefix(FORM).is_some_and(|t| t.len() == 8 && t.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    metadata.get(CHECKSUM_KEY).or_else(|| metadata.values().find(formed)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_as_their_bytes() {
        let values: Vec<f32> = (0..3000).map(|i| i as f32 / 7.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(of_values(&values), crc32c::crc32c(&bytes));
        // RFC 3720 appendix B.4: 32 zero bytes.
        assert_eq!(of_values(&[0.0; 8]), 0x8a91_36aa);
    }

    #[test]
    fn contents_do_not_run_together() {
        let part = |name, shape| Part { name, dtype: "F32".into(), shape, data: 7 };
        let sum = |pairs: &[(&str, &str)], name| {
            let metadata = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            of_file(&metadata, [part(name, &[2, 3])])
        };
        let all = [sum(&[("a", "bc")], "t"), sum(&[("ab", "c")], "t"), sum(&[("a", "b")], "ct")];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
        assert_eq!(sum(&[("a", "b"), (CHECKSUM_KEY, "x")], "t"), sum(&[("a", "b")], "t"));
    }

    #[test]
    fn a_checksum_is_known_by_its_key_or_its_form() {
        let metadata = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(stored(&metadata(CHECKSUM_KEY, "?")), Some("?"));
        assert_eq!(stored(&metadata("kat_checksul", "crc32c:0123abcd")), Some("crc32c:0123abcd"));
        assert_eq!(stored(&metadata("note", "crc32c: a checksum")), None);
    }
}
