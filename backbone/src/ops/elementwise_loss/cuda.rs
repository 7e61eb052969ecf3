//! Element-wise losses on the GPU; the loss stays there.

use super::{ElementwiseLossKernel, GoalViews, Kind};
use crate::cuda::launch::Grid;
use crate::cuda::sums::sum_blocks;
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::Result;

impl Kind {
    /// smooth_l1 and beta, as the kernels take them.
    fn arguments(self) -> (u32, f32) {
        match self {
            Self::BinaryCrossEntropy => (0, 0.0),
            Self::SmoothL1 { beta } => (1, beta),
        }
    }
}

impl ElementwiseLossKernel for Cuda {
    fn elementwise_loss(&self, kind: Kind, x: View<'_>, goal: &GoalViews<'_, Self>) -> Result<Buffer> {
        let (blocks, (smooth_l1, beta)) = (sum_blocks(x.len()), kind.arguments());
        let (context, grid, n) = (self.context(), Grid::blocks(blocks), x.len() as u64);
        let mut sums = context.empty(blocks)?;
        let (targets, weights) = (goal.targets, goal.weights);
        kernels::elementwise_loss(context, grid, x, targets, weights, &mut sums, n, smooth_l1, beta)?;
        self.total_of_sums(&sums, 1.0 / f64::from(goal.normalizer))
    }

    fn elementwise_loss_gradient(
        &self,
        kind: Kind,
        x: View<'_>,
        goal: &GoalViews<'_, Self>,
        dloss: View<'_>,
    ) -> Result<Buffer> {
        let (mut dx, (smooth_l1, beta)) = (self.empty(x.len())?, kind.arguments());
        kernels::elementwise_loss_gradient(
            self.context(),
            Grid::each(x.len()),
            x,
            goal.targets,
            goal.weights,
            dloss,
            &mut dx,
            x.len() as u64,
            smooth_l1,
            beta,
            goal.normalizer,
        )?;
        Ok(dx)
    }
}
