//! Moving values on the CPU, by copies of whole rows where they are contiguous.

use super::LayoutKernel;
use crate::cpu::{Cpu, GRAIN, build};
use crate::error::Result;
use rayon::prelude::*;
use std::ops::Range;

/// Side of the squares that a transposition moves: 16 rows of one cache line.
const SQUARE: usize = 16;

/// Rows of a task.
fn rows_of(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

impl LayoutKernel for Cpu {
    fn transpose(&self, x: &[f32], batch: usize, rows: usize, columns: usize) -> Result<Vec<f32>> {
        let plane = rows * columns;
        Ok(build(batch * plane, |y| {
            let strips = y.par_chunks(plane.max(1)).zip(x.par_chunks_exact(plane.max(1)));
            strips.for_each(|(y, x)| {
                y.par_chunks((SQUARE * rows).max(1)).enumerate().for_each(|(strip, y)| {
                    let (first, y) = (strip * SQUARE, y.zeroed());
                    for row in (0..rows).step_by(SQUARE) {
                        let height = SQUARE.min(rows - row);
                        for (c, y) in y.chunks_exact_mut(rows).enumerate() {
                            let source = x[row * columns + first + c..].iter().step_by(columns);
                            y[row..row + height].iter_mut().zip(source).for_each(|(y, x)| *y = *x);
                        }
                    }
                });
            });
        }))
    }

    fn join_rows(&self, parts: &[(&[f32], usize)], outer: usize) -> Result<Vec<f32>> {
        let width: usize = parts.iter().map(|(_, width)| width).sum();
        Ok(build(outer * width, |y| {
            let block = rows_of(width);
            y.par_chunks(block * width.max(1)).enumerate().for_each(|(first, y)| {
                for (i, mut y) in y.zeroed().chunks_exact_mut(width.max(1)).enumerate() {
                    for (part, width) in parts {
                        let (slot, rest) = y.split_at_mut(*width);
                        slot.copy_from_slice(&part[(first * block + i) * width..][..*width]);
                        y = rest;
                    }
                }
            });
        }))
    }

    fn slice_rows(&self, x: &[f32], width: usize, range: Range<usize>) -> Result<Vec<f32>> {
        let outer = x.len() / width.max(1);
        let len = range.len();
        Ok(build(outer * len, |y| {
            let block = rows_of(len);
            y.par_chunks(block * len.max(1)).zip(x.par_chunks(block * width.max(1))).for_each(|(y, x)| {
                let rows = y.zeroed().chunks_exact_mut(len.max(1)).zip(x.chunks_exact(width.max(1)));
                rows.for_each(|(y, x)| y.copy_from_slice(&x[range.clone()]));
            });
        }))
    }

    fn spread_rows(&self, dy: &[f32], width: usize, range: Range<usize>) -> Result<Vec<f32>> {
        let outer = dy.len() / range.len().max(1);
        Ok(build(outer * width, |dx| {
            let (block, len) = (rows_of(width), range.len().max(1));
            dx.par_chunks(block * width.max(1)).zip(dy.par_chunks(block * len)).for_each(|(dx, dy)| {
                let rows = dx.zeroed().chunks_exact_mut(width.max(1)).zip(dy.chunks_exact(len));
                rows.for_each(|(dx, dy)| dx[range.clone()].copy_from_slice(dy));
            });
        }))
    }

    fn gather(&self, x: &[f32], width: usize, indices: &[usize]) -> Result<Vec<f32>> {
        Ok(build(indices.len() * width, |y| {
            let block = rows_of(width);
            y.par_chunks(block * width.max(1)).zip(indices.par_chunks(block)).for_each(|(y, indices)| {
                let rows = y.zeroed().chunks_exact_mut(width.max(1)).zip(indices);
                rows.for_each(|(y, i)| y.copy_from_slice(&x[i * width..(i + 1) * width]));
            });
        }))
    }

    fn scatter_add(&self, dy: &[f32], width: usize, indices: &[usize], rows: usize) -> Result<Vec<f32>> {
        if dy.len() < GRAIN {
            // a few rows of many: listing the places of every row would cost more than the sums
            let mut dx = vec![0.0; rows * width];
            for (dy, row) in dy.chunks_exact(width.max(1)).zip(indices) {
                dx[row * width..][..width].iter_mut().zip(dy).for_each(|(d, s)| *d += s);
            }
            return Ok(dx);
        }
        // the places in `indices` of each row, in order
        let mut uses: Vec<Vec<usize>> = vec![Vec::new(); rows];
        indices.iter().enumerate().for_each(|(place, row)| uses[*row].push(place));
        let mut dx = vec![0.0; rows * width];
        dx.par_chunks_exact_mut(width.max(1)).zip(&uses).with_min_len(GRAIN / width.max(1)).for_each(
            |(dx, places)| {
                for place in places {
                    let dy = &dy[place * width..(place + 1) * width];
                    dx.iter_mut().zip(dy).for_each(|(d, s)| *d += s);
                }
            },
        );
        Ok(dx)
    }
}
