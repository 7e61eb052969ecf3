//! Every op's kernel on lengths. What a forward pass calls gives the length of its output and adds to the tally; what only
//! a backward pass or an update calls is an error.

use std::ops::Range;

use super::{Length, Meta, Tally, no_values};
use crate::error::Result;
use crate::ops::activation::{ActivationKernel, Function};
use crate::ops::adamw::{AdamWKernel, Coefficients};
use crate::ops::add::AddKernel;
use crate::ops::attention::{
    Attended, AttendedViews, AttentionGradients, AttentionKernel, Geometry as AttentionGeometry,
    RelativeViews,
};
use crate::ops::batch_norm::{BatchNormKernel, BatchStatistics, ParameterGradients, Terms};
use crate::ops::bspline::BsplineKernel;
use crate::ops::channel_norm::ChannelNormKernel;
use crate::ops::conv2d::{Conv2dKernel, Geometry as ConvGeometry};
use crate::ops::dropout::DropoutKernel;
use crate::ops::elementwise_loss::{ElementwiseLossKernel, GoalViews, Kind};
use crate::ops::layer_norm::{LayerNormKernel, NormGradients, Normalized};
use crate::ops::layout::LayoutKernel;
use crate::ops::linear::{Geometry as LinearGeometry, LinearKernel};
use crate::ops::nms::{Nms, NmsKernel};
use crate::ops::patchify::{Geometry as PatchGeometry, PatchifyKernel};
use crate::ops::pool::{MaxGeometry, PoolKernel, Windows};
use crate::ops::prelu::{PreluGradients, PreluKernel};
use crate::ops::rational::{Geometry as RationalGeometry, RationalGradients, RationalKernel};
use crate::ops::reduce::ReduceKernel;
use crate::ops::residual_norm::ResidualNormKernel;
use crate::ops::resize::grid::{Geometry as GridGeometry, ResampleKernel};
use crate::ops::resize::{Axis, ResizeKernel};
use crate::ops::roi_align::{Plan as RoiPlan, RoiAlignKernel};
use crate::ops::softmax_cross_entropy::{Plan as LossPlan, PositionLosses, SoftmaxCrossEntropyKernel};
use crate::ops::tokens::TokensKernel;
use crate::ops::watch::{Clip, WatchKernel};
use crate::ops::window_partition::{Geometry as WindowGeometry, WindowKernel};
use kat_images::Run;

fn area(sides: [usize; 2]) -> usize {
    sides[0] * sides[1]
}

impl ActivationKernel for Meta {
    fn activation_forward(&self, _: Function, x: usize) -> Result<usize> {
        Ok(x)
    }
    fn activation_backward(&self, _: Function, _: usize, _: usize) -> Result<usize> {
        no_values("activation")
    }
}

impl AdamWKernel for Meta {
    type Gathered = ();
    fn gather_update(
        &self,
        (): &mut (),
        _: usize,
        _: usize,
        _: [usize; 2],
        _: &Coefficients,
        _: usize,
    ) -> Result<()> {
        no_values("adamw")
    }
    fn run_updates(&self, (): (), _: usize) -> Result<()> {
        no_values("adamw")
    }
    fn gather_average(&self, (): &mut (), _: usize, _: usize, _: f32) -> Result<()> {
        no_values("average")
    }
    fn run_averages(&self, (): (), _: f32) -> Result<()> {
        no_values("average")
    }
}

impl AddKernel for Meta {
    fn add_forward(&self, a: usize, _: usize, _: usize) -> Result<usize> {
        Ok(a)
    }
    fn add_scaled(&self, a: usize, _: usize, _: &[f32]) -> Result<usize> {
        Ok(a)
    }
    fn scale_samples(&self, x: usize, _: &[f32]) -> Result<usize> {
        Ok(x)
    }
    fn scaled_copy(&self, x: usize, _: Option<&[f32]>, _: usize) -> Result<usize> {
        Ok(x)
    }
    fn duplicate(&self, x: usize) -> Result<usize> {
        Ok(x)
    }
}

