//! The linear layer on the GPU, by cuBLAS.

use super::{Geometry, LinearKernel};
use crate::error::Result;
use crate::ops::cuda::launch::{Grid, Order, Product};
use crate::ops::cuda::{Buffer, Cuda, View, kernels, size};

impl LinearKernel for Cuda {
    fn linear_forward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        bias: Option<View<'_>>,
        g: Geometry,
    ) -> Result<Buffer> {
        let (context, count) = (self.context(), g.rows * g.outputs);
        let mut product = Product::new([g.rows, g.outputs, g.inputs], [Order::Rows, Order::Transposed]);
        product.factors[1] = if bias.is_some() { 1.0 } else { 0.0 };
        let (grid, n, width) = (Grid::each(count), count as u64, size("linear", g.outputs)?);
        let mut y: Buffer = match self.mixed() {
            true => self.empty_bf16(count)?.into(),
            false => self.empty(count)?,
        };
        if let Some(bias) = bias {
            match &mut y {
                Buffer::Bf16(y) => kernels::repeat_row_bf16(context, grid, bias, y, n, width),
                Buffer::F32(y) => kernels::repeat_row(context, grid, bias, y, n, width),
            }?;
        }
        context.multiply(&product, &*x.factor(context)?, &*weight.factor(context)?, &mut y)?;
        Ok(y)
    }

    fn linear_input_gradient(
        &self,
        dy: View<'_>,
        weight: View<'_>,
        earlier: Option<Buffer>,
        g: Geometry,
    ) -> Result<Buffer> {
        let product = Product::new([g.rows, g.inputs, g.outputs], [Order::Rows, Order::Rows]);
        self.product_onto(earlier, product, dy, weight, self.mixed())
    }

    fn linear_weight_gradient(
        &self,
        dy: View<'_>,
        x: View<'_>,
        earlier: Option<Buffer>,
        g: Geometry,
    ) -> Result<Buffer> {
        let product = Product::new([g.outputs, g.inputs, g.rows], [Order::Transposed, Order::Rows]);
        self.product_onto(earlier, product, dy, x, false)
    }

    fn linear_bias_gradient(&self, dy: View<'_>, g: Geometry) -> Result<Buffer> {
        let [sums, _] = self.column_sums(dy, None, g.outputs)?;
        Ok(sums)
    }
}

impl Cuda {
    /// `earlier + lhs · rhs`, in place of `earlier` where there is one; `narrow`: a new one in bfloat16.
    fn product_onto(
        &self,
        earlier: Option<Buffer>,
        mut product: Product,
        lhs: View<'_>,
        rhs: View<'_>,
        narrow: bool,
    ) -> Result<Buffer> {
        let (context, count) = (self.context(), product.size[0] * product.size[1]);
        let mut out = match earlier {
            Some(sum) => {
                product.factors[1] = 1.0;
                sum
            }
            // a product over nothing writes nothing
            None if product.size[2] == 0 => self.zeros(count)?,
            None if narrow => self.empty_bf16(count)?.into(),
            None => self.empty(count)?,
        };
        context.multiply(&product, &*lhs.factor(context)?, &*rhs.factor(context)?, &mut out)?;
        Ok(out)
    }
}
