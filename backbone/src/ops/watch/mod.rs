//! What a training step tells about itself, kept on the device: its loss, its gradient's norm, the factor that clipping
//! makes of it, and whether either is no number. A GPU then never waits for the host within a step; the host reads when
//! it has something to show or to save.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use crate::error::Result;
use crate::tensor::Backend;

/// Places in a watch's buffer.
pub mod place {
    /// Σ of the losses since the last reading.
    pub const LOSSES: usize = 0;
    /// Their number.
    pub const COUNT: usize = 1;
    /// The norm of the newest step's gradient.
    pub const NORM: usize = 2;
    /// What its gradients are multiplied by.
    pub const SCALE: usize = 3;
    /// 0, or what was not finite: 1 for a loss, 2 for a gradient.
    pub const FAILED: usize = 4;
    /// The step of that, from 0.
    pub const FAILED_STEP: usize = 5;
    /// Its value.
    pub const FAILED_VALUE: usize = 6;
    /// Values in the buffer.
    pub const LEN: usize = 8;
}

/// How gradients are scaled before an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// 1 over the passes that were added up.
    pub mean: f64,
    /// The norm that the mean gradient is brought down to; 0 for any.
    pub max_norm: f64,
}

impl Clip {
    /// Gradients as they are.
    pub const NONE: Self = Self { mean: 1.0, max_norm: 0.0 };
}

/// A watch's passes on a device. After a failure nothing changes any more, so that the first one is what is read.
pub trait WatchKernel: Backend {
    /// Adds a step's loss, one value.
    ///
    /// # Errors
    /// The device refuses.
    fn watch_loss(&self, watch: &mut Self::Buf, loss: Self::View<'_>, step: u64) -> Result<()>;
    /// The norm of all gradients together, times `clip.mean`, and the factor that the update takes.
    ///
    /// # Errors
    /// The device refuses.
    fn watch_norm(
        &self,
        watch: &mut Self::Buf,
        gradients: &[Self::View<'_>],
        clip: Clip,
        step: u64,
    ) -> Result<()>;
}
