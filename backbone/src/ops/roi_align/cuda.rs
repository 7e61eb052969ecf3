//! RoIAlign on the GPU. Boxes come as lists; backward a pixel gathers from the boxes of its image in their order.

use super::{Plan, RoiAlignKernel};
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use cudarc::driver::CudaSlice;

const OP: &str = "RoIAlign";

/// Channels of a block of the backward kernel: 8 warps of 8.
const BLOCK_CHANNELS: usize = 64;

impl Plan {
    /// Spans (first pixel, number, place of the weights) of each box's rows and columns of bins, and all weights.
    fn lists(&self, device: &Cuda) -> Result<(CudaSlice<u32>, CudaSlice<f32>)> {
        let (mut spans, mut weights) = (Vec::new(), Vec::new());
        for bins in self.boxes.iter().flat_map(|(_, rows, columns)| [rows, columns]) {
            for span in &bins.spans {
                spans.extend([span.start, span.len, weights.len() + span.weights]);
            }
            weights.extend_from_slice(&bins.weights);
        }
        // a box far outside has no weights, and there may be no box
        weights.push(0.0);
        Ok((device.send(sizes(spans)?)?, device.send(weights)?))
    }

    /// The boxes of each image, in their order: (where an image's begin, and the end; the boxes).
    fn by_image(&self) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.boxes.len()).collect();
        order.sort_by_key(|roi| self.boxes[*roi].0);
        let starts =
            (0..=self.batch).map(|image| order.partition_point(|roi| self.boxes[*roi].0 < image)).collect();
        (starts, order)
    }
}

fn sizes(list: Vec<usize>) -> Result<Vec<u32>> {
    list.into_iter().map(|n| size(OP, n)).collect()
}

impl RoiAlignKernel for Cuda {
    fn roi_align_forward(&self, x: View<'_>, plan: &Plan) -> Result<Buffer> {
        let (planes, bins) = (plan.boxes.len() * plan.channels, plan.output[0] * plan.output[1]);
        let mut y = self.empty(planes * bins)?;
        let images = self.send(sizes(plan.boxes.iter().map(|(image, ..)| *image).collect())?)?;
        let (spans, weights) = plan.lists(self)?;
        let [height, width] = plan.input.map(|n| size(OP, n));
        kernels::roi_align_forward(
            self.context(),
            Grid::pixels(planes, bins),
            x,
            &images,
            &spans,
            &weights,
            &mut y,
            size(OP, planes)?,
            size(OP, plan.channels)?,
            height?,
            width?,
            size(OP, plan.output[0])?,
            size(OP, plan.output[1])?,
        )?;
        Ok(y)
    }

    fn roi_align_backward(&self, dy: View<'_>, plan: &Plan) -> Result<Buffer> {
        let [height, width] = plan.input;
        let mut dx = self.empty(plan.batch * plan.channels * height * width)?;
        let (starts, order) = plan.by_image();
        let covered = plan.boxes.iter().flat_map(|(_, rows, columns)| {
            let (rows, columns) = (rows.covered(), columns.covered());
            [rows.start, rows.end, columns.start, columns.end]
        });
        let covered = self.send(sizes(covered.collect())?)?;
        let (starts, order) = (self.send(sizes(starts)?)?, self.send(sizes(order)?)?);
        let (spans, weights) = plan.lists(self)?;
        let blocks = plan.batch * height * width.div_ceil(32);
        kernels::roi_align_backward(
            self.context(),
            Grid([blocks, plan.channels.div_ceil(BLOCK_CHANNELS), 1]),
            dy,
            &starts,
            &order,
            &covered,
            &spans,
            &weights,
            &mut dx,
            size(OP, plan.channels)?,
            size(OP, height)?,
            size(OP, width)?,
            size(OP, plan.output[0])?,
            size(OP, plan.output[1])?,
        )?;
        Ok(dx)
    }
}
