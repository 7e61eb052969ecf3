//! (B, C, plane) values as blocks of columns: a run of pixels with all their channels, for kernels that reduce
//! over channels. Each block can be written by its own task.

/// Pixels of a block, so that 256 channels of it stay in L2.
pub const WIDTH: usize = 512;

/// For each image, for each run of [`WIDTH`] pixels: that run in every channel.
pub fn column_blocks(values: &mut [f32], channels: usize, plane: usize) -> Vec<Vec<&mut [f32]>> {
    let per_image = plane.div_ceil(WIDTH);
    let images = values.len() / (channels * plane).max(1);
    let mut blocks: Vec<Vec<&mut [f32]>> =
        (0..images * per_image).map(|_| Vec::with_capacity(channels)).collect();
    for (i, plane) in values.chunks_exact_mut(plane.max(1)).enumerate() {
        for (block, run) in plane.chunks_mut(WIDTH).enumerate() {
            blocks[i / channels * per_image + block].push(run);
        }
    }
    blocks
}

/// The range of block `block` in the values of channel 0, and of its pixels among all positions.
pub fn block_start(block: usize, channels: usize, plane: usize) -> (usize, usize) {
    let per_image = plane.div_ceil(WIDTH);
    let (image, first) = (block / per_image, block % per_image * WIDTH);
    (image * channels * plane + first, image * plane + first)
}
