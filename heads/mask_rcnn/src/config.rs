//! Every size and choice of the detector.

use kat_backbone::{KatConfig, Size};
use serde::{Deserialize, Serialize};

use crate::LEVELS;
use crate::error::{HeadError, same_length};
use crate::{AnchorConfig, DetectionConfig, ProposalConfig, RoiLevels, RoiSampling, RpnSampling};

/// What stands between the pooled region and the two predictions of the box head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxHeadKind {
    /// Four 3×3 convolutions with norm and one hidden layer (ViTDet).
    FourConv,
    /// Two hidden layers (the first FPN detectors).
    TwoFc,
}

/// Which boxes are predicted for a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxRegression {
    /// One for each class.
    PerClass,
    /// One for all classes.
    Agnostic,
}

/// Configuration of [`MaskRcnn`](crate::MaskRcnn).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRcnnConfig {
    /// The backbone; `image_size` is that of the canvas the images lie on, for which relative positions are learnt.
    pub backbone: KatConfig,
    /// The image size that the position embedding is made for; resampled to the canvas in each pass.
    pub pretrain_size: Size,
    /// K.
    pub classes: usize,
    /// C.
    pub channels: usize,
    /// Outputs of the box head's hidden layer.
    pub box_hidden: usize,
    /// Layers of the box head.
    pub box_head: BoxHeadKind,
    /// Boxes of a region.
    pub box_regression: BoxRegression,
    /// β of the box losses' smooth L1; 0 is L1.
    pub smooth_l1_beta: f32,
    /// 3×3 convolutions of the RPN.
    pub rpn_convs: usize,
    /// Whether there is a mask head.
    pub masks: bool,
    /// Anchors of the five levels.
    pub anchors: AnchorConfig,
    /// Anchors in the RPN's loss.
    pub rpn: RpnSampling,
    /// Proposals in the region losses.
    pub roi: RoiSampling,
    /// Proposals kept in training.
    pub proposals_train: ProposalConfig,
    /// Proposals kept at inference.
    pub proposals_test: ProposalConfig,
    /// Detections kept.
    pub detections: DetectionConfig,
}

impl MaskRcnnConfig {
    /// ViTDet's settings for a backbone at its canvas (sources: detectron2's mask_rcnn_vitdet and mask_rcnn_fpn).
    /// Anchor sizes are eight strides each, as 32 pixels are at stride 4.
    pub fn vitdet(backbone: KatConfig, classes: usize) -> Self {
        let patch = backbone.patch_size.height;
        let strides = level_strides(patch);
        Self {
            pretrain_size: Size::square(14 * patch),
            classes,
            channels: 256,
            box_hidden: 1024,
            box_head: BoxHeadKind::FourConv,
            box_regression: BoxRegression::PerClass,
            smooth_l1_beta: 0.0,
            rpn_convs: 2,
            masks: true,
            anchors: AnchorConfig {
                sizes: strides.iter().map(|s| 8.0 * *s as f64).collect(),
                strides: strides.iter().map(|s| *s as u32).collect(),
                ..AnchorConfig::default()
            },
            rpn: RpnSampling::default(),
            roi: RoiSampling::default(),
            proposals_train: ProposalConfig::TRAIN,
            proposals_test: ProposalConfig::TEST,
            detections: DetectionConfig::default(),
            backbone,
        }
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.backbone.patch_size.height
    }

    /// From which level a region is pooled: one of 14 patches' side (224 pixels at patch 16) from the level of the
    /// patch's stride.
    pub fn roi_levels(&self) -> RoiLevels {
        let level = self.patch().ilog2() as i32;
        RoiLevels {
            min_level: level - 2,
            max_level: level + 1,
            canonical_size: 14.0 * self.patch() as f32,
            canonical_level: level,
        }
    }

    /// Checks what building would trip over.
    ///
    /// # Errors
    /// A field outside its range, or a backbone that cannot be built.
    pub fn check(&self) -> Result<(), HeadError> {
        self.backbone.check()?;
        let patch = self.backbone.patch_size;
        if patch.height != patch.width || !patch.height.is_power_of_two() || patch.height < 4 {
            return Err(HeadError::value("patch size", patch, "a square of 4, 8, 16 … pixels"));
        }
        if self.backbone.prefix_tokens() > 0 {
            let found = self.backbone.prefix_tokens();
            return Err(HeadError::value(
                "class token and registers",
                found,
                "none: a detector has patches only",
            ));
        }
        let size = self.pretrain_size;
        let fits = |side: usize| side > 0 && side.is_multiple_of(patch.height);
        if !(fits(size.height) && fits(size.width)) {
            return Err(HeadError::value("pretrain_size", size, "a multiple of the patch"));
        }
        for (what, value) in
            [("classes", self.classes), ("channels", self.channels), ("box_hidden", self.box_hidden)]
        {
            if value == 0 {
                return Err(HeadError::value(what, value, "at least 1"));
            }
        }
        if !self.backbone.dim.is_multiple_of(4) {
            return Err(HeadError::value(
                "backbone dim",
                self.backbone.dim,
                "a multiple of 4: the pyramid halves it twice",
            ));
        }
        same_length("anchor sizes", self.anchors.sizes.len(), LEVELS)?;
        let strides: Vec<u32> = level_strides(self.patch()).iter().map(|s| *s as u32).collect();
        if self.anchors.strides != strides {
            return Err(HeadError::value(
                "anchor strides",
                &self.anchors.strides,
                "1/4, 1/2, 1, 2 and 4 patches",
            ));
        }
        Ok(())
    }
}

/// Strides of the five levels for patches of `patch` pixels: 4 to 64 at 16.
fn level_strides(patch: usize) -> [usize; LEVELS] {
    [patch / 4, patch / 2, patch, 2 * patch, 4 * patch]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MaskRcnnConfig {
        let backbone = KatConfig { class_token: false, classes: 0, ..KatConfig::default() };
        MaskRcnnConfig::vitdet(backbone, 80)
    }

    #[test]
    fn patch_16_gives_the_published_strides_anchors_and_levels() {
        let config = config();
        config.check().unwrap();
        assert_eq!(config.anchors, AnchorConfig::default());
        assert_eq!(config.roi_levels(), RoiLevels::default());
        assert_eq!(config.pretrain_size, Size::square(224));
    }

    #[test]
    fn what_cannot_be_built_is_named() {
        let good = config();
        let broken = |change: fn(&mut MaskRcnnConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(broken(|c| c.classes = 0).contains("classes"));
        assert!(broken(|c| c.backbone.class_token = true).contains("class token"));
        assert!(broken(|c| c.anchors.strides[0] = 2).contains("anchor strides"));
        assert!(broken(|c| c.backbone.patch_size = Size::square(14)).contains("patch size"));
    }
}
