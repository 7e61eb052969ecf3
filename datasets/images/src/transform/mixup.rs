//! Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) on a batch, as timm does in batch mode: one draw for the
//! whole batch, image i mixed with image N - 1 - i.
//!
//! # Shapes
//! images (N, 3, H, W); labels (N); soft targets (N, classes).

use crate::Size;
use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};
use serde::{Deserialize, Serialize};

use super::{TransformError, check, check_probability};

/// Settings; an alpha of 0 switches that kind off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mixup {
    /// Both parameters of the beta distribution of mixup's share.
    pub mixup_alpha: f64,
    /// Both parameters of the beta distribution of CutMix's share.
    pub cutmix_alpha: f64,
    /// Share of batches mixed at all.
    pub probability: f64,
    /// Share of CutMix where both kinds are on.
    pub switch_probability: f64,
    /// Share of the target spread over all classes.
    pub label_smoothing: f64,
}

impl Default for Mixup {
    fn default() -> Self {
        Self {
            mixup_alpha: 0.8,
            cutmix_alpha: 1.0,
            probability: 1.0,
            switch_probability: 0.5,
            label_smoothing: 0.1,
        }
    }
}

/// What was drawn for a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// Images as they are.
    None,
    /// `share` of each image and the rest of its partner.
    Blend {
        /// Weight of the image itself.
        share: f32,
    },
    /// The rectangle of each image is its partner's.
    Paste {
        /// Columns, end exclusive.
        x: (usize, usize),
        /// Rows, end exclusive.
        y: (usize, usize),
        /// Share of the area that stays the image's own.
        share: f32,
    },
}

impl Mix {
    /// Weight of an image's own label.
    pub fn share(self) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Blend { share } | Self::Paste { share, .. } => share,
        }
    }
}

impl Mixup {
    /// # Errors
    /// [`TransformError::Config`] naming the setting out of range.
    pub fn validate(&self) -> Result<(), TransformError> {
        for (field, alpha) in [("mixup_alpha", self.mixup_alpha), ("cutmix_alpha", self.cutmix_alpha)] {
            check(alpha >= 0.0 && alpha.is_finite(), field, alpha, "a finite number of at least 0")?;
        }
        check_probability("probability", self.probability)?;
        check_probability("switch_probability", self.switch_probability)?;
        let smoothing = self.label_smoothing;
        check((0.0..1.0).contains(&smoothing), "label_smoothing", smoothing, "a share in [0, 1)")
    }

    /// What to do to a batch of images of that size.
    ///
    /// # Errors
    /// [`TransformError::Config`] for an alpha no beta distribution has.
    pub fn draw(&self, size: Size, rng: &mut impl Rng) -> Result<Mix, TransformError> {
        let (width, height) = size.dimensions();
        let (mixup, cutmix) = (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0);
        if !(mixup || cutmix) || rng.random::<f64>() >= self.probability {
            return Ok(Mix::None);
        }
        let cut = if mixup && cutmix { rng.random::<f64>() < self.switch_probability } else { cutmix };
        let (field, alpha) =
            if cut { ("cutmix_alpha", self.cutmix_alpha) } else { ("mixup_alpha", self.mixup_alpha) };
        let beta = Beta::new(alpha, alpha).map_err(|_| TransformError::Config {
            field,
            found: alpha.to_string(),
            expected: "a finite number of at least 0",
        })?;
        let share = beta.sample(rng);
        if !cut {
            return Ok(Mix::Blend { share: share as f32 });
        }
        let (width, height) = (width as usize, height as usize);
        let side = (1.0 - share).sqrt();
        let mut span = |length: usize| {
            let half = (length as f64 * side) as usize / 2;
            let centre = rng.random_range(0..length.max(1));
            (centre.saturating_sub(half), (centre + half).min(length))
        };
        let (y, x) = (span(height), span(width));
        // the share really left: the rectangle may reach beyond the border
        let pasted = ((y.1 - y.0) * (x.1 - x.0)) as f64 / (width * height).max(1) as f64;
        Ok(Mix::Paste { x, y, share: (1.0 - pasted) as f32 })
    }

