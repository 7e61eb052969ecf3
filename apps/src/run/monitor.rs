//! What the steps of a run say of themselves: the loss, its parts, the gradient. All of it stays on the device until it
//! is read, so that a GPU never waits for the host within a step.

use kat_backbone::Device;
use kat_backbone::step_monitor::{Readings, StepMonitor};

use super::task::Losses;

/// A monitor of the whole step, and one for each part of the loss.
pub(super) struct Monitor<D: Device> {
    device: D,
    steps: StepMonitor<D>,
    /// In the order in which they first came up; a part may be absent from a batch.
    parts: Vec<(&'static str, StepMonitor<D>)>,
}

impl<D: Device> Monitor<D> {
    /// One that has seen nothing.
    pub(super) fn new(device: &D) -> kat_backbone::Result<Self> {
        Ok(Self { device: device.clone(), steps: StepMonitor::new(device)?, parts: Vec::new() })
    }

    /// Notes the loss of step `step` and its parts.
    pub(super) fn losses(&mut self, losses: &Losses<D>, step: u64) -> kat_backbone::Result<()> {
        self.steps.loss(&losses.total, step)?;
        for (name, part) in &losses.parts {
            let at = match self.parts.iter().position(|(known, _)| known == name) {
                Some(at) => at,
                None => {
                    self.parts.push((name, StepMonitor::new(&self.device)?));
                    self.parts.len() - 1
                }
            };
            self.parts[at].1.loss(part, step)?;
        }
        Ok(())
    }

    /// What the optimizer asks for the factor.
    pub(super) fn steps(&self) -> &StepMonitor<D> {
        &self.steps
    }

    /// What is to see a step's gradients.
    pub(super) fn steps_mut(&mut self) -> &mut StepMonitor<D> {
        &mut self.steps
    }

    /// Reads the whole step, which waits for the device.
    pub(super) fn read(&self) -> Readings {
        self.steps.read()
    }

    /// Reads the whole step, and begins a new mean of losses.
    pub(super) fn take(&mut self) -> kat_backbone::Result<Readings> {
        self.steps.take()
    }

    /// The mean of each part since it was taken last, of those that came up, and begins new ones.
    pub(super) fn take_parts(&mut self) -> kat_backbone::Result<Vec<(&'static str, f64)>> {
        let means = self.parts.iter_mut().map(|(name, part)| Ok((*name, part.take()?.loss)));
        let means = means.collect::<kat_backbone::Result<Vec<_>>>()?;
        // Without one there is no mean: NaN. One that is no number ends the run by the total.
        Ok(means.into_iter().filter(|(_, mean)| !mean.is_nan()).collect())
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::{Cpu, Tensor};

    use super::*;

    #[test]
    fn parts_are_means_over_the_batches_that_have_them() {
        let device = Cpu::default();
        let mut monitor = Monitor::new(&device).unwrap();
        let scalar = |value: f32| Tensor::from_vec(&Cpu::default(), vec![value], []).unwrap();
        let losses = |a: f32, b: Option<f32>| Losses {
            total: scalar(a + b.unwrap_or(0.0)),
            parts: [Some(("a", scalar(a))), b.map(|b| ("b", scalar(b)))].into_iter().flatten().collect(),
        };
        monitor.losses(&losses(1.0, None), 0).unwrap();
        monitor.losses(&losses(3.0, Some(5.0)), 1).unwrap();
        assert_eq!(monitor.take().unwrap().loss, 4.5);
        assert_eq!(monitor.take_parts().unwrap(), [("a", 2.0), ("b", 5.0)]);
        monitor.losses(&losses(7.0, None), 2).unwrap();
        assert_eq!(monitor.take_parts().unwrap(), [("a", 7.0)]);
    }
}
