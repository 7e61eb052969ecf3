//! What dfdx lacks or does slowly: one folder an op, each with its forward and backward pass.
//!
//! An op's `mod.rs` holds the function that modules call (shape checks, recording), the kernel trait that a
//! device implements, and the formula; `cpu.rs` the kernel. To add one: write the folder, add its kernel trait
//! to [`Device`](crate::Device), and compare it with a plain f64 reference by `check::Case` in its tests.

pub mod activation;
pub mod adamw;
pub mod add;
pub mod attention;
pub mod batch_norm;
pub mod branch;
pub mod bspline;
pub mod channel_norm;
#[cfg(test)]
pub(crate) mod check;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod dropout;
pub mod elementwise_loss;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod nms;
pub mod patchify;
pub mod pool;
pub mod prelu;
pub mod rational;
pub mod reduce;
pub mod residual_norm;
pub mod resize;
pub mod roi_align;
pub mod softmax_cross_entropy;
pub mod tokens;
pub mod watch;
pub mod window;
pub mod window_partition;

pub use activation::{activate, gelu, relu, sigmoid, silu};
pub use add::{add, add_drop_path, scale};
pub use attention::{RelativePositions, attention};
pub use batch_norm::batch_norm;
pub use bspline::{scale_rows, spline_basis};
pub use channel_norm::channel_norm;
pub use conv_transpose2d::conv_transpose2d;
pub use conv2d::conv2d;
pub use dropout::{channel_dropout, dropout};
pub use elementwise_loss::{binary_cross_entropy, smooth_l1};
pub use layer_norm::layer_norm;
pub use layout::{concat, gather_rows, map_to_tokens, narrow, tokens_to_map};
pub use linear::linear;
pub use patchify::patchify;
pub use pool::{adaptive_average_pool, average_pool, global_average_pool, max_pool};
pub use prelu::prelu;
pub use rational::rational;
pub use reduce::{mean, mean_tokens, weighted_sum};
pub use residual_norm::residual_norm;
pub use resize::grid::{resample_grid, resample_rows};
pub use resize::resize;
pub use roi_align::roi_align;
pub use softmax_cross_entropy::softmax_cross_entropy;
pub use tokens::{prepend_tokens, take_tokens};
pub use window_partition::{window_partition, window_unpartition};
