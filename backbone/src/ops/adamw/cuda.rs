//! The optimiser's passes on the GPU.

use super::{AdamWKernel, Coefficients, OP};
use crate::error::{Error, Result};
use crate::ops::cuda::launch::Grid;
use crate::ops::cuda::{Buffer, Cuda, View, kernels};

impl AdamWKernel for Cuda {
    fn adamw_update(
        &self,
        parameter: &mut Buffer,
        gradient: View<'_>,
        [first, second]: [&mut Buffer; 2],
        c: &Coefficients,
    ) -> Result<()> {
        let count = parameter.len();
        if gradient.len() != count {
            let found = gradient.len();
            return Err(Error::config(OP, format!("gradient of {found} values for {count} parameters")));
        }
        kernels::adamw(
            self.context(),
            Grid::each(count),
            parameter,
            gradient,
            first,
            second,
            count as u64,
            c.gradient_scale,
            c.beta1,
            c.rest1,
            c.beta2,
            c.rest2,
            c.eps,
            c.keep,
            c.step_size,
            c.root_scale,
        )
    }

    fn sum_of_squares(&self, x: View<'_>) -> Result<f64> {
        self.dot(x, x)
    }

    fn move_towards(&self, average: &mut Buffer, x: View<'_>, weight: f32) -> Result<()> {
        kernels::move_towards(self.context(), Grid::each(x.len()), average, x, x.len() as u64, weight)
    }
}
