//! The whole network: backbone, neck, UperNet and the auxiliary head, under mmsegmentation's names.

use kat_backbone::nn::Builder;
use kat_backbone::ops::batch_norm;
use kat_backbone::ops::resize::Interpolation;
use kat_backbone::{Device, Error, Graph, Kat, KatConfig, Result, Size, Tensor, module, ops};

use super::neck::{Halving, MultiLevelNeck, Scales};
use super::{FcnHead, UperConfig, UperHead};

/// How the maps of the blocks become the scales of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeckKind {
    /// [`MultiLevelNeck`].
    MultiLevel,
    /// The same with mmsegmentation's halving, in steps of exactly 2: of an odd side, the last row or column is left out.
    MultiLevelByTwo,
    /// Not at all: four maps at the patch grid.
    Plain,
}

/// Whether the backbone's final norm is applied, to the last map alone ("LN" in mmsegmentation's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalNorm {
    /// Left out.
    None,
    /// On the last map.
    Last,
}

/// Every size and choice.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentorConfig {
    /// The backbone; it has no classification head here.
    pub backbone: KatConfig,
    /// Blocks whose tokens become feature maps: four, ascending, from 0.
    pub blocks: Vec<usize>,
    /// The neck.
    pub neck: NeckKind,
    /// The backbone's final norm.
    pub final_norm: FinalNorm,
    /// Channels of the UperNet head.
    pub channels: usize,
    /// Grids of its pyramid pooling.
    pub pool_grids: Vec<usize>,
    /// Channels of the auxiliary head on the last map; no such head where absent.
    pub auxiliary_channels: Option<usize>,
    /// Probability with which a channel is dropped before a classifier.
    pub dropout: f32,
    /// Classes.
    pub classes: usize,
}