    /// Mixes `images` in place, (N, 3, height, width).
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] where the length is not a multiple of an image's.
    pub fn mix(mix: Mix, images: &mut [f32], size: Size) -> Result<(), TransformError> {
        let (width, height) = size.dimensions();
        let (width, plane) = (width as usize, width as usize * height as usize);
        let image = 3 * plane;
        if image == 0 || !images.len().is_multiple_of(image) {
            let expected = images.len().checked_div(image).unwrap_or(0) * image;
            return Err(TransformError::BufferLength { found: images.len(), expected });
        }
        let count = images.len() / image;
        let (first, second) = images.split_at_mut(count.div_ceil(2) * image);
        // an odd batch leaves its middle image, which would be mixed with itself, alone
        for (a, b) in first.chunks_exact_mut(image).zip(second.chunks_exact_mut(image).rev()) {
            match mix {
                Mix::None => {}
                Mix::Blend { share } => {
                    for (a, b) in a.iter_mut().zip(b) {
                        let (own, other) = (*a, *b);
                        *a = own * share + other * (1.0 - share);
                        *b = other * share + own * (1.0 - share);
                    }
                }
                Mix::Paste { x, y, .. } => {
                    for (a, b) in a.chunks_exact_mut(plane).zip(b.chunks_exact_mut(plane)) {
                        for row in y.0..y.1 {
                            let line = row * width + x.0..row * width + x.1;
                            a[line.clone()].swap_with_slice(&mut b[line]);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the soft targets of a mixed batch, (N, classes).
    ///
    /// # Errors
    /// [`TransformError::BufferLength`] for `out`, [`TransformError::Config`] for a label outside the classes.
    pub fn targets(
        &self,
        mix: Mix,
        labels: &[u32],
        classes: usize,
        out: &mut [f32],
    ) -> Result<(), TransformError> {
        if out.len() != labels.len() * classes || classes == 0 {
            return Err(TransformError::BufferLength { found: out.len(), expected: labels.len() * classes });
        }
        if let Some(&label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(TransformError::Config {
                field: "label",
                found: format!("{label} of {classes} classes"),
                expected: "less than the number of classes",
            });
        }
        let share = mix.share();
        let off = (self.label_smoothing / classes as f64) as f32;
        let on = 1.0 - self.label_smoothing as f32;
        for ((row, &own), &other) in out.chunks_exact_mut(classes).zip(labels).zip(labels.iter().rev()) {
            row.fill(off);
            row[own as usize] += on * share;
            row[other as usize] += on * (1.0 - share);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::rng;
    use proptest::prelude::*;

    /// Image n is n everywhere.
    fn batch(n: usize, w: usize, h: usize) -> Vec<f32> {
        (0..n).flat_map(|i| vec![i as f32; 3 * w * h]).collect()
    }

    #[test]
    fn blending_by_hand() {
        let mut images = batch(4, 2, 1);
        Mixup::mix(Mix::Blend { share: 0.75 }, &mut images, (2, 1).into()).unwrap();
        let firsts: Vec<f32> = images.chunks(6).map(|c| c[0]).collect();
        assert_eq!(firsts, [0.75, 1.25, 1.75, 2.25]);
    }

    #[test]
    fn smoothed_targets_by_hand() {
        let mixup = Mixup { label_smoothing: 0.1, ..Mixup::default() };
        let mut out = [0.0; 8];
        mixup.targets(Mix::Blend { share: 0.75 }, &[0, 2], 4, &mut out).unwrap();
        let expected = [0.7, 0.025, 0.25, 0.025, 0.25, 0.025, 0.7, 0.025];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
        assert!(mixup.targets(Mix::None, &[4], 4, &mut [0.0; 4]).is_err());
    }

    #[test]
    fn both_kinds_are_drawn() {
        let mut rng = rng(2);
        let cuts = (0..1000)
            .filter(|_| matches!(Mixup::default().draw((32, 32).into(), &mut rng), Ok(Mix::Paste { .. })))
            .count();
        assert!((430..570).contains(&cuts), "{cuts}");
    }

    proptest! {
        #[test]
        fn the_share_is_the_area_left(seed: u64, w in 1usize..24, h in 1usize..24) {
            let cutmix = Mixup { mixup_alpha: 0.0, ..Mixup::default() };
            let mix = cutmix.draw((w as u32, h as u32).into(), &mut rng(seed)).unwrap();
            let mut images = batch(2, w, h);
            Mixup::mix(mix, &mut images, (w as u32, h as u32).into()).unwrap();
            let own = images[..3 * w * h].iter().filter(|&&v| v == 0.0).count() as f32;
            prop_assert!((own / (3 * w * h) as f32 - mix.share()).abs() < 1e-5);
        }
    }
}
