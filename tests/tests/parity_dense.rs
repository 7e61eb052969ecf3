//! Detectors and segmentors of other programs, from their own files: recognized, loaded, and finding what those programs found.

use kat_backbone::checkpoint::transfer::HeadPolicy;
use kat_backbone::checkpoint::{TensorMap, load_any, model};
use kat_backbone::config::Resampling;
use kat_backbone::ops::batch_norm;
use kat_backbone::{Cpu, Graph, KatConfig, Size, Tensor};
use kat_images::transform::opencv::resize_bilinear;
use kat_mask_rcnn::MaskRcnn;
use kat_tests::golden::assert_close;
use kat_tests::parity::{self, Peer};
use kat_upernet::{NeckKind, Segmentor, SegmentorConfig};
use std::path::Path;

/// `image` (…, 3, H, W) in the corner of a canvas of zeros.
fn on_canvas(peer: &Peer, canvas: Size) -> (Tensor<Cpu>, Size) {
    let image = peer.expected.get("image");
    let [.., height, width] = image.shape[..] else { panic!("{:?}", image.shape) };
    let mut values = vec![0.0; 3 * canvas.area()];
    let rows = image.data.chunks_exact(width);
    for (row, (plane, y)) in rows.zip((0..3).flat_map(|plane| (0..height).map(move |y| (plane, y)))) {
        let start = (plane * canvas.height + y) * canvas.width;
        values[start..][..width].iter_mut().zip(row).for_each(|(value, pixel)| *value = *pixel as f32);
    }
    let tensor = Tensor::from_vec(&Cpu::default(), values, [1, 3, canvas.height, canvas.width]).unwrap();
    (tensor, Size::new(height, width))
}

#[test]
fn detectron2s_vitdet_finds_the_same() {
    let peer = Peer::open("detectron2_vitdet");
    let map = load_any(&peer.file).unwrap();
    let config = kat_mask_rcnn::recognize::recognize(&map).unwrap().config;
    let mut detector = MaskRcnn::new(&Cpu::default(), &config, 1).unwrap();
    let report = detector.load(&peer.file, HeadPolicy::Strict).unwrap();
    assert!(report.reinitialized.is_empty() && report.missing.is_empty(), "{report}");
    let (image, size) = on_canvas(&peer, config.backbone.image_size);
    let found = detector.detect(&image, &[size]).unwrap().remove(0);
    let (boxes, scores) = (peer.expected.get("boxes"), peer.expected.get("scores"));
    assert_eq!(found.detections.len(), scores.data.len());
    let classes: Vec<f64> = found.detections.classes().iter().map(|class| f64::from(*class)).collect();
    assert_eq!(classes, peer.expected.get("classes").data);
    let largest = |found: &[f32], expected: &[f64]| {
        found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
    };
    let pixels = largest(found.detections.boxes().as_slice().as_flattened(), &boxes.data);
    let shares = largest(found.detections.scores(), &scores.data);
    println!("{} detections: boxes {pixels:.1e} px, scores {shares:.1e}", classes.len());
    assert!(pixels <= 1e-2 && shares <= 1e-4, "boxes {pixels:.1e} px, scores {shares:.1e}");
    // the first of them are kept
    let expected = peer.expected.get("masks");
    let masks: Vec<f32> = found.masks.unwrap().into_iter().take(expected.data.len()).collect();
    assert_close("masks", &masks, expected, 1e-3);
}

/// The same detector under mmdetection's names: nothing but the ε of its norms is another.
#[test]
fn mmdetections_vitdet_is_detectron2s() {
    let (peer, same) = (Peer::open("detectron2_vitdet"), parity::dir().join("mmdet_vitdet/model.pth"));
    let [theirs, map] = [&peer.file, &same].map(|file| load_any(file).unwrap());
    let names: Vec<String> = serde_json::from_str(&map.metadata["classes"]).unwrap();
    assert_eq!((names.len(), &names[4][..]), (5, "thing 4"));
    let config = |map| kat_mask_rcnn::recognize::recognize(map).unwrap().config;
    let (expected, mut found) = (config(&theirs), config(&map));
    assert_eq!((expected.backbone.norm_eps, found.backbone.norm_eps), (1e-6, 1e-5));
    found.backbone.norm_eps = expected.backbone.norm_eps;
    assert_eq!(found, expected);
    let loaded = |file: &Path| {
        let mut detector = MaskRcnn::new(&Cpu::default(), &expected, 1).unwrap();
        let report = detector.load(file, HeadPolicy::Strict).unwrap();
        assert!(report.reinitialized.is_empty() && report.missing.is_empty(), "{report}");
        model::export(&detector)
    };
    assert_eq!(loaded(&same), loaded(&peer.file));
}

/// The segmentor of a file, with mmsegmentation's rules.
fn segmentor(map: &TensorMap) -> SegmentorConfig {
    let found = kat_upernet::recognize::recognize(map).unwrap();
    let asked: Vec<&str> = found.backbone.undecided.iter().map(|(key, _)| *key).collect();
    assert_eq!(asked, ["heads"], "{:?}", found.backbone.notes);
    let backbone = KatConfig { heads: 3, resampling: Resampling::Plain, ..found.config.backbone };
    let neck = match found.config.neck {
        NeckKind::MultiLevel => NeckKind::MultiLevelByTwo,
        other => other,
    };
    SegmentorConfig { backbone, neck, ..found.config }
}

