//! (B, C, plane) values as blocks of columns: a run of pixels with all their channels, for kernels that reduce
//! over channels. Each block can be written by its own task.

use super::Unwritten;

/// Pixels of a block, so that 256 channels of it stay in L2.
pub const WIDTH: usize = 512;

/// For each image, for each run of [`WIDTH`] pixels: that run in every channel.
pub fn column_blocks<S: Split>(mut values: S, channels: usize, plane: usize) -> Vec<Vec<S>> {
    let per_image = plane.div_ceil(WIDTH);
    let images = values.count() / (channels * plane).max(1);
    let mut blocks: Vec<Vec<S>> = (0..images * per_image).map(|_| Vec::with_capacity(channels)).collect();
    for i in 0..images * channels {
        for block in 0..per_image {
            let (run, behind) = values.split_at(WIDTH.min(plane - block * WIDTH));
            blocks[i / channels * per_image + block].push(run);
            values = behind;
        }
    }
    blocks
}

/// Values that can be split: of a buffer, or of one that is not written yet.
pub trait Split: Sized {
    /// The number of values.
    fn count(&self) -> usize;
    /// The first `count` values and the others.
    fn split_at(self, count: usize) -> (Self, Self);
}

impl Split for &mut [f32] {
    fn count(&self) -> usize {
        (**self).len()
    }

    fn split_at(self, count: usize) -> (Self, Self) {
        self.split_at_mut(count)
    }
}

impl Split for Unwritten<'_> {
    fn count(&self) -> usize {
        Self::len(self)
    }

    fn split_at(self, count: usize) -> (Self, Self) {
        Self::split_at(self, count)
    }
}

/// The range of block `block` in the values of channel 0, and of its pixels among all positions.
pub fn block_start(block: usize, channels: usize, plane: usize) -> (usize, usize) {
    let per_image = plane.div_ceil(WIDTH);
    let (image, first) = (block / per_image, block % per_image * WIDTH);
    (image * channels * plane + first, image * plane + first)
}
