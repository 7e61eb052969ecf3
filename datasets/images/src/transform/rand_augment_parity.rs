//! RandAugment beside timm 1.0.31 on Pillow: the arguments of each operation by magnitude, and the pixels of each
//! operation at fixed arguments, as FNV-1a of the bytes that Pillow gives for the same 24 x 20 pattern.

use super::*;
use crate::transform::testing::{pattern, rng};

/// By operation and argument.
const PIXELS: [(&str, u64); 43] = [
    ("AutoContrast", 0xe648e6a08971f34a),
    ("Equalize", 0xf049ad49aa1a09a8),
    ("Invert", 0xfc242e9ae393d1dd),
    ("Rotate 27 bilinear", 0x8646a815ab7cbd75),
    ("Rotate -13.5 bilinear", 0x763b5124b1edae68),
    ("ShearX 0.27 bilinear", 0x7600e831142b3dc4),
    ("ShearY -0.15 bilinear", 0xefa49cb62b64ca15),
    ("TranslateX 0.405 bilinear", 0xcaf48c234464e153),
    ("TranslateY -0.2 bilinear", 0xa64e3afa3a68aa05),
    ("Rotate 27 bicubic", 0xe2c3d72357c9ddf9),
    ("Rotate -13.5 bicubic", 0x04a4d3e4dd6de523),
    ("ShearX 0.27 bicubic", 0xbe9aa0771e57dffd),
    ("ShearY -0.15 bicubic", 0xd63e433a9ad77626),
    ("TranslateX 0.405 bicubic", 0x61a059bbaccbcab7),
    ("TranslateY -0.2 bicubic", 0xa64e3afa3a68aa05),
    ("Posterize 1", 0x26394655edef58a5),
    ("Posterize 2", 0x11e4c2be26ed1c65),
    ("Posterize 4", 0x534276015b29bee5),
    ("Solarize 26", 0xe69baea1da8f1c86),
    ("Solarize 128", 0xf21046a8632c0ac7),
    ("Solarize 230", 0x9f489329eadf6072),
    ("SolarizeAdd 55", 0x72f3d8cd4c5fde39),
    ("SolarizeAdd 99", 0xbfeda411cf6d7e39),
    ("Color 0.1", 0x44b6312f16a1d06b),
    ("Contrast 0.1", 0x09f7061da54bf6a7),
    ("Brightness 0.1", 0x82ad02522891c55b),
    ("Sharpness 0.1", 0xe2789101bbc2ddef),
    ("Color 0.19", 0x31cfeb5015a1ef6f),
    ("Contrast 0.19", 0x66d47112edd7ae83),
    ("Brightness 0.19", 0x564166c1045aa43a),
    ("Sharpness 0.19", 0x4f5d1a36b12b9591),
    ("Color 0.55", 0x04d1bbfc5f920ae1),
    ("Contrast 0.55", 0x75c8f0e2cd8a406f),
    ("Brightness 0.55", 0x5f489f377ac1dfb4),
    ("Sharpness 0.55", 0x7761dbeedd077803),
    ("Color 1.45", 0x6c68cbed04ec1fcf),
    ("Contrast 1.45", 0x152ee45330425afa),
    ("Brightness 1.45", 0x1e58ae79c60d5739),
    ("Sharpness 1.45", 0x1fb706d01ec789bc),
    ("Color 1.81", 0xe32b5a06526331b0),
    ("Contrast 1.81", 0x465577f7c355e76f),
    ("Brightness 1.81", 0x4e44cfde5eafe72b),
    ("Sharpness 1.81", 0xcba986c151a1539f),
];

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn run(name: &str) -> RgbImage {
    let mut image = pattern(24, 20);
    let mut words = name.split(' ');
    let op = words.next().unwrap();
    let value: f64 = words.next().map_or(0.0, |word| word.parse().unwrap());
    let filter = if words.next() == Some("bicubic") { Filter::Bicubic } else { Filter::Bilinear };
    let map = match op {
        "Rotate" => rotation(value, (24, 20).into()),
        "ShearX" => [1.0, value, 0.0, 0.0, 1.0, 0.0],
        "ShearY" => [1.0, 0.0, 0.0, value, 1.0, 0.0],
        "TranslateX" => [1.0, 0.0, value * 24.0, 0.0, 1.0, 0.0],
        "TranslateY" => [1.0, 0.0, 0.0, 0.0, 1.0, value * 20.0],
        _ => {
            match op {
                "AutoContrast" => color::autocontrast(&mut image),
                "Equalize" => color::equalize(&mut image),
                "Invert" => color::invert(&mut image),
                "Posterize" => color::posterize(&mut image, value as u32),
                "Solarize" => color::solarize(&mut image, value as u32),
                "SolarizeAdd" => color::solarize_add(&mut image, value as u8),
                "Color" => color::saturation(&mut image, value as f32),
                "Contrast" => color::contrast(&mut image, value as f32),
                "Brightness" => color::brightness(&mut image, value as f32),
                "Sharpness" => color::sharpness(&mut image, value as f32),
                other => panic!("{other} is no operation"),
            }
            return image;
        }
    };
    affine(&image, map, filter, [124, 116, 104])
}

