//! Convolution on the GPU: matrices of columns and cuBLAS's products, some images, or some channels of one, at a time.
//! A convolution that takes pixels one by one multiplies x itself; small maps of several images are side by side in one product. Under mixed precision factors are bfloat16, and what
//! comes out is f32.

use super::{Conv2dKernel, Geometry};
use crate::cuda::launch::{Context, Grid};
use crate::cuda::maps::ChannelRuns;
use crate::cuda::products::{Order, Part, Product};
use crate::cuda::windows::WindowSizes;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use cudarc::driver::{CudaSlice, CudaViewMut};
use std::ops::Range;

const OP: &str = "conv2d";

/// Values of a matrix of columns: 256 MiB in f32.
const COLUMNS: usize = 64 << 20;

/// What one product takes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    images: Range<usize>,
    channels: Range<usize>,
}

/// A convolution, cut into chunks whose columns fit in memory.
struct Call<'d> {
    device: &'d Cuda,
    g: Geometry,
    sizes: WindowSizes,
}

/// Chunks of at most `most` values of columns: whole images, or of one image some channels after the other.
fn chunks(g: &Geometry, most: usize) -> Vec<Chunk> {
    let channel = (g.taps() * g.output_plane()).max(1);
    let images = (most / (channel * g.in_channels).max(1)).clamp(1, g.batch.max(1));
    let channels = (most / channel).clamp(1, g.in_channels.max(1));
    let starts = |end: usize, step: usize| (0..end).step_by(step).map(move |at| at..(at + step).min(end));
    starts(g.batch, images)
        .flat_map(|images| {
            starts(g.in_channels, channels).map(move |channels| Chunk { images: images.clone(), channels })
        })
        .collect()
}

impl Geometry {
    /// Whether the matrix of columns is x itself.
    fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.placement.stride == [1, 1] && self.placement.padding == [0, 0]
    }
}

impl<'d> Call<'d> {
    fn new(device: &'d Cuda, g: &Geometry) -> Result<Self> {
        let sizes = WindowSizes::new(OP, [g.input, g.output, g.kernel], g.placement)?;
        Ok(Self { device, g: *g, sizes })
    }

