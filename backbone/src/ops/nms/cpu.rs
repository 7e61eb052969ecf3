//! Suppression in blocks: a block of candidates is settled alone, then what it kept suppresses all that follow, a
//! cache-sized piece of the rest a task, with the overlap test vectorized along the piece.

use rayon::prelude::*;

use super::{Nms, NmsKernel};
use crate::cpu::Cpu;
use crate::cpu::simd::vectorized;
use crate::error::Result;

/// Candidates settled one after the other before the rest is looked at.
const BLOCK: usize = 64;
/// Candidates a task marks: six columns of 4 bytes, 48 KiB.
const PIECE: usize = 2048;

/// Boxes by column, in the order of visit.
struct Columns {
    x0: Vec<f32>,
    y0: Vec<f32>,
    x1: Vec<f32>,
    y1: Vec<f32>,
    area: Vec<f32>,
}

impl Columns {
    fn new(boxes: &[[f32; 4]], order: &[usize]) -> Self {
        let column = |k: usize| order.iter().map(|&i| boxes[i][k]).collect::<Vec<f32>>();
        let area = order.iter().map(|&i| (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]));
        Self { x0: column(0), y0: column(1), x1: column(2), y1: column(3), area: area.collect() }
    }

    fn get(&self, i: usize) -> [f32; 5] {
        [self.x0[i], self.y0[i], self.x1[i], self.y1[i], self.area[i]]
    }
}

impl NmsKernel for Cpu {
    fn suppress_runs(&self, boxes: &[[f32; 4]], runs: &[&[usize]], settings: &Nms) -> Result<Vec<usize>> {
        let kept = |run: &&[usize]| suppress(boxes, run, settings.threshold(), settings.max_kept);
        Ok(runs.par_iter().flat_map_iter(kept).collect())
    }
}

/// Visits `order`, returns those of its entries that stay.
pub(super) fn suppress(boxes: &[[f32; 4]], order: &[usize], threshold: f32, max_kept: usize) -> Vec<usize> {
    let n = order.len();
    let columns = Columns::new(boxes, order);
    let mut gone = vec![0u32; n];
    let mut kept = Vec::new();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let first = kept.len();
        for i in start..end {
            if gone[i] != 0 {
                continue;
            }
            if kept.len() == max_kept {
                return kept.into_iter().map(|i: usize| order[i]).collect();
            }
            kept.push(i);
            mark(columns.get(i), &columns, i + 1, &mut gone[i + 1..end], threshold);
        }
        let newcomers = &kept[first..];
        let settle = |(piece, gone): (usize, &mut [u32])| {
            vectorized(|| {
                for &i in newcomers {
                    mark(columns.get(i), &columns, end + piece * PIECE, gone, threshold);
                }
            });
        };
        let rest = &mut gone[end..];
        if rest.len() > PIECE {
            rest.par_chunks_mut(PIECE).enumerate().for_each(settle);
        } else {
            rest.chunks_mut(PIECE).enumerate().for_each(settle);
        }
    }
    kept.into_iter().map(|i| order[i]).collect()
}

/// Sets `gone[j]` where candidate `from + j` overlaps `best` (corners and area) by more than `threshold`.
#[inline(always)]
fn mark(best: [f32; 5], columns: &Columns, from: usize, gone: &mut [u32], threshold: f32) {
    let n = gone.len();
    let [x0, y0, x1, y1, area] = [&columns.x0, &columns.y0, &columns.x1, &columns.y1, &columns.area]
        .map(|column| &column[from..from + n]);
    for j in 0..n {
        let w = positive(lesser(best[2], x1[j]) - greater(best[0], x0[j]));
        let h = positive(lesser(best[3], y1[j]) - greater(best[1], y0[j]));
        let shared = w * h;
        // Two boxes without area give 0/0, which is not above any threshold: both stay.
        let iou = shared / (best[4] + area[j] - shared);
        gone[j] |= u32::from(iou > threshold);
    }
}

// `f32::max` also orders NaN, which costs three instructions; coordinates are finite here.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn positive(a: f32) -> f32 {
    if a > 0.0 { a } else { 0.0 }
}
