//! The linear layer on the GPU, by cuBLAS.

use super::{Geometry, LinearKernel};
use crate::error::Result;
use crate::ops::cuda::launch::{Grid, Order, Product};
use crate::ops::cuda::{Cuda, View, kernels, size};
use cudarc::driver::CudaSlice;

impl LinearKernel for Cuda {
    fn linear_forward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        bias: Option<View<'_>>,
        g: Geometry,
    ) -> Result<CudaSlice<f32>> {
        let count = g.rows * g.outputs;
        let mut y = self.empty(count)?;
        let mut product = Product::new([g.rows, g.outputs, g.inputs], [Order::Rows, Order::Transposed]);
        if let Some(bias) = bias {
            let width = size("linear", g.outputs)?;
            kernels::repeat_row(self.context(), Grid::each(count), bias, &mut y, count as u64, width)?;
            product.factors[1] = 1.0;
        }
        self.context().multiply(&product, x, weight, &mut y)?;
        Ok(y)
    }

    fn linear_input_gradient(
        &self,
        dy: View<'_>,
        weight: View<'_>,
        earlier: Option<CudaSlice<f32>>,
        g: Geometry,
    ) -> Result<CudaSlice<f32>> {
        let product = Product::new([g.rows, g.inputs, g.outputs], [Order::Rows, Order::Rows]);
        self.product_onto(earlier, product, dy, weight)
    }

    fn linear_weight_gradient(
        &self,
        dy: View<'_>,
        x: View<'_>,
        earlier: Option<CudaSlice<f32>>,
        g: Geometry,
    ) -> Result<CudaSlice<f32>> {
        let product = Product::new([g.outputs, g.inputs, g.rows], [Order::Transposed, Order::Rows]);
        self.product_onto(earlier, product, dy, x)
    }

    fn linear_bias_gradient(&self, dy: View<'_>, g: Geometry) -> Result<CudaSlice<f32>> {
        let [sums, _] = self.column_sums(dy, None, g.outputs)?;
        Ok(sums)
    }
}

impl Cuda {
    /// `earlier + lhs · rhs`, in place of `earlier` where there is one.
    fn product_onto(
        &self,
        earlier: Option<CudaSlice<f32>>,
        mut product: Product,
        lhs: View<'_>,
        rhs: View<'_>,
    ) -> Result<CudaSlice<f32>> {
        let mut out = match earlier {
            Some(sum) => {
                product.factors[1] = 1.0;
                sum
            }
            // a product over nothing writes nothing
            None if product.size[2] == 0 => self.zeros(product.size[0] * product.size[1])?,
            None => self.empty(product.size[0] * product.size[1])?,
        };
        self.context().multiply(&product, lhs, rhs, &mut out)?;
        Ok(out)
    }
}
