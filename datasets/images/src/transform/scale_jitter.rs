//! Large-scale jitter (Ghiasi et al., arXiv 2012.07177) as detectron2 does it: the image is scaled to fit a random
//! multiple of the target, then cut to the target at random.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::crop::crop_sample;
use super::resize::{check_pixels, resize_sample};
use super::target::BoxRule;
use super::{TransformError, check, uniform};
use crate::Filter;
use crate::sample::Sample;
use crate::{Rect, Size};

/// Settings, with ViTDet's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScaleJitter {
    /// Least and greatest multiple of the target.
    pub scale: [f64; 2],
    /// Side of the square target in pixels.
    pub target: u32,
    /// Where boxes come from after the cut.
    pub boxes: BoxRule,
}

impl Default for ScaleJitter {
    fn default() -> Self {
        Self { scale: [0.1, 2.0], target: 1024, boxes: BoxRule::FromMask }
    }
}

impl ScaleJitter {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn validate(&self) -> Result<(), TransformError> {
        check(self.target > 0, "target", self.target, "at least 1 pixel")?;
        let [low, high] = self.scale;
        let good = 0.0 < low && low <= high && high <= 16.0;
        check(good, "scale", self.scale, "0 < low <= high <= 16")
    }

    /// Scales and cuts; the result is at most `target` on each side.
    ///
    /// # Errors
    /// [`TransformError::Empty`] or [`TransformError::SizeMismatch`] for a sample that is no image or whose masks do
    /// not fit.
    pub fn apply(&self, sample: Sample, rng: &mut impl Rng) -> Result<Sample, TransformError> {
        let size = Size::of(&sample.image);
        check_pixels("the image", size)?;
        let (width, height) = size.dimensions();
        let goal = f64::from(self.target) * uniform(rng, self.scale[0], self.scale[1]);
        let factor = (goal / f64::from(width)).min(goal / f64::from(height));
        let side = |length: u32| ((f64::from(length) * factor).round_ties_even() as u32).max(1);
        let (width, height) = (side(width), side(height));
        let size = Size::from((width, height));
        let sample = resize_sample(sample, size, Filter::Bilinear)?;
        // one draw for both axes, as in detectron2
        let place = rng.random::<f64>();
        let offset =
            |length: u32| (f64::from(length.saturating_sub(self.target)) * place).round_ties_even() as u32;
        let rect = Rect { x: offset(width), y: offset(height), width: self.target, height: self.target };
        crop_sample(sample, rect.within(size), self.boxes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Instance, Target};
    use crate::transform::testing::{pattern, rng};
    use crate::{Mask, Polygon};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn boxes_stay_inside_and_tight(w in 8u32..80, h in 8u32..80, seed: u64) {
            let (fw, fh) = (w as f32, h as f32);
            let ring = vec![[1.0, 1.0], [fw - 1.0, 2.0], [fw / 2.0, fh - 1.0]];
            let instance = Instance {
                class: 1, bbox: [1.0, 1.0, fw - 1.0, fh - 1.0],
                mask: Some(Mask::Polygon(Polygon::from_usable([ring]))), crowd: false,
            };
            let sample = Sample { image: pattern(w, h), target: Target::Instances(vec![instance]), id: "1".into() };
            let jitter = ScaleJitter { target: 64, ..ScaleJitter::default() };
            let out = jitter.apply(sample, &mut rng(seed)).unwrap();
            let (ow, oh) = out.image.dimensions();
            prop_assert!(ow <= 64 && oh <= 64);
            let Target::Instances(instances) = out.target else { panic!("instances expected") };
            for instance in instances {
                let [x0, y0, x1, y1] = instance.bbox;
                prop_assert!(x0 >= 0.0 && y0 >= 0.0 && x1 <= ow as f32 && y1 <= oh as f32 && x0 < x1 && y0 < y1);
                let Some(Mask::Polygon(polygon)) = &instance.mask else { panic!("polygons expected") };
                prop_assert_eq!(polygon.bounds(), Some(instance.bbox));
            }
        }
    }
}
