//! A part decoded by itself is the part of the whole.

use crate::Size;
use image::{Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Samplings of chroma: whole, halved across, halved down, halved both ways.
const SAMPLINGS: [SamplingFactor; 4] =
    [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_1_2, SamplingFactor::F_2_2];

/// A JPEG of noise on a ramp, so that every block has its own colours and many coefficients.
fn encode(size: Size, sampling: SamplingFactor, restart_interval: u16) -> Vec<u8> {
    let (width, height) = size.dimensions();
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(width * 1000 + height));
    let image = RgbImage::from_fn(width, height, |x, y| {
        let noise = rng.random_range(0..60);
        Rgb([(x * 3 + noise) as u8, (y * 3 + noise) as u8, (x * 2 + y + noise) as u8])
    });
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 85);
    encoder.set_sampling_factor(sampling);
    if restart_interval > 0 {
        encoder.set_restart_interval(restart_interval);
    }
    encoder.encode(image.as_raw(), width as u16, height as u16, ColorType::Rgb).unwrap();
    bytes
}

fn region_of(bytes: &[u8], region: Rect) -> Result<RgbImage, DecodeError> {
    Encoded::open(bytes, &DecodeOptions::default())?.decode_region(region, Vec::new())
}

fn cut(image: &RgbImage, rect: Rect) -> RgbImage {
    image::imageops::crop_imm(image, rect.x, rect.y, rect.width, rect.height).to_image()
}

