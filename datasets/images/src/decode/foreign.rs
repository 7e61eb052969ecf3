//! Kinds of image that are known by their first bytes and not decoded.

/// What the file is, if it is one of them.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..12).and_then(|b| b.strip_prefix(b"ftyp"));
    Some(match (bytes, brand) {
        (_, Some(b"avif" | b"avis")) => "AVIF",
        (_, Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1")) => "HEIC",
        ([0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..], _) => "JPEG 2000",
        ([0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] | [0xff, 0x0a, ..], _) => "JPEG XL",
        ([b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..], _) => "BigTIFF",
        ([b'8', b'B', b'P', b'S', ..], _) => "Photoshop",
        ([0x76, 0x2f, 0x31, 0x01, ..], _) => "OpenEXR",
        ([b'%', b'P', b'D', b'F', ..], _) => "PDF",
        ([0, 0, 1, 0, ..], _) => "icon",
        ([b'D', b'D', b'S', b' ', ..], _) => "DDS",
        _ if bytes.trim_ascii_start().starts_with(b"<svg") => "SVG",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_by_their_specifications() {
        assert_eq!(name(b"\0\0\0\x1cftypavif\0\0\0\0"), Some("AVIF"));
        assert_eq!(name(b"\0\0\0\x18ftypheic\0\0\0\0"), Some("HEIC"));
        assert_eq!(name(b"\0\0\0\x0cjP  \r\n\x87\n"), Some("JPEG 2000"));
        assert_eq!(name(b"II\x2b\0\x08\0\0\0"), Some("BigTIFF"));
        assert_eq!((name(b"hello"), name(b""), name(b"\xff\xd8\xff")), (None, None, None));
    }
}
