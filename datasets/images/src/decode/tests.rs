use std::fs;
use std::io::Cursor;

use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, RgbaImage,
};
use proptest::prelude::*;

use super::*;

const CMYK_JPG: &[u8] = include_bytes!("../../testdata/cmyk.jpg");
const CMYK_RGB: &[u8] = include_bytes!("../../testdata/cmyk.rgb");
const TURNED_JPG: &[u8] = include_bytes!("../../testdata/orientation6.jpg");
const TURNED_RGB: &[u8] = include_bytes!("../../testdata/orientation6.rgb");
const PROGRESSIVE_JPG: &[u8] = include_bytes!("../../testdata/progressive.jpg");
const PALETTE_PNG: &[u8] = include_bytes!("../../testdata/palette.png");
const PALETTE_RGB: &[u8] = include_bytes!("../../testdata/palette.rgb");

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    decode_bytes(bytes, &DecodeOptions::default())
}

fn ramp(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x + y) as u8]))
}

fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| a.abs_diff(b)).max().unwrap()
}

#[test]
fn lossless_formats_by_content() {
    let image = ramp(17, 5);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm]
    {
        assert_eq!(decode(&encode(image.clone(), format)).unwrap(), image, "{format:?}");
    }
    // a PNG called .jpg
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("really_a_png.jpg");
    fs::write(&path, encode(image.clone(), ImageFormat::Png)).unwrap();
    assert_eq!(decode_file(&path, &DecodeOptions::default()).unwrap(), image);
}

#[test]
fn gray_alpha_and_sixteen_bits() {
    let gray = GrayImage::from_fn(3, 2, |x, y| Luma([(40 * x + y) as u8]));
    let rgb = decode(&encode(gray, ImageFormat::Png)).unwrap();
    assert_eq!(rgb.get_pixel(2, 1).0, [81; 3]);
    let gray_alpha = GrayAlphaImage::from_pixel(2, 2, image::LumaA([200, 0]));
    assert_eq!(decode(&encode(gray_alpha, ImageFormat::Png)).unwrap().get_pixel(0, 0).0, [200; 3]);
    // fully transparent pixels keep their colour
    let alpha = RgbaImage::from_pixel(2, 2, image::Rgba([1, 2, 3, 0]));
    assert_eq!(decode(&encode(alpha, ImageFormat::Png)).unwrap().get_pixel(1, 1).0, [1, 2, 3]);
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(2, 1, Luma([0x80ff]));
    assert_eq!(decode(&encode(deep, ImageFormat::Png)).unwrap().get_pixel(0, 0).0, [0x80; 3]);
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> = ImageBuffer::from_pixel(2, 1, Rgb([0x12ff, 0xff00, 0x00ff]));
    assert_eq!(decode(&encode(deep, ImageFormat::Png)).unwrap().get_pixel(0, 0).0, [0x12, 0xff, 0]);
}

#[test]
fn agrees_with_pil_on_cmyk_palette_and_orientation() {
    // the .rgb files are PIL's convert("RGB") and exif_transpose of the images beside them
    let cmyk = decode(CMYK_JPG).unwrap();
    assert_eq!(cmyk.dimensions(), (40, 24));
    assert!(largest_difference(cmyk.as_raw(), CMYK_RGB) <= 2);
    assert_eq!(decode(PALETTE_PNG).unwrap().as_raw(), PALETTE_RGB);
    let turned = decode(TURNED_JPG).unwrap();
    assert_eq!(turned.dimensions(), (24, 40));
    assert_eq!(turned.as_raw(), TURNED_RGB);
    let stored = DecodeOptions { exif: ExifPolicy::Ignore, ..DecodeOptions::default() };
    assert_eq!(decode_bytes(TURNED_JPG, &stored).unwrap().dimensions(), (40, 24));
}

