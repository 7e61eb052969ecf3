//! Gradients of the processes that train together.

use kat_backbone::Device;
use kat_backbone::optim::GradientSet;

/// Where gradients are averaged over the processes that train together.
pub trait GradientExchange<D: Device> {
    /// Replaces the gradients of this process by the mean over all.
    ///
    /// # Errors
    /// A process that cannot be reached.
    fn average(&mut self, gradients: &mut GradientSet<D>) -> anyhow::Result<()>;
}

/// One process: nothing to average.
pub struct Alone;

impl<D: Device> GradientExchange<D> for Alone {
    fn average(&mut self, _: &mut GradientSet<D>) -> anyhow::Result<()> {
        Ok(())
    }
}
