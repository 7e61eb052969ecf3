//! Loss, gradient norm and failures of a run, read from the device when they are wanted.

use crate::device::Device;
use crate::error::Result;
use crate::ops::watch::place;
use crate::optim::GradientSet;
use crate::tensor::Tensor;

pub use crate::ops::watch::Clip;

/// What a device notes of a run's steps; see [`crate::ops::watch`].
pub struct StepMonitor<D: Device> {
    device: D,
    values: D::Buf,
}

/// A reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Readings {
    /// The mean loss since the last [`StepMonitor::take`]; NaN without one.
    pub loss: f64,
    /// The norm of the newest step's gradient, before clipping.
    pub norm: f64,
    /// The first thing that was not finite.
    pub failure: Option<Failure>,
}

/// A value that is not finite. From that step on, weights have not changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure {
    /// "loss" or "gradient norm".
    pub what: &'static str,
    /// Its value.
    pub value: f64,
    /// The step, from 0.
    pub step: u64,
}

impl<D: Device> StepMonitor<D> {
    /// A monitor that has seen nothing; gradients are taken as they are.
    ///
    /// # Errors
    /// The device refuses.
    pub fn new(device: &D) -> Result<Self> {
        let mut start = vec![0.0; place::LEN];
        start[place::SCALE] = 1.0;
        Ok(Self { device: device.clone(), values: device.upload_buf(start)? })
    }

    /// Notes the loss of step `step`, one value.
    ///
    /// # Errors
    /// The device refuses.
    pub fn loss(&mut self, loss: &Tensor<D>, step: u64) -> Result<()> {
        self.device.watch_loss(&mut self.values, loss.view(), step)
    }

    /// Notes the norm of a step's gradients, and the factor that the update will take.
    ///
    /// # Errors
    /// The device refuses.
    pub fn gradients(&mut self, gradients: &GradientSet<D>, clip: Clip, step: u64) -> Result<()> {
        let views: Vec<_> = gradients.buffers.iter().flatten().map(D::view_buf).collect();
        self.norms(&[], &views, clip, step)
    }

    /// As [`Self::gradients`], of those `in_norm`; of those `apart` nothing is noted but whether they are finite.
    pub(crate) fn norms(
        &mut self,
        apart: &[D::View<'_>],
        in_norm: &[D::View<'_>],
        clip: Clip,
        step: u64,
    ) -> Result<()> {
        if !apart.is_empty() {
            self.device.watch_norm(&mut self.values, apart, Clip::NONE, step)?;
        }
        self.device.watch_norm(&mut self.values, in_norm, clip, step)
    }

    /// Reads, which waits for the device.
    pub fn read(&self) -> Readings {
        readings(&self.device.download_buf(&self.values))
    }

    /// Reads, and begins a new mean of losses.
    ///
    /// # Errors
    /// The device refuses.
    pub fn take(&mut self) -> Result<Readings> {
        let mut values = self.device.download_buf(&self.values);
        let readings = readings(&values);
        values[place::LOSSES] = 0.0;
        values[place::COUNT] = 0.0;
        self.values = self.device.upload_buf(values)?;
        Ok(readings)
    }

    /// The device that it watches.
    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// The values, for the update.
    pub(crate) fn view(&self) -> D::View<'_> {
        D::view_buf(&self.values)
    }
}

fn readings(values: &[f32]) -> Readings {
    let at = |i: usize| f64::from(values[i]);
    let failure = match values[place::FAILED] {
        0.0 => None,
        kind => Some(Failure {
            what: if kind == 1.0 { "loss" } else { "gradient norm" },
            value: at(place::FAILED_VALUE),
            step: values[place::FAILED_STEP] as u64,
        }),
    };
    Readings { loss: at(place::LOSSES) / at(place::COUNT), norm: at(place::NORM), failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    fn scalar(value: f32) -> Tensor<Cpu> {
        Tensor::from_vec(&Cpu::default(), vec![value], []).unwrap()
    }

    #[test]
    fn means_norms_and_the_first_failure() {
        let mut watch = StepMonitor::new(&Cpu::default()).unwrap();
        let gradients = GradientSet { buffers: vec![Some(vec![3.0, 0.0]), None, Some(vec![4.0])] };
        for (step, loss) in [1.0, 2.0, 6.0].into_iter().enumerate() {
            watch.loss(&scalar(loss), step as u64).unwrap();
        }
        watch.gradients(&gradients, Clip { mean: 0.5, max_norm: 1.0 }, 2).unwrap();
        assert_eq!(watch.view()[place::SCALE], 0.5 / 2.5);
        let expected = Readings { loss: 3.0, norm: 2.5, failure: None };
        assert_eq!((watch.read(), watch.take().unwrap()), (expected, expected));
        watch.loss(&scalar(f32::NAN), 3).unwrap();
        watch.loss(&scalar(f32::INFINITY), 4).unwrap();
        let failure = watch.take().unwrap().failure.unwrap();
        assert!(failure.what == "loss" && failure.value.is_nan() && failure.step == 3, "{failure:?}");
        assert!(watch.read().loss.is_nan(), "no loss came since");
    }
}