#[test]
fn mmsegmentations_upernet_scores_the_same() {
    for name in ["mmseg_ln_mln", "mmseg_plain"] {
        let peer = Peer::open(name);
        let map = load_any(&peer.file).unwrap();
        let names: Vec<String> = serde_json::from_str(&map.metadata["classes"]).unwrap();
        assert_eq!((names.len(), &names[5][..]), (6, "thing 5"));
        let config = segmentor(&map);
        let mut model = Segmentor::new(&Cpu::default(), &config, &batch_norm::Options::default(), 1).unwrap();
        let report =
            model.load(&peer.file, HeadPolicy::Strict).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (image, size) = on_canvas(&peer, Size::new(40, 48));
        let scores = model.forward_at(&mut Graph::inference(), &image, size).unwrap().to_vec();
        assert_close(&format!("{name}: {report}"), &scores, peer.expected.get("scores"), 1e-5);
        let expected = &peer.expected.get("scores").data;
        let largest = scores.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        println!("{name}: largest {largest:.1e}");
        // our own rules are others
        let own = SegmentorConfig {
            backbone: KatConfig { resampling: Resampling::Antialiased, ..config.backbone.clone() },
            ..config
        };
        let mut model = Segmentor::new(&Cpu::default(), &own, &batch_norm::Options::default(), 1).unwrap();
        model.load(&peer.file, HeadPolicy::Strict).unwrap();
        assert!(model.forward_at(&mut Graph::inference(), &image, size).is_ok());
    }
}

/// A model of either kind.
enum Model {
    Segmentor(Segmentor<Cpu>),
    Detector(MaskRcnn<Cpu>),
}

#[test]
fn no_changed_detector_or_segmentor_loads_without_a_word() {
    for name in ["detectron2_vitdet", "mmseg_ln_mln", "mmseg_plain"] {
        let peer = Peer::open(name);
        let map = load_any(&peer.file).unwrap();
        // one model for all: a file that is refused changes nothing
        let mut model = match name.starts_with("mmseg") {
            true => {
                let norm = batch_norm::Options::default();
                Model::Segmentor(Segmentor::new(&Cpu::default(), &segmentor(&map), &norm, 1).unwrap())
            }
            false => {
                let config = kat_mask_rcnn::recognize::recognize(&map).unwrap().config;
                Model::Detector(MaskRcnn::new(&Cpu::default(), &config, 1).unwrap())
            }
        };
        let mut changed = |change: &dyn Fn(&mut TensorMap)| {
            let mut other = map.clone();
            change(&mut other);
            let (file, policy) = (&peer.file, HeadPolicy::Strict);
            match &mut model {
                Model::Segmentor(model) => model.load_map(other, file, policy.into()).map(|_| ()),
                Model::Detector(model) => model.load_map(other, file, policy.into()).map(|_| ()),
            }
            .map_err(|error| error.to_string())
        };
        changed(&|_| {}).unwrap();
        // counters of batches, which nothing computes with; relative positions, which classifiers lack, start anew
        let own = |tensor: &&String| !tensor.contains("num_batches_tracked") && !tensor.contains("rel_pos");
        for tensor in map.tensors.keys().filter(own) {
            let missing = changed(&|map| drop(map.tensors.remove(tensor)));
            assert!(missing.is_err(), "{name} without {tensor}");
            let renamed = changed(&|map| {
                let value = map.tensors.remove(tensor).unwrap();
                map.insert(format!("{tensor}x"), value);
            });
            assert!(renamed.is_err(), "{name} with {tensor} under another name");
        }
        let first = map.tensors.keys().find(|tensor| tensor.ends_with("blocks.1.norm1.weight")).unwrap();
        let more = changed(&|map| {
            let value = map.get(first).unwrap().clone();
            map.insert(first.replace("blocks.1.", "blocks.9."), value);
        });
        assert!(more.unwrap_err().contains("has 10 blocks"), "{name}");
    }
}

#[test]
fn opencv_resizes_to_the_same_bits() {
    let peer =
        kat_tests::golden::Golden::open(&parity::dir().join("opencv/expected.safetensors").to_string_lossy());
    let source = peer.get("image");
    let image = |rows: usize| {
        let bytes: Vec<u8> = source.data[..rows * 60 * 3].iter().map(|v| *v as u8).collect();
        image::RgbImage::from_raw(60, rows as u32, bytes).unwrap()
    };
    for (name, expected) in peer.tensors.iter().filter(|(name, _)| *name != "image") {
        let size = Size::new(expected.shape[0], expected.shape[1]);
        let out = resize_bilinear(&image(if name == "half" { 44 } else { 45 }), size).unwrap();
        let differing =
            out.as_raw().iter().zip(&expected.data).filter(|(a, b)| f64::from(**a) != **b).count();
        assert_eq!(differing, 0, "{name}");
    }
}
