//! Exported networks give in onnxruntime what they give here.
//!
//! Needs a Python with onnxruntime (`KAT_PYTHON`, else `python3`). Without one the tests say that they were skipped;
//! `KAT_REQUIRE_ONNX=1` makes that a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use kat_apps::onnx::classify::{Preparation, classifier};
use kat_apps::onnx::detect::detector;
use kat_apps::onnx::graph::GraphBuilder;
use kat_apps::onnx::pixels::Input;
use kat_apps::onnx::segment::segmentor;
use kat_apps::onnx::weights::Weights;
use kat_apps::onnx::{About, save};
use kat_backbone::checkpoint::model::{assign, export};
use kat_backbone::checkpoint::{HostTensor, TensorMap, safetensors};
use kat_backbone::nn::{Learnable, Module};
use kat_backbone::ops::rational::Denominator;
use kat_backbone::{Cpu, Graph, Kat, KatConfig, Size, Tensor, variants};
use kat_images::Filter;
use kat_images::pipeline::{ClassifyEval, ClassifyEvalConfig};
use kat_images::sample::{Sample, Target};
use kat_images::transform::crop::CenterCrop;
use kat_images::transform::normalize::{Direction, Normalize};
use kat_mask_rcnn::{BoxHeadKind, BoxRegression, MaskRcnn, MaskRcnnConfig};
use kat_upernet::{FinalNorm, NeckKind, Segmentor, SegmentorConfig};

/// The Python that has onnxruntime.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("KAT_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let has = Command::new(&python).args(["-c", "import numpy, onnxruntime"]).output();
    if has.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let reason = format!("{} has no onnxruntime (pip install onnxruntime; KAT_PYTHON)", python.display());
    assert!(std::env::var_os("KAT_REQUIRE_ONNX").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    None
}

/// What onnxruntime makes of `graph` for `inputs`.
fn run(python: &Path, graph: GraphBuilder, inputs: TensorMap) -> TensorMap {
    let dir = tempfile::tempdir().unwrap();
    let [model, given, got] =
        ["m.onnx", "in.safetensors", "out.safetensors"].map(|name| dir.path().join(name));
    let classes = ["a".to_owned()];
    let (input, normalize) = (Input::Planes, Normalize::default());
    save(&model, graph, &About { task: "test", classes: &classes, input, normalize, crop: None }).unwrap();
    safetensors::save(&given, &inputs).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/run_onnx.py");
    let output = Command::new(python).arg(script).args([&model, &given, &got]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    safetensors::load(&got).unwrap()
}

/// Numbers from -1 to 1 that look random.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mix = |i: usize| {
        let mut z =
            (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed.wrapping_mul(77_777_777));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(mix).collect()
}

/// Moves every weight, so that none is 0 or 1 by its first value; the map that has them.
fn shaken(model: &mut impl Module<Cpu>, by: f32) -> TensorMap {
    let mut map = export(model);
    for (seed, (name, tensor)) in map.tensors.iter_mut().enumerate() {
        let variance = name.ends_with("running_var");
        let shifts = noise(tensor.data.len(), seed as u64);
        for (value, noise) in tensor.data.iter_mut().zip(shifts) {
            *value += by * if variance { noise.abs() } else { noise };
        }
    }
    assign(model, &map).unwrap();
    map
}

fn given(name: &str, shape: &[usize], data: Vec<f32>) -> TensorMap {
    let mut map = TensorMap::default();
    map.insert(name, HostTensor::new(shape.to_vec(), data).unwrap());
    map
}

