//! From the RPN's predictions at every anchor to a short list of proposals.
//!
//! Of each level the best-scored anchors are decoded and clipped; boxes that overlap are suppressed within their
//! level; the best of all levels remain.
//!
//! # Shapes
//! One level of one image: anchors (K), logits (A, height, width), deltas (4 A, height, width), K = A height width.

use kat_backbone::Device;
use kat_backbone::ops::nms::Nms;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{HeadError, same_length};
use crate::structures::Proposals;
use crate::{BoxCoder, LevelLayout};
use kat_images::{Boxes, Size, clip_box};

/// How many proposals, and how alike they may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalConfig {
    /// Anchors taken of each level before suppression.
    pub pre_nms: usize,
    /// Proposals of an image after suppression.
    pub post_nms: usize,
    /// IoU above which the lower-scored of two boxes of a level goes.
    pub nms_threshold: f64,
    /// Boxes with a side of this many pixels or fewer are dropped.
    pub min_side: f32,
}

impl ProposalConfig {
    /// ViTDet's in training: 2000 a level, 1000 an image.
    pub const TRAIN: Self = Self { pre_nms: 2000, post_nms: 1000, nms_threshold: 0.7, min_side: 0.0 };
    /// ViTDet's at inference: 1000 a level, 1000 an image.
    pub const TEST: Self = Self { pre_nms: 1000, post_nms: 1000, nms_threshold: 0.7, min_side: 0.0 };
}

/// The RPN's output at one level, for one image.
#[derive(Debug, Clone, Copy)]
pub struct LevelPredictions<'a> {
    /// The level's anchors.
    pub anchors: &'a Boxes,
    /// How the maps are laid out.
    pub layout: LevelLayout,
    /// Objectness (A, height, width).
    pub logits: &'a [f32],
    /// Box deltas (4 A, height, width).
    pub deltas: &'a [f32],
}

/// The proposals of an image, by falling score. Anchors whose logit or decoded box is not finite are left out. `device`
/// helps with the suppression.
///
/// # Errors
/// Maps that do not fit the number of anchors, a threshold outside [0, 1], or a device that fails.
pub fn select_proposals<D: Device>(
    device: &D,
    levels: &[LevelPredictions],
    image: Size,
    config: &ProposalConfig,
) -> Result<Proposals, HeadError> {
    for level in levels {
        same_length("anchors of a level", level.anchors.len(), level.layout.len())?;
        same_length("objectness logits of a level", level.logits.len(), level.layout.len())?;
        same_length("anchor deltas of a level", level.deltas.len(), 4 * level.layout.len())?;
    }
    let found: Vec<Vec<([f32; 4], f32)>> =
        levels.par_iter().map(|level| decode_best(level, image, config)).collect();
    let groups: Vec<u32> =
        found.iter().enumerate().flat_map(|(i, level)| std::iter::repeat_n(i as u32, level.len())).collect();
    let (boxes, scores): (Vec<_>, Vec<_>) = found.into_iter().flatten().unzip();
    let nms = Nms { iou_threshold: config.nms_threshold, max_kept: config.post_nms };
    let kept = nms.run_grouped_on(device, &boxes, &scores, &groups)?;
    let scores = kept.iter().map(|&i| scores[i]).collect();
    Proposals::new(image, Boxes::from(boxes).select(&kept), scores)
}

