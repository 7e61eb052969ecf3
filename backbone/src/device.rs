//! The roof over the ops: a device that has a kernel for each. `Cpu` is the one that is always there.

use crate::tensor::Backend;

/// Declares [`Device`] as every kernel trait together.
macro_rules! device_of {
    ($($kernel:path),* $(,)?) => {
        /// A device with a kernel for every op.
        pub trait Device: Backend $(+ $kernel)* {}
        impl<D: Backend $(+ $kernel)*> Device for D {}
    };
}

device_of!(
    crate::collective::in_place::InPlaceSums,
    crate::ops::activation::ActivationKernel,
    crate::ops::adamw::AdamWKernel,
    crate::ops::add::AddKernel,
    crate::ops::attention::AttentionKernel,
    crate::ops::batch_norm::BatchNormKernel,
    crate::ops::branch::BranchKernel,
    crate::ops::bspline::BsplineKernel,
    crate::ops::channel_norm::ChannelNormKernel,
    crate::ops::conv2d::Conv2dKernel,
    crate::ops::dropout::DropoutKernel,
    crate::ops::elementwise_loss::ElementwiseLossKernel,
    crate::ops::layer_norm::LayerNormKernel,
    crate::ops::layout::LayoutKernel,
    crate::ops::linear::LinearKernel,
    crate::ops::nms::NmsKernel,
    crate::ops::patchify::PatchifyKernel,
    crate::ops::pool::PoolKernel,
    crate::ops::prelu::PreluKernel,
    crate::ops::rational::RationalKernel,
    crate::ops::reduce::ReduceKernel,
    crate::ops::residual_norm::ResidualNormKernel,
    crate::ops::resize::grid::ResampleKernel,
    crate::ops::resize::ResizeKernel,
    crate::ops::roi_align::RoiAlignKernel,
    crate::ops::softmax_cross_entropy::SoftmaxCrossEntropyKernel,
    crate::ops::tokens::TokensKernel,
    crate::ops::watch::WatchKernel,
    crate::ops::window_partition::WindowKernel,
);