/// Class scores of the heads, each at its own size.
#[derive(Clone, Debug)]
pub struct Scores<D: Device> {
    /// (B, classes, H, W) of the UperNet head.
    pub decoded: Tensor<D>,
    /// (B, classes, h, w) of the auxiliary head, where there is one.
    pub auxiliary: Option<Tensor<D>>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Segmentor<D: Device> {
    /// Image → tokens of chosen blocks.
    pub backbone: Kat<D>,
    /// Maps → scales.
    pub neck: Scales<D>,
    /// Scales → class scores.
    pub decode_head: UperHead<D>,
    /// The last scale → class scores, in training.
    pub auxiliary_head: Option<FcnHead<D>>,
    config: SegmentorConfig,
}

module!(Segmentor { backbone, neck, decode_head, auxiliary_head });

impl<D: Device> Segmentor<D> {
    /// A network with first values by `config` and `seed`. `norm` says how batch norms count, and over which processes.
    ///
    /// # Errors
    /// A configuration that does not go together.
    pub fn new(device: &D, config: &SegmentorConfig, norm: &batch_norm::Options, seed: u64) -> Result<Self> {
        if config.blocks.len() != 4 {
            let reason = format!("{:?}, expected four blocks", config.blocks);
            return Err(Error::config("segment.out_blocks", reason));
        }
        if let Some(block) = config.blocks.iter().find(|b| **b >= config.backbone.depth) {
            let reason = format!("block {block} of {}, counted from 0", config.backbone.depth);
            return Err(Error::config("segment.out_blocks", reason));
        }
        if config.classes == 0 {
            return Err(Error::config("classes", "0, expected at least 1"));
        }
        let builder = Builder::new(device, seed);
        let mut backbone =
            Kat::build(&builder.at("backbone"), &KatConfig { classes: 0, ..config.backbone.clone() })?;
        // What no map passes through is left out, so that every parameter has a gradient.
        backbone.fc_norm = None;
        backbone.norm = backbone.norm.filter(|_| config.final_norm == FinalNorm::Last);
        let dim = config.backbone.dim;
        let head = UperConfig {
            inputs: vec![dim; config.blocks.len()],
            channels: config.channels,
            pool_grids: config.pool_grids.clone(),
            dropout: config.dropout,
            classes: config.classes,
        };
        let auxiliary = |channels| {
            let sizes = [dim, channels, config.classes];
            FcnHead::new(&builder.at("auxiliary_head"), sizes, config.dropout, norm)
        };
        let neck =
            |halving| Ok::<_, Error>(Scales::Neck(MultiLevelNeck::new(&builder.at("neck"), dim, halving)?));
        Ok(Self {
            backbone,
            neck: match config.neck {
                NeckKind::MultiLevel => neck(Halving::ToSize)?,
                NeckKind::MultiLevelByTwo => neck(Halving::ByTwo)?,
                NeckKind::Plain => Scales::Plain,
            },
            decode_head: UperHead::new(&builder.at("decode_head"), &head, norm)?,
            auxiliary_head: config.auxiliary_channels.map(auxiliary).transpose()?,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SegmentorConfig {
        &self.config
    }

    /// Side of a patch in pixels, (height, width); images are multiples of it.
    pub fn patch(&self) -> [usize; 2] {
        let patch = self.config.backbone.patch_size;
        [patch.height, patch.width]
    }

    /// The maps of the chosen blocks.
    ///
    /// # Shapes
    /// image (B, 3, H, W), H and W multiples of the patch → four (B, C, H/p, W/p).
    ///
    /// # Errors
    /// An image of another number of channels, or no multiple of the patch.
    pub fn features(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Vec<Tensor<D>>> {
        let mut maps = self.backbone.feature_maps(graph, image, &self.config.blocks)?;
        if let (Some(norm), Some(last)) = (&self.backbone.norm, maps.last_mut()) {
            // Layer norm over a token's channels is the norm over the channels of a pixel.
            *last = ops::channel_norm(graph, last, &norm.weight, &norm.bias, self.config.backbone.norm_eps)?;
        }
        Ok(maps)
    }

    /// Class scores of both heads, as the loss takes them.
    ///
    /// # Shapes
    /// image (B, 3, H, W) → decoded (B, classes, 4H/p, 4W/p) with the neck, (B, classes, H/p, W/p) without.
    ///
    /// # Errors
    /// Those of [`Segmentor::features`].
    pub fn scores(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Scores<D>> {
        let maps = self.features(graph, image)?;
        let maps = self.neck.forward(graph, maps)?;
        let last = maps.last().filter(|_| self.auxiliary_head.is_some());
        let auxiliary = match (&self.auxiliary_head, last) {
            (Some(head), Some(map)) => Some(head.forward(graph, map)?),
            _ => None,
        };
        Ok(Scores { decoded: self.decode_head.forward(graph, &maps)?, auxiliary })
    }

    /// Class scores at the size of the image, without the auxiliary head.
    ///
    /// # Shapes
    /// image (B, 3, H, W) → (B, classes, H, W).
    ///
    /// # Errors
    /// Those of [`Segmentor::features`].
    pub fn forward(&self, graph: &mut Graph<D>, image: &Tensor<D>) -> Result<Tensor<D>> {
        let [_, _, height, width] = image.axes("segmentor", "images (B, 3, H, W)")?;
        self.forward_at(graph, image, Size::new(height, width))
    }

    /// As [`Segmentor::forward`], at `size` in place of the image's own.
    ///
    /// # Errors
    /// As [`Segmentor::forward`].
    pub fn forward_at(&self, graph: &mut Graph<D>, image: &Tensor<D>, size: Size) -> Result<Tensor<D>> {
        let maps = self.features(graph, image)?;
        let maps = self.neck.forward(graph, maps)?;
        let scores = self.decode_head.forward(graph, &maps)?;
        drop(maps);
        ops::resize(graph, &scores, [size.height, size.width], Interpolation::Bilinear)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use kat_backbone::checkpoint::model::export;
    use kat_backbone::nn::Module;
    use kat_backbone::{Cpu, Size};

    use super::*;
    use crate::SegmentLoss;

    pub(crate) fn small() -> SegmentorConfig {
        SegmentorConfig {
            backbone: KatConfig {
                image_size: Size::square(32),
                patch_size: Size::square(8),
                dim: 32,
                depth: 4,
                heads: 2,
                ..KatConfig::default()
            },
            blocks: vec![0, 1, 2, 3],
            neck: NeckKind::MultiLevel,
            final_norm: FinalNorm::Last,
            channels: 8,
            pool_grids: vec![1, 2],
            auxiliary_channels: Some(8),
            dropout: 0.1,
            classes: 5,
        }
    }

    fn build(config: &SegmentorConfig) -> Result<Segmentor<Cpu>> {
        Segmentor::new(&Cpu::default(), config, &batch_norm::Options::default(), 1)
    }

    fn image(batch: usize, height: usize, width: usize) -> Tensor<Cpu> {
        let values = (0..batch * 3 * height * width).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        Tensor::from_vec(&Cpu::default(), values, [batch, 3, height, width]).unwrap()
    }

    #[test]
    fn any_size_of_whole_patches_gives_scores_of_that_size() {
        for (neck, final_norm) in
            [(NeckKind::MultiLevel, FinalNorm::Last), (NeckKind::Plain, FinalNorm::None)]
        {
            let model = build(&SegmentorConfig { neck, final_norm, ..small() }).unwrap();
            for (height, width) in [(32, 32), (8, 8), (24, 80)] {
                let y = model.forward(&mut Graph::inference(), &image(1, height, width)).unwrap();
                assert_eq!(y.shape().axes(), [1, 5, height, width]);
            }
            assert!(model.forward(&mut Graph::inference(), &image(1, 32, 33)).is_err());
        }
    }

    #[test]
    fn every_parameter_has_a_gradient_with_and_without_recomputation() {
        let mut runs = Vec::new();
        for recompute in [false, true] {
            let mut config = small();
            config.backbone.activation_checkpointing = recompute;
            let model = build(&config).unwrap();
            let names: Vec<_> = export(&model).tensors.into_keys().collect();
            for part in ["backbone.blocks.3.norm1.weight", "backbone.norm.bias", "neck.convs.3.conv.bias"] {
                assert!(names.iter().any(|n| n == part), "{part}");
            }
            let mut graph = Graph::training(3);
            let scores = model.scores(&mut graph, &image(2, 32, 32)).unwrap();
            let labels: Vec<u8> = (0..2 * 32 * 32).map(|i| (i / 7 % 5) as u8).collect();
            let loss = SegmentLoss { auxiliary_weight: 0.4, ..SegmentLoss::default() };
            let loss = loss.forward(&mut graph, &scores, &labels, [32, 32]).unwrap();
            let mut gradients = graph.backward(&loss).unwrap();
            let mut all = Vec::new();
            model.for_each(|name, kind, tensor| {
                if kind == kat_backbone::nn::Kind::Parameter {
                    let gradient = gradients.take_host(tensor).unwrap();
                    all.push(gradient.unwrap_or_else(|| panic!("{name} has no gradient")));
                }
            });
            runs.push(all);
        }
        assert!(runs[0] == runs[1], "recomputed blocks give the same bits");
    }

    #[test]
    fn the_class_token_takes_part_and_is_dropped_from_the_maps() {
        let mut model = build(&small()).unwrap();
        let x = image(1, 32, 32);
        let before = model.features(&mut Graph::inference(), &x).unwrap();
        assert!(before.iter().all(|m| m.shape().axes() == [1, 32, 4, 4]));
        model.backbone.cls_token.as_mut().unwrap().set(vec![3.0; 32]).unwrap();
        let after = model.features(&mut Graph::inference(), &x).unwrap();
        assert_ne!(before[1].to_vec(), after[1].to_vec());
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let fails = |change: fn(&mut SegmentorConfig)| {
            let mut config = small();
            change(&mut config);
            build(&config).unwrap_err().to_string()
        };
        assert!(fails(|c| c.blocks = vec![2, 5, 8, 11]).contains("block 5 of 4"));
        assert!(fails(|c| c.blocks = vec![3]).contains("expected four blocks"));
        assert!(fails(|c| c.classes = 0).contains("classes: 0"));
    }
}