/// A part of an image of that size by four shares in 0..=255.
fn part(size: Size, shares: [u8; 4]) -> Rect {
    let (width, height) = size.dimensions();
    let [x, y, w, h] = shares.map(u32::from);
    let (x, y) = (x * (width - 1) / 255, y * (height - 1) / 255);
    Rect { x, y, width: 1 + w * (width - x - 1) / 255, height: 1 + h * (height - y - 1) / 255 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_part_of_a_plain_jpeg(
        size in (1u32..90, 1u32..90),
        sampling in 0usize..4,
        restart_interval in 0u16..6,
        shares in any::<[u8; 4]>(),
    ) {
        let bytes = encode(size.into(), SAMPLINGS[sampling], restart_interval);
        let frame = baseline::Frame::parse(&bytes).expect("a plain stream");
        let rect = part(size.into(), shares);
        let mut found = vec![0; rect.width as usize * rect.height as usize * 3];
        prop_assert!(baseline::decode(&frame, rect, &mut found).is_some());
        let whole = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
        prop_assert_eq!(&found, &cut(&whole, rect).into_raw());
        prop_assert_eq!(&found, &region_of(&bytes, rect).unwrap().into_raw());
    }

    #[test]
    fn a_part_of_any_other_file(which in 0usize..4, shares in any::<[u8; 4]>()) {
        let bytes: &[u8] = match which {
            0 => include_bytes!("../../testdata/progressive.jpg"),
            1 => include_bytes!("../../testdata/cmyk.jpg"),
            2 => include_bytes!("../../testdata/orientation6.jpg"),
            _ => include_bytes!("../../testdata/palette.png"),
        };
        let whole = decode_bytes(bytes, &DecodeOptions::default()).unwrap();
        let rect = part(whole.dimensions().into(), shares);
        prop_assert_eq!(region_of(bytes, rect).unwrap(), cut(&whole, rect));
    }
}

#[test]
fn every_border_and_corner() {
    let (width, height) = (53, 45);
    for sampling in SAMPLINGS {
        let bytes = encode((width, height).into(), sampling, 0);
        let whole = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
        for (x, w) in [(0, width), (0, 1), (width - 1, 1), (15, 2), (16, 1), (7, 33)] {
            for (y, h) in [(0, height), (0, 1), (height - 1, 1), (15, 2), (16, 1), (7, 33)] {
                let rect = Rect { x, y, width: w, height: h };
                assert_eq!(region_of(&bytes, rect).unwrap(), cut(&whole, rect), "{sampling:?} {rect:?}");
            }
        }
    }
}

#[test]
fn whole_images_agree_with_the_general_decoder() {
    // the other's arithmetic is a few levels off in 4:4:4, and it upsamples in another way in the rest
    for (sampling, most) in SAMPLINGS.into_iter().zip([6, 30, 30, 30]) {
        let bytes = encode((83, 61).into(), sampling, 3);
        let whole = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
        let general = image::load_from_memory(&bytes).unwrap().to_rgb8();
        let differences = whole.iter().zip(general.iter()).map(|(&a, &b)| u32::from(a.abs_diff(b)));
        let mean = f64::from(differences.clone().sum::<u32>()) / whole.len() as f64;
        let worst = differences.max().unwrap();
        assert!(mean < 2.0 && worst <= most, "{sampling:?}: {mean} {worst}");
    }
}

#[test]
fn what_lies_outside_the_image_is_cut_off() {
    let bytes = encode((20, 10).into(), SamplingFactor::F_2_2, 0);
    let rect = Rect { x: 15, y: 4, width: 100, height: u32::MAX };
    assert_eq!(region_of(&bytes, rect).unwrap().dimensions(), (5, 6));
    for rect in [Rect { x: 20, y: 0, width: 5, height: 5 }, Rect { x: 0, y: 0, width: 0, height: 5 }] {
        assert!(matches!(region_of(&bytes, rect), Err(DecodeError::NoPixels { .. })), "{rect:?}");
    }
}

#[test]
fn a_file_cut_below_the_part_gives_the_part_and_one_cut_inside_is_an_error() {
    for restart_interval in [0, 5] {
        let bytes = encode((200, 160).into(), SamplingFactor::F_2_2, restart_interval);
        let whole = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
        let half = &bytes[..bytes.len() / 2];
        let above = Rect { x: 30, y: 10, width: 100, height: 40 };
        assert_eq!(region_of(half, above).unwrap(), cut(&whole, above));
        for below in
            [Rect { x: 30, y: 50, width: 100, height: 60 }, Rect { x: 0, y: 150, width: 9, height: 9 }]
        {
            let error = region_of(half, below).unwrap_err();
            assert!(matches!(error, DecodeError::TruncatedJpeg { .. }), "{error}");
        }
        // damage below is not seen either
        let mut damaged = bytes.clone();
        let place = bytes.len() * 3 / 4;
        damaged[place..place + 2].copy_from_slice(&[0xff, 0xd9]);
        assert_eq!(region_of(&damaged, above).unwrap(), cut(&whole, above));
    }
}

proptest! {
    #[test]
    fn damaged_streams_never_panic(
        sampling in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        shares in any::<[u8; 4]>(),
    ) {
        let mut bytes = encode((61, 47).into(), SAMPLINGS[sampling], 4);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let options = DecodeOptions { max_pixels: 1 << 20, ..DecodeOptions::default() };
        if let Ok(image) = Encoded::open(&bytes, &options) {
            let rect = part(image.size(), shares);
            if let Ok(part) = image.decode_region(rect, Vec::new()) {
                prop_assert_eq!(part.dimensions(), (rect.width, rect.height));
            }
        }
    }
}

#[test]
fn odd_files_have_the_outcome_of_whole_images() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        decode_file_region(&path, &DecodeOptions::default(), |size| {
            let (width, height) = size.dimensions();
            Rect { x: width / 2, y: height / 2, width: width.div_ceil(2), height: height.div_ceil(2) }
        })
    };
    // a JPEG whatever its name says, of one pixel and of a long strip
    assert_eq!(read(&encode((1, 1).into(), SamplingFactor::F_2_2, 0)).unwrap().dimensions(), (1, 1));
    let strip = encode((20_000, 10).into(), SamplingFactor::F_2_2, 0);
    let whole = decode_bytes(&strip, &DecodeOptions::default()).unwrap();
    let half = Rect { x: 10_000, y: 5, width: 10_000, height: 5 };
    assert_eq!(read(&strip).unwrap(), cut(&whole, half));
    for (bytes, part) in [(&b""[..], "0 bytes"), (b"text", "not an image"), (&strip[..700], "truncated JPEG")]
    {
        let error = read(bytes).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains(part), "{error}");
    }
}

/// Four shares of a part, then a JPEG with damage below it. The part once had other pixels than Pillow's, which takes damage
/// as it comes; the whole is refused.
#[test]
fn damage_below_a_part_does_not_reach_it() {
    let case = include_bytes!("../../testdata/part_differs.bin");
    let (shares, bytes) = case.split_first_chunk::<4>().unwrap();
    let size = Encoded::open(bytes, &DecodeOptions::default()).unwrap().size();
    let found = region_of(bytes, part(size, *shares)).unwrap();
    // of Pillow 13: the part's first two pixels and its last two
    assert_eq!((found.dimensions(), &found.as_raw()[..6]), ((5, 8), &[104, 77, 66, 126, 100, 87][..]));
    assert_eq!(&found.as_raw()[114..], [120, 82, 141, 150, 112, 173]);
    let error = decode_bytes(bytes, &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("entropy-coded"), "{error}");
}
