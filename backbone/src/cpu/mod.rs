//! What the CPU is to the ops: buffers, vectors, threads, matrix products. Nothing here knows an op.

pub mod buffer;
pub mod columns;
pub mod gemm;
pub mod simd;

pub use crate::tensor::dfdx::Cpu;
pub use buffer::{GRAIN, Unwritten, build};
