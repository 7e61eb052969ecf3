//! Names as people and systems spell them: what sets two spellings of one name apart, and which files are images.

use unicode_normalization::UnicodeNormalization as _;

/// The candidate nearest to `typed`, when it is near enough to be worth saying.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&typed, &c.to_lowercase()), strsim::jaro_winkler(&typed, c), c))
        .filter(|(distance, similarity, c)| {
            *distance <= 1 + c.len().max(typed.len()) / 4 || *similarity > 0.88
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, c)| c)
}

/// A name without what sets two spellings of it apart: case, blanks at the ends, `-`, `_` or blank between words, and
/// the Unicode form of accents.
pub fn fold(name: &str) -> String {
    let plain: String = name.trim().nfd().collect();
    plain
        .to_lowercase()
        .split([' ', '-', '_', '\u{a0}'])
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// What sets apart two spellings of one name; `None` for two names.
pub fn spelling(a: &str, b: &str) -> Option<&'static str> {
    let same = |f: fn(&str) -> String| f(a) == f(b);
    if a == b || fold(a) != fold(b) {
        return None;
    }
    Some(match () {
        () if same(|s| s.trim().to_owned()) => "blanks at an end",
        () if same(|s| s.nfc().collect()) => "the Unicode form of an accent",
        () if same(str::to_lowercase) => "upper and lower case",
        () => "case, blanks or hyphens",
    })
}

/// Whether a file name ends like that of an image that can be decoded, in any case.
pub fn is_image(name: &str) -> bool {
    has_ending(
        name,
        &[
            "jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "gif", "webp", "tif", "tiff", "ppm", "pgm",
            "pbm", "pnm",
        ],
    )
}

/// Whether a file name ends like that of an image of a kind that is not decoded.
pub fn is_unsupported_image(name: &str) -> bool {
    let endings = [
        "avif", "heic", "heif", "jp2", "j2k", "jpx", "jxl", "svg", "psd", "tga", "exr", "hdr", "dng", "cr2",
        "nef", "raw", "ico", "dcm",
    ];
    has_ending(name, &endings)
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, end)| {
        !stem.is_empty() && endings.iter().any(|known| known.eq_ignore_ascii_case(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_near_name_and_leaves_the_far_one() {
        assert_eq!(nearest("larning_rate", ["learning_rate", "betas"]), Some("learning_rate"));
        assert_eq!(
            nearest("kat_smal_patch16_224", ["kat_small_patch16_224", "kat_tiny_patch16_224"]),
            Some("kat_small_patch16_224")
        );
        assert_eq!(nearest("zebra", ["learning_rate", "betas"]), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn two_spellings_of_a_name_are_told_apart() {
        assert_eq!(spelling("cat", "Cat"), Some("upper and lower case"));
        assert_eq!(spelling("caf\u{e9}", "cafe\u{301}"), Some("the Unicode form of an accent"));
        assert_eq!(spelling("cat ", "cat"), Some("blanks at an end"));
        assert_eq!(spelling("polar bear", "polar-Bear"), Some("case, blanks or hyphens"));
        assert_eq!((spelling("cat", "cat"), spelling("cat", "dog")), (None, None));
    }

    #[test]
    fn endings_in_any_case() {
        assert!(["a.JPG", "b.jfif", "c.jpe", "d.PNG"].into_iter().all(is_image));
        assert!(["a.avif", "b.JP2", "c.heic"].into_iter().all(|n| is_unsupported_image(n) && !is_image(n)));
        assert!(!is_image(".jpg") && !is_image("jpg") && !is_unsupported_image("a.txt"));
    }
}
