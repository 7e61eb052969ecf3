//! What the box and mask heads are to learn at which proposal.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::HeadError;
use crate::structures::{Proposals, Targets};
use crate::{MatchLabel, Matcher, sample_labels};
use kat_images::{Boxes, Mask};

/// How proposals are matched and how many of them enter the loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiSampling {
    /// Overlap thresholds.
    pub matcher: Matcher,
    /// Proposals of an image in the loss.
    pub number: usize,
    /// Largest share of them that stand for objects.
    pub foreground_share: f64,
}

impl Default for RoiSampling {
    /// 512 proposals, a quarter of them objects, threshold 0.5.
    fn default() -> Self {
        Self { matcher: Matcher::BOX_HEAD, number: 512, foreground_share: 0.25 }
    }
}

/// The proposals drawn for the losses of one image, foreground first.
#[derive(Debug, Clone, PartialEq)]
pub struct RoiTargets {
    /// The boxes drawn.
    pub boxes: Boxes,
    /// How many of them, from the first on, stand for an object.
    pub foreground: usize,
    /// Class of each box; the number of classes stands for background.
    pub classes: Vec<u32>,
    /// For each foreground box, its object: index into the [`Targets`].
    pub gt: Vec<usize>,
}

impl RoiTargets {
    /// The annotated box of each foreground box.
    pub fn gt_boxes(&self, targets: &Targets) -> Boxes {
        targets.boxes().select(&self.gt)
    }

    /// The mask targets of the foreground boxes, (foreground, side, side), one byte a cell, 0 or 1; `None` where
    /// the data set has no masks.
    pub fn masks(&self, targets: &Targets, side: usize) -> Option<Vec<u8>> {
        use rayon::prelude::*;
        let masks: &[Mask] = targets.masks()?;
        let pairs = self.gt.par_iter().zip(&self.boxes.as_slice()[..self.foreground]);
        let grids: Vec<Vec<u8>> = pairs.map(|(&i, &roi)| masks[i].crop_and_resize(roi, side)).collect();
        Some(grids.concat())
    }
}

/// Adds the annotated boxes to the proposals, matches all with the trainable objects and draws those for the losses.
///
/// # Errors
/// A class that is not below `classes`, or wrong thresholds.
pub fn sample_rois(
    proposals: Proposals,
    targets: &Targets,
    classes: usize,
    sampling: &RoiSampling,
    rng: &mut impl Rng,
) -> Result<RoiTargets, HeadError> {
    targets.check_classes(classes)?;
    let objects = targets.trainable();
    let gt_boxes = targets.boxes().select(&objects);
    let proposals = proposals.with_ground_truth(targets);
    let matches = sampling.matcher.run(proposals.boxes().as_slice(), gt_boxes.as_slice())?;
    let drawn = sample_labels(&matches.labels, sampling.number, sampling.foreground_share, rng);
    debug_assert!(drawn.foreground.iter().all(|&i| matches.labels[i] == MatchLabel::Foreground));
    let gt: Vec<usize> = drawn.foreground.iter().map(|&i| objects[matches.gt[i] as usize]).collect();
    let mut labels: Vec<u32> = gt.iter().map(|&i| targets.classes()[i]).collect();
    labels.resize(drawn.len(), classes as u32);
    let rois = [drawn.foreground, drawn.background].concat();
    Ok(RoiTargets { boxes: proposals.boxes().select(&rois), foreground: gt.len(), classes: labels, gt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_images::{Polygon, Size};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const IMAGE: Size = Size::new(64, 64);

    fn run(proposals: Vec<[f32; 4]>, targets: &Targets) -> Result<RoiTargets, HeadError> {
        let n = proposals.len();
        let proposals = Proposals::new(IMAGE, proposals.into(), vec![0.0; n])?;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        sample_rois(proposals, targets, 5, &RoiSampling::default(), &mut rng)
    }

    #[test]
    fn by_hand() {
        let square = |x: f32, y: f32| vec![vec![[x, y], [x + 8., y], [x + 8., y + 4.], [x, y + 4.]]];
        let outline = |x, y| Mask::Polygon(Polygon::new(square(x, y)).unwrap());
        let boxes = Boxes::from(vec![[50., 50., 58., 54.], [0., 0., 8., 4.]]);
        let masks = Some(vec![outline(50., 50.), outline(0., 0.)]);
        let targets = Targets::new(IMAGE, boxes, vec![1, 3], masks, vec![true, false]).unwrap();
        // The first proposal covers the object twice over (IoU 1/2), the second is the crowd's.
        let found = run(vec![[0., 0., 8., 8.], [50., 50., 58., 54.]], &targets).unwrap();
        let drawn = [[0., 0., 8., 8.], [0., 0., 8., 4.], [50., 50., 58., 54.]];
        assert_eq!(found.boxes.as_slice(), drawn);
        assert_eq!((found.foreground, found.classes.as_slice()), (2, [3, 3, 5].as_slice()));
        assert_eq!(found.gt, [1, 1]);
        assert_eq!(found.gt_boxes(&targets).as_slice(), [[0., 0., 8., 4.]; 2]);
        assert_eq!(found.masks(&targets, 2).unwrap(), [1, 1, 0, 0, /**/ 1, 1, 1, 1]);
    }

    #[test]
    fn empty_images_give_background_or_nothing() {
        let none = Targets::none(IMAGE);
        let found = run(vec![[0., 0., 8., 8.]], &none).unwrap();
        assert_eq!((found.foreground, found.classes.as_slice()), (0, [5].as_slice()));
        let found = run(vec![], &none).unwrap();
        assert!(found.boxes.is_empty() && found.masks(&none, 28).is_none());
    }

    #[test]
    fn classes_are_checked() {
        let boxes = Boxes::from(vec![[0., 0., 8., 4.]]);
        let targets = Targets::new(IMAGE, boxes, vec![5], None, vec![false]).unwrap();
        assert!(run(vec![], &targets).is_err());
    }
}
