//! The linear layer on the GPU, by cuBLAS, which adds the bias on the way where it can. It could sum the bias's gradient
//! too (CUBLASLT_EPILOGUE_BGRADB), but does so in a pass of its own that is slower than ours: on an H100 1.36 ms a step of
//! KAT-S at batch 128, at 1.6 TB/s.

use super::{Geometry, LinearKernel};
use crate::cuda::launch::Grid;
use crate::cuda::products::{Order, Product};
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use crate::tensor::{Backend as _, Stored};

impl LinearKernel for Cuda {
    fn linear_forward(
        &self,
        x: View<'_>,
        weight: &Stored<Self>,
        bias: Option<View<'_>>,
        g: Geometry,
    ) -> Result<Buffer> {
        let weight = Self::view(weight);
        let (context, count) = (self.context(), g.rows * g.outputs);
        let mut product = Product::new([g.rows, g.outputs, g.inputs], [Order::Rows, Order::Transposed]);
        let mut y: Buffer = match self.mixed() {
            true => self.empty_bf16(count)?.into(),
            false => self.empty(count)?,
        };
        let (x, weight) = (x.factor(context)?, weight.kept_factor(context)?);
        let Some(bias) = bias else {
            context.multiply(&product, &*x, &*weight, &mut y)?;
            return Ok(y);
        };
        let row = bias.kept_factor(context)?;
        if !context.multiply_adding(&product, &*x, &*weight, &mut y, &row)? {
            product.factors[1] = 1.0;
            let (grid, n, width) = (Grid::each(count), count as u64, size("linear", g.outputs)?);
            match &mut y {
                Buffer::Bf16(y) => kernels::repeat_row_bf16(context, grid, bias, y, n, width),
                Buffer::F32(y) => kernels::repeat_row(context, grid, bias, y.values_mut(), n, width),
            }?;
            context.multiply(&product, &*x, &*weight, &mut y)?;
        }
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
        let (product, mut dx) = self.product_onto(earlier, product, self.mixed())?;
        let context = self.context();
        context.multiply(&product, &*dy.factor(context)?, &*weight.kept_factor(context)?, &mut dx)?;
        Ok(dx)
    }

    fn linear_parameter_gradients(
        &self,
        dy: View<'_>,
        x: View<'_>,
        earlier: Option<Buffer>,
        bias: bool,
        g: Geometry,
    ) -> Result<(Buffer, Option<Buffer>)> {
        let product = Product::new([g.outputs, g.inputs, g.rows], [Order::Transposed, Order::Rows]);
        let (product, mut dweight) = self.product_onto(earlier, product, false)?;
        let context = self.context();
        let (dy, x) = (dy.factor(context)?, x.factor(context)?);
        context.multiply(&product, &*dy, &*x, &mut dweight)?;
        Ok((dweight, bias.then(|| self.linear_bias_gradient(&dy, g)).transpose()?))
    }

    fn linear_bias_gradient(&self, dy: View<'_>, g: Geometry) -> Result<Buffer> {
        self.sum_rows(dy, g.outputs)
    }
}

impl Cuda {
    /// `product` and where it goes: onto `earlier`, or into a new buffer, in bfloat16 if `narrow`.
    fn product_onto(
        &self,
        earlier: Option<Buffer>,
        mut product: Product,
        narrow: bool,
    ) -> Result<(Product, Buffer)> {
        let count = product.size[0] * product.size[1];
        let out = match earlier {
            Some(sum) => {
                product.factors[1] = 1.0;
                sum
            }
            // a product over nothing writes nothing
            None if product.size[2] == 0 => self.zeros(count)?,
            None if narrow => self.empty_bf16(count)?.into(),
            None => self.empty(count)?,
        };
        Ok((product, out))
    }
}
