//! Windows that slide over a feature map: what convolutions and pools share.

use crate::error::{Error, Result};

/// Where windows stand, in pixels of the input: (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Distance between neighboring windows.
    pub stride: [usize; 2],
    /// Pixels added on each side.
    pub padding: [usize; 2],
}

impl Placement {
    /// The same stride and padding both ways.
    pub fn new(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2] }
    }

    /// The number of windows of `kernel` that fit into `input`, both ways.
    ///
    /// # Errors
    /// A zero kernel or stride, or an input that the padding does not make as large as the kernel.
    pub fn windows(&self, op: &'static str, input: [usize; 2], kernel: [usize; 2]) -> Result<[usize; 2]> {
        let mut count = [0; 2];
        for (i, count) in count.iter_mut().enumerate() {
            let (size, kernel, stride) = (input[i] + 2 * self.padding[i], kernel[i], self.stride[i]);
            if kernel == 0 || stride == 0 {
                return Err(Error::config(
                    op,
                    format!("kernel {kernel} and stride {stride} must be at least 1"),
                ));
            }
            if size < kernel {
                let reason =
                    format!("a kernel of {kernel} does not fit {} pixels padded to {size}", input[i]);
                return Err(Error::config(op, reason));
            }
            *count = (size - kernel) / stride + 1;
        }
        Ok(count)
    }
}

impl Default for Placement {
    /// A window at every pixel, no padding.
    fn default() -> Self {
        Self::new(1, 0)
    }
}
