//! Pyramid pooling (PSPNet, arXiv 1612.01105): a map beside its own averages over coarse grids, which tell a pixel
//! about the whole scene.

use kat_backbone::nn::{Builder, Module, VisitMut};
use kat_backbone::ops::batch_norm;
use kat_backbone::ops::resize::Interpolation;
use kat_backbone::{Device, Graph, Result, Tensor, ops};

use super::neck::second_of;
use kat_backbone::nn::{ConvNormAct, ConvShape};

/// For each grid: average, 1×1 convolution, back to the size of the map.
#[derive(Clone, Debug)]
pub struct PyramidPooling<D: Device> {
    stages: Vec<(usize, ConvNormAct<D>)>,
}

impl<D: Device> PyramidPooling<D> {
    /// A stage of `channels` outputs for each of `grids`, from a map of `inputs` channels.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(
        builder: &Builder<D>,
        grids: &[usize],
        inputs: usize,
        channels: usize,
        norm: &batch_norm::Options,
    ) -> Result<Self> {
        let shape = ConvShape::same(inputs, channels, 1);
        let stage = |(i, grid): (usize, &usize)| {
            // In the published module the convolution follows the pooling in a Sequential: `0.1.conv.weight`.
            Ok((*grid, ConvNormAct::new(&builder.at(i).at(1), shape, norm)?))
        };
        Ok(Self { stages: grids.iter().enumerate().map(stage).collect::<Result<_>>()? })
    }

    /// (B, C, H, W) → (B, C + stages · channels, H, W): the map, then each stage.
    ///
    /// # Errors
    /// A map of other channels; while training, a single sample pooled to a grid of 1, which has no variance.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        let [_, _, height, width] = x.axes("pyramid pooling", "(B, C, H, W)")?;
        let mut parts = vec![x.clone()];
        for (grid, conv) in &self.stages {
            let pooled = ops::adaptive_average_pool(graph, x, [*grid, *grid])?;
            let pooled = conv.forward(graph, &pooled)?;
            parts.push(ops::resize(graph, &pooled, [height, width], Interpolation::Bilinear)?);
        }
        ops::concat(graph, &parts.iter().collect::<Vec<_>>(), 1)
    }
}

impl<D: Device> Module<D> for PyramidPooling<D> {
    fn visit_mut<E>(&mut self, path: &str, visitor: &mut VisitMut<'_, D, E>) -> std::result::Result<(), E> {
        let mut stages = self.stages.iter_mut().enumerate();
        stages.try_for_each(|(i, (_, conv))| conv.visit_mut(&second_of(path, i), visitor))
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::Cpu;
    use kat_backbone::checkpoint::model::export;

    use super::*;

    #[test]
    fn the_map_comes_first_and_grids_may_be_finer_than_it() {
        let builder = Builder::new(&Cpu::default(), 0);
        let pool = PyramidPooling::new(&builder, &[1, 6], 2, 3, &batch_norm::Options::default()).unwrap();
        assert!(export(&pool).tensors.contains_key("1.1.bn.running_var"));
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let x = Tensor::from_vec(&Cpu::default(), values.clone(), [1, 2, 2, 3]).unwrap();
        let y = pool.forward(&mut Graph::inference(), &x).unwrap();
        assert_eq!(y.shape().axes(), [1, 8, 2, 3]);
        let y = y.to_vec();
        assert_eq!(y[..12], values);
        // The grid of 1 is one value for each channel, the same at each pixel.
        assert!(y[12..30].chunks(6).all(|plane| plane.iter().all(|v| (v - plane[0]).abs() < 1e-6)));
        let error = pool.forward(&mut Graph::training(0), &x).unwrap_err().to_string();
        assert!(error.contains("it takes 2"), "{error}");
    }
}
