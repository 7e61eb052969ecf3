use image::{GrayImage, Luma, RgbImage};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::bench::sample_jpeg;
use crate::decode::{DecodeOptions, Encoded, decode_bytes};
use crate::sample::{Instance, Sample, Target};
use crate::transform::crop::crop_image;
use crate::transform::testing::{pattern, rng};
use crate::{Mask, Size};

fn sample(width: u32, height: u32, target: Target) -> Sample {
    Sample { image: pattern(width, height), target, id: "a.jpg".to_owned() }
}

fn objects(width: u32, height: u32) -> Target {
    let mask = GrayImage::from_fn(width, height, |x, y| Luma([if x > 2 && y > 2 { 255 } else { 0 }]));
    Target::Instances(vec![Instance {
        class: 4,
        bbox: [3.0, 3.0, width as f32, height as f32],
        mask: Some(Mask::Bitmap(mask)),
        crowd: false,
    }])
}

/// The part the pipeline asks for, cut out of `image` and put through.
fn region_into(train: &ClassifyTrain, image: &RgbImage, rng: &mut ChaCha8Rng, out: &mut [f32]) {
    let region = train.region(Size::of(image), rng);
    train.region_into(&crop_image(image, region).unwrap(), rng, out).unwrap();
}

#[test]
fn the_short_way_gives_the_same_numbers() {
    for augment in [ColorAugment::None, ColorAugment::Rand("rand-m9-mstd0.5".to_owned())] {
        let train = ClassifyTrain::new(ClassifyTrainConfig { augment, ..Default::default() }).unwrap();
        for seed in 0..6 {
            let mut long = vec![0.0; 3 * 224 * 224];
            let mut short = long.clone();
            let mut generator = rng(seed);
            let out = train.apply(sample(90, 70, Target::Class(3)), &mut generator).unwrap();
            train.write(&out, &mut generator, &mut long).unwrap();
            region_into(&train, &pattern(90, 70), &mut rng(seed), &mut short);
            assert!(long == short, "seed {seed}");
            assert!(matches!(out.target, Target::Class(3)));
        }
    }
}

#[test]
fn decoding_the_part_alone_gives_the_same_numbers() {
    let train = ClassifyTrain::new(ClassifyTrainConfig::default()).unwrap();
    let jpeg = sample_jpeg(150, 110, 5).unwrap();
    let whole = decode_bytes(&jpeg, &DecodeOptions::default()).unwrap();
    let mut long = vec![0.0; 3 * 224 * 224];
    let mut short = long.clone();
    for seed in 0..12 {
        let mut generator = rng(seed);
        let sample = Sample { image: whole.clone(), target: Target::Class(0), id: "a.jpg".to_owned() };
        let out = train.apply(sample, &mut generator).unwrap();
        train.write(&out, &mut generator, &mut long).unwrap();
        let mut generator = rng(seed);
        let image = Encoded::open(&jpeg, &DecodeOptions::default()).unwrap();
        let rect = train.region(image.size(), &mut generator);
        let region = image.decode_region(rect, Vec::new()).unwrap();
        train.region_into(&region, &mut generator, &mut short).unwrap();
        assert!(long == short, "seed {seed}");
    }
}

#[test]
fn any_size_of_image_goes_through() {
    let train = ClassifyTrain::new(ClassifyTrainConfig::default()).unwrap();
    let eval = ClassifyEval::new(ClassifyEvalConfig::default()).unwrap();
    let mut out = vec![0.0; 3 * 224 * 224];
    for (width, height) in [(1, 1), (2000, 3), (3, 700), (500, 375)] {
        region_into(&train, &pattern(width, height), &mut rng(1), &mut out);
        let cropped = eval.apply(sample(width, height, Target::None), &mut rng(0)).unwrap();
        eval.write(&cropped, &mut out).unwrap();
        assert!(out.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn detection_keeps_masks_on_their_image() {
    let train = DetectTrain::new(DetectTrainConfig {
        jitter: crate::transform::scale_jitter::ScaleJitter { target: 64, ..Default::default() },
        ..Default::default()
    })
    .unwrap();
    let mut out = vec![0.0; 3 * 64 * 64];
    for seed in 0..30 {
        let done = train.apply(sample(50, 40, objects(50, 40)), &mut rng(seed)).unwrap();
        train.write(&done, &mut out).unwrap();
        let Target::Instances(instances) = &done.target else { panic!("objects expected") };
        for instance in instances {
            let Some(Mask::Bitmap(mask)) = &instance.mask else { panic!("bitmap expected") };
            assert_eq!(mask.dimensions(), done.image.dimensions());
            assert_eq!(crate::transform::target::bitmap_bounds(mask), Some(instance.bbox));
        }
    }
    let eval = DetectEval::new(DetectEvalConfig::default()).unwrap();
    let done = eval.apply(sample(50, 40, objects(50, 40)), &mut rng(0)).unwrap();
    assert_eq!(done.image.dimensions(), (1024, 819));
}

#[test]
fn segmentation_pads_labels_with_ignore() {
    let train = SegmentTrain::new(SegmentTrainConfig::default()).unwrap();
    let labels = GrayImage::from_fn(60, 30, |x, _| Luma([(x / 20) as u8]));
    let (mut image, mut map) = (vec![0.0; 3 * 512 * 512], vec![0; 512 * 512]);
    for seed in 0..4 {
        let target = Target::LabelMap(labels.clone());
        let done = train.apply(sample(60, 30, target), &mut rng(seed)).unwrap();
        train.write(&done, &mut image, &mut map).unwrap();
        let (width, height) = done.image.dimensions();
        assert!(width <= 512 && height <= 512);
        let counted = map.iter().filter(|&&label| label != 255).count();
        assert_eq!(counted, (width * height) as usize);
        assert!(map.iter().all(|&label| label <= 2 || label == 255));
    }
    let eval = SegmentEval::new(SegmentEvalConfig::default()).unwrap();
    let done = eval.apply(sample(60, 30, Target::LabelMap(labels.clone())), &mut rng(0)).unwrap();
    assert_eq!(done.image.dimensions(), (1024, 512));
    assert!(matches!(done.target, Target::LabelMap(map) if map == labels));
}

#[test]
fn wrong_targets_and_settings_are_named() {
    let train = ClassifyTrain::new(ClassifyTrainConfig::default()).unwrap();
    let error = train.apply(sample(9, 9, objects(9, 9)), &mut rng(0)).unwrap_err();
    assert_eq!(error.to_string(), "sample a.jpg: the target is objects, expected a class or none");
    let error = DetectTrain::new(DetectTrainConfig { flip: 1.5, ..Default::default() }).unwrap_err();
    assert_eq!(error.to_string(), "flip is 1.5, expected a probability in [0, 1]");
    let error = serde_json::from_str::<SegmentTrainConfig>(r#"{"flipp": 0.5}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `flipp`"), "{error}");
    let config: ClassifyTrainConfig =
        serde_json::from_str(r#"{"augment": {"rand": "rand-m7-inc1"}, "crop": {"size": 96}}"#).unwrap();
    assert_eq!(ClassifyTrain::new(config).unwrap().size(), (96, 96).into());
}
