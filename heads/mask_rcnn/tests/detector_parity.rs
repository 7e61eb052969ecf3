//! The RPN, box and mask heads of a whole detector at inference, with fixed weights, against plain loops in f64 that
//! share no code with them.

use std::collections::BTreeMap;

use kat_backbone::nn::Module;
use kat_backbone::{Cpu, KatConfig, Size, Tensor};
use kat_mask_rcnn::{BoxHeadKind, BoxRegression, MaskRcnn, MaskRcnnConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CANVAS: usize = 128;
/// The image is smaller than its canvas.
const IMAGE: (f64, f64) = (116.0, 101.0);
const STRIDES: [usize; 5] = [4, 8, 16, 32, 64];
const CHANNELS: usize = 6;
const CLASSES: usize = 3;

type Weights = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// (C, H, W).
#[derive(Clone)]
struct Map {
    c: usize,
    h: usize,
    w: usize,
    data: Vec<f64>,
}

impl Map {
    fn at(&self, c: usize, y: usize, x: usize) -> f64 {
        self.data[(c * self.h + y) * self.w + x]
    }

    fn build(c: usize, h: usize, w: usize, f: impl Fn(usize, usize, usize) -> f64) -> Self {
        let data = (0..c * h * w).map(|i| f(i / (h * w), i / w % h, i % w)).collect();
        Self { c, h, w, data }
    }

    fn relu(mut self) -> Self {
        self.data.iter_mut().for_each(|v| *v = v.max(0.0));
        self
    }
}

fn conv(x: &Map, weights: &Weights, name: &str) -> Map {
    let (shape, weight) = &weights[&format!("{name}.weight")];
    let bias = weights.get(&format!("{name}.bias"));
    let (outputs, kernel) = (shape[0], shape[2]);
    let reach = (kernel / 2) as isize;
    Map::build(outputs, x.h, x.w, |o, i, j| {
        let mut sum = bias.map_or(0.0, |b| b.1[o]);
        for c in 0..x.c {
            for u in 0..kernel {
                for v in 0..kernel {
                    let (y, z) = (i as isize + u as isize - reach, j as isize + v as isize - reach);
                    if y >= 0 && z >= 0 && (y as usize) < x.h && (z as usize) < x.w {
                        let at = ((o * x.c + c) * kernel + u) * kernel + v;
                        sum += weight[at] * x.at(c, y as usize, z as usize);
                    }
                }
            }
        }
        sum
    })
}

fn norm(x: &Map, weights: &Weights, name: &str) -> Map {
    let (weight, bias) = (&weights[&format!("{name}.weight")].1, &weights[&format!("{name}.bias")].1);
    Map::build(x.c, x.h, x.w, |c, i, j| {
        let mean = (0..x.c).map(|k| x.at(k, i, j)).sum::<f64>() / x.c as f64;
        let variance = (0..x.c).map(|k| (x.at(k, i, j) - mean).powi(2)).sum::<f64>() / x.c as f64;
        (x.at(c, i, j) - mean) / (variance + 1e-6).sqrt() * weight[c] + bias[c]
    })
}

/// Windows of 2 × 2 painted side by side.
fn double(x: &Map, weights: &Weights, name: &str) -> Map {
    let (shape, weight) = &weights[&format!("{name}.weight")];
    let bias = &weights[&format!("{name}.bias")].1;
    let outputs = shape[1];
    Map::build(outputs, 2 * x.h, 2 * x.w, |o, i, j| {
        let tap = |c: usize| weight[((c * outputs + o) * 2 + i % 2) * 2 + j % 2];
        bias[o] + (0..x.c).map(|c| tap(c) * x.at(c, i / 2, j / 2)).sum::<f64>()
    })
}

fn linear(x: &[f64], weights: &Weights, name: &str) -> Vec<f64> {
    let weight = &weights[&format!("{name}.weight")].1;
    let bias = &weights[&format!("{name}.bias")].1;
    let dot = |row: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
    weight.chunks(x.len()).zip(bias).map(|(row, b)| dot(row) + b).collect()
}

/// Bilinear, zero beyond a pixel outside.
fn sample(x: &Map, c: usize, y: f64, z: f64) -> f64 {
    if y < -1.0 || z < -1.0 || y > x.h as f64 || z > x.w as f64 {
        return 0.0;
    }
    let (y, z) = (y.max(0.0), z.max(0.0));
    let place = |v: f64, n: usize| {
        let low = (v as usize).min(n - 1);
        if low + 1 < n { (low, low + 1, v - low as f64) } else { (low, low, 0.0) }
    };
    let ((y0, y1, ty), (z0, z1, tz)) = (place(y, x.h), place(z, x.w));
    let top = (1.0 - tz) * x.at(c, y0, z0) + tz * x.at(c, y0, z1);
    let bottom = (1.0 - tz) * x.at(c, y1, z0) + tz * x.at(c, y1, z1);
    (1.0 - ty) * top + ty * bottom
}

/// RoIAlign from the level that fits the box.
fn pool(levels: &[Map], b: [f64; 4], bins: usize) -> Map {
    let area = (b[2] - b[0]) * (b[3] - b[1]);
    let level = (4.0 + (area.sqrt() / 224.0).log2()).floor().clamp(2.0, 5.0) as usize - 2;
    let (x, scale) = (&levels[level], 1.0 / STRIDES[level] as f64);
    let corner = b.map(|v| v * scale - 0.5);
    let (h, w) = ((corner[3] - corner[1]) / bins as f64, (corner[2] - corner[0]) / bins as f64);
    let (rows, columns) = (h.ceil().max(1.0) as usize, w.ceil().max(1.0) as usize);
    Map::build(x.c, bins, bins, |c, i, j| {
        let mut sum = 0.0;
        for u in 0..rows {
            for v in 0..columns {
                let y = corner[1] + (i as f64 + (u as f64 + 0.5) / rows as f64) * h;
                let z = corner[0] + (j as f64 + (v as f64 + 0.5) / columns as f64) * w;
                sum += sample(x, c, y, z);
            }
        }
        sum / (rows * columns) as f64
    })
}

fn iou(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |k: usize| (a[k + 2].min(b[k + 2]) - a[k].max(b[k])).max(0.0);
    let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let shared = side(0) * side(1);
    shared / (area(a) + area(b) - shared)
}

fn decode(b: [f64; 4], d: &[f64], scale: [f64; 4]) -> [f64; 4] {
    let (w, h) = (b[2] - b[0], b[3] - b[1]);
    let (x, y) = (b[0] + w / 2.0 + d[0] / scale[0] * w, b[1] + h / 2.0 + d[1] / scale[1] * h);
    let limit = (1000f64 / 16.0).ln();
    let (w, h) = (w * (d[2] / scale[2]).min(limit).exp(), h * (d[3] / scale[3]).min(limit).exp());
    let clip = |v: f64, most: f64| v.clamp(0.0, most);
    [
        clip(x - w / 2.0, IMAGE.1),
        clip(y - h / 2.0, IMAGE.0),
        clip(x + w / 2.0, IMAGE.1),
        clip(y + h / 2.0, IMAGE.0),
    ]
}

/// By falling score, without those that overlap a better one of their group.
fn suppress(
    mut list: Vec<([f64; 4], f64, usize)>,
    threshold: f64,
    most: usize,
) -> Vec<([f64; 4], f64, usize)> {
    list.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut kept: Vec<([f64; 4], f64, usize)> = Vec::new();
    for entry in list {
        if kept.iter().all(|k| k.2 != entry.2 || iou(k.0, entry.0) <= threshold) {
            kept.push(entry);
        }
    }
    kept.truncate(most);
    kept
}

fn proposals(levels: &[Map], weights: &Weights, config: &MaskRcnnConfig) -> Vec<([f64; 4], f64, usize)> {
    let head = "proposal_generator.rpn_head";
    let mut all = Vec::new();
    for (l, level) in levels.iter().enumerate() {
        let x = conv(level, weights, &format!("{head}.conv.conv0")).relu();
        let x = conv(&x, weights, &format!("{head}.conv.conv1")).relu();
        let logits = conv(&x, weights, &format!("{head}.objectness_logits"));
        let deltas = conv(&x, weights, &format!("{head}.anchor_deltas"));
        let mut list = Vec::new();
        for y in 0..level.h {
            for z in 0..level.w {
                for (a, ratio) in [0.5f64, 1.0, 2.0].into_iter().enumerate() {
                    let size = 32.0 * f64::from(1 << l);
                    let w = (size * size / ratio).sqrt();
                    let h = w * ratio;
                    let (cx, cy) = ((z * STRIDES[l]) as f64, (y * STRIDES[l]) as f64);
                    let anchor = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
                    let d: Vec<f64> = (0..4).map(|k| deltas.at(4 * a + k, y, z)).collect();
                    list.push((decode(anchor, &d, [1.0; 4]), logits.at(a, y, z), l));
                }
            }
        }
        list.sort_by(|a, b| b.1.total_cmp(&a.1));
        list.truncate(config.proposals_test.pre_nms);
        list.retain(|(b, _, _)| b[2] > b[0] && b[3] > b[1]);
        all.extend(list);
    }
    suppress(all, 0.7, config.proposals_test.post_nms)
}

fn detections(
    levels: &[Map],
    weights: &Weights,
    config: &MaskRcnnConfig,
    proposals: &[([f64; 4], f64, usize)],
) -> Vec<([f64; 4], f64, usize)> {
    let mut list = Vec::new();
    for (b, _, _) in proposals {
        let mut x = pool(levels, *b, 7);
        let mut features = Vec::new();
        if config.box_head == BoxHeadKind::FourConv {
            for i in 1..=4 {
                let name = format!("roi_heads.box_head.conv{i}");
                x = norm(&conv(&x, weights, &name), weights, &format!("{name}.norm")).relu();
            }
        }
        features.extend(x.data);
        for i in 1..=2 {
            let name = format!("roi_heads.box_head.fc{i}");
            if weights.contains_key(&format!("{name}.weight")) {
                features = linear(&features, weights, &name).into_iter().map(|v| v.max(0.0)).collect();
            }
        }
        let scores = linear(&features, weights, "roi_heads.box_predictor.cls_score");
        let deltas = linear(&features, weights, "roi_heads.box_predictor.bbox_pred");
        let sum: f64 = scores.iter().map(|s| s.exp()).sum();
        for (class, score) in scores[..CLASSES].iter().enumerate() {
            let score = score.exp() / sum;
            let own = if config.box_regression == BoxRegression::PerClass { 4 * class } else { 0 };
            let moved = decode(*b, &deltas[own..own + 4], [10.0, 10.0, 5.0, 5.0]);
            if score > 0.05 && moved[2] > moved[0] && moved[3] > moved[1] {
                list.push((moved, score, class));
            }
        }
    }
    suppress(list, 0.5, config.detections.max_detections)
}

fn mask(levels: &[Map], weights: &Weights, b: [f64; 4], class: usize) -> Vec<f64> {
    let mut x = pool(levels, b, 14);
    for i in 1..=4 {
        let name = format!("roi_heads.mask_head.mask_fcn{i}");
        x = norm(&conv(&x, weights, &name), weights, &format!("{name}.norm")).relu();
    }
    let x = double(&x, weights, "roi_heads.mask_head.deconv").relu();
    let x = conv(&x, weights, "roi_heads.mask_head.predictor");
    x.data[class * 28 * 28..(class + 1) * 28 * 28].iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect()
}

/// Weights of a size that neither vanishes nor saturates on the way.
fn draw_weights(model: &mut MaskRcnn<Cpu>, rng: &mut ChaCha8Rng) -> Weights {
    let mut weights = Weights::new();
    let set = model.visit_mut("", &mut |name, _, tensor| {
        let shape = tensor.shape().axes().to_vec();
        let fan_in: usize = shape[1..].iter().product();
        let (limit, base) = match shape.len() {
            1 if name.ends_with("norm.weight") => (0.3, 1.0),
            1 => (0.2, 0.0),
            _ if name.contains("anchor_deltas") => (0.8 / (fan_in as f32).sqrt(), 0.0),
            _ => (2.5 / (fan_in as f32).sqrt(), 0.0),
        };
        let values: Vec<f32> = (0..tensor.numel()).map(|_| base + rng.random_range(-limit..limit)).collect();
        weights.insert(name.to_owned(), (shape, values.iter().map(|v| f64::from(*v)).collect()));
        tensor.set(values)
    });
    set.unwrap();
    weights
}

#[test]
fn proposals_detections_and_masks_agree_with_plain_loops() {
    for (seed, box_head, box_regression) in [
        (1, BoxHeadKind::FourConv, BoxRegression::PerClass),
        (2, BoxHeadKind::TwoFc, BoxRegression::Agnostic),
    ] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let backbone = KatConfig {
            image_size: Size::square(CANVAS),
            class_token: false,
            classes: 0,
            dim: 32,
            depth: 1,
            heads: 2,
            mimetic: false,
            ..KatConfig::default()
        };
        let mut config = MaskRcnnConfig::vitdet(backbone, CLASSES);
        config.channels = CHANNELS;
        config.box_hidden = 10;
        (config.box_head, config.box_regression) = (box_head, box_regression);
        config.proposals_test.pre_nms = 60;
        config.proposals_test.post_nms = 40;
        config.detections.max_detections = 25;
        let mut model = MaskRcnn::new(&Cpu::default(), &config, 0).unwrap();
        let weights = draw_weights(&mut model, &mut rng);
        let levels: Vec<Map> = STRIDES
            .iter()
            .map(|s| {
                let side = CANVAS / s;
                let data = (0..CHANNELS * side * side).map(|_| f64::from(rng.random_range(-1.0f32..1.0)));
                Map { c: CHANNELS, h: side, w: side, data: data.collect() }
            })
            .collect();
        let pyramid: Vec<Tensor> = levels
            .iter()
            .map(|m| {
                let values = m.data.iter().map(|v| *v as f32).collect();
                Tensor::from_vec(&Cpu::default(), values, [1, m.c, m.h, m.w]).unwrap()
            })
            .collect();
        let size = Size::new(IMAGE.0 as usize, IMAGE.1 as usize);

        let found = model.proposals(&pyramid, &[size]).unwrap();
        let expected = proposals(&levels, &weights, &config);
        assert_eq!(found[0].boxes().len(), expected.len());
        for (i, (b, score, _)) in expected.iter().enumerate() {
            assert!((f64::from(found[0].scores()[i]) - score).abs() < 1e-4, "proposal {i}");
            for (x, y) in found[0].boxes().as_slice()[i].iter().zip(b) {
                assert!((f64::from(*x) - y).abs() < 1e-2, "proposal {i}: {x} {y}");
            }
        }

        let found = model.detections(&pyramid, &found).unwrap();
        let expected = detections(&levels, &weights, &config, &expected);
        assert!(expected.len() > 10, "{} detections", expected.len());
        assert_eq!(found[0].len(), expected.len());
        for (i, (b, score, class)) in expected.iter().enumerate() {
            assert_eq!(found[0].classes()[i] as usize, *class, "detection {i}");
            assert!((f64::from(found[0].scores()[i]) - score).abs() < 1e-4, "detection {i}");
            for (x, y) in found[0].boxes().as_slice()[i].iter().zip(b) {
                assert!((f64::from(*x) - y).abs() < 1e-2, "detection {i}: {x} {y}");
            }
        }

        let grids = model.masks(&pyramid, &found).unwrap().remove(0).unwrap();
        assert_eq!(grids.dim(), (expected.len(), 28, 28));
        for (i, (b, _, class)) in expected.iter().enumerate() {
            for (x, y) in
                grids.index_axis(ndarray::Axis(0), i).iter().zip(mask(&levels, &weights, *b, *class))
            {
                assert!((f64::from(*x) - y).abs() < 1e-3, "mask {i}: {x} {y}");
            }
        }
    }
}
