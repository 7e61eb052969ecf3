//! The simple feature pyramid of ViTDet (arXiv 2203.16527, section 3): five levels from the backbone's last map alone,
//! by transposed convolutions and pooling.
//!
//! # Shapes
//! map (B, E, h, w) at the patch's stride p → C channels at strides p/4, p/2, p, 2p and 4p.

use kat_backbone::nn::{Builder, Module, VisitMut, join};
use kat_backbone::ops::conv2d::Placement;
use kat_backbone::{Device, Graph, Result, Tensor, module, ops};

use kat_backbone::nn::{ChannelNorm, Conv2d, ConvInit, ConvShape, ConvTranspose2d};

/// Levels of the pyramid, the pooled last one included.
pub const LEVELS: usize = 5;

/// A convolution without bias and the norm after it; `norm` is nested in the convolution's name, as in detectron2.
#[derive(Clone, Debug)]
pub struct NormedConv<D: Device> {
    /// (O, C, K, K).
    pub conv: Conv2d<D>,
    /// Over the O channels.
    pub norm: ChannelNorm<D>,
}

module!(NormedConv { ..conv, norm });

impl<D: Device> NormedConv<D> {
    /// First values by `init`.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, shape: ConvShape, init: ConvInit) -> Result<Self> {
        let norm = ChannelNorm::new(&builder.at("norm"), shape.outputs)?;
        Ok(Self { conv: Conv2d::without_bias(builder, shape, init)?, norm })
    }

    /// (B, C, H, W) → (B, O, H', W').
    ///
    /// # Errors
    /// An input of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        let x = self.conv.forward(graph, x)?;
        self.norm.forward(graph, &x)
    }
}

/// The way from the backbone's map to four times its resolution.
#[derive(Clone, Debug)]
struct Fourfold<D: Device> {
    first: ConvTranspose2d<D>,
    norm: ChannelNorm<D>,
    second: ConvTranspose2d<D>,
}

/// How a level's resolution comes about; GELU and pooling have no weights but a place in the numbering.
#[derive(Clone, Debug)]
enum Scale<D: Device> {
    Fourfold(Box<Fourfold<D>>),
    Double(Box<ConvTranspose2d<D>>),
    Same,
    Half,
}

impl<D: Device> Scale<D> {
    /// Steps before the two output convolutions.
    fn steps(&self) -> usize {
        match self {
            Self::Fourfold(_) => 4,
            Self::Double(_) | Self::Half => 1,
            Self::Same => 0,
        }
    }
}

/// One level: a change of scale, a 1×1 and a 3×3 convolution, each with its norm.
#[derive(Clone, Debug)]
struct Level<D: Device> {
    name: String,
    scale: Scale<D>,
    lateral: NormedConv<D>,
    output: NormedConv<D>,
}

/// Four levels named by the power of two of their stride (`simfp_2` at stride 4), and a fifth pooled from the last.
#[derive(Clone, Debug)]
pub struct SimpleFeaturePyramid<D: Device> {
    levels: Vec<Level<D>>,
}

impl<D: Device> SimpleFeaturePyramid<D> {
    /// From maps of `width` channels at stride `patch` (a power of two, at least 4) to `channels`.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, width: usize, patch: usize, channels: usize) -> Result<Self> {
        // torch's own initialisation, which detectron2 leaves as it is for the transposed convolutions
        let up = |builder: &Builder<D>, from: usize, to: usize| {
            ConvTranspose2d::new(builder, ConvShape::tiling(from, to, 2), ConvInit::Torch)
        };
        let first = patch.ilog2() as usize - 2;
        let levels = (0..LEVELS - 1).map(|i| {
            let name = format!("simfp_{}", first + i);
            let builder = builder.at(&name);
            let (scale, inputs) = match i {
                0 => {
                    let first = up(&builder.at(0), width, width / 2)?;
                    let norm = ChannelNorm::new(&builder.at(1), width / 2)?;
                    let second = up(&builder.at(3), width / 2, width / 4)?;
                    (Scale::Fourfold(Box::new(Fourfold { first, norm, second })), width / 4)
                }
                1 => (Scale::Double(Box::new(up(&builder.at(0), width, width / 2)?)), width / 2),
                2 => (Scale::Same, width),
                _ => (Scale::Half, width),
            };
            let at = scale.steps();
            let init = ConvInit::Torch;
            let lateral = NormedConv::new(&builder.at(at), ConvShape::same(inputs, channels, 1), init)?;
            let output = NormedConv::new(&builder.at(at + 1), ConvShape::same(channels, channels, 3), init)?;
            Ok(Level { name, scale, lateral, output })
        });
        Ok(Self { levels: levels.collect::<Result<_>>()? })
    }

    /// The five levels, finest first.
    ///
    /// # Errors
    /// A map of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, map: &Tensor<D>) -> Result<Vec<Tensor<D>>> {
        let mut maps = Vec::with_capacity(LEVELS);
        for level in &self.levels {
            let x = match &level.scale {
                Scale::Fourfold(up) => {
                    let x = up.first.forward(graph, map)?;
                    let x = up.norm.forward(graph, &x)?;
                    let x = ops::gelu(graph, &x)?;
                    up.second.forward(graph, &x)?
                }
                Scale::Double(up) => up.forward(graph, map)?,
                Scale::Same => map.clone(),
                Scale::Half => halve(graph, map, 2)?,
            };
            let x = level.lateral.forward(graph, &x)?;
            maps.push(level.output.forward(graph, &x)?);
        }
        if let Some(last) = maps.last() {
            let pooled = halve(graph, last, 1)?;
            maps.push(pooled);
        }
        Ok(maps)
    }
}