    fn context(&self) -> &'d Context {
        self.device.context()
    }

    /// The chunks; one where x serves as columns, which takes no memory.
    fn chunks(&self) -> Vec<Chunk> {
        chunks(&self.g, if self.is_pointwise() { usize::MAX } else { COLUMNS })
    }

    /// The columns of a chunk, `row` values from row to row and `image` from image to image.
    fn columns(&self, x: &CudaSlice<f32>, chunk: &Chunk, row: usize, image: usize) -> Result<Buffer> {
        let (images, count) = (chunk.images.len(), chunk.channels.len());
        let len = count * self.g.taps() * row.max(images * self.g.output_plane());
        let sample = self.g.in_channels * self.g.input_plane();
        let x = &x.slice(chunk.images.start * sample..chunk.images.end * sample);
        let (context, grid) = (self.context(), Grid::pixels(images * count, self.g.output_plane()));
        let [planes, channels, first, count] =
            [images * count, self.g.in_channels, chunk.channels.start, count].map(|n| size(OP, n));
        let (planes, channels, first, count) = (planes?, channels?, first?, count?);
        let (sizes, row, image) = (self.sizes, row as u64, image as u64);
        Ok(if self.device.mixed() {
            let mut y = self.device.empty_bf16(len)?;
            kernels::image_to_columns_bf16(
                context, grid, x, &mut y, planes, channels, first, count, sizes, row, image,
            )?;
            y.into()
        } else {
            let mut y = self.device.empty(len)?;
            kernels::image_to_columns(
                context, grid, x, &mut y, planes, channels, first, count, sizes, row, image,
            )?;
            y
        })
    }

    /// Of values (B, out_channels, positions) where those of a chunk's images are.
    fn outputs(&self, chunk: &Chunk) -> Range<usize> {
        let sample = self.g.out_channels * self.g.output_plane();
        chunk.images.start * sample..chunk.images.end * sample
    }

    /// The weights of a chunk's channels, as columns of an (out_channels, depth) matrix.
    fn weights<'v>(&self, weight: &'v Buffer, chunk: &Chunk) -> Part<'v> {
        Part(weight, chunk.channels.start * self.g.taps()..weight.len())
    }

    /// bias[c] in every pixel of each of `channels`.
    fn fill(&self, bias: View<'_>, len: usize, plane: usize) -> Result<CudaSlice<f32>> {
        let mut y = self.context().empty(len)?;
        let planes = len / plane.max(1);
        let (grid, channels) = (Grid::pixels(planes, plane), size(OP, bias.len())?);
        kernels::fill_channels(
            self.context(),
            grid,
            bias,
            &mut y,
            size(OP, planes)?,
            channels,
            size(OP, plane)?,
        )?;
        Ok(y)
    }

    /// Zeros where no product writes, else memory for `len` values.
    fn target(&self, len: usize, written: bool) -> Result<CudaSlice<f32>> {
        match written {
            true => self.context().empty(len),
            false => self.device.zeros(len)?.into_f32(self.context()),
        }
    }

    fn forward(&self, x: View<'_>, weight: View<'_>, bias: Option<View<'_>>) -> Result<Buffer> {
        let (g, positions) = (&self.g, self.g.output_plane());
        let weight = weight.kept_factor(self.context())?;
        let mut y = match bias {
            Some(bias) if !self.joins() => self.fill(bias, g.output_len(), positions)?,
            _ => self.target(g.output_len(), self.joins() || g.in_channels > 0)?,
        };
        for chunk in self.chunks() {
            let rows = chunk.channels.len() * g.taps();
            let mut product = Product::new([g.out_channels, positions, rows], [Order::Rows; 2]);
            product.batch = chunk.images.len();
            (product.rows[0], product.steps[0]) = (g.depth(), 0);
            if bias.is_some() || chunk.channels.start > 0 {
                product.factors = [1.0, 1.0];
            }
            if self.joins() {
                let out = y.slice_mut(self.outputs(&chunk));
                self.forward_joined(x, self.weights(&weight, &chunk), bias, &chunk, out)?;
                continue;
            }
            let (weight, mut out) = (self.weights(&weight, &chunk), y.slice_mut(self.outputs(&chunk)));
            if self.is_pointwise() {
                self.context().multiply(&product, &weight, &*x.factor(self.context())?, &mut out)?;
            } else {
                let columns = self.columns(&*x.f32(self.context())?, &chunk, positions, rows * positions)?;
                self.context().multiply(&product, &weight, &columns, &mut out)?;
            }
        }
        Ok(y.into())
    }

    fn input_gradient(&self, dy: View<'_>, weight: View<'_>, bias: Option<View<'_>>) -> Result<Buffer> {
        let (g, positions) = (&self.g, self.g.output_plane());
        let own = dy;
        let (dy, weight) = (dy.factor(self.context())?, weight.kept_factor(self.context())?);
        let orders = [Order::Transposed, Order::Rows];
        let product = |chunk: &Chunk| {
            let rows = chunk.channels.len() * g.taps();
            let mut product = Product::new([rows, positions, g.out_channels], orders);
            product.batch = chunk.images.len();
            (product.rows[0], product.steps[0]) = (g.depth(), 0);
            product
        };
        if self.is_pointwise() {
            let mut dx = match bias {
                Some(bias) => self.fill(bias, g.input_len(), positions)?,
                None => self.target(g.input_len(), g.out_channels > 0)?,
            };
            for chunk in self.chunks() {
                let mut product = product(&chunk);
                product.factors[1] = if bias.is_some() { 1.0 } else { 0.0 };
                self.context().multiply(&product, &*weight, &*dy, &mut dx)?;
            }
            return Ok(dx.into());
        }
        let mut dx = self.context().empty(g.input_len())?;
        for chunk in self.chunks() {
            let (images, count) = (chunk.images.len(), chunk.channels.len());
            let (joins, rows) = (self.joins(), count * g.taps());
            let [row, image] = match joins {
                true => [joined_row(images * positions), positions],
                false => [positions, rows * positions],
            };
            let len = if joins { rows * row } else { images * image };
            let mut columns = self.target(len, g.out_channels > 0)?;
            let weight = self.weights(&weight, &chunk);
            if joins {
                let dy = self.channels_first(&*own.f32(self.context())?, &chunk, row)?;
                let mut product = Product::new([rows, images * positions, g.out_channels], orders);
                product.rows = [g.depth(), row, row];
                self.context().multiply(&product, &weight, &dy, &mut columns)?;
            } else {
                let dy = Part(&dy, self.outputs(&chunk));
                self.context().multiply(&product(&chunk), &weight, &dy, &mut columns)?;
            }
            let sample = g.in_channels * g.input_plane();
            kernels::columns_to_image(
                self.context(),
                Grid::pixels(images * count, g.input_plane()),
                &columns,
                bias,
                &mut dx.slice_mut(chunk.images.start * sample..chunk.images.end * sample),
                size(OP, images * count)?,
                size(OP, g.in_channels)?,
                size(OP, chunk.channels.start)?,
                size(OP, count)?,
                self.sizes,
                row as u64,
                image as u64,
            )?;
        }
        Ok(dx.into())
    }

    /// dy (O, images · positions) times the columns' transpose: one long product a chunk.
    fn weight_gradient(&self, dy: View<'_>, x: View<'_>) -> Result<Buffer> {
        let (g, positions) = (&self.g, self.g.output_plane());
        let mut dw = self.target(g.out_channels * g.depth(), g.batch > 0)?;
        let (own, x) = (&*dy.f32(self.context())?, &*x.f32(self.context())?);
        let chunks = chunks(g, COLUMNS);
        let alone = chunks.iter().any(|chunk| chunk.images.len() == 1);
        let factor = alone.then(|| dy.factor(self.context())).transpose()?;
        for chunk in chunks {
            let (images, rows) = (chunk.images.len(), chunk.channels.len() * g.taps());
            let size = [g.out_channels, rows, images * positions];
            let mut product = Product::new(size, [Order::Rows, Order::Transposed]);
            product.rows[2] = g.depth();
            product.factors[1] = if chunk.images.start > 0 { 1.0 } else { 0.0 };
            let columns = self.columns(x, &chunk, images * positions, positions)?;
            let mut out = dw.slice_mut(chunk.channels.start * g.taps()..);
            if let (1, Some(dy)) = (images, &factor) {
                self.context().multiply(&product, &Part(dy, self.outputs(&chunk)), &columns, &mut out)?;
            } else {
                let dy = self.channels_first(own, &chunk, images * positions)?;
                self.context().multiply(&product, &dy, &columns, &mut out)?;
            }
        }
        Ok(dw.into())
    }

    /// dy (images, O, positions) of a chunk as (O, images, positions), a factor; `row` values from channel to channel.
    fn channels_first(&self, dy: &CudaSlice<f32>, chunk: &Chunk, row: usize) -> Result<Buffer> {
        let (channels, positions, images) = (self.g.out_channels, self.g.output_plane(), chunk.images.len());
        let dy = &dy.slice(self.outputs(chunk));
        let (context, grid) = (self.context(), Grid::pixels(images * channels, positions));
        let [planes, second, plane] = [images * channels, channels, positions].map(|n| size(OP, n));
        let (planes, second, plane) = (planes?, second?, plane?);
        let (from, to) = ((channels * positions) as u64, row as u64);
        Ok(if self.device.mixed() {
            let mut y = self.device.empty_bf16(channels * row)?;
            kernels::swap_planes_bf16(context, grid, dy, None, &mut y, planes, second, plane, from, to)?;
            y.into()
        } else {
            let mut y = self.device.empty(channels * row)?;
            kernels::swap_planes(context, grid, dy, None, &mut y, planes, second, plane, from, to)?;
            y
        })
    }

    /// Whether the images of a chunk are one product, side by side: small maps, such as those of regions, of which a product each
    /// is little work and has rows that lie at no multiple of 16 bytes.
    fn joins(&self) -> bool {
        /// Positions that are worth a product of their own.
        const OWN: usize = 1024;
        let (g, positions) = (&self.g, self.g.output_plane());
        g.batch > 1 && positions < OWN && g.depth() * positions <= COLUMNS
    }

    /// Whether x itself serves as the columns.
    fn is_pointwise(&self) -> bool {
        self.g.is_pointwise() && !self.joins()
    }

    /// A chunk's y (images, O, positions), by way of (O, images, positions).
    fn forward_joined(
        &self,
        x: View<'_>,
        weight: Part<'_>,
        bias: Option<View<'_>>,
        chunk: &Chunk,
        mut y: CudaViewMut<'_, f32>,
    ) -> Result<()> {
        let (g, positions, images) = (&self.g, self.g.output_plane(), chunk.images.len());
        let (context, rows, row) = (self.context(), g.depth(), joined_row(images * positions));
        let columns = self.columns(&*x.f32(context)?, chunk, row, positions)?;
        let mut product = Product::new([g.out_channels, images * positions, rows], [Order::Rows; 2]);
        product.rows = [rows, row, row];
        let mut out = self.target(g.out_channels * row, rows > 0)?;
        context.multiply(&product, &weight, &columns, &mut out)?;
        let grid = Grid::pixels(images * g.out_channels, positions);
        let [planes, second, plane] = [images * g.out_channels, images, positions].map(|n| size(OP, n));
        let (from, to) = (row as u64, (g.out_channels * positions) as u64);
        kernels::swap_planes(context, grid, &out, bias, &mut y, planes?, second?, plane?, from, to)
    }
}

