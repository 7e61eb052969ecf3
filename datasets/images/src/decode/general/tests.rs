//! Layouts of scans and sampling against Pillow, whose decoder is libjpeg-turbo; damage and what is not supported.

use image::RgbImage;

use super::super::{DecodeError, DecodeOptions, Encoded, decode_bytes};
use super::*;

/// (name, file, FNV-1a of Pillow's pixels), as `testdata/make_jpeg_layouts.py` writes them.
fn layouts() -> Vec<(String, &'static [u8], u64)> {
    let mut rest: &[u8] = include_bytes!("../../../testdata/jpeg_layouts.bin");
    let mut all = Vec::new();
    let take = |rest: &mut &'static [u8]| {
        let (length, after) = rest.split_first_chunk::<4>().unwrap();
        let (part, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        *rest = after;
        part
    };
    while !rest.is_empty() {
        let (name, file) = (take(&mut rest), take(&mut rest));
        let (hash, after) = rest.split_first_chunk::<8>().unwrap();
        rest = after;
        all.push((String::from_utf8(name.to_vec()).unwrap(), file, u64::from_le_bytes(*hash)));
    }
    all
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The part by the decoder of all kinds, whatever kind the stream is.
fn general(bytes: &[u8], rect: Rect) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    General::open(bytes)?.decode(rect, &mut out)?;
    Ok(out)
}

#[test]
fn every_layout_has_the_pixels_of_libjpeg() {
    let all = layouts();
    assert!(all.len() > 200, "{}", all.len());
    let mut wrong = Vec::new();
    for (name, bytes, hash) in &all {
        let image = decode_bytes(bytes, &DecodeOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        if fnv(image.as_raw()) != *hash {
            wrong.push(name);
        }
        let whole = Rect::whole(image.dimensions().into());
        assert_eq!(&general(bytes, whole).unwrap(), image.as_raw(), "{name}");
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), all.len());
}

#[test]
fn every_part_is_the_part_of_the_whole() {
    for (name, bytes, _) in layouts() {
        let image = decode_bytes(bytes, &DecodeOptions::default()).unwrap();
        let (width, height) = image.dimensions();
        for (x, y, w, h) in [(0, 0, 1, 1), (width / 2, height / 3, width.div_ceil(3), height.div_ceil(2))] {
            let rect = Rect { x, y, width: w.min(width - x), height: h.min(height - y) };
            let cut: RgbImage = image::imageops::crop_imm(&image, x, y, rect.width, rect.height).to_image();
            assert_eq!(&general(bytes, rect).unwrap(), cut.as_raw(), "{name} {rect:?}");
        }
    }
}

/// One of the layouts.
fn named(name: &str) -> Vec<u8> {
    let all = layouts();
    let (_, bytes, _) = all.into_iter().find(|(n, ..)| n == name).unwrap_or_else(|| panic!("{name}"));
    bytes.to_vec()
}

fn marker(bytes: &[u8], marker: u8) -> usize {
    bytes.windows(2).position(|w| w == [0xff, marker]).unwrap()
}

#[test]
fn damage_is_an_error_and_never_other_pixels_by_part() {
    for name in ["one 2x2 35x29", "each 2x2 35x29", "progressive 2x2 35x29", "restart 2 one"] {
        let bytes = named(name);
        let start = marker(&bytes, 0xda);
        let options = DecodeOptions::default();
        let mut errors = 0;
        for at in start..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                let whole = decode_bytes(&bytes, &options);
                errors += u32::from(whole.is_err());
                for (y, height) in [(0, 8), (9, 20)] {
                    let rect = Rect { x: 3, y, width: 20, height };
                    let part =
                        Encoded::open(&bytes, &options).and_then(|e| e.decode_region(rect, Vec::new()));
                    if let (Ok(whole), Ok(part)) = (&whole, part) {
                        let cut = image::imageops::crop_imm(whole, 3, y, 20, height).to_image();
                        assert_eq!(part, cut, "{name} byte {at} ^ {change}");
                    }
                }
            }
        }
        assert!(errors > 50, "{name}: {errors}");
    }
}

#[test]
fn bytes_that_no_pixel_needs_are_told() {
    let bytes = named("one 2x2 35x29");
    let checked = |bytes: &[u8]| Encoded::open(bytes, &DecodeOptions::default()).unwrap().decode_checked();
    let (whole, note) = checked(&bytes).unwrap();
    assert_eq!(note, None);
    let mut longer = bytes.clone();
    let end = longer.len() - 2;
    longer.splice(end..end, [1, 2, 3]);
    let (image, note) = checked(&longer).unwrap();
    assert_eq!(image, whole);
    assert!(note.unwrap().contains("3 bytes"));
}

#[test]
fn what_is_not_supported_is_named() {
    let bytes = named("one 2x2 35x29");
    let frame = marker(&bytes, 0xc0);
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        decode_bytes(&bytes, &DecodeOptions::default()).unwrap_err().to_string()
    };
    assert!(with(frame + 1, 0xc9).contains("unsupported JPEG: arithmetic coding"));
    assert!(with(frame + 1, 0xc3).contains("unsupported JPEG: lossless coding"));
    assert!(with(frame + 1, 0xc5).contains("unsupported JPEG: hierarchical coding"));
    assert!(with(frame + 4, 12).contains("unsupported JPEG: 12 bits a sample"));
    let mut uneven = bytes.clone();
    (uneven[frame + 11], uneven[frame + 14]) = (0x31, 0x21);
    let error = decode_bytes(&uneven, &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("unsupported JPEG: sampling of 2x1 beside 3x1"), "{error}");
}

#[test]
fn a_header_that_claims_what_no_byte_holds_is_damage() {
    for name in ["one 2x2 35x29", "each 2x2 35x29", "progressive 2x2 35x29"] {
        let mut bytes = named(name);
        let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0] || w == [0xff, 0xc2]).unwrap();
        // 13,000 x 13,000
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x32, 0xc8, 0x32, 0xc8]);
        let error = decode_bytes(&bytes, &DecodeOptions::default()).unwrap_err();
        assert!(matches!(error, DecodeError::TruncatedJpeg { .. }), "{name}: {error}");
    }
}

#[test]
fn scans_without_end_are_refused() {
    let bytes = named("each 1x1 35x29");
    let (first, second) = {
        let at: Vec<usize> = (0..bytes.len() - 1).filter(|&i| bytes[i..i + 2] == [0xff, 0xda]).collect();
        (at[0], at[1])
    };
    let scan = bytes[first..second].to_vec();
    let mut many = bytes[..first].to_vec();
    (0..250).for_each(|_| many.extend_from_slice(&scan));
    many.extend_from_slice(&bytes[first..]);
    let error = decode_bytes(&many, &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("more than 200 scans"), "{error}");
}