#[test]
fn pixels_are_those_of_pillow() {
    let different: Vec<_> =
        PIXELS.iter().filter(|(name, hash)| fnv(run(name).as_raw()) != *hash).map(|(name, _)| name).collect();
    assert!(different.is_empty(), "{different:?}");
}

#[test]
fn arguments_are_those_of_timm() {
    let plain = RandAugment::default();
    let increasing = RandAugment { severity: Severity::Increasing, ..plain };
    // magnitude; bits kept, threshold and factor of either set; amount added
    let table = [
        (0.0, (0, 0, 0.1), (4, 256, [1.0, 1.0]), 0),
        (4.5, (1, 115, 0.91), (3, 141, [1.405, 0.595]), 49),
        (9.0, (3, 230, 1.72), (1, 26, [1.81, 0.19]), 99),
        (10.0, (4, 256, 1.9), (0, 0, [1.9, 0.1]), 110),
        (15.0, (6, 256, 2.8), (0, 0, [2.35, 0.1]), 128),
    ];
    let close = |found: f32, expected: f64| (f64::from(found) - expected).abs() < 1e-6;
    let mut rng = rng(0);
    for (magnitude, of_plain, of_increasing, amount) in table {
        let level = magnitude / 10.0;
        assert_eq!((plain.bits_kept(level), plain.solarize_threshold(level)), (of_plain.0, of_plain.1));
        assert!(close(plain.enhancement(level, &mut rng), of_plain.2), "{magnitude}");
        let found = (increasing.bits_kept(level), increasing.solarize_threshold(level));
        assert_eq!(found, (of_increasing.0, of_increasing.1));
        for _ in 0..20 {
            let factor = increasing.enhancement(level, &mut rng);
            assert!(of_increasing.2.iter().any(|&f| close(factor, f)), "{magnitude}: {factor}");
        }
        assert_eq!(solarize_amount(level), amount);
    }
}

#[test]
fn geometry_grows_with_the_magnitude_as_in_timm() {
    // magnitude 9: 27 degrees, a shear of 0.27, a shift of 0.405 of the side, either way and by either filter
    let augment: RandAugment = "rand-m9-mstd0.5-inc1".parse().unwrap();
    let augment = RandAugment { fill: [124, 116, 104], ..augment };
    let ways = [
        (Op::Rotate, "Rotate", 27.0),
        (Op::ShearX, "ShearX", 0.27),
        (Op::ShearY, "ShearY", 0.27),
        (Op::TranslateX, "TranslateX", 0.405),
        (Op::TranslateY, "TranslateY", 0.405),
    ];
    for (op, name, value) in ways {
        let mut expected: Vec<RgbImage> = Vec::new();
        for sign in ["", "-"] {
            for filter in ["bilinear", "bicubic"] {
                expected.push(run(&format!("{name} {sign}{value} {filter}")));
            }
        }
        let mut seen = [false; 4];
        for seed in 0..40 {
            let mut image = pattern(24, 20);
            augment.run(op, 0.9, &mut image, &mut rng(seed));
            let place = expected.iter().position(|e| *e == image);
            seen[place.unwrap_or_else(|| panic!("{name}, seed {seed}"))] = true;
        }
        // a shift by whole pixels is the same by both filters
        let distinct = (0..4).filter(|&i| !expected[..i].contains(&expected[i])).count();
        assert_eq!(seen.iter().filter(|&&s| s).count(), distinct, "{name}");
    }
}
