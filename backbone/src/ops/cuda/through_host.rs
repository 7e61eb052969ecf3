//! Ops without a kernel of their own yet: the values go to the host, the CPU's kernel runs, the result comes back.
//! Right, and slow: each call waits for the GPU and copies everything both ways. An op leaves this file when its
//! kernel is written.

use super::{Cuda, View};
use crate::error::Result;
use crate::ops::device::Backend as _;
use crate::ops::host::Cpu;
use crate::ops::layer_norm::{NormGradients, Normalized};
use crate::ops::{
    batch_norm, bspline, channel_norm, conv2d, dropout, elementwise_loss, pool, resample, resize, roi_align,
};

type Buf = super::Buffer;

/// The methods of a kernel trait that take and give plain buffers: `view` arguments are downloaded and lent to the
/// CPU's kernel, `option` ones if they are there, `buf` arguments are handed over, `plain` ones passed on.
macro_rules! through_host {
    ($kernel:path { $($name:ident($($argument:ident: $kind:ident $type:ty),*);)* }) => {
        impl $kernel for Cuda {
            $(fn $name(&self, $($argument: $type),*) -> Result<Buf> {
                let host = Cpu::default();
                $(let $argument = through_host!(@down self $kind $argument);)*
                self.upload_buf(host.$name($(through_host!(@lend $kind $argument)),*)?)
            })*
        }
    };
    (@down $device:ident view $argument:ident) => { $device.fetch_values($argument)? };
    (@down $device:ident option $argument:ident) => { $argument.map(|view| $device.fetch_values(view)).transpose()? };
    (@down $device:ident buf $argument:ident) => { $device.fetch_values(&$argument)? };
    (@down $device:ident plain $argument:ident) => { $argument };
    (@lend view $argument:ident) => { &$argument };
    (@lend option $argument:ident) => { $argument.as_deref() };
    (@lend buf $argument:ident) => { $argument };
    (@lend plain $argument:ident) => { $argument };
}

through_host!(bspline::BsplineKernel {
    silu_forward(x: view View<'_>);
    silu_backward(x: view View<'_>, dy: buf Buf);
    spline_forward(x: view View<'_>, basis: plain usize);
    spline_backward(x: view View<'_>, dy: view View<'_>, basis: plain usize);
    scale_rows(a: view View<'_>, factors: view View<'_>);
    dot_rows(a: view View<'_>, b: view View<'_>, rows: plain usize);
});

through_host!(conv2d::Conv2dKernel {
    conv2d_forward(x: view View<'_>, weight: view View<'_>, bias: option Option<View<'_>>, geometry: plain &conv2d::Geometry);
    conv2d_input_gradient(dy: view View<'_>, weight: view View<'_>, bias: option Option<View<'_>>, geometry: plain &conv2d::Geometry);
    conv2d_weight_gradient(dy: view View<'_>, x: view View<'_>, geometry: plain &conv2d::Geometry);
    channel_sums(values: view View<'_>, channels: plain usize, plane: plain usize);
});

through_host!(dropout::DropoutKernel {
    dropout(x: buf Buf, rate: plain f32, seed: plain u64);
});

through_host!(pool::PoolKernel {
    max_pool_forward(x: view View<'_>, geometry: plain &pool::MaxGeometry);
    max_pool_backward(x: view View<'_>, dy: view View<'_>, geometry: plain &pool::MaxGeometry);
    average_pool_forward(x: view View<'_>, windows: plain &pool::Windows);
    average_pool_backward(dy: view View<'_>, windows: plain &pool::Windows);
});

through_host!(resample::ResampleKernel {
    resample_forward(x: view View<'_>, geometry: plain &resample::Geometry);
    resample_backward(dy: view View<'_>, geometry: plain &resample::Geometry);
});

through_host!(resize::ResizeKernel {
    resize_forward(x: view View<'_>, rows: plain &resize::Axis, columns: plain &resize::Axis);
    resize_backward(dy: view View<'_>, rows: plain &resize::Axis, columns: plain &resize::Axis);
});

through_host!(roi_align::RoiAlignKernel {
    roi_align_forward(x: view View<'_>, plan: plain &roi_align::Plan);
    roi_align_backward(dy: view View<'_>, plan: plain &roi_align::Plan);
});

impl elementwise_loss::ElementwiseLossKernel for Cuda {
    fn elementwise_loss(
        &self,
        kind: elementwise_loss::Kind,
        x: View<'_>,
        goal: &elementwise_loss::Goal,
    ) -> Result<f64> {
        Cpu::default().elementwise_loss(kind, &self.fetch_values(x)?, goal)
    }

    fn elementwise_loss_gradient(
        &self,
        kind: elementwise_loss::Kind,
        x: View<'_>,
        goal: &elementwise_loss::Goal,
        dloss: f32,
    ) -> Result<Buf> {
        self.upload_buf(Cpu::default().elementwise_loss_gradient(
            kind,
            &self.fetch_values(x)?,
            goal,
            dloss,
        )?)
    }
}

impl batch_norm::BatchNormKernel for Cuda {
    fn channel_moments(&self, x: View<'_>, channels: usize, plane: usize) -> Result<Vec<[f64; 2]>> {
        Cpu::default().channel_moments(&self.fetch_values(x)?, channels, plane)
    }

    fn channel_affine(&self, x: View<'_>, maps: &[batch_norm::Affine], plane: usize) -> Result<Buf> {
        self.upload_buf(Cpu::default().channel_affine(&self.fetch_values(x)?, maps, plane)?)
    }

    fn channel_gradient_sums(
        &self,
        x: View<'_>,
        dy: View<'_>,
        centers: &[f32],
        plane: usize,
    ) -> Result<Vec<[f64; 2]>> {
        Cpu::default().channel_gradient_sums(&self.fetch_values(x)?, &self.fetch_values(dy)?, centers, plane)
    }

    fn channel_affine_sum(
        &self,
        x: View<'_>,
        maps: &[batch_norm::Affine],
        factors: &[f32],
        dy: Buf,
        plane: usize,
    ) -> Result<Buf> {
        let dy = self.fetch_values(&dy)?;
        self.upload_buf(Cpu::default().channel_affine_sum(
            &self.fetch_values(x)?,
            maps,
            factors,
            dy,
            plane,
        )?)
    }
}

impl channel_norm::ChannelNormKernel for Cuda {
    fn channel_norm_forward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        bias: View<'_>,
        plane: usize,
        eps: f32,
    ) -> Result<Normalized<Self>> {
        let (x, weight, bias) = (self.fetch_values(x)?, self.fetch_values(weight)?, self.fetch_values(bias)?);
        let made = Cpu::default().channel_norm_forward(&x, &weight, &bias, plane, eps)?;
        Ok(Normalized { y: self.upload_buf(made.y)?, statistics: self.upload_buf(made.statistics)? })
    }

    fn channel_norm_backward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        statistics: View<'_>,
        dy: Buf,
        plane: usize,
    ) -> Result<NormGradients<Self>> {
        let (x, weight, statistics) =
            (self.fetch_values(x)?, self.fetch_values(weight)?, self.fetch_values(statistics)?);
        let made =
            Cpu::default().channel_norm_backward(&x, &weight, &statistics, self.fetch_values(&dy)?, plane)?;
        Ok(NormGradients {
            dx: self.upload_buf(made.dx)?,
            weight: self.upload_buf(made.weight)?,
            bias: self.upload_buf(made.bias)?,
        })
    }
}
