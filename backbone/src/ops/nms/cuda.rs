//! Suppression on the GPU: which box suppresses which as bits, then a block a run. Boxes go there and bits come back in one
//! copy each.

use super::{Nms, NmsKernel};
use crate::cpu::Cpu;
use crate::cuda::launch::Grid;
use crate::cuda::{Cuda, kernels, size};
use crate::error::Result;
use cudarc::driver::CudaSlice;

const OP: &str = "nms";

/// Boxes of a word of bits.
const BITS: usize = 64;
/// Words of bits: with fewer the host has finished before the GPU begins, more would take over 512 MiB.
const WORDS: std::ops::RangeInclusive<usize> = 1 << 12..=64 << 20;

impl NmsKernel for Cuda {
    fn suppress_runs(&self, boxes: &[[f32; 4]], runs: &[&[usize]], settings: &Nms) -> Result<Vec<usize>> {
        let words: usize = runs.iter().map(|run| run.len() * run.len().div_ceil(BITS)).sum();
        if !WORDS.contains(&words) {
            return Cpu::default().suppress_runs(boxes, runs, settings);
        }
        let (mut list, mut places) = (Vec::with_capacity(3 * runs.len()), Vec::with_capacity(runs.len()));
        let (mut first, mut bits, mut place) = (0, 0, 0);
        for run in runs {
            list.extend([size(OP, first)?, size(OP, run.len())?, size(OP, bits)?]);
            places.push(size(OP, place)?);
            first += run.len();
            bits += run.len() * run.len().div_ceil(BITS);
            place += run.len().div_ceil(BITS);
        }
        let context = self.context();
        let in_order =
            self.send(runs.iter().copied().flatten().flat_map(|&i| boxes[i]).collect::<Vec<f32>>())?;
        let (list, places) = (self.send(list)?, self.send(places)?);
        let mut bits: CudaSlice<u64> = context.empty(words)?;
        let (grid, count, threshold) = (Grid::each(words), size(OP, runs.len())?, settings.threshold());
        kernels::nms_overlaps(
            context,
            grid,
            &in_order,
            &list,
            &mut bits,
            count,
            size(OP, words)?,
            threshold,
        )?;
        let (mut gone, mut kept): (CudaSlice<u64>, _) = (context.empty(place)?, context.empty(place)?);
        kernels::nms_sweep(context, Grid::blocks(runs.len()), &bits, &list, &places, &mut gone, &mut kept)?;
        let kept: Vec<u64> = self.fetch(&kept)?;
        let mut kept = kept.as_slice();
        let mut staying = Vec::new();
        for run in runs {
            let own;
            (own, kept) = kept.split_at(run.len().div_ceil(BITS));
            let stays = |(k, i): (usize, &usize)| (own[k / BITS] >> (k % BITS) & 1 != 0).then_some(*i);
            staying.extend(run.iter().enumerate().filter_map(stays).take(settings.max_kept));
        }
        Ok(staying)
    }
}
