//! From the configuration to the detector's.

use kat_backbone::{KatConfig, Size};
use kat_heads::detect::net::MaskRcnnConfig;
use kat_heads::detect::{AnchorConfig, DetectionConfig, ProposalConfig, RoiSampling, RpnSampling};

use crate::config::Plan;
use crate::task::model::kat_config;

/// Side of the canvas where the configuration names none: ViTDet's.
const CANVAS: usize = 1024;

/// The detector that `plan` asks for, with `classes`.
///
/// # Errors
/// Numbers that do not go together.
pub fn detector_config(plan: &Plan, classes: usize) -> anyhow::Result<MaskRcnnConfig> {
    let (m, d) = (&plan.raw.model, &plan.raw.detect);
    let windows = d.window > 0;
    let backbone = KatConfig {
        class_token: false,
        image_size: Size::square(m.image_size.unwrap_or(CANVAS)),
        window: windows.then_some(d.window),
        global_blocks: if windows { d.global_blocks.clone() } else { Vec::new() },
        relative_positions: d.rel_pos,
        ..kat_config(plan, 0)?
    };
    let base = MaskRcnnConfig::vitdet(backbone, classes);
    let keep = |[pre_nms, post_nms]: [usize; 2], usual: ProposalConfig| ProposalConfig {
        pre_nms,
        post_nms,
        ..usual
    };
    let config = MaskRcnnConfig {
        pretrain_size: Size::square(d.pretrain_size),
        channels: d.channels,
        box_hidden: d.box_hidden,
        box_head: d.box_head,
        box_regression: d.box_regression,
        smooth_l1_beta: d.smooth_l1_beta as f32,
        rpn_convs: d.rpn_convs,
        masks: d.masks,
        anchors: AnchorConfig {
            sizes: d.anchor_sizes.clone(),
            ratios: d.anchor_ratios.clone(),
            ..base.anchors.clone()
        },
        rpn: RpnSampling { number: d.rpn_samples, ..RpnSampling::default() },
        roi: RoiSampling { number: d.roi_samples, ..RoiSampling::default() },
        proposals_train: keep(d.proposals_train, ProposalConfig::TRAIN),
        proposals_test: keep(d.proposals_eval, ProposalConfig::TEST),
        detections: DetectionConfig {
            score_threshold: d.score_threshold as f32,
            nms_threshold: d.nms,
            max_detections: d.max_detections,
        },
        ..base
    };
    config.check()?;
    Ok(config)
}
