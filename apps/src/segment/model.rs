//! From the configuration to the network, its loss and its optimizer's view of images.

use kat_backbone::ops::softmax_cross_entropy::OhemSampler;
use kat_backbone::{KatConfig, Size};
use kat_upernet::{FinalNorm, NeckKind, SegmentLoss, SegmentorConfig};

use crate::config::NeckChoice;
use crate::config::Plan;
use crate::shell::Misuse;

/// The network that `plan` asks for, for `classes` classes. Position embeddings are made for the training crop unless
/// the configuration names another image size.
///
/// # Errors
/// Numbers that do not go together.
pub fn segmentor_config(plan: &Plan, classes: usize) -> anyhow::Result<SegmentorConfig> {
    let s = &plan.segment;
    let side = plan.model.image_size.unwrap_or(s.crop);
    let backbone = KatConfig { image_size: Size::square(side), ..plan.model.kat_config(0)? };
    backbone.check()?;
    let patch = backbone.patch_size;
    if !(s.crop.is_multiple_of(patch.height) && s.crop.is_multiple_of(patch.width)) {
        let reason = format!("segment.crop is {}, expected a multiple of the patch ({patch:?})", s.crop);
        return Err(Misuse(reason).into());
    }
    Ok(SegmentorConfig {
        backbone,
        blocks: s.out_blocks.clone(),
        neck: match s.neck {
            NeckChoice::MultiLevel if s.as_mmsegmentation => NeckKind::MultiLevelByTwo,
            NeckChoice::MultiLevel => NeckKind::MultiLevel,
            NeckChoice::Plain => NeckKind::Plain,
        },
        final_norm: if s.final_norm { FinalNorm::Last } else { FinalNorm::None },
        channels: s.channels,
        pool_grids: s.pool_scales.clone(),
        auxiliary_channels: (s.aux_weight > 0.0).then_some(s.aux_channels),
        dropout: s.dropout as f32,
        classes,
    })
}

/// The loss that `plan` asks for.
///
/// # Errors
/// Class weights for another number of classes.
pub fn segment_loss(plan: &Plan, classes: usize) -> anyhow::Result<SegmentLoss> {
    let s = &plan.segment;
    if !s.class_weights.is_empty() && s.class_weights.len() != classes {
        let found = s.class_weights.len();
        return Err(Misuse(format!("segment.class_weights has {found} values for {classes} classes")).into());
    }
    let weights = s.class_weights.iter().map(|w| *w as f32).collect();
    let ohem = OhemSampler { threshold: Some(s.ohem_threshold as f32), min_kept: s.ohem_min_kept };
    Ok(SegmentLoss {
        class_weights: (!s.class_weights.is_empty()).then_some(weights),
        ohem: (s.ohem_threshold > 0.0).then_some(ohem),
        auxiliary_weight: s.aux_weight as f32,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kat_backbone::meta::Meta;
    use kat_backbone::nn::Module as _;
    use kat_backbone::ops::batch_norm;
    use kat_upernet::Segmentor;

    use super::*;
    use crate::config::{TaskKind, load};

    /// KAT's paper (Table 7) says 57M and 142M: those of the network without the auxiliary head, which only training has.
    #[test]
    fn the_papers_recipes_have_its_parameters() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/segment");
        for (file, expected) in [("kat_small_ade20k_paper.toml", 57), ("kat_base_ade20k_paper.toml", 142)] {
            let loaded = load(Some(&dir.join(file)), &[], TaskKind::Segment).unwrap();
            let plan = Plan::new(loaded, TaskKind::Segment).unwrap();
            let config =
                SegmentorConfig { auxiliary_channels: None, ..segmentor_config(&plan, 150).unwrap() };
            let model =
                Segmentor::new(&Meta::default(), &config, &batch_norm::Options::default(), 0).unwrap();
            let parameters = model.parameter_count();
            assert_eq!((parameters + 500_000) / 1_000_000, expected, "{file}: {parameters}");
        }
    }
}
