//! The gradients of a step, summed over processes: each process has those of its part of the batch, whose losses are
//! divided by the count over all parts, so that the sums are the gradients of the whole batch.
//!
//! Gradients travel in buckets of about 25 MB (as PyTorch's DistributedDataParallel has it): large enough that the latency
//! of a call does not count, small enough that what is copied stays little. They are exchanged when the backward pass has
//! ended.

use half::bf16;
use serde::{Deserialize, Serialize};

use super::{Collective, Summands};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::Module;
use crate::optim::GradientSet;

/// Values in a bucket: 25 MB of f32.
const BUCKET: usize = 25 << 18;

/// As what gradients travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientFormat {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16 before they are sent, and their sums again: half the bytes, 8 bits of each number.
    Bf16,
}

/// Sums the gradients of a module's parameters over processes.
pub struct GradientExchange {
    format: GradientFormat,
    /// Values of each parameter, in the order of [`Module::visit`].
    lengths: Vec<usize>,
    bucket: Vec<f32>,
}

impl GradientExchange {
    /// An exchange for the parameters of `module`.
    pub fn new<D: Device>(module: &impl Module<D>, format: GradientFormat) -> Self {
        let lengths = module.parameters().iter().map(|parameter| parameter.numel()).collect();
        Self { format, lengths, bucket: Vec::new() }
    }

    /// Bytes that a process gives to one exchange.
    pub fn bytes(&self) -> usize {
        let each = match self.format {
            GradientFormat::F32 => 4,
            GradientFormat::Bf16 => 2,
        };
        each * self.lengths.iter().sum::<usize>()
    }

    /// Replaces the gradients by their sums over all processes. A parameter that the loss of one process does not depend
    /// on has gradient 0 there; one that no process's loss depends on has none.
    ///
    /// # Errors
    /// Gradients of another module; a process that is gone; the device refuses.
    pub fn sum<D: Device>(
        &mut self,
        processes: &dyn Collective,
        device: &D,
        gradients: &mut GradientSet<D>,
    ) -> Result<()> {
        if gradients.buffers.len() != self.lengths.len() {
            let (found, expected) = (gradients.buffers.len(), self.lengths.len());
            let reason = format!("{found} gradients for {expected} parameters");
            return Err(Error::config("gradient exchange", reason));
        }
        if processes.is_alone() {
            return Ok(());
        }
        // Every process has to send the same parameters, in the same order.
        let mut owners: Vec<f64> =
            gradients.buffers.iter().map(|gradient| f64::from(u8::from(gradient.is_some()))).collect();
        processes.all_reduce(Summands::F64(&mut owners))?;
        let present: Vec<usize> = (0..owners.len()).filter(|i| owners[*i] > 0.0).collect();
        for &i in &present {
            let gradient = &mut gradients.buffers[i];
            if gradient.is_none() {
                *gradient = Some(device.upload_buf(vec![0.0; self.lengths[i]])?);
            }
        }
        let mut rest = &present[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.fitting(rest));
            self.bucket.resize(now.iter().map(|i| self.lengths[*i]).sum(), 0.0);
            for (i, place) in self.places(now) {
                if let Some(gradient) = &gradients.buffers[i] {
                    device.read_buf(gradient, &mut self.bucket[place]);
                }
            }
            self.reduce(processes)?;
            for (i, place) in self.places(now) {
                if let Some(gradient) = &mut gradients.buffers[i] {
                    device.write_buf(gradient, &self.bucket[place])?;
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// How many of these parameters, at least one, go into the next bucket.
    fn fitting(&self, parameters: &[usize]) -> usize {
        let sizes = parameters.iter().scan(0, |sum, i| {
            *sum += self.lengths[*i];
            Some(*sum)
        });
        sizes.take_while(|sum| *sum <= BUCKET).count().max(1)
    }

    /// Where each of these parameters lies in the bucket.
    fn places(&self, parameters: &[usize]) -> Vec<(usize, std::ops::Range<usize>)> {
        let mut next = 0;
        let place = |i: &usize| {
            let start = next;
            next += self.lengths[*i];
            (*i, start..next)
        };
        parameters.iter().map(place).collect()
    }

    fn reduce(&mut self, processes: &dyn Collective) -> Result<()> {
        match self.format {
            GradientFormat::F32 => processes.all_reduce(Summands::F32(&mut self.bucket))?,
            GradientFormat::Bf16 => {
                let mut half: Vec<bf16> = self.bucket.iter().map(|v| bf16::from_f32(*v)).collect();
                processes.all_reduce(Summands::Bf16(&mut half))?;
                self.bucket.iter_mut().zip(half).for_each(|(v, half)| *v = half.to_f32());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::tests::on_each;
    use crate::nn::{Builder, Linear};
    use crate::{Cpu, Tensor};

    fn exchanged(format: GradientFormat) -> Vec<Vec<Option<Vec<f32>>>> {
        on_each(3, |rank| {
            let cpu = Cpu::default();
            let module = Linear::new(&Builder::new(&cpu, 1), 3, 2, 0.5).unwrap();
            // Only the last process's loss depends on the bias.
            let weight = (0..6).map(|i| (i + rank.rank()) as f32 / 3.0).collect();
            let bias = (rank.rank() == 2).then(|| vec![0.25, -0.5]);
            let mut gradients = GradientSet { buffers: vec![Some(weight), bias] };
            GradientExchange::new(&module, format).sum(&rank, &cpu, &mut gradients).unwrap();
            gradients.buffers
        })
    }

    #[test]
    fn sums_are_those_of_all_and_the_same_everywhere() {
        let all = exchanged(GradientFormat::F32);
        assert!(all.iter().all(|gradients| *gradients == all[0]));
        let weight: Vec<f32> = (0..6).map(|i| (0..3).map(|rank| (i + rank) as f32 / 3.0).sum()).collect();
        assert_eq!(all[0], [Some(weight.clone()), Some(vec![0.25, -0.5])]);
        let rounded = exchanged(GradientFormat::Bf16);
        assert!(rounded.iter().all(|gradients| *gradients == rounded[0]));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 100.0;
        assert!(rounded[0][0].as_ref().unwrap().iter().zip(&weight).all(near), "{rounded:?}");
    }

    #[test]
    fn what_no_loss_depends_on_has_no_gradient_and_large_ones_travel_alone() {
        on_each(2, |rank| {
            let cpu = Cpu::default();
            let tensor = |len: usize| Tensor::zeros(&cpu, [len]).unwrap();
            let module = vec![tensor(BUCKET - 1), tensor(3), tensor(BUCKET + 5), tensor(2)];
            let mut exchange = GradientExchange::new(&module, GradientFormat::F32);
            assert_eq!(exchange.bytes(), 4 * (2 * BUCKET + 9));
            assert_eq!(exchange.fitting(&[0, 1]), 1);
            assert_eq!(exchange.fitting(&[1, 2]), 1);
            assert_eq!(exchange.fitting(&[2, 3]), 1);
            let ones = |len: usize| Some(vec![1.0; len]);
            let buffers = vec![ones(BUCKET - 1), ones(3), ones(BUCKET + 5), None];
            let mut gradients = GradientSet { buffers };
            exchange.sum(&rank, &cpu, &mut gradients).unwrap();
            assert!(gradients.buffers[3].is_none());
            assert!(gradients.buffers.iter().flatten().flatten().all(|v| *v == 2.0));
            gradients.buffers.pop();
            assert!(exchange.sum(&rank, &cpu, &mut gradients).is_err());
        });
    }
}
