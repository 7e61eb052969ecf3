//! Why a class: integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365).
//!
//! The image is faded in from the mean color; each pixel's share of what the class's logit gains on the way is the
//! path integral of its gradient. Those shares add up to the whole gain, so nothing that decided is left out.

use image::RgbImage;
use kat_backbone::nn::Module;
use kat_backbone::{Device, Graph, Kat, Tensor, ops};
use ndarray::Array2;

use crate::draw::heat::HeatMap;
use crate::draw::{legible, side_by_side};

/// Points on the way from the mean color to the image.
const STEPS: usize = 32;
/// Points in one backward pass.
const BATCH: usize = 8;
/// Cells of the map along a side, at most: single pixels are too noisy to read.
const CELLS: usize = 28;

/// What each pixel adds to the logit of a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// (S, S): sums over the channels.
    pub pixels: Array2<f32>,
}

impl Evidence {
    /// For `class`, of an image (3, S, S) as the model takes it.
    ///
    /// # Errors
    /// An image or class that the model does not have.
    pub fn integrated_gradients<D: Device>(
        device: &D,
        model: &Kat<D>,
        image: &[f32],
        class: usize,
    ) -> anyhow::Result<Self> {
        let side = model.config().image_size.height;
        let plane = side * side;
        // Constants: only the image's gradient is wanted.
        let mut model = model.clone();
        let Ok(()) = model.visit_mut("", &mut |_, _, tensor| {
            *tensor = tensor.clone().detach();
            Ok::<(), std::convert::Infallible>(())
        });
        let mut pixels = Array2::<f32>::zeros((side, side));
        for first in (0..STEPS).step_by(BATCH) {
            let steps = first..(first + BATCH).min(STEPS);
            // Midpoints of equal parts of the way; the mean color is zero after normalization.
            let faded = steps.clone().flat_map(|i| {
                let share = (i as f32 + 0.5) / STEPS as f32;
                image.iter().map(move |v| v * share)
            });
            let x = Tensor::from_vec(device, faded.collect(), [steps.len(), 3, side, side])?.parameter()?;
            let mut graph = Graph::recording();
            let logits = model.forward(&mut graph, &x)?;
            let logit = ops::narrow(&mut graph, &logits, 1, class..class + 1)?;
            let sum = ops::weighted_sum(&mut graph, &logit, 1.0 / STEPS as f32)?;
            let gradient = graph.backward(&sum)?.take_host(&x)?.unwrap_or_default();
            for gradient in gradient.chunks_exact(3 * plane) {
                for (gradient, image) in gradient.chunks_exact(plane).zip(image.chunks_exact(plane)) {
                    for ((sum, g), v) in pixels.iter_mut().zip(gradient).zip(image) {
                        *sum += g * v;
                    }
                }
            }
        }
        Ok(Self { pixels })
    }

    /// What speaks for the class, in cells of equal size.
    fn map(&self) -> Option<HeatMap> {
        let side = self.pixels.nrows();
        let cells = (1..=CELLS.min(side)).rev().find(|n| side.is_multiple_of(*n))?;
        let width = side / cells;
        let mut sums = Array2::<f32>::zeros((cells, cells));
        for ((row, column), value) in self.pixels.indexed_iter() {
            sums[(row / width, column / width)] += value;
        }
        sums.mapv_inplace(|v| v.max(0.0));
        HeatMap::new(sums.view())
    }

    /// What the model saw beside the evidence for the class.
    pub fn draw(&self, seen: &RgbImage, class: &str) -> RgbImage {
        let (seen, _) = legible(seen);
        let mut marked = seen.clone();
        if let Some(map) = self.map() {
            map.draw(&mut marked);
        }
        side_by_side(("what the model saw", &seen), (class, &marked))
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::{Cpu, KatConfig, Size};

    use super::*;

    #[test]
    fn shares_add_up_to_what_the_logit_gains() {
        let device = Cpu::default();
        let config = KatConfig {
            image_size: Size::square(32),
            patch_size: Size::square(8),
            dim: 32,
            depth: 2,
            heads: 2,
            classes: 3,
            ..KatConfig::default()
        };
        let model = Kat::new(&device, &config, 5).unwrap();
        let image: Vec<f32> = (0..3 * 32 * 32).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 0.7).collect();
        let logit = |values: Vec<f32>| {
            let x = Tensor::from_vec(&device, values, [1, 3, 32, 32]).unwrap();
            model.forward(&mut Graph::inference(), &x).unwrap().to_vec()[1]
        };
        let gain = logit(image.clone()) - logit(vec![0.0; image.len()]);
        let evidence = Evidence::integrated_gradients(&device, &model, &image, 1).unwrap();
        let sum: f32 = evidence.pixels.iter().sum();
        assert!((sum - gain).abs() < 0.02 * gain.abs().max(1e-3), "{sum} of {gain}");
        let seen = RgbImage::new(32, 32);
        let drawn = evidence.draw(&seen, "a class");
        assert!(drawn.width() > 2 * 480 && drawn.height() > 480);
    }
}
