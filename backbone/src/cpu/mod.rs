//! What the CPU is to the ops: buffers, vectors, threads, matrix products. Nothing here knows an op.

pub mod buffer;
pub mod columns;
pub mod gemm;
pub(crate) mod scatter;
pub mod simd;

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod precision_tests;

pub use crate::tensor::dfdx::Cpu;
pub use buffer::{GRAIN, Unwritten, build};