fn largest(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

const PLANES: Preparation = Preparation {
    input: Input::Planes,
    crop: 0.875,
    normalize: Normalize { mean: [0.5; 3], std: [0.25; 3] },
};

#[test]
fn classifiers_of_every_family() {
    let Some(python) = python() else { return };
    for name in [
        "kat_tiny_patch16_224",
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "deit3_small_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch16_clip_quickgelu_224",
        "vit_base_patch16_siglip_gap_224",
    ] {
        let named = variants::named(name).unwrap_or_else(|error| panic!("{error}")).config;
        let side = 3 * named.patch_size.height;
        let size = Size::square(side);
        let config = KatConfig { image_size: size, dim: 48, heads: 4, depth: 2, classes: 5, ..named };
        let mut model = Kat::new(&Cpu::default(), &config, 3).unwrap();
        let map = shaken(&mut model, 0.05);
        let image = noise(2 * 3 * side * side, 9);
        let tensor = Tensor::from_vec(&Cpu::default(), image.clone(), [2, 3, side, side]).unwrap();
        let expected = model.forward(&mut Graph::inference(), &tensor).unwrap().to_vec();
        let graph = classifier(&model, &Weights::new(&map), &PLANES).unwrap();
        let found = run(&python, graph, given("image", &[2, 3, side, side], image));
        let difference = largest(&found.get("logits").unwrap().data, &expected);
        let spread = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
        println!("{name}: {difference:.1e} of {spread:.1e}");
        assert!(difference <= 1e-5 * spread.max(1.0), "{name}: {difference:e} of {spread:e}");
    }
}

#[test]
fn the_papers_denominator_activations_that_learn_and_splines() {
    let Some(python) = python() else { return };
    let size = Size::square(32);
    let named = |name: &str| KatConfig {
        image_size: size,
        dim: 48,
        heads: 4,
        depth: 2,
        classes: 5,
        ..variants::named(name).unwrap_or_else(|error| panic!("{error}")).config
    };
    let kat = named("kat_tiny_patch16_224");
    let vit = named("vit_tiny_patch16_224");
    let splines = named("vit_tiny_kan");
    for config in [
        KatConfig { kan_basis: 5, ..splines.clone() },
        splines,
        KatConfig { denominator_form: Denominator::Paper, ..kat },
        KatConfig { learnable: Some(Learnable::Prelu), ..vit.clone() },
        KatConfig { learnable: Some(Learnable::Pau), ..vit },
    ] {
        let mut model = Kat::new(&Cpu::default(), &config, 3).unwrap();
        let map = shaken(&mut model, 0.05);
        let image = noise(2 * 3 * 32 * 32, 9);
        let tensor = Tensor::from_vec(&Cpu::default(), image.clone(), [2, 3, 32, 32]).unwrap();
        let expected = model.forward(&mut Graph::inference(), &tensor).unwrap().to_vec();
        let graph = classifier(&model, &Weights::new(&map), &PLANES).unwrap();
        let found = run(&python, graph, given("image", &[2, 3, 32, 32], image));
        let difference = largest(&found.get("logits").unwrap().data, &expected);
        let (mixer, form, learnable) = (config.mixer, config.denominator_form, config.learnable);
        println!("{mixer:?}, {form:?}, {learnable:?}: {difference:.1e}");
        assert!(difference <= 1e-5, "{difference:e}");
    }
}

#[test]
fn the_graph_prepares_images_as_predict_does() {
    let Some(python) = python() else { return };
    let config = KatConfig {
        image_size: Size::square(64),
        dim: 48,
        heads: 4,
        depth: 1,
        classes: 5,
        ..variants::named("vit_tiny_patch16_224").unwrap().config
    };
    let mut model = Kat::new(&Cpu::default(), &config, 3).unwrap();
    let map = shaken(&mut model, 0.05);
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/photo.jpg");
    let photo = image::open(photo).unwrap().to_rgb8();
    let normalize = Normalize::default();
    let crop = CenterCrop { size: 64, crop_pct: 0.875, filter: Filter::Bicubic };
    let pipeline = ClassifyEval::new(ClassifyEvalConfig { crop, normalize }).unwrap();
    let levels = |image: &image::RgbImage| image.as_raw().iter().map(|level| f32::from(*level)).collect();
    // as it is, and standing
    for photo in [photo.clone(), image::imageops::rotate90(&photo)] {
        let (width, height) = (photo.width() as usize, photo.height() as usize);
        let sample = Sample { image: photo.clone(), target: Target::None, id: String::new() };
        let cropped = pipeline.apply(sample, &mut rand::rng()).unwrap().image;
        let mut planes = vec![0.0; 3 * 64 * 64];
        normalize.write(&cropped, Direction::Forward, Size::square(64), &mut planes).unwrap();
        let tensor = Tensor::from_vec(&Cpu::default(), planes, [1, 3, 64, 64]).unwrap();
        let expected = model.forward(&mut Graph::inference(), &tensor).unwrap().to_vec();
        let (own, any) = (levels(&cropped), levels(&photo));
        for (input, shape, data) in
            [(Input::Pixels, [1, 64, 64, 3], own), (Input::Image, [1, height, width, 3], any)]
        {
            let preparation = Preparation { input, crop: 0.875, normalize };
            let graph = classifier(&model, &Weights::new(&map), &preparation).unwrap();
            let found = run(&python, graph, given("image", &shape, data));
            let difference = largest(&found.get("logits").unwrap().data, &expected);
            println!("{input:?} of {width} x {height}: {difference:.1e}");
            assert!(difference <= 1e-4, "{input:?}: {difference:e}");
        }
    }
}

#[test]
fn segmentors_with_every_neck() {
    let Some(python) = python() else { return };
    for (neck, final_norm, size) in [
        (NeckKind::MultiLevel, FinalNorm::None, Size::new(48, 80)),
        (NeckKind::MultiLevelByTwo, FinalNorm::Last, Size::new(48, 80)),
        (NeckKind::Plain, FinalNorm::None, Size::new(64, 48)),
    ] {
        let backbone =
            KatConfig { image_size: Size::square(64), dim: 48, depth: 4, classes: 0, ..Default::default() };
        let config = SegmentorConfig {
            backbone,
            blocks: vec![0, 1, 2, 3],
            neck,
            final_norm,
            channels: 24,
            pool_grids: vec![1, 2, 3, 6],
            auxiliary_channels: Some(8),
            dropout: 0.1,
            classes: 7,
        };
        let mut model = Segmentor::new(&Cpu::default(), &config, &Default::default(), 4).unwrap();
        let map = shaken(&mut model, 0.05);
        let (height, width) = (size.height, size.width);
        let image = noise(2 * 3 * height * width, 5);
        let tensor = Tensor::from_vec(&Cpu::default(), image.clone(), [2, 3, height, width]).unwrap();
        let expected = model.forward(&mut Graph::inference(), &tensor).unwrap().to_vec();
        let graph =
            segmentor(&model, &Weights::new(&map), (Input::Planes, size), &Normalize::default()).unwrap();
        let found = run(&python, graph, given("image", &[2, 3, height, width], image));
        let difference = largest(&found.get("logits").unwrap().data, &expected);
        let pixels = height * width;
        let label = |image: usize, pixel: usize| {
            let score = |class: usize| expected[(image * 7 + class) * pixels + pixel];
            (1..7).fold(0, |best, class| if score(class) > score(best) { class } else { best })
        };
        let labels = &found.get("labels").unwrap().data;
        let others = (0..2 * pixels).filter(|i| label(i / pixels, i % pixels) != labels[*i] as usize).count();
        let kinds: std::collections::BTreeSet<_> = labels.iter().map(|label| *label as usize).collect();
        println!(
            "{neck:?}: {difference:.1e}, {others} of {} labels differ, {} classes",
            2 * pixels,
            kinds.len()
        );
        assert!(
            difference <= 1e-4 && others * 1000 <= 2 * pixels,
            "{neck:?}: {difference:e}, {others} labels"
        );
        assert!(kinds.len() > 1, "one class alone shows little");
    }
}

#[test]
fn detectors_with_windows_and_without() {
    let Some(python) = python() else { return };
    for (window, box_head, box_regression, masks) in [
        (Some(3), BoxHeadKind::FourConv, BoxRegression::PerClass, true),
        (None, BoxHeadKind::TwoFc, BoxRegression::Agnostic, false),
    ] {
        let backbone = KatConfig {
            image_size: Size::square(128),
            dim: 48,
            depth: 2,
            classes: 0,
            class_token: false,
            window,
            global_blocks: vec![1],
            relative_positions: window.is_some(),
            ..Default::default()
        };
        let config = MaskRcnnConfig {
            channels: 16,
            box_hidden: 24,
            box_head,
            box_regression,
            masks,
            ..MaskRcnnConfig::vitdet(backbone, 3)
        };
        let mut model = MaskRcnn::new(&Cpu::default(), &config, 6).unwrap();
        let map = shaken(&mut model, 0.05);
        let image = noise(3 * 128 * 128, 8);
        let tensor = Tensor::from_vec(&Cpu::default(), image.clone(), [1, 3, 128, 128]).unwrap();
        let size = Size::new(100, 128);
        let expected = model.detect(&tensor, &[size]).unwrap().remove(0);
        let graph = detector(&model, &Weights::new(&map), Input::Planes, &Normalize::default()).unwrap();
        let mut inputs = given("image", &[1, 3, 128, 128], image);
        inputs.insert("image_size", HostTensor::new(vec![2], vec![100.0, 128.0]).unwrap());
        let found = run(&python, graph, inputs);
        let boxes =
            largest(&found.get("boxes").unwrap().data, expected.detections.boxes().as_slice().as_flattened());
        let scores = largest(&found.get("scores").unwrap().data, expected.detections.scores());
        let labels: Vec<u32> = found.get("labels").unwrap().data.iter().map(|label| *label as u32).collect();
        assert_eq!(labels, expected.detections.classes());
        println!("{} detections: boxes {boxes:.1e} px, scores {scores:.1e}", labels.len());
        assert!(labels.len() > 3 && boxes <= 0.1 && scores <= 1e-4, "boxes {boxes:e}, scores {scores:e}");
        if let Some(masks) = &expected.masks {
            let difference = largest(&found.get("masks").unwrap().data, masks.as_slice().unwrap());
            println!("masks {difference:.1e}");
            assert!(difference <= 1e-3, "masks {difference:e}");
        }
    }
}
