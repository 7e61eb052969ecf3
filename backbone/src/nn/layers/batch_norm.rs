//! Batch norm as a module that keeps its running statistics.

use std::fmt;

use crate::nn::{Buffer, Builder};
use crate::ops::batch_norm::{Options, Running};
use crate::{Device, Graph, Result, Tensor, module, ops};

/// Batch norm over all pixels of a channel; with the batch's statistics while training, with the running ones else.
///
/// The running statistics are buffers: checkpoints hold them, and the averaged model (EMA) takes them as they are.
#[derive(Clone)]
pub struct BatchNorm2d<D: Device> {
    /// (C): the factor.
    pub weight: Tensor<D>,
    /// (C): the shift.
    pub bias: Tensor<D>,
    /// (C).
    pub running_mean: Buffer<D>,
    /// (C), unbiased.
    pub running_var: Buffer<D>,
    options: Options,
}

module!(BatchNorm2d { weight, bias, running_mean, running_var });

impl<D: Device> fmt::Debug for BatchNorm2d<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { eps, momentum } = &self.options;
        f.debug_struct("BatchNorm2d")
            .field("channels", &self.weight.numel())
            .field("eps", eps)
            .field("momentum", momentum)
            .finish()
    }
}

impl<D: Device> BatchNorm2d<D> {
    /// Weight 1, bias 0, running mean 0, running variance 1.
    ///
    /// # Errors
    /// Sizes that the device cannot hold.
    pub fn new(builder: &Builder<D>, channels: usize, options: &Options) -> Result<Self> {
        let Running { mean, variance } = Running::new(builder.device(), channels)?;
        Ok(Self {
            weight: builder.constant(1.0, [channels])?,
            bias: builder.constant(0.0, [channels])?,
            running_mean: Buffer::new(mean),
            running_var: Buffer::new(variance),
            options: options.clone(),
        })
    }

    /// (B, C, H, W) → (B, C, H, W); while training the running statistics move towards those of the batch.
    ///
    /// # Errors
    /// An input of other channels, or a single value for each channel while training.
    pub fn forward(&self, graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
        let running = Running { mean: self.running_mean.get(), variance: self.running_var.get() };
        let (y, updated) = ops::batch_norm(graph, x, &self.weight, &self.bias, &running, &self.options)?;
        if let Some(Running { mean, variance }) = updated {
            self.running_mean.set(mean);
            self.running_var.set(variance);
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use crate::Cpu;
    use crate::collective::Collective;
    use crate::collective::tests::on_each;
    use crate::optim::average_weights;

    use super::*;

    fn norm(options: &Options) -> BatchNorm2d<Cpu> {
        BatchNorm2d::new(&Builder::new(&Cpu::default(), 0), 2, options).unwrap()
    }

    fn batch() -> Tensor<Cpu> {
        // channel 0: 0, 1, 2, 3; channel 1: -2, 0, 2, 4, over two samples of 1 × 2 pixels
        Tensor::from_vec(&Cpu::default(), vec![0., 1., -2., 0., 2., 3., 2., 4.], [2, 2, 1, 2]).unwrap()
    }

    #[test]
    fn training_moves_the_running_statistics_and_evaluation_uses_them() {
        let norm = norm(&Options::default());
        let y = norm.forward(&mut Graph::training(0), &batch()).unwrap().to_vec();
        // mean 1.5, variance 1.25 of channel 0
        assert!((y[0] + 1.5 / (1.25f32 + 1e-5).sqrt()).abs() < 1e-5);
        let close = |found: Vec<f32>, expected: [f32; 2]| {
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}");
        };
        close(norm.running_mean.get().to_vec(), [0.15, 0.1]);
        // unbiased variances 5/3 and 20/3
        close(norm.running_var.get().to_vec(), [0.9 + 0.1 * 5.0 / 3.0, 0.9 + 0.1 * 20.0 / 3.0]);
        let before = norm.running_mean.get().to_vec();
        let y = norm.forward(&mut Graph::inference(), &batch()).unwrap().to_vec();
        assert!((y[1] - 0.85 / (0.9 + 0.1 * 5.0 / 3.0 + 1e-5f32).sqrt()).abs() < 1e-5);
        assert_eq!(norm.running_mean.get().to_vec(), before);
    }

    #[test]
    fn a_clone_keeps_its_statistics_until_it_is_averaged() {
        let model = norm(&Options::default());
        let mut average = model.clone();
        model.forward(&mut Graph::training(0), &batch()).unwrap();
        assert_eq!(average.running_mean.get().to_vec(), [0.0, 0.0]);
        average_weights(&mut average, &model, 0.999).unwrap();
        assert_eq!(average.running_mean.get().to_vec(), model.running_mean.get().to_vec());
        assert_eq!(average.running_var.get().to_vec(), model.running_var.get().to_vec());
    }

    #[test]
    fn statistics_are_those_of_all_processes() {
        let apart = on_each(3, |rank| {
            let norm = norm(&Options::default());
            let processes: Rc<dyn Collective> = Rc::new(rank);
            let y = norm.forward(&mut Graph::training(0).over(&processes), &batch()).unwrap();
            (y.to_vec(), norm.running_var.get().to_vec())
        });
        let alone = norm(&Options::default()).forward(&mut Graph::training(0), &batch()).unwrap().to_vec();
        for (y, variance) in apart {
            assert!(alone.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-6));
            // three times the values: the unbiased variance is of 12 values, not of 4
            let expected = 0.9 + 0.1 * 15.0 / 11.0;
            assert!((variance[0] - expected).abs() < 1e-6);
        }
    }
}