/// Every second pixel, the greatest of `kernel` × `kernel`; a side of one pixel stays.
fn halve<D: Device>(graph: &mut Graph<D>, map: &Tensor<D>, kernel: usize) -> Result<Tensor<D>> {
    let [_, _, height, width] = map.axes("feature pyramid", "(B, C, H, W)")?;
    ops::max_pool(graph, map, [kernel.min(height), kernel.min(width)], Placement::new(2, 0))
}

impl<D: Device> Module<D> for SimpleFeaturePyramid<D> {
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> std::result::Result<(), E> {
        for level in &mut self.levels {
            let steps = level.scale.steps();
            let at = |step: usize| join(&join(path, &level.name), &step.to_string());
            match &mut level.scale {
                Scale::Fourfold(up) => {
                    up.first.visit_mut(&at(0), visitor)?;
                    up.norm.visit_mut(&at(1), visitor)?;
                    up.second.visit_mut(&at(3), visitor)?;
                }
                Scale::Double(up) => up.visit_mut(&at(0), visitor)?,
                Scale::Same | Scale::Half => {}
            }
            level.lateral.visit_mut(&at(steps), visitor)?;
            level.output.visit_mut(&at(steps + 1), visitor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::Cpu;

    #[test]
    fn names_and_sizes_are_vitdets() {
        let pyramid = SimpleFeaturePyramid::new(&Builder::new(&Cpu::default(), 0), 16, 16, 8).unwrap();
        let mut names = Vec::new();
        pyramid.for_each(|name, _, tensor| {
            names.push((format!("backbone.{name}"), tensor.shape().axes().to_vec()));
        });
        let shape =
            |name: &str| names.iter().find(|n| n.0 == name).unwrap_or_else(|| panic!("{name}")).1.clone();
        assert_eq!(shape("backbone.simfp_2.0.weight"), [16, 8, 2, 2]);
        assert_eq!(shape("backbone.simfp_2.1.weight"), [8]);
        assert_eq!(shape("backbone.simfp_2.3.bias"), [4]);
        assert_eq!(shape("backbone.simfp_2.4.weight"), [8, 4, 1, 1]);
        assert_eq!(shape("backbone.simfp_2.5.norm.bias"), [8]);
        assert_eq!(shape("backbone.simfp_3.1.weight"), [8, 8, 1, 1]);
        assert_eq!(shape("backbone.simfp_4.0.weight"), [8, 16, 1, 1]);
        assert_eq!(shape("backbone.simfp_5.2.weight"), [8, 8, 3, 3]);
        assert_eq!(names.len(), 6 + 2 + 4 * 6);
        for (h, w) in [(4, 6), (1, 5), (1, 1), (3, 3)] {
            let map = Tensor::zeros(&Cpu::default(), [2, 16, h, w]).unwrap();
            let maps = pyramid.forward(&mut Graph::inference(), &map).unwrap();
            let half = |n: usize| (n / 2).max(1);
            let sizes: Vec<_> = maps.iter().map(|m| m.shape().axes().to_vec()).collect();
            assert_eq!(sizes[0], [2, 8, 4 * h, 4 * w]);
            assert_eq!(sizes[1], [2, 8, 2 * h, 2 * w]);
            assert_eq!(sizes[2], [2, 8, h, w]);
            assert_eq!(sizes[3], [2, 8, half(h), half(w)]);
            assert_eq!(sizes[4], [2, 8, half(h).div_ceil(2), half(w).div_ceil(2)]);
        }
    }

    #[test]
    fn every_output_is_normed_over_its_channels() {
        let pyramid = SimpleFeaturePyramid::new(&Builder::new(&Cpu::default(), 3), 16, 8, 8).unwrap();
        let values = (0..16 * 12).map(|i| ((i * 31) % 17) as f32 / 8.0 - 1.0).collect();
        let map = Tensor::from_vec(&Cpu::default(), values, [1, 16, 3, 4]).unwrap();
        for level in &pyramid.forward(&mut Graph::inference(), &map).unwrap()[..4] {
            let [_, channels, height, width] = level.axes("test", "").unwrap();
            let values = level.to_vec();
            for pixel in 0..height * width {
                let column: Vec<f64> =
                    (0..channels).map(|c| f64::from(values[c * height * width + pixel])).collect();
                let mean = column.iter().sum::<f64>() / channels as f64;
                let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
                assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-2, "{mean} {variance}");
            }
        }
    }
}
