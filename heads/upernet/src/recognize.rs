//! From a segmentor's tensors, under mmsegmentation's names, to its configuration.

use kat_backbone::checkpoint::TensorMap;
use kat_backbone::checkpoint::recognize::{self, Recognized};

use crate::{FinalNorm, NeckKind, SegmentorConfig};

/// Before the names of the backbone's tensors.
const BACKBONE: &str = "backbone.";
/// The classifier of pixels.
const CLASSIFIER: &str = "decode_head.conv_seg.weight";
/// Pooling grids of mmsegmentation's configurations.
const POOL_GRIDS: [usize; 4] = [1, 2, 3, 6];

/// A segmentor that was recognized.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognition {
    /// Its backbone, with what is undecided of it.
    pub backbone: Recognized,
    /// Its configuration.
    pub config: SegmentorConfig,
}

/// Whether a file is of a segmentor that [`recognize`] looks at.
pub fn is_segmentor(map: &TensorMap) -> bool {
    map.get(CLASSIFIER).is_some()
}

/// The segmentor that a file is of.
///
/// # Errors
/// Why there is none, in words.
pub fn recognize(map: &TensorMap) -> Result<Recognition, String> {
    let shape = |name: &str| map.get(name).map(|tensor| &tensor.shape[..]);
    let has = |name: &str| map.get(name).is_some();
    let Some(&[classes, ..]) = shape(CLASSIFIER) else {
        return Err(format!("no segmentor under mmsegmentation's names: there is no {CLASSIFIER} in it"));
    };
    let Some(&[channels, ..]) = shape("decode_head.fpn_bottleneck.conv.weight") else {
        return Err(
            "its decode head is no UPerHead (no decode_head.fpn_bottleneck), the only one that is built here"
                .into(),
        );
    };
    let mut net = TensorMap { metadata: map.metadata.clone(), ..TensorMap::default() };
    let own = map.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(BACKBONE)?, tensor)));
    own.for_each(|(name, tensor)| net.insert(name, tensor.clone()));
    if net.get("patch_embed.proj.weight").is_none() {
        return Err("its backbone is no plain vision transformer, the only one that is built here".into());
    }
    let mut backbone = recognize::recognize(&net)?;
    let depth = backbone.config.depth;
    let blocks: Vec<usize> = (1..=4).map(|quarter| (quarter * depth / 4).saturating_sub(1)).collect();
    backbone
        .notes
        .push(format!("maps of the blocks {blocks:?}, a quarter of them apart (the file does not say)"));
    let grids = (0..).take_while(|i| has(&format!("decode_head.psp_modules.{i}.1.conv.weight"))).count();
    if grids != POOL_GRIDS.len() {
        backbone.undecided.push(("segment.pool_scales", format!("a list of {grids} grids")));
    }
    let auxiliary = shape("auxiliary_head.convs.0.conv.weight").and_then(|shape| shape.first().copied());
    let config = SegmentorConfig {
        backbone: backbone.config.clone(),
        blocks,
        neck: match has("neck.convs.0.conv.weight") {
            true => NeckKind::MultiLevel,
            false => NeckKind::Plain,
        },
        final_norm: match has("backbone.norm.weight") {
            true => FinalNorm::Last,
            false => FinalNorm::None,
        },
        channels,
        pool_grids: POOL_GRIDS.to_vec(),
        auxiliary_channels: auxiliary,
        dropout: 0.1,
        classes,
    };
    Ok(Recognition { backbone, config })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Segmentor;
    use crate::segmentor::tests::small;
    use kat_backbone::checkpoint::model::export;
    use kat_backbone::nn::MixerKind;
    use kat_backbone::{Cpu, KatConfig};

    #[test]
    fn a_segmentor_is_recognized_by_its_tensors() {
        let base = small();
        let depth = 8;
        let backbone = KatConfig { mixer: MixerKind::Mlp, depth, classes: 0, ..base.backbone.clone() };
        let config = SegmentorConfig {
            backbone,
            blocks: vec![1, 3, 5, 7],
            pool_grids: POOL_GRIDS.to_vec(),
            dropout: 0.1,
            ..base
        };
        for final_norm in [FinalNorm::None, FinalNorm::Last] {
            for neck in [NeckKind::MultiLevel, NeckKind::Plain] {
                let config = SegmentorConfig { neck, final_norm, ..config.clone() };
                let map = export(&Segmentor::new(&Cpu::default(), &config, &Default::default(), 1).unwrap());
                assert!(is_segmentor(&map));
                let found = recognize(&map).unwrap();
                assert_eq!((found.config.neck, found.config.final_norm), (neck, final_norm));
                let expected = SegmentorConfig { backbone: found.config.backbone.clone(), ..config };
                assert_eq!(found.config, expected);
            }
        }
        assert!(recognize(&TensorMap::default()).unwrap_err().contains("conv_seg"));
    }
}
