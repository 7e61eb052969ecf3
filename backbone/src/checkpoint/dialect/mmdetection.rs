//! The names that mmdetection gives a Mask R-CNN on ViTDet's backbone and pyramid (its projects/ViTDet), brought to detectron2's,
//! which are ours. The structure is the same, so that every tensor has its place; other backbones and necks have none.
//!
//! From mmdetection's projects/ViTDet/vitdet/{vit,simple_fpn}.py, mmdet/models/dense_heads/rpn_head.py and
//! mmdet/models/roi_heads/{bbox_heads/convfc_bbox_head,mask_heads/fcn_mask_head}.py.

use super::super::TensorMap;

/// Tensors by which such a file is known.
const MARKS: [&str; 3] =
    ["backbone.patch_embed.proj.weight", "neck.lateral_convs.0.conv.weight", "rpn_head.rpn_cls.weight"];
/// Names of a norm inside mmcv's ConvModule: it is called after its class, and ViTDet's has one that mmcv does not know.
const NORMS: [&str; 3] = ["norm_layer", "ln", "norm"];
/// Steps before the two last convolutions of each level of the pyramid.
const STEPS: [usize; 4] = [4, 1, 0, 1];
/// The pyramid's first level is of stride 2².
const FIRST_LEVEL: usize = 2;

/// Whether the file is a detector of mmdetection with ViTDet's parts; its names are then detectron2's.
pub(super) fn translate(map: &mut TensorMap) -> bool {
    if !MARKS.iter().all(|name| map.get(name).is_some()) {
        return false;
    }
    let convs =
        (0..).take_while(|i| map.get(&format!("rpn_head.rpn_conv.{i}.conv.weight")).is_some()).count();
    for (name, tensor) in std::mem::take(&mut map.tensors) {
        let renamed = rename(&name, convs).unwrap_or(name);
        map.insert(renamed, tensor);
    }
    true
}

/// detectron2's name, where the RPN has `convs` convolutions in a row.
fn rename(name: &str, convs: usize) -> Option<String> {
    if let Some(own) = name.strip_prefix("backbone.") {
        return Some(format!("backbone.net.{own}"));
    }
    if let Some(own) = name.strip_prefix("neck.") {
        return pyramid(own);
    }
    if let Some(own) = name.strip_prefix("rpn_head.") {
        let head = "proposal_generator.rpn_head";
        let rest = match own.strip_prefix("rpn_conv.") {
            Some(conv) if convs > 0 => {
                let (number, rest) = numbered(conv)?;
                let rest = rest.strip_prefix("conv.")?;
                match convs {
                    1 => format!("conv.{rest}"),
                    _ => format!("conv.conv{number}.{rest}"),
                }
            }
            Some(rest) => format!("conv.{rest}"),
            None => replaced(own, &[("rpn_cls.", "objectness_logits."), ("rpn_reg.", "anchor_deltas.")])?,
        };
        return Some(format!("{head}.{rest}"));
    }
    let own = name.strip_prefix("roi_head.")?;
    let rest = if let Some(conv) = own.strip_prefix("bbox_head.shared_convs.") {
        let (number, rest) = numbered(conv)?;
        format!("box_head.conv{}.{}", number + 1, conv_module(rest)?)
    } else if let Some(layer) = own.strip_prefix("bbox_head.shared_fcs.") {
        let (number, rest) = numbered(layer)?;
        format!("box_head.fc{}.{rest}", number + 1)
    } else if let Some(conv) = own.strip_prefix("mask_head.convs.") {
        let (number, rest) = numbered(conv)?;
        format!("mask_head.mask_fcn{}.{}", number + 1, conv_module(rest)?)
    } else {
        const HEADS: [(&str, &str); 4] = [
            ("bbox_head.fc_cls.", "box_predictor.cls_score."),
            ("bbox_head.fc_reg.", "box_predictor.bbox_pred."),
            ("mask_head.upsample.", "mask_head.deconv."),
            ("mask_head.conv_logits.", "mask_head.predictor."),
        ];
        replaced(own, &HEADS)?
    };
    Some(format!("roi_heads.{rest}"))
}

/// A tensor of the neck: `fpnN` changes the scale, two convolutions a level follow.
fn pyramid(own: &str) -> Option<String> {
    let level = |number: usize, rest: String| format!("backbone.simfp_{}.{rest}", FIRST_LEVEL + number);
    let at = |list: &str, after: usize| {
        let (number, rest) = numbered(own.strip_prefix(list)?)?;
        Some(level(number, format!("{}.{}", STEPS.get(number)? + after, conv_module(rest)?)))
    };
    let scaled = || {
        let (number, rest) = numbered(own.strip_prefix("fpn")?)?;
        Some(level(number.checked_sub(1)?, rest.to_owned()))
    };
    at("lateral_convs.", 0).or_else(|| at("fpn_convs.", 1)).or_else(scaled)
}

/// A convolution with its norm inside, whose names are the convolution's own here.
fn conv_module(rest: &str) -> Option<String> {
    if let Some(own) = rest.strip_prefix("conv.") {
        return Some(own.to_owned());
    }
    let (norm, own) = rest.split_once('.')?;
    NORMS.contains(&norm).then(|| format!("norm.{own}"))
}

fn numbered(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

fn replaced(name: &str, pairs: &[(&str, &str)]) -> Option<String> {
    pairs.iter().find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_place() {
        for (theirs, ours) in [
            ("backbone.blocks.3.attn.rel_pos_h", "backbone.net.blocks.3.attn.rel_pos_h"),
            ("neck.fpn1.1.weight", "backbone.simfp_2.1.weight"),
            ("neck.fpn2.0.bias", "backbone.simfp_3.0.bias"),
            ("neck.lateral_convs.0.conv.weight", "backbone.simfp_2.4.weight"),
            ("neck.lateral_convs.2.norm_layer.bias", "backbone.simfp_4.0.norm.bias"),
            ("neck.fpn_convs.3.conv.weight", "backbone.simfp_5.2.weight"),
            ("rpn_head.rpn_conv.1.conv.bias", "proposal_generator.rpn_head.conv.conv1.bias"),
            ("rpn_head.rpn_reg.weight", "proposal_generator.rpn_head.anchor_deltas.weight"),
            ("roi_head.bbox_head.shared_convs.0.ln.weight", "roi_heads.box_head.conv1.norm.weight"),
            ("roi_head.bbox_head.shared_fcs.0.weight", "roi_heads.box_head.fc1.weight"),
            ("roi_head.bbox_head.fc_cls.bias", "roi_heads.box_predictor.cls_score.bias"),
            ("roi_head.mask_head.convs.3.conv.weight", "roi_heads.mask_head.mask_fcn4.weight"),
            ("roi_head.mask_head.upsample.weight", "roi_heads.mask_head.deconv.weight"),
        ] {
            assert_eq!(rename(theirs, 2).as_deref(), Some(ours), "{theirs}");
        }
        assert_eq!(rename("rpn_head.rpn_conv.weight", 0).unwrap(), "proposal_generator.rpn_head.conv.weight");
        for unknown in
            ["neck.lateral_convs.4.conv.weight", "roi_head.bbox_head.cls_convs.0.conv.weight", "ema"]
        {
            assert_eq!(rename(unknown, 2), None);
        }
    }
}