impl AttentionKernel for Meta {
    fn attention_forward(
        &self,
        qkv: usize,
        relative: Option<RelativeViews<'_, Self>>,
        g: AttentionGeometry,
    ) -> Result<Attended<Self>> {
        // q kᵀ and the weighted sum of v; q with a row's and a column's relative positions
        let keys = 2 * g.tokens + relative.map_or(0, |r| r.grid.height + r.grid.width);
        self.add(Tally { attention: g.batch * g.tokens * keys * g.channels(), ..Tally::default() });
        Ok(Attended { y: qkv / 3, log_sums: g.batch * g.heads * g.tokens })
    }
    fn attention_backward(
        &self,
        _: usize,
        _: Option<RelativeViews<'_, Self>>,
        _: AttendedViews<'_, Self>,
        _: usize,
        _: AttentionGeometry,
    ) -> Result<AttentionGradients<Self>> {
        no_values("attention")
    }
}

impl BatchNormKernel for Meta {
    fn channel_moments(&self, _: usize, channels: usize, _: usize) -> Result<usize> {
        Ok(2 * channels)
    }
    fn batch_statistics(
        &self,
        _: usize,
        [mean, variance]: [usize; 2],
        _: f64,
        _: f32,
    ) -> Result<BatchStatistics<Self>> {
        Ok(BatchStatistics { mean, variance, running_mean: mean, running_variance: variance })
    }
    fn batch_norm_forward(&self, x: usize, _: &Terms<'_, Self>) -> Result<usize> {
        Ok(x)
    }
    fn batch_norm_parameter_gradients(
        &self,
        _: usize,
        _: usize,
        _: &Terms<'_, Self>,
    ) -> Result<ParameterGradients<Self>> {
        no_values("batch_norm")
    }
    fn batch_norm_input_gradient(
        &self,
        _: usize,
        _: usize,
        _: &Terms<'_, Self>,
        _: &ParameterGradients<Self>,
        _: f32,
    ) -> Result<usize> {
        no_values("batch_norm")
    }
}

impl BsplineKernel for Meta {
    fn spline_forward(&self, x: usize, basis: usize) -> Result<usize> {
        self.add(Tally { elementwise: 2 * x, ..Tally::default() });
        Ok(x * basis)
    }
    fn spline_backward(&self, _: usize, _: usize, _: usize) -> Result<usize> {
        no_values("spline_basis")
    }
    fn scale_rows(&self, a: usize, _: usize) -> Result<usize> {
        Ok(a)
    }
    fn dot_rows(&self, _: usize, _: usize, rows: usize) -> Result<usize> {
        Ok(rows)
    }
}

impl ChannelNormKernel for Meta {
    fn channel_norm_forward(
        &self,
        x: usize,
        weight: usize,
        _: usize,
        _: usize,
        _: f32,
    ) -> Result<Normalized<Self>> {
        Ok(Normalized { y: x, statistics: 2 * (x / weight.max(1)) })
    }
    fn channel_norm_backward(
        &self,
        _: usize,
        _: usize,
        _: usize,
        _: usize,
        _: usize,
    ) -> Result<NormGradients<Self>> {
        no_values("channel_norm")
    }
}

impl Meta {
    /// A convolution and its adjoint do the same products.
    fn convolve(&self, g: &ConvGeometry, outputs: usize) -> usize {
        let linear = g.batch * g.out_channels * area(g.output) * g.in_channels * area(g.kernel);
        self.add(Tally { linear, outputs, ..Tally::default() });
        outputs
    }
}

impl Conv2dKernel for Meta {
    fn conv2d_forward(&self, _: usize, _: usize, _: Option<usize>, g: &ConvGeometry) -> Result<usize> {
        Ok(self.convolve(g, g.batch * g.out_channels * area(g.output)))
    }
    fn conv2d_input_gradient(&self, _: usize, _: usize, _: Option<usize>, g: &ConvGeometry) -> Result<usize> {
        Ok(self.convolve(g, g.batch * g.in_channels * area(g.input)))
    }
    fn conv2d_weight_gradient(&self, _: usize, _: usize, _: &ConvGeometry) -> Result<usize> {
        no_values("conv2d")
    }
    fn channel_sums(&self, _: usize, channels: usize, _: usize) -> Result<usize> {
        Ok(channels)
    }
}

impl DropoutKernel for Meta {
    fn dropout(&self, x: usize, _: f32, _: u64, _: &[Run]) -> Result<usize> {
        Ok(x)
    }
}