/// The best `pre_nms` anchors of a level as clipped boxes with their logits, by falling logit.
fn decode_best(level: &LevelPredictions, image: Size, config: &ProposalConfig) -> Vec<([f32; 4], f32)> {
    let layout = level.layout;
    // Sorted (logit, anchor) pairs: reading logits through the layout in each comparison would miss the cache.
    let mut ranked: Vec<(f32, u32)> = (0..layout.len())
        .map(|k| (level.logits[layout.logit(k)], k as u32))
        .filter(|(logit, _)| logit.is_finite())
        .collect();
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if config.pre_nms < ranked.len() {
        ranked.select_nth_unstable_by(config.pre_nms, order);
        ranked.truncate(config.pre_nms);
    }
    ranked.sort_unstable_by(order);
    ranked
        .into_iter()
        .filter_map(|(logit, k)| {
            let k = k as usize;
            let deltas = [0, 1, 2, 3].map(|c| level.deltas[layout.delta(k, c)]);
            let decoded = BoxCoder::RPN.decode(level.anchors.as_slice()[k], deltas);
            if !decoded.iter().all(|c| c.is_finite()) {
                return None;
            }
            let b = clip_box(decoded, image);
            (b[2] - b[0] > config.min_side && b[3] - b[1] > config.min_side).then_some((b, logit))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnchorConfig, AnchorGenerator};
    use kat_backbone::Cpu;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const IMAGE: Size = Size::new(120, 160);

    struct Level {
        anchors: Boxes,
        layout: LevelLayout,
        logits: Vec<f32>,
        deltas: Vec<f32>,
    }

    impl Level {
        fn predictions(&self) -> LevelPredictions<'_> {
            LevelPredictions {
                anchors: &self.anchors,
                layout: self.layout,
                logits: &self.logits,
                deltas: &self.deltas,
            }
        }
    }

    fn levels(seed: u64) -> Vec<Level> {
        let config =
            AnchorConfig { sizes: vec![16.0, 40.0], strides: vec![8, 16], ..AnchorConfig::default() };
        let anchors = AnchorGenerator::new(config).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        [(15, 20), (8, 10)]
            .into_iter()
            .enumerate()
            .map(|(i, (height, width))| {
                let layout = LevelLayout { height, width, anchors: 3 };
                let mut values =
                    |n: usize, by: f32| -> Vec<f32> { (0..n).map(|_| rng.random_range(-by..by)).collect() };
                let (logits, deltas) = (values(layout.len(), 4.0), values(4 * layout.len(), 0.6));
                Level { anchors: anchors.level(i, height, width).unwrap(), layout, logits, deltas }
            })
            .collect()
    }

    /// Plain loops in f64 over (y, x, a): sort, decode, clip, suppress by testing against everything kept.
    fn reference(levels: &[Level], config: &ProposalConfig) -> Vec<([f64; 4], f64)> {
        let mut kept_all: Vec<([f64; 4], f64)> = Vec::new();
        for level in levels {
            let LevelLayout { height, width, anchors } = level.layout;
            let mut list = Vec::new();
            for y in 0..height {
                for x in 0..width {
                    for a in 0..anchors {
                        let [x0, y0, x1, y1] =
                            level.anchors.as_slice()[(y * width + x) * anchors + a].map(f64::from);
                        let d = |c: usize| f64::from(level.deltas[((a * 4 + c) * height + y) * width + x]);
                        let (w, h) = (x1 - x0, y1 - y0);
                        let (cx, cy) = (x0 + w / 2.0 + d(0) * w, y0 + h / 2.0 + d(1) * h);
                        let (w, h) = (w * d(2).exp(), h * d(3).exp());
                        let (iw, ih) = (IMAGE.width as f64, IMAGE.height as f64);
                        let b = [
                            (cx - w / 2.0).clamp(0.0, iw),
                            (cy - h / 2.0).clamp(0.0, ih),
                            (cx + w / 2.0).clamp(0.0, iw),
                            (cy + h / 2.0).clamp(0.0, ih),
                        ];
                        list.push((b, f64::from(level.logits[(a * height + y) * width + x])));
                    }
                }
            }
            list.sort_by(|a, b| b.1.total_cmp(&a.1));
            list.truncate(config.pre_nms);
            list.retain(|(b, _)| b[2] - b[0] > 0.0 && b[3] - b[1] > 0.0);
            let mut kept: Vec<([f64; 4], f64)> = Vec::new();
            for (b, score) in list {
                if kept.iter().all(|(k, _)| iou(*k, b) <= config.nms_threshold) {
                    kept.push((b, score));
                }
            }
            kept_all.extend(kept);
        }
        kept_all.sort_by(|a, b| b.1.total_cmp(&a.1));
        kept_all.truncate(config.post_nms);
        kept_all
    }

    fn iou(a: [f64; 4], b: [f64; 4]) -> f64 {
        let w = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
        let h = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        let area = |r: [f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
        w * h / (area(a) + area(b) - w * h)
    }

    #[test]
    fn agrees_with_plain_loops() {
        for (seed, pre_nms, post_nms) in [(1, 200, 100), (2, 10_000, 10_000), (3, 50, 7)] {
            let levels = levels(seed);
            let config = ProposalConfig { pre_nms, post_nms, nms_threshold: 0.4, min_side: 0.0 };
            let predictions: Vec<_> = levels.iter().map(Level::predictions).collect();
            let found = select_proposals(&Cpu::default(), &predictions, IMAGE, &config).unwrap();
            let expected = reference(&levels, &config);
            assert_eq!(found.boxes().len(), expected.len());
            for (i, (b, score)) in expected.iter().enumerate() {
                assert!((f64::from(found.scores()[i]) - score).abs() < 1e-6);
                for (x, y) in found.boxes().as_slice()[i].iter().zip(b) {
                    assert!((f64::from(*x) - y).abs() < 1e-3, "proposal {i}");
                }
            }
        }
    }

    #[test]
    fn bad_predictions_are_left_out() {
        let mut levels = levels(4);
        levels[0].logits.fill(f32::NAN);
        levels[1].deltas.fill(f32::INFINITY);
        let predictions: Vec<_> = levels.iter().map(Level::predictions).collect();
        let found = select_proposals(&Cpu::default(), &predictions, IMAGE, &ProposalConfig::TEST).unwrap();
        assert!(found.boxes().is_empty());
        assert!(
            select_proposals(&Cpu::default(), &[], IMAGE, &ProposalConfig::TEST).unwrap().boxes().is_empty()
        );
    }

    #[test]
    fn lengths_are_checked() {
        let mut levels = levels(5);
        levels[0].deltas.pop();
        let error =
            select_proposals(&Cpu::default(), &[levels[0].predictions()], IMAGE, &ProposalConfig::TEST)
                .unwrap_err();
        assert_eq!(error.to_string(), "anchor deltas of a level: found 3599 entries, expected 3600");
    }
}
