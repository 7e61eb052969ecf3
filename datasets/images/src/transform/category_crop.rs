//! A random crop in which no class covers too much (mmsegmentation's RandomCrop with cat_max_ratio).

use image::GrayImage;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::crop::crop_sample;
use super::resize::check_pixels;
use super::target::{BoxRule, IGNORE_LABEL};
use super::{TransformError, check};
use crate::sample::{Sample, Target};
use crate::{Rect, Size};

/// Settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CategoryCrop {
    /// Side of the square crop; smaller images stay whole.
    pub size: u32,
    /// Greatest share of the labelled pixels that one class may cover, where ten tries find such a crop.
    pub max_ratio: f64,
}

impl Default for CategoryCrop {
    fn default() -> Self {
        Self { size: 512, max_ratio: 0.75 }
    }
}

impl CategoryCrop {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn validate(&self) -> Result<(), TransformError> {
        check(self.size > 0, "size", self.size, "at least 1 pixel")?;
        let share = self.max_ratio;
        check(share > 0.0 && share <= 1.0, "max_ratio", share, "a share in (0, 1]")
    }

    /// Cuts image and target.
    ///
    /// # Errors
    /// [`TransformError::Empty`] or [`TransformError::SizeMismatch`] for a sample that is no image or whose label map
    /// does not fit.
    pub fn apply(&self, sample: Sample, rng: &mut impl Rng) -> Result<Sample, TransformError> {
        let size = Size::of(&sample.image);
        check_pixels("the image", size)?;
        let mut rect = self.draw(size, rng);
        if let (Target::LabelMap(labels), true) = (&sample.target, self.max_ratio < 1.0) {
            for _ in 0..10 {
                if is_varied(labels, rect, self.max_ratio) {
                    break;
                }
                rect = self.draw(size, rng);
            }
        }
        crop_sample(sample, rect, BoxRule::Clip)
    }

    fn draw(&self, size: Size, rng: &mut impl Rng) -> Rect {
        let (width, height) = size.dimensions();
        let y = rng.random_range(0..=height.saturating_sub(self.size));
        let x = rng.random_range(0..=width.saturating_sub(self.size));
        Rect { x, y, width: self.size, height: self.size }.within(size)
    }
}

/// Whether at least two classes are in the rectangle and none covers `max_ratio` of it.
fn is_varied(labels: &GrayImage, rect: Rect, max_ratio: f64) -> bool {
    let rect = rect.within(Size::of(labels));
    let mut counts = [0u64; 256];
    for y in rect.y..rect.y + rect.height {
        let start = y as usize * labels.width() as usize + rect.x as usize;
        for &label in &labels.as_raw()[start..start + rect.width as usize] {
            counts[usize::from(label)] += 1;
        }
    }
    counts[usize::from(IGNORE_LABEL)] = 0;
    let total: u64 = counts.iter().sum();
    let greatest = counts.iter().copied().max().unwrap_or(0);
    let classes = counts.iter().filter(|&&n| n > 0).count();
    classes > 1 && (greatest as f64) < max_ratio * total as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::{pattern, rng};

    #[test]
    fn varied_crops_are_preferred() {
        // class 1 in the right tenth only: few crops hold a quarter of it
        let labels = GrayImage::from_fn(100, 20, |x, _| image::Luma([u8::from(x >= 90)]));
        let sample = Sample { image: pattern(100, 20), target: Target::LabelMap(labels), id: "a".into() };
        let share_varied = |max_ratio| {
            let crop = CategoryCrop { size: 20, max_ratio };
            (0..300)
                .filter(|&seed| {
                    let out = crop.apply(sample.clone(), &mut rng(seed)).unwrap();
                    assert_eq!(out.image.dimensions(), (20, 20));
                    let Target::LabelMap(labels) = out.target else { panic!("label map expected") };
                    is_varied(&labels, Rect::whole((20, 20).into()), 0.75)
                })
                .count()
        };
        let (plain, picky) = (share_varied(1.0), share_varied(0.75));
        assert!(picky > 3 * plain, "{picky} {plain}");
    }

    #[test]
    fn ignored_pixels_do_not_count() {
        let labels = GrayImage::from_fn(10, 1, |x, _| image::Luma([if x < 8 { 255 } else { x as u8 }]));
        assert!(is_varied(&labels, Rect::whole((10, 1).into()), 0.75));
    }
}
