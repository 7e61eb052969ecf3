//! From a detector's tensors, under detectron2's names, to its configuration.

use kat_backbone::Size;
use kat_backbone::checkpoint::recognize::{self, Recognized};
use kat_backbone::checkpoint::{TensorMap, names};

use crate::{BoxHeadKind, BoxRegression, MaskRcnnConfig};

/// Before the names of the backbone's tensors.
const NET: &str = "backbone.net.";
/// The predictor of classes.
const SCORES: &str = "roi_heads.box_predictor.cls_score.weight";
/// The same in mmdetection's names, which are changed to detectron2's where the model is ViTDet's.
const MMDETECTION_SCORES: &str = "roi_head.bbox_head.fc_cls.weight";
/// Side of the canvas where no relative positions tell it: ViTDet's.
const CANVAS: usize = 1024;

/// A detector that was recognized.
#[derive(Debug, Clone, PartialEq)]
pub struct Detector {
    /// Its backbone, with what is undecided of it.
    pub backbone: Recognized,
    /// Its configuration.
    pub config: MaskRcnnConfig,
}

/// Whether a file is of a detector that [`recognize`] looks at.
pub fn is_detector(map: &TensorMap) -> bool {
    map.get(SCORES).is_some()
}

/// The detector that a file is of.
///
/// # Errors
/// Why there is none, in words.
pub fn recognize(map: &TensorMap) -> Result<Detector, String> {
    let shape = |name: &str| map.get(name).map(|tensor| &tensor.shape[..]);
    let Some(&[scores, _]) = shape(SCORES) else {
        return Err(match map.get(MMDETECTION_SCORES) {
            None => format!("no Mask R-CNN under detectron2's names: there is no {SCORES} in it"),
            Some(_) => "a detector of mmdetection that is none of its projects/ViTDet: only Mask R-CNN on a plain ViT \
                        (backbone.patch_embed.proj) with its SimpleFPN (neck.lateral_convs) loads"
                .to_owned(),
        });
    };
    let mut net = TensorMap { metadata: map.metadata.clone(), ..TensorMap::default() };
    let own = map.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(NET)?, tensor)));
    own.for_each(|(name, tensor)| net.insert(name, tensor.clone()));
    if net.get("patch_embed.proj.weight").is_none() {
        return Err(format!(
            "its backbone is no plain vision transformer (no {NET}patch_embed.proj.weight): ViTDet's load"
        ));
    }
    let mut backbone = recognize::dense(&net)?;
    let pretrain_size = backbone.config.image_size;
    windows(&net, &mut backbone)?;
    let classes = scores.saturating_sub(1);
    let mut config = MaskRcnnConfig::vitdet(backbone.config.clone(), classes);
    config.pretrain_size = pretrain_size;
    let has = |name: &str| map.get(name).is_some();
    if let Some(&[channels, ..]) = shape("backbone.simfp_4.0.weight") {
        config.channels = channels;
    }
    if let Some(&[hidden, _]) = shape("roi_heads.box_head.fc1.weight") {
        config.box_hidden = hidden;
    }
    config.box_head = match has("roi_heads.box_head.conv1.weight") {
        true => BoxHeadKind::FourConv,
        false => BoxHeadKind::TwoFc,
    };
    config.box_regression = match shape("roi_heads.box_predictor.bbox_pred.weight") {
        Some(&[4, _]) if classes != 1 => BoxRegression::Agnostic,
        _ => BoxRegression::PerClass,
    };
    let several =
        (0..).take_while(|i| has(&format!("proposal_generator.rpn_head.conv.conv{i}.weight"))).count();
    config.rpn_convs = several.max(1);
    config.masks = has("roi_heads.mask_head.predictor.weight");
    Ok(Detector { backbone, config })
}

/// Canvas, windows and heads, which the tables of relative positions tell: of a side of S tokens they have 2 S - 1 rows, each
/// as long as a head is wide.
fn windows(net: &TensorMap, backbone: &mut Recognized) -> Result<(), String> {
    let tables: Vec<(usize, &[usize])> = net
        .tensors
        .iter()
        .filter(|(name, _)| name.ends_with(".attn.rel_pos_h"))
        .filter_map(|(name, tensor)| Some((names::block_of(name)?, &tensor.shape[..])))
        .collect();
    let config = &mut backbone.config;
    let patch = config.patch_size.height;
    let sides: Vec<(usize, usize)> = tables
        .iter()
        .filter_map(|(block, shape)| match shape {
            [rows, _] => Some((*block, rows.div_ceil(2))),
            _ => None,
        })
        .collect();
    let (Some(&(_, &[_, width])), Some(canvas)) = (tables.first(), sides.iter().map(|(_, side)| *side).max())
    else {
        config.image_size = Size::square(CANVAS);
        backbone.notes.push(format!(
            "no relative positions: the canvas is taken to be {CANVAS} pixels, and every block to attend globally"
        ));
        return Ok(());
    };
    if width == 0 || !config.dim.is_multiple_of(width) {
        return Err(format!("relative positions of {width} channels, which do not divide {}", config.dim));
    }
    config.heads = config.dim / width;
    backbone.undecided.retain(|(key, _)| *key != "heads");
    config.relative_positions = true;
    config.image_size = Size::square(canvas * patch);
    let window = sides.iter().map(|(_, side)| *side).filter(|side| *side < canvas).min();
    config.window = window;
    if window.is_some() {
        config.global_blocks =
            sides.iter().filter(|(_, side)| *side == canvas).map(|(block, _)| *block).collect();
        config.global_blocks.sort_unstable();
    }
    backbone.notes.push(format!(
        "{} heads, a canvas of {} pixels and windows of {window:?} tokens, from the relative positions",
        config.heads,
        canvas * patch
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MaskRcnn;
    use kat_backbone::checkpoint::HostTensor;
    use kat_backbone::checkpoint::model::export;
    use kat_backbone::nn::MixerKind;
    use kat_backbone::{Cpu, InitScheme, KatConfig, Pool};

    #[test]
    fn a_detector_is_recognized_by_its_tensors() {
        let backbone = KatConfig {
            image_size: Size::square(96),
            dim: 32,
            heads: 2,
            depth: 3,
            classes: 0,
            class_token: false,
            pool: Pool::Average,
            mixer: MixerKind::Mlp,
            mimetic: false,
            init: InitScheme::Published,
            window: Some(2),
            global_blocks: vec![1],
            relative_positions: true,
            mlp_ratio: 4.0 + 0.25 / 32.0,
            ..KatConfig::default()
        };
        let vitdet = MaskRcnnConfig {
            channels: 8,
            box_hidden: 12,
            pretrain_size: Size::square(64),
            ..MaskRcnnConfig::vitdet(backbone, 5)
        };
        let other = MaskRcnnConfig {
            box_head: BoxHeadKind::TwoFc,
            box_regression: BoxRegression::Agnostic,
            rpn_convs: 1,
            masks: false,
            ..vitdet.clone()
        };
        for config in [vitdet, other] {
            let map = export(&MaskRcnn::new(&Cpu::default(), &config, 1).unwrap());
            assert!(is_detector(&map));
            let found = recognize(&map).unwrap();
            assert_eq!(found.config, config);
            assert!(found.backbone.undecided.is_empty());
        }
        assert!(recognize(&TensorMap::default()).unwrap_err().contains("cls_score"));
        let mut resnet = TensorMap::default();
        let scores = HostTensor { shape: vec![81, 4], data: vec![0.0; 324] };
        resnet.insert(MMDETECTION_SCORES, scores);
        assert!(recognize(&resnet).unwrap_err().contains("none of its projects/ViTDet"));
    }
}
