//! From the box head's scores and boxes to the detections of an image, and those to the picture's own size.
//!
//! # Shapes
//! R proposals, K classes: scores (R, K + 1) probabilities, the last column background; boxes (R, K) or, where the
//! head is class-agnostic, (R, 1).

use kat_backbone::ops::nms::Nms;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{HeadError, same_length};
use crate::paste_mask;
use crate::structures::{Detections, ImageResult, MaskGrids};
use kat_images::{Boxes, Size, clip_box};

/// Which detections are reported.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectionConfig {
    /// Probability a detection must exceed.
    pub score_threshold: f32,
    /// IoU above which the lower-scored of two boxes of a class goes.
    pub nms_threshold: f64,
    /// Detections of an image at most.
    pub max_detections: usize,
}

impl Default for DetectionConfig {
    /// 0.05, 0.5 and 100, as COCO is evaluated.
    fn default() -> Self {
        Self { score_threshold: 0.05, nms_threshold: 0.5, max_detections: 100 }
    }
}

/// Decoded boxes of the proposals.
#[derive(Debug, Clone, Copy)]
pub enum ClassBoxes<'a> {
    /// One box a class, (R, K).
    PerClass(&'a [[f32; 4]]),
    /// One box for all classes, (R, 1).
    Agnostic(&'a [[f32; 4]]),
}

impl ClassBoxes<'_> {
    fn get(&self, proposal: usize, class: usize, classes: usize) -> [f32; 4] {
        match self {
            Self::PerClass(boxes) => boxes[proposal * classes + class],
            Self::Agnostic(boxes) => boxes[proposal],
        }
    }

    /// The boxes of one proposal.
    fn of(&self, proposal: usize, classes: usize) -> &[[f32; 4]] {
        match self {
            Self::PerClass(boxes) => &boxes[proposal * classes..(proposal + 1) * classes],
            Self::Agnostic(boxes) => &boxes[proposal..=proposal],
        }
    }

    fn check(&self, proposals: usize, classes: usize) -> Result<(), HeadError> {
        match self {
            Self::PerClass(boxes) => same_length("boxes per class", boxes.len(), proposals * classes),
            Self::Agnostic(boxes) => same_length("class-agnostic boxes", boxes.len(), proposals),
        }
    }
}

/// The detections of an image, by falling score. A proposal with a score or a box that is not finite is left out
/// as a whole; a box that clipping leaves without area is too.
///
/// # Errors
/// No class, or lists whose lengths do not fit together.
pub fn select_detections(
    boxes: ClassBoxes,
    scores: &[f32],
    classes: usize,
    image: Size,
    config: &DetectionConfig,
) -> Result<Detections, HeadError> {
    if classes == 0 {
        return Err(HeadError::value("number of classes", classes, "at least 1"));
    }
    let proposals = scores.len() / (classes + 1);
    same_length("class scores", scores.len(), proposals * (classes + 1))?;
    boxes.check(proposals, classes)?;
    let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    let candidates: Vec<([f32; 4], f32, u32)> = (0..proposals)
        .filter(|&r| finite(&scores[r * (classes + 1)..(r + 1) * (classes + 1)]))
        .filter(|&r| boxes.of(r, classes).iter().all(|b| finite(b)))
        .flat_map(|r| (0..classes).map(move |class| (r, class)))
        .filter_map(|(r, class)| {
            let score = scores[r * (classes + 1) + class];
            if score <= config.score_threshold {
                return None;
            }
            let b = clip_box(boxes.get(r, class, classes), image);
            (b[2] > b[0] && b[3] > b[1]).then_some((b, score, class as u32))
        })
        .collect();
    let list: Vec<[f32; 4]> = candidates.iter().map(|c| c.0).collect();
    let scores: Vec<f32> = candidates.iter().map(|c| c.1).collect();
    let labels: Vec<u32> = candidates.iter().map(|c| c.2).collect();
    let nms = Nms { iou_threshold: config.nms_threshold, max_kept: config.max_detections };
    let kept = nms.run_grouped(&list, &scores, &labels)?;
    Ok(Detections::new(image, list.into(), scores, labels)?.select(&kept))
}

