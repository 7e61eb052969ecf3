//! What the RPN is to learn at which anchor.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::HeadError;
use crate::structures::Targets;
use crate::{BoxCoder, Matcher, sample_labels};

/// How anchors are matched and how many of them enter the loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpnSampling {
    /// Overlap thresholds.
    pub matcher: Matcher,
    /// Anchors of an image in the loss.
    pub number: usize,
    /// Largest share of them that stand for objects.
    pub foreground_share: f64,
}

impl Default for RpnSampling {
    /// 256 anchors, half of them objects, thresholds 0.3 and 0.7.
    fn default() -> Self {
        Self { matcher: Matcher::RPN, number: 256, foreground_share: 0.5 }
    }
}

/// The anchors drawn for the loss of one image; indices into all its anchors, ascending.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RpnTargets {
    /// Anchors that stand for an object.
    pub foreground: Vec<usize>,
    /// Anchors that stand for none.
    pub background: Vec<usize>,
    /// For each foreground anchor, the deltas that lead to its object.
    pub deltas: Vec<[f32; 4]>,
}

/// Matches the anchors of all levels of an image with its trainable objects and draws those for the loss. Crowds
/// count as background.
///
/// # Errors
/// Wrong thresholds, or an anchor without area.
pub fn assign_anchors(
    anchors: &[[f32; 4]],
    targets: &Targets,
    sampling: &RpnSampling,
    rng: &mut impl Rng,
) -> Result<RpnTargets, HeadError> {
    let gt_boxes = targets.boxes().select(&targets.trainable());
    let matches = sampling.matcher.run(anchors, gt_boxes.as_slice())?;
    let drawn = sample_labels(&matches.labels, sampling.number, sampling.foreground_share, rng);
    let deltas = drawn
        .foreground
        .iter()
        .map(|&i| BoxCoder::RPN.encode(anchors[i], gt_boxes.as_slice()[matches.gt[i] as usize]))
        .collect::<Result<_, _>>()?;
    Ok(RpnTargets { foreground: drawn.foreground, background: drawn.background, deltas })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_images::{Boxes, Size};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const IMAGE: Size = Size::new(64, 64);
    const ANCHORS: [[f32; 4]; 3] = [[0., 0., 8., 8.], [8., 0., 16., 8.], [40., 40., 48., 48.]];

    fn run(targets: &Targets) -> RpnTargets {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assign_anchors(&ANCHORS, targets, &RpnSampling::default(), &mut rng).unwrap()
    }

    #[test]
    fn by_hand() {
        // The second object is the crowd; the first lies 4 px right of anchor 0, 4 px left of anchor 1: IoU 1/3
        // with both, and both are its best.
        let boxes = Boxes::from(vec![[4., 0., 12., 8.], [40., 40., 48., 48.]]);
        let targets = Targets::new(IMAGE, boxes, vec![0, 0], None, vec![false, true]).unwrap();
        let found = run(&targets);
        assert_eq!((found.foreground, found.background), (vec![0, 1], vec![2]));
        assert_eq!(found.deltas, [[0.5, 0., 0., 0.], [-0.5, 0., 0., 0.]]);
    }

    #[test]
    fn without_objects_all_is_background() {
        let crowd = Boxes::from(vec![[0., 0., 8., 8.]]);
        for targets in [Targets::none(IMAGE), Targets::new(IMAGE, crowd, vec![0], None, vec![true]).unwrap()]
        {
            let found = run(&targets);
            assert_eq!((found.foreground.len(), found.background.len()), (0, 3));
        }
    }
}
