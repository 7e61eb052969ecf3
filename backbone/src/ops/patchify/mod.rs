//! Cutting an image into patches, which makes the patch embedding (a convolution whose stride is its kernel) a
//! linear layer: patch values in the order (channel, row, column) of a convolution's weight.

#[cfg(feature = "cuda")]
mod cuda;

use crate::config::Size;
use crate::cpu::{Cpu, build};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use rayon::prelude::*;

/// Sizes of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Channels of the image.
    pub channels: usize,
    /// Rows and columns of patches.
    pub grid: Size,
    /// Rows and columns of a patch, in pixels.
    pub patch: Size,
}

/// Patches on a device. Each is the other's backward pass.
pub trait PatchifyKernel: Backend {
    /// (B, channels, H, W) → (B, patches, channels · patch rows · patch columns).
    ///
    /// # Errors
    /// The device refuses.
    fn patchify(&self, x: Self::View<'_>, geometry: Geometry) -> Result<Self::Buf>;
    /// The reverse.
    ///
    /// # Errors
    /// The device refuses.
    fn unpatchify(&self, x: Self::View<'_>, geometry: Geometry) -> Result<Self::Buf>;
}

/// Cuts images into patches, row by row.
///
/// # Shapes
/// x (B, channels, H, W) → (B, H/p · W/p', channels · p · p'). Height and width must be multiples of the patch.
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn patchify<D: PatchifyKernel>(graph: &mut Graph<D>, x: &Tensor<D>, patch: Size) -> Result<Tensor<D>> {
    let [batch, channels, height, width] = x.axes("patchify", "images (B, channels, H, W)")?;
    for (name, size, patch) in [("height", height, patch.height), ("width", width, patch.width)] {
        if patch == 0 || size % patch != 0 || size == 0 {
            let reason = format!("{name} {size} is not a multiple of the patch {name} {patch}");
            return Err(Error::config(format!("image of {height}x{width} pixels"), reason));
        }
    }
    let geometry = Geometry { channels, grid: Size::new(height / patch.height, width / patch.width), patch };
    let y = x.device().patchify(x.view(), geometry)?;
    let shape = [batch, geometry.grid.area(), channels * patch.area()];
    graph.record(x.device(), y, shape, &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().unpatchify(D::view_buf(&dy), geometry)?;
            grads.add(&x, dx)
        }
    })
}

impl Geometry {
    fn patch_len(&self) -> usize {
        self.channels * self.patch.area()
    }

    /// Where a patch's line starts in an image, for patch `index` and line `line` = channel · p + row.
    fn line_start(&self, index: usize, line: usize) -> usize {
        let (patch_y, patch_x) = (index / self.grid.width, index % self.grid.width);
        let (channel, row) = (line / self.patch.height, line % self.patch.height);
        let (height, width) = (self.grid.height * self.patch.height, self.grid.width * self.patch.width);
        (channel * height + patch_y * self.patch.height + row) * width + patch_x * self.patch.width
    }
}

impl PatchifyKernel for Cpu {
    fn patchify(&self, x: &[f32], g: Geometry) -> Result<Vec<f32>> {
        let patches = g.grid.area();
        let image_len = patches * g.patch_len();
        Ok(build(x.len(), |y| {
            y.par_chunks(g.patch_len()).enumerate().for_each(|(i, y)| {
                let image = &x[i / patches * image_len..];
                for (line, dst) in y.zeroed().chunks_exact_mut(g.patch.width).enumerate() {
                    dst.copy_from_slice(&image[g.line_start(i % patches, line)..][..g.patch.width]);
                }
            });
        }))
    }

    fn unpatchify(&self, x: &[f32], g: Geometry) -> Result<Vec<f32>> {
        let patches = g.grid.area();
        let image_len = patches * g.patch_len();
        Ok(build(x.len(), |y| {
            y.par_chunks(image_len).zip(x.par_chunks(image_len)).for_each(|(image, x)| {
                let image = image.zeroed();
                for (i, patch) in x.chunks_exact(g.patch_len()).enumerate() {
                    for (line, src) in patch.chunks_exact(g.patch.width).enumerate() {
                        image[g.line_start(i, line)..][..g.patch.width].copy_from_slice(src);
                    }
                }
            });
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn patches_follow_the_order_of_a_convolution_weight() {
        // 2 images, 3 channels, 4x6 pixels, patches of 2x3
        let source = |i: usize| {
            let (b, n, c, y, x) = (i / 72, i / 18 % 4, i / 6 % 3, i / 3 % 2, i % 3);
            ((b * 3 + c) * 4 + n / 2 * 2 + y) * 6 + n % 2 * 3 + x
        };
        Case::new().input([2, 3, 4, 6], -1.0..1.0).gradients_match(
            |graph, t| patchify(graph, &t[0], Size::new(2, 3)),
            |t| (0..144).map(|i| t[0][source(i)]).collect(),
            1e-6,
        );
    }

    #[test]
    fn an_uneven_size_is_refused_with_its_numbers() {
        let x = Tensor::zeros(&Cpu::default(), [1, 3, 32, 33]).unwrap();
        let error = patchify(&mut Graph::inference(), &x, Size::square(16)).unwrap_err().to_string();
        assert!(error.contains("width 33") && error.contains("16"), "{error}");
    }
}