impl ElementwiseLossKernel for Meta {
    fn elementwise_loss(&self, _: Kind, _: usize, _: &GoalViews<'_, Self>) -> Result<usize> {
        Ok(1)
    }
    fn elementwise_loss_gradient(
        &self,
        _: Kind,
        _: usize,
        _: &GoalViews<'_, Self>,
        _: usize,
    ) -> Result<usize> {
        no_values("elementwise_loss")
    }
}

impl LayerNormKernel for Meta {
    fn layer_norm_forward(&self, x: usize, weight: usize, _: usize, _: f32) -> Result<Normalized<Self>> {
        self.add(Tally { elementwise: 5 * x, ..Tally::default() });
        Ok(Normalized { y: x, statistics: 2 * (x / weight.max(1)) })
    }
    fn layer_norm_backward(
        &self,
        _: usize,
        _: usize,
        _: usize,
        _: usize,
        _: Option<usize>,
    ) -> Result<NormGradients<Self>> {
        no_values("layer_norm")
    }
}

impl LayoutKernel for Meta {
    fn transpose(&self, x: usize, _: usize, _: usize, _: usize) -> Result<usize> {
        Ok(x)
    }
    fn join_rows(&self, parts: &[(usize, usize)], _: usize) -> Result<usize> {
        Ok(parts.iter().map(|(len, _)| len).sum())
    }
    fn slice_rows(&self, x: usize, width: usize, range: Range<usize>) -> Result<usize> {
        Ok(x / width.max(1) * range.len())
    }
    fn spread_rows(&self, _: usize, _: usize, _: Range<usize>) -> Result<usize> {
        no_values("slice_rows")
    }
    fn gather(&self, _: usize, width: usize, indices: &[usize]) -> Result<usize> {
        Ok(width * indices.len())
    }
    fn scatter_add(&self, _: usize, width: usize, _: &[usize], rows: usize) -> Result<usize> {
        Ok(width * rows)
    }
}

impl LinearKernel for Meta {
    fn linear_forward(&self, _: usize, _: &Length, _: Option<usize>, g: LinearGeometry) -> Result<usize> {
        let outputs = g.rows * g.outputs;
        self.add(Tally { linear: outputs * g.inputs, outputs, ..Tally::default() });
        Ok(outputs)
    }
    fn linear_input_gradient(
        &self,
        _: usize,
        _: usize,
        _: Option<usize>,
        _: LinearGeometry,
    ) -> Result<usize> {
        no_values("linear")
    }
    fn linear_parameter_gradients(
        &self,
        _: usize,
        _: usize,
        _: Option<usize>,
        _: bool,
        _: LinearGeometry,
    ) -> Result<(usize, Option<usize>)> {
        no_values("linear")
    }
    fn linear_bias_gradient(&self, _: usize, _: LinearGeometry) -> Result<usize> {
        no_values("linear")
    }
}

impl NmsKernel for Meta {
    fn suppress_runs(&self, _: &[[f32; 4]], _: &[&[usize]], _: &Nms) -> Result<Vec<usize>> {
        no_values("nms")
    }
}

impl PatchifyKernel for Meta {
    fn patchify(&self, x: usize, _: PatchGeometry) -> Result<usize> {
        Ok(x)
    }
    fn unpatchify(&self, x: usize, _: PatchGeometry) -> Result<usize> {
        Ok(x)
    }
}

impl PoolKernel for Meta {
    fn max_pool_forward(&self, x: usize, g: &MaxGeometry) -> Result<usize> {
        Ok(x / area(g.input).max(1) * area(g.output))
    }
    fn max_pool_backward(&self, _: usize, _: usize, _: &MaxGeometry) -> Result<usize> {
        no_values("max_pool")
    }
    fn average_pool_forward(&self, x: usize, windows: &Windows) -> Result<usize> {
        Ok(x / area(windows.input).max(1) * windows.rows.len() * windows.columns.len())
    }
    fn average_pool_backward(&self, _: usize, _: &Windows) -> Result<usize> {
        no_values("average_pool")
    }
}

impl PreluKernel for Meta {
    fn prelu_forward(&self, x: usize, _: usize) -> Result<usize> {
        Ok(x)
    }
    fn prelu_backward(&self, _: usize, _: usize, _: usize) -> Result<PreluGradients<Self>> {
        no_values("PReLU")
    }
}