/// Brings detections from the size the model saw to `output`, the picture's own, and pastes their masks there.
/// Boxes that have no area at that size are dropped with their masks.
///
/// # Errors
/// A number of mask grids other than that of detections.
pub fn finish(
    detections: &Detections,
    grids: Option<&MaskGrids>,
    output: Size,
) -> Result<ImageResult, HeadError> {
    if let Some(grids) = grids {
        same_length("mask grids", grids.len(), detections.len())?;
    }
    let ratio = |to: usize, from: usize| if from == 0 { 0.0 } else { to as f32 / from as f32 };
    let input = detections.image();
    let mut boxes: Boxes = detections.boxes().clone();
    boxes.scale(ratio(output.width, input.width), ratio(output.height, input.height));
    boxes.clip(output);
    let kept: Vec<usize> = (0..boxes.len()).filter(|&i| boxes.is_nonempty(i, 0.0)).collect();
    let masks = grids.map(|grids| {
        let paste = |&i: &usize| paste_mask(grids.grid(i), grids.side(), boxes.as_slice()[i], output);
        kept.par_iter().map(paste).collect()
    });
    let scores = kept.iter().map(|&i| detections.scores()[i]).collect();
    let classes = kept.iter().map(|&i| detections.classes()[i]).collect();
    Ok(ImageResult { detections: Detections::new(output, boxes.select(&kept), scores, classes)?, masks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const IMAGE: Size = Size::new(100, 100);

    #[test]
    fn by_hand() {
        // Two classes and background. Proposals 0 and 1 overlap by 80/120 = 2/3.
        let boxes = [[0., 0., 10., 10.], [2., 0., 12., 10.], [50., 50., 130., 60.], [200., 0., 210., 9.]];
        let scores = [
            [0.6, 0.3, 0.1],   // class 0, and class 1 lower
            [0.7, 0.04, 0.26], // class 0, better than proposal 0; class 1 below the threshold
            [0.05, 0.9, 0.05], // class 0 at the threshold, not above
            [0.8, 0.1, 0.1],   // outside the image
        ]
        .concat();
        let config = DetectionConfig::default();
        let found = select_detections(ClassBoxes::Agnostic(&boxes), &scores, 2, IMAGE, &config).unwrap();
        assert_eq!(found.scores(), [0.9, 0.7, 0.3]);
        assert_eq!(found.classes(), [1, 0, 1]);
        assert_eq!(found.boxes().as_slice(), [[50., 50., 100., 60.], [2., 0., 12., 10.], [0., 0., 10., 10.]]);
        let twice: Vec<[f32; 4]> = boxes.iter().flat_map(|&b| [b, b]).collect();
        let per_class = select_detections(ClassBoxes::PerClass(&twice), &scores, 2, IMAGE, &config).unwrap();
        assert_eq!(per_class, found);
        let one = DetectionConfig { max_detections: 1, ..config };
        let found = select_detections(ClassBoxes::Agnostic(&boxes), &scores, 2, IMAGE, &one).unwrap();
        assert_eq!(found.scores(), [0.9]);
    }

    #[test]
    fn bad_numbers_are_left_out() {
        let boxes = [[0., 0., 10., 10.], [f32::NAN, 0., 10., 10.], [20., 20., 30., 30.]];
        let scores = [f32::NAN, 0.1, 0.9, 0.1, 0.8, 0.2];
        let config = DetectionConfig::default();
        let found = select_detections(ClassBoxes::Agnostic(&boxes), &scores, 1, IMAGE, &config).unwrap();
        assert_eq!(found.scores(), [0.8]);
        let none = select_detections(ClassBoxes::PerClass(&[]), &[], 80, IMAGE, &config).unwrap();
        assert!(none.is_empty());
        assert!(finish(&none, None, Size::new(3, 3)).unwrap().detections.is_empty());
    }

    #[test]
    fn lengths_are_checked() {
        let config = DetectionConfig::default();
        let run = |boxes, scores: &[f32], classes| select_detections(boxes, scores, classes, IMAGE, &config);
        assert!(run(ClassBoxes::Agnostic(&[]), &[0.5, 0.5], 1).is_err());
        assert!(run(ClassBoxes::PerClass(&[[0.; 4]]), &[0.5; 3], 2).is_err());
        assert!(run(ClassBoxes::Agnostic(&[]), &[0.5; 3], 1).is_err());
        assert!(run(ClassBoxes::Agnostic(&[]), &[], 0).is_err());
    }

    #[test]
    fn results_come_at_the_pictures_size() {
        let boxes = vec![[10., 20., 30., 40.], [0., 0., 1., 1.]];
        let found = Detections::new(IMAGE, boxes.into(), vec![0.9, 0.5], vec![3, 4]).unwrap();
        let grids = MaskGrids::new(28, vec![1.0; 2 * 28 * 28]).unwrap();
        let result = finish(&found, Some(&grids), Size::new(50, 200)).unwrap();
        assert_eq!(result.detections.boxes().as_slice()[0], [20., 10., 60., 20.]);
        let masks = result.masks.unwrap();
        assert_eq!((masks.len(), masks[0].area(), masks[0].size()), (2, 400, Size::new(50, 200)));
        assert!(finish(&found, Some(&MaskGrids::new(2, vec![1.0; 4]).unwrap()), IMAGE).is_err());
    }

    #[test]
    fn ten_thousand_proposals() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let boxes: Vec<[f32; 4]> = (0..10_000)
            .map(|_| {
                let (x, y) = (rng.random_range(-20.0..110f32), rng.random_range(-20.0..110f32));
                [x, y, x + rng.random_range(0.0..30f32), y + rng.random_range(0.0..30f32)]
            })
            .collect();
        let scores: Vec<f32> = (0..10_000 * 4).map(|_| rng.random_range(0.0..1f32)).collect();
        let config = DetectionConfig::default();
        let found = select_detections(ClassBoxes::Agnostic(&boxes), &scores, 3, IMAGE, &config).unwrap();
        assert_eq!(found.len(), 100);
        assert!(found.scores().is_sorted_by(|a, b| a >= b));
        for i in 0..found.len() {
            assert!(found.boxes().is_nonempty(i, 0.0));
            assert!(found.boxes().as_slice()[i].iter().all(|&c| (0.0..=100.0).contains(&c)));
        }
    }
}
