//! Four scales from four blocks of a ViT, whose maps all have the patch grid: mmsegmentation's MultiLevelNeck.

use kat_backbone::nn::{Builder, Module, VisitMut, join};
use kat_backbone::ops::resize::Interpolation;
use kat_backbone::{Device, Error, Graph, Result, Tensor, module, ops};

use kat_backbone::nn::{Conv2d, ConvInit, ConvShape};

/// Sides of the maps over the side of the patch grid.
pub const SCALES: [f64; 4] = [4.0, 2.0, 1.0, 0.5];

/// A convolution that is followed by neither norm nor activation, under the name that it has inside mmcv's ConvModule.
#[derive(Clone, Debug)]
pub struct Bare<D: Device> {
    /// The convolution.
    pub conv: Conv2d<D>,
}

module!(Bare { conv });

/// For each map a 1×1 convolution, a bilinear resize, and a 3×3 convolution.
#[derive(Clone, Debug)]
pub struct MultiLevelNeck<D: Device> {
    /// 1×1, one for each map.
    pub lateral_convs: Vec<Bare<D>>,
    /// 3×3, one for each scale.
    pub convs: Vec<Bare<D>>,
    halving: Halving,
}

/// How a map of odd sides is halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halving {
    /// The whole map at the size of half, rounded down.
    ToSize,
    /// In steps of exactly 2 (mmsegmentation): the last row or column of an odd side is left out.
    ByTwo,
}

module!(MultiLevelNeck { lateral_convs, convs });

impl<D: Device> MultiLevelNeck<D> {
    /// `channels` in and out; Xavier uniform weights, biases 0.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, channels: usize, halving: Halving) -> Result<Self> {
        let convs = |name: &str, kernel: usize| -> Result<Vec<Bare<D>>> {
            let shape = ConvShape::same(channels, channels, kernel);
            let one = |i| {
                let builder = builder.at(name).at(i).at("conv");
                Ok(Bare { conv: Conv2d::new(&builder, shape, ConvInit::XavierUniform)? })
            };
            (0..SCALES.len()).map(one).collect()
        };
        Ok(Self { lateral_convs: convs("lateral_convs", 1)?, convs: convs("convs", 3)?, halving })
    }

    /// Four maps (B, C, H, W) → (B, C, 4H, 4W), (B, C, 2H, 2W), (B, C, H, W), (B, C, ⌊H/2⌋, ⌊W/2⌋), no side below 1.
    ///
    /// # Errors
    /// Other than four maps, or maps of other channels.
    pub fn forward(&self, graph: &mut Graph<D>, maps: &[Tensor<D>]) -> Result<Vec<Tensor<D>>> {
        if maps.len() != SCALES.len() {
            return Err(Error::config("neck", format!("{} maps, expected {}", maps.len(), SCALES.len())));
        }
        let layers = self.lateral_convs.iter().zip(&self.convs);
        let scaled = maps.iter().zip(SCALES).zip(layers).map(|((map, scale), (lateral, conv))| {
            let [_, _, height, width] = map.axes("neck", "maps (B, C, H, W)")?;
            let side = |side: usize| ((side as f64 * scale) as usize).max(1);
            let mut map = lateral.conv.forward(graph, map)?;
            if scale < 1.0 && self.halving == Halving::ByTwo {
                for (axis, side) in [(2, height), (3, width)] {
                    let even = (side - side % 2).max(1);
                    map = ops::narrow(graph, &map, axis, 0..even)?;
                }
            }
            let map = ops::resize(graph, &map, [side(height), side(width)], Interpolation::Bilinear)?;
            conv.conv.forward(graph, &map)
        });
        scaled.collect()
    }
}

/// Feature maps as a decode head takes them: through a neck, or as they come.
#[derive(Clone, Debug)]
pub enum Scales<D: Device> {
    /// Four scales.
    Neck(MultiLevelNeck<D>),
    /// All maps at the patch grid (the plain DeiT configurations of mmsegmentation).
    Plain,
}

impl<D: Device> Scales<D> {
    /// The maps that the heads see.
    ///
    /// # Errors
    /// Those of [`MultiLevelNeck::forward`].
    pub fn forward(&self, graph: &mut Graph<D>, maps: Vec<Tensor<D>>) -> Result<Vec<Tensor<D>>> {
        match self {
            Self::Neck(neck) => neck.forward(graph, &maps),
            Self::Plain => Ok(maps),
        }
    }
}

impl<D: Device> Module<D> for Scales<D> {
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> std::result::Result<(), E> {
        match self {
            Self::Neck(neck) => neck.visit_mut(path, visitor),
            Self::Plain => Ok(()),
        }
    }
}

/// The path of item `i` of a list, whose module is the second in a torch `Sequential`.
pub(super) fn second_of(path: &str, i: usize) -> String {
    join(&join(path, &i.to_string()), "1")
}

#[cfg(test)]
mod tests {
    use kat_backbone::Cpu;
    use kat_backbone::checkpoint::model::export;

    use super::*;

    #[test]
    fn four_scales_whatever_the_grid() {
        let neck = MultiLevelNeck::new(&Builder::new(&Cpu::default(), 0), 3, Halving::ToSize).unwrap();
        assert!(export(&neck).tensors.contains_key("lateral_convs.3.conv.bias"));
        assert!(export(&neck).tensors.contains_key("convs.0.conv.weight"));
        for (grid, expected) in
            [([5, 6], [[20, 24], [10, 12], [5, 6], [2, 3]]), ([1, 1], [[4, 4], [2, 2], [1, 1], [1, 1]])]
        {
            let map = Tensor::zeros(&Cpu::default(), [1, 3, grid[0], grid[1]]).unwrap();
            let maps = neck.forward(&mut Graph::inference(), &vec![map; 4]).unwrap();
            let sizes: Vec<_> = maps.iter().map(|m| m.shape().axes()[2..].to_vec()).collect();
            assert_eq!(sizes, expected);
        }
        // the lateral convolutions alone: halves of an odd side in steps of 2, without its last row
        let odd: Vec<f32> = (0..3 * 5 * 4).map(|i| (i % 7) as f32).collect();
        let map = Tensor::from_vec(&Cpu::default(), odd, [1, 3, 5, 4]).unwrap();
        let cut = ops::narrow(&mut Graph::inference(), &map, 2, 0..4).unwrap();
        let by_two = MultiLevelNeck::new(&Builder::new(&Cpu::default(), 0), 3, Halving::ByTwo).unwrap();
        let last = |neck: &MultiLevelNeck<Cpu>, map: &Tensor<Cpu>| {
            neck.forward(&mut Graph::inference(), &vec![map.clone(); 4]).unwrap()[3].to_vec()
        };
        assert_eq!(last(&by_two, &map), last(&neck, &cut));
        assert_ne!(last(&neck, &map), last(&neck, &cut));
        let error = neck.forward(&mut Graph::inference(), &[]).unwrap_err().to_string();
        assert!(error.contains("0 maps, expected 4"), "{error}");
    }
}
