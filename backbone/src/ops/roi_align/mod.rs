//! RoIAlign (Mask R-CNN, arXiv 1703.06870) with the half-pixel alignment of later code ("aligned", "v2"): each bin
//! of a box is the mean of samples on a regular grid in it, interpolated bilinearly.
//!
//! A sample's interpolation weights are a product of a weight by row and one by column, and the grid is regular, so
//! a bin's mean is Σ_y Σ_x w_y w_x x[y, x]: each box needs one short list of weights a row of bins and one a column,
//! whatever the number of samples.

mod bins;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

pub use bins::{Bins, Span};

use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

const OP: &str = "RoIAlign";

/// A box on one image of the batch, in pixels of the input image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roi {
    /// The image's index in the batch.
    pub image: usize,
    /// x0, y0, x1, y1.
    pub corners: [f32; 4],
}

/// Samples of a bin, each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// As many as the bin has pixels, rounded up (sampling ratio 0).
    Adaptive,
    /// So many.
    Fixed(usize),
}

/// Whether a pixel's center or its corner is at its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Boxes are shifted by half a pixel, so that pixel centers lie at i + ½ ("aligned").
    HalfPixel,
    /// As in the first implementations, boxes at least one pixel large.
    Legacy,
}

/// How boxes are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Pixels of the feature map in one of the image: 1/stride.
    pub spatial_scale: f32,
    /// Samples of a bin.
    pub sampling: Sampling,
    /// Where pixels lie.
    pub alignment: Alignment,
}

impl Options {
    /// Square output, adaptive sampling, half-pixel alignment: ROIAlignV2 with sampling ratio 0.
    pub fn adaptive(size: usize, spatial_scale: f32) -> Self {
        let (sampling, alignment) = (Sampling::Adaptive, Alignment::HalfPixel);
        Self { output: [size, size], spatial_scale, sampling, alignment }
    }
}

/// Checked boxes on a feature map, with the weights of their bins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// C.
    pub channels: usize,
    /// H × W of the feature map.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// B.
    pub batch: usize,
    /// For each box: its image, its rows of bins, its columns of bins.
    pub boxes: Vec<(usize, Bins, Bins)>,
}

impl Plan {
    fn new([batch, channels, height, width]: [usize; 4], rois: &[Roi], options: &Options) -> Result<Self> {
        if options.output.contains(&0) || options.sampling == Sampling::Fixed(0) {
            let reason = format!("output {:?}, {:?}: must be at least 1", options.output, options.sampling);
            return Err(Error::config(OP, reason));
        }
        let input = [height, width];
        let bins = |(i, roi): (usize, &Roi)| {
            if roi.image >= batch {
                let reason = format!("box {i} is on image {} of a batch of {batch}", roi.image);
                return Err(Error::config(OP, reason));
            }
            let [x0, y0, x1, y1] = roi.corners;
            let axis = |axis: usize, from: f32, to: f32| {
                Bins::new(from, to, input[axis], options.output[axis], options)
                    .map_err(|reason| Error::config(OP, format!("box {i} {:?}: {reason}", roi.corners)))
            };
            Ok((roi.image, axis(0, y0, y1)?, axis(1, x0, x1)?))
        };
        let boxes = rois.iter().enumerate().map(bins).collect::<Result<_>>()?;
        Ok(Self { channels, input, output: options.output, batch, boxes })
    }
}

/// RoIAlign on a device.
pub trait RoiAlignKernel: Backend {
    /// The bins of every box.
    ///
    /// # Errors
    /// The device refuses.
    fn roi_align_forward(&self, x: Self::View<'_>, plan: &Plan) -> Result<Self::Buf>;
    /// The gradient at x; boxes are added in their order, so that the bits do not depend on threads.
    ///
    /// # Errors
    /// The device refuses.
    fn roi_align_backward(&self, dy: Self::View<'_>, plan: &Plan) -> Result<Self::Buf>;
}

/// Features of boxes, `options.output` bins each. Boxes get no gradient.
///
/// # Shapes
/// x (B, C, H, W), R boxes → (R, C, output).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn roi_align<D: RoiAlignKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    rois: &[Roi],
    options: &Options,
) -> Result<Tensor<D>> {
    let axes: [usize; 4] = x.axes(OP, "(B, C, H, W)")?;
    let plan = Plan::new(axes, rois, options)?;
    let y = x.device().roi_align_forward(x.view(), &plan)?;
    let shape = [rois.len(), axes[1], options.output[0], options.output[1]];
    graph.record(x.device(), y, shape, &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().roi_align_backward(D::view_buf(&dy), &plan)?;
            grads.add(&x, dx)
        }
    })
}