impl RationalKernel for Meta {
    fn rational_forward(&self, x: usize, _: usize, _: usize, g: &RationalGeometry) -> Result<usize> {
        let (m, n) = (g.numerator_len.saturating_sub(1), g.denominator_len);
        self.add(Tally { elementwise: (2 * m + 2 * n + 3) * x, ..Tally::default() });
        Ok(x)
    }
    fn rational_backward(
        &self,
        _: usize,
        _: usize,
        _: usize,
        _: usize,
        _: &RationalGeometry,
    ) -> Result<RationalGradients<Self>> {
        no_values("rational")
    }
}

impl ReduceKernel for Meta {
    fn sum_parts(&self, dy: usize, repeats: usize) -> Result<usize> {
        Ok(dy / repeats.max(1))
    }
    fn total(&self, _: usize, _: Option<usize>, _: f64) -> Result<usize> {
        Ok(1)
    }
    fn spread_total(&self, _: usize, _: Option<usize>, _: f64, len: usize) -> Result<usize> {
        Ok(len)
    }
    fn mean_tokens(&self, x: usize, tokens: usize, _: usize) -> Result<usize> {
        Ok(x / tokens.max(1))
    }
    fn spread_tokens(&self, dy: usize, tokens: usize, _: usize) -> Result<usize> {
        Ok(dy * tokens)
    }
}

impl ResidualNormKernel for Meta {}

impl crate::ops::branch::BranchKernel for Meta {}

impl ResampleKernel for Meta {
    fn resample_forward(&self, x: usize, g: &GridGeometry) -> Result<usize> {
        Ok(x / g.from.area().max(1) * g.to.area())
    }
    fn resample_backward(&self, dy: usize, g: &GridGeometry) -> Result<usize> {
        Ok(dy / g.to.area().max(1) * g.from.area())
    }
}

impl ResizeKernel for Meta {
    fn resize_forward(&self, x: usize, rows: &Axis, columns: &Axis) -> Result<usize> {
        let planes = x / (rows.input_size * columns.input_size).max(1);
        Ok(planes * rows.starts.len() * columns.starts.len())
    }
    fn resize_backward(&self, _: usize, _: &Axis, _: &Axis) -> Result<usize> {
        no_values("resize")
    }
}

impl RoiAlignKernel for Meta {
    fn roi_align_forward(&self, _: usize, plan: &RoiPlan) -> Result<usize> {
        Ok(plan.boxes.len() * plan.channels * area(plan.output))
    }
    fn roi_align_backward(&self, _: usize, plan: &RoiPlan) -> Result<usize> {
        Ok(plan.batch * plan.channels * area(plan.input))
    }
}

impl SoftmaxCrossEntropyKernel for Meta {
    fn cross_entropy_forward(&self, _: usize, _: &LossPlan) -> Result<PositionLosses<Self>> {
        no_values("softmax_cross_entropy")
    }
    fn cross_entropy_backward(&self, _: usize, _: usize, _: usize, _: &LossPlan) -> Result<usize> {
        no_values("softmax_cross_entropy")
    }
}

impl TokensKernel for Meta {
    fn prepend(&self, prefix: usize, x: usize, batch: usize) -> Result<usize> {
        Ok(x + batch * prefix)
    }
    fn take_range(&self, x: usize, tokens: usize, range: Range<usize>, _: usize) -> Result<usize> {
        Ok(x / tokens.max(1) * range.len())
    }
    fn put_range(&self, _: usize, _: usize, _: Range<usize>, _: usize) -> Result<usize> {
        no_values("take_tokens")
    }
}

impl WatchKernel for Meta {
    fn watch_loss(&self, _: &mut usize, _: usize, _: u64) -> Result<()> {
        no_values("watch")
    }
    fn watch_norm(&self, _: &mut usize, _: &[usize], _: Clip, _: u64) -> Result<()> {
        no_values("watch")
    }
}

impl WindowKernel for Meta {
    fn partition(&self, _: usize, g: WindowGeometry) -> Result<usize> {
        let (rows, columns) = g.windows();
        Ok(g.batch * rows * columns * g.window * g.window * g.channels)
    }
    fn unpartition(&self, _: usize, g: WindowGeometry) -> Result<usize> {
        Ok(g.batch * g.rows * g.cols * g.channels)
    }
}
