//! Softmax cross entropy on the GPU.

use super::{Geometry, Labels, Plan, PositionLosses, SoftmaxCrossEntropyKernel};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use crate::tensor::Backend as _;
use cudarc::driver::CudaSlice;

const OP: &str = "softmax cross entropy";

/// A plan's lists on the GPU.
struct Lists {
    labels: Option<CudaSlice<u32>>,
    soft: Option<Buffer>,
    class_weights: Option<Buffer>,
}

impl Lists {
    fn new(device: &Cuda, plan: &Plan) -> Result<Self> {
        let (labels, soft) = match &plan.labels {
            Labels::Hard(classes) => (Some(device.send(classes.clone())?), None),
            Labels::Soft(values) => (None, Some(device.upload_buf(values.clone())?)),
        };
        let class_weights =
            plan.class_weights.clone().map(|weights| device.upload_buf(weights)).transpose()?;
        Ok(Self { labels, soft, class_weights })
    }
}

/// A warp a position where the classes are neighbors, else a thread, so that neighbors are.
fn grid(g: Geometry) -> Grid {
    if g.inner == 1 { Grid::warps(g.positions()) } else { Grid::each(g.positions()) }
}

const _: () = assert!(super::IGNORED as usize == kernels::mirrored::IGNORED);

impl SoftmaxCrossEntropyKernel for Cuda {
    fn cross_entropy_forward(&self, logits: View<'_>, plan: &Plan) -> Result<PositionLosses<Self>> {
        let (g, lists) = (plan.geometry, Lists::new(self, plan)?);
        let (mut losses, mut log_sums) = (self.empty(g.positions())?, self.empty(g.positions())?);
        kernels::cross_entropy_forward(
            self.context(),
            grid(g),
            logits,
            lists.labels.as_ref(),
            lists.soft.as_ref(),
            lists.class_weights.as_ref(),
            &mut losses,
            &mut log_sums,
            g.positions() as u64,
            size(OP, g.classes)?,
            g.inner as u64,
            plan.label_smoothing,
        )?;
        Ok(PositionLosses { losses, log_sums })
    }

    fn cross_entropy_backward(
        &self,
        logits: View<'_>,
        log_sums: View<'_>,
        dlosses: View<'_>,
        plan: &Plan,
    ) -> Result<Buffer> {
        let (g, lists) = (plan.geometry, Lists::new(self, plan)?);
        let mut dx = self.empty(logits.len())?;
        kernels::cross_entropy_backward(
            self.context(),
            grid(g),
            logits,
            log_sums,
            dlosses,
            lists.labels.as_ref(),
            lists.soft.as_ref(),
            lists.class_weights.as_ref(),
            &mut dx,
            g.positions() as u64,
            size(OP, g.classes)?,
            g.inner as u64,
            plan.label_smoothing,
        )?;
        Ok(dx)
    }
}
