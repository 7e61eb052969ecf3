//! Sizes of windows that slide over a map, as the kernels take them.

use super::size;
use crate::error::Result;
use crate::ops::window::Placement;

/// kat::WindowSizes of `kernels/windows.h`; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct WindowSizes {
    input: [u32; 2],
    output: [u32; 2],
    kernel: [u32; 2],
    stride: [u32; 2],
    padding: [u32; 2],
}

const _: () = assert!(size_of::<WindowSizes>() == super::kernels::mirrored::WINDOW_SIZES_BYTES);

impl WindowSizes {
    /// For `op`.
    ///
    /// # Errors
    /// A size, or a plane, of more than kernels count.
    pub(crate) fn new(
        op: &'static str,
        [input, output, kernel]: [[usize; 2]; 3],
        placement: Placement,
    ) -> Result<Self> {
        let pair = |pair: [usize; 2]| -> Result<_> { Ok([size(op, pair[0])?, size(op, pair[1])?]) };
        for plane in [input, output] {
            size(op, plane[0] * plane[1])?;
        }
        Ok(Self {
            input: pair(input)?,
            output: pair(output)?,
            kernel: pair(kernel)?,
            stride: pair(placement.stride)?,
            padding: pair(placement.padding)?,
        })
    }

    /// Pixels of a plane of the input.
    pub(super) fn input_plane(&self) -> usize {
        product(self.input)
    }

    /// Windows of a plane.
    pub(super) fn output_plane(&self) -> usize {
        product(self.output)
    }

    /// Pixels of a window.
    pub(super) fn taps(&self) -> usize {
        product(self.kernel)
    }
}

fn product(pair: [u32; 2]) -> usize {
    pair[0] as usize * pair[1] as usize
}
