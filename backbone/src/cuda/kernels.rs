//! A launch function for each kernel, made by the build script from the `.cu` files.

use super::View;
use super::arguments::{Input, Output};
use super::buffer::BFloat16;
use super::launch::{Context, Grid, check_lengths};
use super::windows::WindowSizes;
use crate::error::Result;
use crate::ops::rational::LaunchSizes as RationalSizes;
use cudarc::driver::CudaSlice;

/// A fat binary where the driver wants it: at a multiple of 16 bytes.
#[repr(C, align(16))]
struct Image<const N: usize>([u8; N]);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