/// From row to row of a matrix of so many columns: bfloat16 rows begin at multiples of 16 bytes.
fn joined_row(columns: usize) -> usize {
    columns.next_multiple_of(8)
}

impl Conv2dKernel for Cuda {
    fn conv2d_forward(
        &self,
        x: View<'_>,
        weight: View<'_>,
        bias: Option<View<'_>>,
        geometry: &Geometry,
    ) -> Result<Buffer> {
        Call::new(self, geometry)?.forward(x, weight, bias)
    }

    fn conv2d_input_gradient(
        &self,
        dy: View<'_>,
        weight: View<'_>,
        bias: Option<View<'_>>,
        geometry: &Geometry,
    ) -> Result<Buffer> {
        Call::new(self, geometry)?.input_gradient(dy, weight, bias)
    }

    fn conv2d_weight_gradient(&self, dy: View<'_>, x: View<'_>, geometry: &Geometry) -> Result<Buffer> {
        Call::new(self, geometry)?.weight_gradient(dy, x)
    }

    fn channel_sums(&self, values: View<'_>, channels: usize, plane: usize) -> Result<Buffer> {
        let runs = ChannelRuns::new(values.len(), channels, plane);
        let (mut sums, (n, c, pixels, run)) = (runs.sums(self, 1)?, runs.arguments()?);
        kernels::channel_sum_runs(self.context(), runs.grid(), values, &mut sums, n, c, pixels, run)?;
        runs.total(self, &sums, 0, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::window::Placement;

    #[test]
    fn chunks_cover_all_and_stay_within_the_bound() {
        let g = Geometry {
            batch: 5,
            in_channels: 7,
            out_channels: 2,
            input: [4, 4],
            output: [4, 4],
            kernel: [3, 3],
            placement: Placement::new(1, 1),
        };
        let image = g.depth() * g.output_plane();
        for most in [1, 400, image, 2 * image + 5, 100 * image] {
            let chunks = chunks(&g, most);
            let mut seen = [[0; 7]; 5];
            for chunk in &chunks {
                let values = chunk.images.len() * chunk.channels.len() * g.taps() * g.output_plane();
                assert!(values <= most || values == g.taps() * g.output_plane(), "{chunk:?} of {most}");
                assert!(chunk.images.len() == 1 || chunk.channels == (0..7), "{chunk:?}");
                for image in chunk.images.clone() {
                    chunk.channels.clone().for_each(|c| seen[image][c] += 1);
                }
            }
            assert_eq!(seen, [[1; 7]; 5], "{most}");
        }
        assert_eq!(chunks(&g, 2 * image + 5).len(), 3);
    }
}
