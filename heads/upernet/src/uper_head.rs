//! UperNet (arXiv 1807.10221): pyramid pooling on the coarsest map, a feature pyramid down to the finest, all levels
//! fused at the finest, and a classifier for each pixel.

use kat_backbone::nn::Builder;
use kat_backbone::ops::batch_norm;
use kat_backbone::ops::resize::Interpolation;
use kat_backbone::{Device, Error, Graph, Result, Tensor, module, ops};

use super::PyramidPooling;
use kat_backbone::nn::{Conv2d, ConvInit, ConvNormAct, ConvShape};

/// Settings of the head.
#[derive(Clone, Debug, PartialEq)]
pub struct UperConfig {
    /// Channels of each input map, finest first.
    pub inputs: Vec<usize>,
    /// Channels inside.
    pub channels: usize,
    /// Grids of the pyramid pooling.
    pub pool_grids: Vec<usize>,
    /// Probability with which a channel is dropped before the classifier.
    pub dropout: f32,
    /// Classes.
    pub classes: usize,
}

/// The head; fields are named as in mmsegmentation's UPerHead.
#[derive(Clone, Debug)]
pub struct UperHead<D: Device> {
    /// 1×1: the classifier.
    pub conv_seg: Conv2d<D>,
    /// On the coarsest map.
    pub psp_modules: PyramidPooling<D>,
    /// 3×3: the pooled map to the width of the head.
    pub bottleneck: ConvNormAct<D>,
    /// 1×1, one for each map but the coarsest.
    pub lateral_convs: Vec<ConvNormAct<D>>,
    /// 3×3, one for each map but the coarsest.
    pub fpn_convs: Vec<ConvNormAct<D>>,
    /// 3×3 over all levels.
    pub fpn_bottleneck: ConvNormAct<D>,
    dropout: f32,
}

module!(UperHead { conv_seg, psp_modules, bottleneck, lateral_convs, fpn_convs, fpn_bottleneck });

impl<D: Device> UperHead<D> {
    /// A head with first values as mmsegmentation has them.
    ///
    /// # Errors
    /// No input map, or sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, config: &UperConfig, norm: &batch_norm::Options) -> Result<Self> {
        let Some((coarsest, finer)) = config.inputs.split_last() else {
            return Err(Error::config("decode head", "no input map, expected one or more"));
        };
        let width = config.channels;
        let layer = |name: String, inputs: usize, kernel: usize| {
            ConvNormAct::new(&builder.at(name), ConvShape::same(inputs, width, kernel), norm)
        };
        let pooled = coarsest + config.pool_grids.len() * width;
        let classifier = ConvShape::same(width, config.classes, 1);
        Ok(Self {
            conv_seg: Conv2d::new(&builder.at("conv_seg"), classifier, ConvInit::Normal(0.01))?,
            psp_modules: PyramidPooling::new(
                &builder.at("psp_modules"),
                &config.pool_grids,
                *coarsest,
                width,
                norm,
            )?,
            bottleneck: layer("bottleneck".into(), pooled, 3)?,
            lateral_convs: (finer.iter().enumerate())
                .map(|(i, inputs)| layer(format!("lateral_convs.{i}"), *inputs, 1))
                .collect::<Result<_>>()?,
            fpn_convs: (0..finer.len())
                .map(|i| layer(format!("fpn_convs.{i}"), width, 3))
                .collect::<Result<_>>()?,
            fpn_bottleneck: layer("fpn_bottleneck".into(), config.inputs.len() * width, 3)?,
            dropout: config.dropout,
        })
    }

    /// Class scores at the size of the finest map.
    ///
    /// # Shapes
    /// maps (B, C_i, H_i, W_i), finest first → (B, classes, H_0, W_0).
    ///
    /// # Errors
    /// Another number of maps than the head was made for, or maps of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, maps: &[Tensor<D>]) -> Result<Tensor<D>> {
        let Some((coarsest, finer)) = maps.split_last().filter(|(_, f)| f.len() == self.lateral_convs.len())
        else {
            let reason = format!("{} maps, expected {}", maps.len(), self.lateral_convs.len() + 1);
            return Err(Error::config("decode head", reason));
        };
        let pooled = self.psp_modules.forward(graph, coarsest)?;
        let mut above = self.bottleneck.forward(graph, &pooled)?;
        // Coarsest first: each level is its own map plus the level above it.
        let mut levels = vec![above.clone()];
        for (map, lateral) in finer.iter().zip(&self.lateral_convs).rev() {
            let own = lateral.forward(graph, map)?;
            let above_resized = resize_to(graph, &above, &own)?;
            above = ops::add(graph, &own, &above_resized)?;
            levels.push(above.clone());
        }
        levels.reverse();
        for (level, conv) in levels.iter_mut().zip(&self.fpn_convs) {
            *level = conv.forward(graph, level)?;
        }
        let finest = levels[0].clone();
        for level in &mut levels[1..] {
            *level = resize_to(graph, level, &finest)?;
        }
        let fused = ops::concat(graph, &levels.iter().collect::<Vec<_>>(), 1)?;
        drop(levels);
        let fused = self.fpn_bottleneck.forward(graph, &fused)?;
        let fused = ops::channel_dropout(graph, &fused, self.dropout)?;
        self.conv_seg.forward(graph, &fused)
    }
}

/// `x` at the height and width of `like`.
fn resize_to<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>, like: &Tensor<D>) -> Result<Tensor<D>> {
    let [_, _, height, width] = like.axes("decode head", "(B, C, H, W)")?;
    ops::resize(graph, x, [height, width], Interpolation::Bilinear)
}

#[cfg(test)]
mod tests {
    use kat_backbone::Cpu;
    use kat_backbone::checkpoint::model::export;

    use super::*;

    #[test]
    fn names_and_sizes_are_those_of_the_published_head() {
        let config = UperConfig {
            inputs: vec![6, 6, 6, 6],
            channels: 4,
            pool_grids: vec![1, 2, 3, 6],
            dropout: 0.1,
            classes: 5,
        };
        let builder = Builder::new(&Cpu::default(), 0);
        let head = UperHead::new(&builder, &config, &batch_norm::Options::default()).unwrap();
        let tensors = export(&head).tensors;
        for (name, shape) in [
            ("conv_seg.weight", &[5, 4, 1, 1][..]),
            ("psp_modules.3.1.conv.weight", &[4, 6, 1, 1]),
            ("bottleneck.conv.weight", &[4, 22, 3, 3]),
            ("lateral_convs.2.bn.running_mean", &[4]),
            ("fpn_convs.2.conv.weight", &[4, 4, 3, 3]),
            ("fpn_bottleneck.conv.weight", &[4, 16, 3, 3]),
        ] {
            assert_eq!(tensors[name].shape, shape, "{name}");
        }
        assert!(!tensors.contains_key("lateral_convs.3.conv.weight"));
        let maps: Vec<_> = [16, 8, 4, 2]
            .map(|side| {
                Tensor::from_vec(&Cpu::default(), vec![0.5; 6 * side * side], [1, 6, side, side]).unwrap()
            })
            .into();
        let scores = head.forward(&mut Graph::inference(), &maps).unwrap();
        assert_eq!(scores.shape().axes(), [1, 5, 16, 16]);
        let error = head.forward(&mut Graph::inference(), &maps[..2]).unwrap_err().to_string();
        assert!(error.contains("2 maps, expected 4"), "{error}");
    }
}