#[test]
fn one_pixel_and_a_long_strip() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let pixel = RgbImage::from_pixel(1, 1, Rgb([90, 90, 90]));
        let back = decode(&encode(pixel.clone(), format)).unwrap();
        assert!(largest_difference(back.as_raw(), pixel.as_raw()) <= 1);
        assert_eq!(decode(&encode(ramp(20_000, 10), format)).unwrap().dimensions(), (20_000, 10));
    }
}

#[test]
fn broken_input_has_a_stated_error() {
    assert!(matches!(decode(&[]), Err(DecodeError::Empty)));
    assert!(matches!(decode(b"hello, world"), Err(DecodeError::UnknownFormat { .. })));
    let png = encode(ramp(64, 64), ImageFormat::Png);
    assert!(matches!(decode(&png[..png.len() / 2]), Err(DecodeError::Other { format: "PNG", .. })));
    let small = DecodeOptions { max_pixels: 100, ..DecodeOptions::default() };
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let error = decode_bytes(&encode(ramp(64, 64), format), &small).unwrap_err();
        assert_eq!(error.to_string(), "the image is 64x64 pixels, more than the limit of 100 pixels");
    }
}

#[test]
fn truncated_jpeg_is_an_error_naming_the_file() {
    let baseline = encode(ramp(200, 150), ImageFormat::Jpeg);
    for whole in [&baseline[..], PROGRESSIVE_JPG] {
        for share in [0.2, 0.5, 0.8] {
            let cut = &whole[..(whole.len() as f64 * share) as usize];
            let error = decode(cut).unwrap_err();
            assert!(matches!(error, DecodeError::TruncatedJpeg { .. }), "{share}: {error}");
        }
        decode(whole).unwrap();
    }
    // all pixels there, only the end marker missing: decoded
    assert_eq!(decode(&baseline[..baseline.len() - 2]).unwrap(), decode(&baseline).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.JPEG");
    fs::write(&path, &baseline[..baseline.len() / 2]).unwrap();
    let text = decode_file(&path, &DecodeOptions::default()).unwrap_err().to_string();
    assert!(text.contains("cut.JPEG") && text.contains("truncated JPEG"), "{text}");
    let missing = decode_file(&dir.path().join("no.jpg"), &DecodeOptions::default()).unwrap_err();
    assert!(matches!(missing, DecodeError::Read { .. }));
}

#[test]
fn plain_streams_agree_with_the_general_decoder() {
    // libjpeg's arithmetic is a few levels from the other's, a wrong block or table tens
    for jpeg in [encode(ramp(83, 61), ImageFormat::Jpeg), TURNED_JPG.to_vec()] {
        let options = DecodeOptions { exif: ExifPolicy::Ignore, ..DecodeOptions::default() };
        let image = decode_bytes(&jpeg, &options).unwrap();
        let mut plain = vec![0; image.as_raw().len()];
        let whole = Rect::whole(image.dimensions().into());
        let frame = baseline::Frame::parse(&jpeg).expect("a plain stream");
        baseline::decode(&frame, whole, &mut plain).expect("a plain stream");
        assert_eq!(&plain, image.as_raw());
        let general = image::load_from_memory(&jpeg).unwrap().to_rgb8();
        assert!(largest_difference(&plain, general.as_raw()) <= 6);
        // all that is not plain is left to the other
        let half = &jpeg[..jpeg.len() / 2];
        let decoded = baseline::Frame::parse(half).and_then(|f| baseline::decode(&f, whole, &mut plain));
        assert!(decoded.is_none());
    }
    for other in [PROGRESSIVE_JPG, CMYK_JPG] {
        assert!(baseline::Frame::parse(other).is_none());
    }
}

#[test]
fn memory_is_counted_before_it_is_asked_for() {
    let small = |max_memory| DecodeOptions { max_memory, ..DecodeOptions::default() };
    let rgba = RgbaImage::new(100, 100);
    // four bytes a pixel and three of RGB, or three and nothing beside
    for (bytes, needed) in [
        (encode(rgba, ImageFormat::Png), 70_000),
        (encode(ramp(100, 100), ImageFormat::Png), 30_000),
        (encode(ramp(100, 100), ImageFormat::Jpeg), 60_000),
    ] {
        let error = decode_bytes(&bytes, &small(needed - 1)).unwrap_err();
        assert!(matches!(error, DecodeError::Memory { .. }), "{error}");
        assert!(error.to_string().contains("--max-image-mb"), "{error}");
        assert!(!matches!(decode_bytes(&bytes, &small(needed + 4096)), Err(DecodeError::Memory { .. })));
    }
}

#[test]
fn a_strip_is_refused_by_its_header() {
    let strip = encode(RgbImage::new(1, 20_000), ImageFormat::Png);
    let with = |short_side| DecodeOptions { short_side, ..DecodeOptions::default() };
    // 57 x 1,140,000 is 65 million pixels, 58 x 1,160,000 is 67.28 million: the limit is 2^26
    assert!(decode_bytes(&strip, &with(57)).is_ok());
    let error = decode_bytes(&strip, &with(58)).unwrap_err();
    assert!(matches!(error, DecodeError::Strip(_)), "{error}");
    assert!(error.to_string().contains("58x1160000") && error.to_string().contains("67108864"), "{error}");
}

#[test]
fn what_is_not_supported_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    // a TIFF of one entry: its photometric interpretation is a palette
    let tiff = |tags: &[(u16, u16)]| {
        let mut bytes = b"II\x2a\0\x08\0\0\0".to_vec();
        bytes.extend((tags.len() as u16).to_le_bytes());
        for (tag, value) in tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend([3, 0, 1, 0, 0, 0]);
            bytes.extend(u32::from(*value).to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes
    };
    for (bytes, expected) in [
        (tiff(&[(256, 4), (257, 4), (262, 3)]), "unsupported TIFF: palette TIFF"),
        (
            tiff(&[(256, 4), (262, 2), (284, 2), (322, 16)]),
            "unsupported TIFF: TIFF of tiles in separate planes",
        ),
        (b"II\x2b\0\x08\0\0\0".to_vec(), "unsupported image: BigTIFF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0".to_vec(), "unsupported image: AVIF"),
    ] {
        let path = dir.path().join("x.tif");
        fs::write(&path, bytes).unwrap();
        let error = decode_file(&path, &DecodeOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("x.tif"), "{error}");
    }
}

#[test]
fn the_prefix_of_a_jpeg_in_the_exif_of_webp_is_known() {
    // Pillow: ImageOps.exif_transpose(Image.open(f)).size is (40, 60)
    let bytes = include_bytes!("../../testdata/prefixed.webp");
    assert_eq!(decode(bytes).unwrap().dimensions(), (40, 60));
}

#[test]
fn the_buffer_is_reused() {
    let bytes = encode(ramp(64, 48), ImageFormat::Jpeg);
    let first = decode(&bytes).unwrap();
    let buffer = Vec::with_capacity(64 * 48 * 3);
    let place = buffer.as_ptr();
    let second = Encoded::open(&bytes, &DecodeOptions::default()).unwrap().decode(buffer).unwrap();
    assert_eq!(first, second);
    let raw = second.into_raw();
    assert_eq!(raw.as_ptr(), place);
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        which in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = match which {
            0 => encode(ramp(33, 20), ImageFormat::Jpeg),
            1 => PROGRESSIVE_JPG.to_vec(),
            2 => CMYK_JPG.to_vec(),
            3 => encode(ramp(33, 20), ImageFormat::Png),
            _ => TURNED_JPG.to_vec(),
        };
        let mut bytes = whole[..cut.index(whole.len() + 1)].to_vec();
        for (place, value) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
        }
        let options = DecodeOptions { max_pixels: 1 << 20, ..DecodeOptions::default() };
        if let Ok(image) = decode_bytes(&bytes, &options) {
            prop_assert!(image.width() > 0 && image.height() > 0);
        }
    }
}
